"""`doctor`, wired: everything that the service needs of the outside, looked at before it trades."""

import base64
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import Final

from solders.hash import Hash
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.signature import Signature

from app.bootstrap import opening, paying
from app.bootstrap.access import refuse_unguarded
from app.bootstrap.clock import SystemClock
from app.bootstrap.markets import build_markets
from app.bootstrap.methods import MethodsBuilder, Surroundings
from app.bootstrap.upkeep import refuse_other_cluster
from app.bootstrap.wiring import LAMPORTS_PER_SOL, SLOT_SECONDS
from app.domain.documents import sol_string
from app.domain.errors import StartupError, Synergy7Error, TransientError
from app.domain.events import EventKind
from app.domain.market import Markets
from app.domain.money import amount_string
from app.domain.signal import SignalRules
from app.executors.block_engine import derived_tip_accounts
from app.metrics.prometheus import PrometheusTelemetry
from app.settings import Settings
from app.solana import decode
from app.solana.chain import RpcChain
from app.solana.json_rpc import Garbled, JsonRpcClient, NeverSent, Result, RpcError
from app.transactions.builder import serialize
from app.transactions.pools import CLOCK_SYSVAR
from app.transactions.tokens import memo
from app.transactions.trading import TransactionTrading
from app.transactions.wallet import LocalSigner

LAG_SLOTS_MAX: Final = 20
"""How far an endpoint may be behind the furthest."""
SKEW_SECONDS_MAX: Final = 10
"""How far this machine's clock may be from the chain's, which itself is no exact one."""
TIP_ACCOUNTS_PATH: Final = "/api/v1/getTipAccounts"
_NOBODY = "1" * 64
"""A signature that no transaction has."""
_CLOCK_TIME_AT = 32


class Verdict(StrEnum):
    """What a check came to."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at, what was found, and what to do about it."""

    area: str
    verdict: Verdict
    what: str
    todo: str = ""


@dataclass(frozen=True, slots=True)
class _Reached:
    """What an endpoint told of where it stands."""

    endpoint: str
    slot: int | None
    unix_time: int | None


async def examine(settings: Settings) -> AsyncIterator[Check]:
    """Look at key, endpoints, clock, balances, methods and pools; sends no transaction, stores nothing.

    What is wrong is a failed check, never an error.
    """
    telemetry = PrometheusTelemetry(version="", network=settings.network, methods=())
    async with AsyncExitStack() as stack:
        for check in _access(settings):
            yield check
        network, troubles = await _network(settings, stack, telemetry)
        signer, key = _key(settings, network)
        for check in (*troubles, *key):
            yield check
        if network is None:
            return
        async for check in _endpoints(settings, network, signer):
            yield check
        methods = MethodsBuilder(Surroundings(settings, network, telemetry, stack, _unnoted))
        for check in _methods(methods, settings):
            yield check
        for client in methods.regions:
            yield await _region(settings, client)
        if signer is not None:
            async for check in _trading(settings, network, methods, signer):
                yield check


def _access(settings: Settings) -> Sequence[Check]:
    """Say what `serve` would refuse before anything else."""
    try:
        refuse_unguarded(settings)
    except StartupError as error:
        return [_failed("access", error)]
    return []


async def _network(
    settings: Settings, stack: AsyncExitStack, telemetry: PrometheusTelemetry
) -> tuple[opening.Network | None, Sequence[Check]]:
    try:
        return await opening.open_network(settings, stack, telemetry), []
    except StartupError as error:
        return None, [_failed("endpoints", error)]


def _key(
    settings: Settings, network: opening.Network | None
) -> tuple[LocalSigner | None, Sequence[Check]]:
    """Load the key that would sign; without a sandbox nothing is said of the sandbox's own."""
    try:
        signer = opening.configured_signer(settings)
        if signer is None and network is not None:
            signer = opening.sandbox_signer(network)
    except StartupError as error:
        return None, [_failed("key", error)]
    if signer is not None:
        what = f"wallet {settings.wallet.name}: {signer.address}"
        return signer, [Check("key", Verdict.OK, what)]
    if settings.network == "sandbox":
        return None, []
    what = "WALLET_MISSING: no wallet is configured"
    return None, [Check("key", Verdict.FAILED, what, "set wallet.keypair_file")]


def _unnoted(_kind: EventKind, _data: Mapping[str, object]) -> None:
    """Nothing is kept of an examination."""


def _failed(area: str, error: StartupError | Synergy7Error) -> Check:
    return Check(area, Verdict.FAILED, f"{error.code}: {error.what}", error.todo)


# ------------------------------------------------------------------------------------ endpoints


def _questions(wallet: str | None) -> Mapping[str, Sequence[object]]:
    """Give every RPC method that the service asks of a node, with the parameters that it asks with."""
    confirmed, finalized = {"commitment": "confirmed"}, {"commitment": "finalized"}
    accounts = [CLOCK_SYSVAR]
    asked: dict[str, Sequence[object]] = {
        "getGenesisHash": [],
        "getEpochInfo": [finalized],
        "getLatestBlockhash": [confirmed],
        "isBlockhashValid": [str(Hash.default()), {"commitment": "processed"}],
        "getMultipleAccounts": [accounts, {**confirmed, "encoding": "base64"}],
        "getSignatureStatuses": [[_NOBODY], {"searchTransactionHistory": True}],
        "getTransaction": [
            _NOBODY,
            {**confirmed, "encoding": "json", "maxSupportedTransactionVersion": 0},
        ],
        "getRecentPrioritizationFees": [accounts],
        "minimumLedgerSlot": [],
        "getFirstAvailableBlock": [],
    }
    if wallet is not None:
        asked["getSignaturesForAddress"] = [wallet, {**finalized, "limit": 1}]
        asked["simulateTransaction"] = [
            _harmless(wallet),
            {**confirmed, "encoding": "base64", "replaceRecentBlockhash": True, "sigVerify": False},
        ]
    return asked


def _harmless(wallet: str) -> str:
    """Write a transaction that only says something, unsigned."""
    message = MessageV0.try_compile(
        Pubkey.from_string(wallet), [memo("synergy7 doctor")], [], Hash.default()
    )
    return base64.b64encode(serialize(message, Signature.default())).decode()


async def _endpoints(
    settings: Settings, network: opening.Network, signer: LocalSigner | None
) -> AsyncIterator[Check]:
    """Ask every endpoint, then compare what they told."""
    reached: list[_Reached] = []
    for client in network.clients:
        async for check in _endpoint(settings, client, signer, reached):
            yield check
    for check in (*_lags(reached), *_skew(reached)):
        yield check


async def _endpoint(
    settings: Settings, client: JsonRpcClient, signer: LocalSigner | None, reached: list[_Reached]
) -> AsyncIterator[Check]:
    """Ask an endpoint everything that the service would."""
    area, slow = f"endpoint {client.endpoint}", 0.0
    slot = unix_time = None
    refused = False
    for name, params in _questions(None if signer is None else signer.address).items():
        started = time.monotonic()
        answer = await client.call(name, params)
        slow = max(slow, time.monotonic() - started)
        if not isinstance(answer, Result):
            refused = True
            yield Check(area, Verdict.FAILED, f"{name}: {_said(answer)}", _todo(answer))
            if isinstance(answer, NeverSent):
                break
            continue
        if name == "getGenesisHash":
            try:
                refuse_other_cluster(settings.network, str(answer.value))
            except StartupError as error:
                refused = True
                yield _failed(area, error)
        if name == "getMultipleAccounts":
            slot, unix_time = _standing(answer.value)
    if not refused:
        told = f"answers every RPC method that is used, within {slow:.1f} s"
        yield Check(area, Verdict.OK, told)
    reached.append(_Reached(client.endpoint, slot, unix_time))


def _standing(value: object) -> tuple[int | None, int | None]:
    """Read the slot of the bank that answered, and its clock."""
    try:
        snapshot = decode.snapshot(value, [CLOCK_SYSVAR])
    except ValueError:
        return None, None
    clock = snapshot.accounts[CLOCK_SYSVAR]
    if clock is None:
        return snapshot.slot, None
    return snapshot.slot, int.from_bytes(clock.data[_CLOCK_TIME_AT:][:8], "little")


def _said(answer: object) -> str:
    """Say what came instead of a result; never the answer's own words: some repeat the URL, and its key."""
    if isinstance(answer, RpcError):
        return f"refused with HTTP {answer.http}, code {answer.code}"
    if isinstance(answer, Garbled):
        return "answered with something that is no JSON-RPC"
    return f"no answer ({answer.why})" if hasattr(answer, "why") else "no answer"


def _todo(answer: object) -> str:
    if isinstance(answer, RpcError):
        return "ask the provider whether the plan has this method"
    return "look at the URL, the network and the provider"


def _lags(reached: Sequence[_Reached]) -> Sequence[Check]:
    slots = {each.endpoint: each.slot for each in reached if each.slot is not None}
    furthest = max(slots.values(), default=0)
    return [
        Check(
            f"endpoint {endpoint}",
            Verdict.WARNING,
            f"is {furthest - slot} slots behind the furthest",
            "leave it out, or ask the provider",
        )
        for endpoint, slot in slots.items()
        if furthest - slot > LAG_SLOTS_MAX
    ]


def _skew(reached: Sequence[_Reached]) -> Sequence[Check]:
    times = [each.unix_time for each in reached if each.unix_time is not None]
    if not times:
        return []
    skew = round(time.time()) - max(times)
    if abs(skew) <= SKEW_SECONDS_MAX:
        return [Check("clock", Verdict.OK, f"within {abs(skew)} s of the chain's")]
    what = (
        f"this machine's clock is {abs(skew)} s {'ahead of' if skew > 0 else 'behind'} the chain's"
    )
    return [Check("clock", Verdict.WARNING, what, "have the time kept (chrony, systemd-timesyncd)")]


# ------------------------------------------------------------------------- methods, wallet, pools


def _methods(methods: MethodsBuilder, settings: Settings) -> Sequence[Check]:
    """Make the methods as the service does: addresses, keys, regions and tip accounts are demanded."""
    try:
        made = methods.build()
        paying.refuse_too_dear([each.needs for each in made.values()], settings)
    except StartupError as error:
        return [_failed("methods", error)]
    except ValueError as error:
        return [Check("methods", Verdict.FAILED, str(error), "mend fees in config.yaml")]
    checks = []
    for name, executor in made.items():
        payees = executor.needs.payees
        tips = f", tips to {len(payees)} accounts that are derived or configured" if payees else ""
        checks.append(Check(f"method {name}", Verdict.OK, f"is configured{tips}"))
    return checks


async def _region(settings: Settings, client: JsonRpcClient) -> Check:
    """Ask a region of the block engine for its tip accounts: they must be those that are derived."""
    area = f"block engine {client.endpoint}"
    answer = await client.call("getTipAccounts", [], path=TIP_ACCOUNTS_PATH)
    if isinstance(answer, RpcError) and answer.http == HTTPStatus.TOO_MANY_REQUESTS:
        return Check(area, Verdict.WARNING, "its limit is used up just now", "ask again later")
    if not isinstance(answer, Result):
        return Check(area, Verdict.FAILED, f"getTipAccounts: {_said(answer)}", _todo(answer))
    told = answer.value if isinstance(answer.value, list) else []
    if not told or set(map(str, told)) - set(derived_tip_accounts(settings.network)):
        what = "tells tip accounts that are not derived from Jito's program"
        return Check(area, Verdict.FAILED, what, "look at methods.block_engine: is it Jito's?")
    return Check(area, Verdict.OK, f"answers, with {len(told)} tip accounts as derived")


async def _trading(
    settings: Settings, network: opening.Network, methods: MethodsBuilder, signer: LocalSigner
) -> AsyncIterator[Check]:
    """Look at the wallet's balances and at every pool."""
    chain = RpcChain(
        network.clients,
        proof_endpoints=settings.execution.proof_endpoints,
        poll_seconds=settings.solana.poll_interval,
    )
    try:
        markets = build_markets(settings)
        policy = paying.priced_policy(settings, chain, methods)
        trading = TransactionTrading(
            chain=chain,
            signers={signer.address: signer},
            markets=markets,
            clock=SystemClock(),
            slot_seconds=SLOT_SECONDS,
            fee_policy=policy,
        )
    except StartupError as error:
        yield _failed("markets", error)
        return
    except ValueError as error:
        yield Check("markets", Verdict.FAILED, str(error), "mend fees or markets in config.yaml")
        return
    try:
        async for check in _money(trading, markets, settings, signer):
            yield check
        async for check in _pools(trading, markets):
            yield check
    except Synergy7Error as error:
        yield _failed("markets", error)
    finally:
        await trading.aclose()


async def _money(
    trading: TransactionTrading, markets: Markets, settings: Settings, signer: LocalSigner
) -> AsyncIterator[Check]:
    balances = await trading.balances(signer.address)
    reserve = int(settings.wallet.reserve_sol * LAMPORTS_PER_SOL)
    held = f"{sol_string(balances.lamports)} SOL"
    if balances.lamports <= reserve:
        what = f"{held}, of which wallet.reserve_sol keeps {sol_string(reserve)}"
        yield Check("balance", Verdict.FAILED, what, f"send SOL to {signer.address}")
    else:
        yield Check("balance", Verdict.OK, held)
    sides = {side for each in markets.values() for side in (each.base, each.quote)}
    for token in sorted(sides, key=lambda each: each.symbol):
        if token.is_sol:
            continue
        amount = balances.tokens.get(str(token.mint), 0)
        told = f"{amount_string(amount, token.decimals)} {token.symbol}"
        verdict = Verdict.OK if amount else Verdict.WARNING
        yield Check("balance", verdict, told, "" if amount else "nothing to pay with on one side")


async def _pools(trading: TransactionTrading, markets: Markets) -> AsyncIterator[Check]:
    """Probe the programs and read every pool, its mints and its price."""
    try:
        await trading.probe()
    except TransientError as error:
        yield _failed("programs", error)
    rules = SignalRules(markets=markets, methods=())
    for market in await trading.desk(rules).markets():
        for pool in market["pools"]:  # type: ignore[attr-defined]
            area = f"pool {pool['address']}"
            place = f"{market['name']} on {pool['venue']}"
            if pool["reason_code"] is None:
                told = f"{place}: fee {pool['fee_bps']} bps, price {pool['mid_price']}"
                yield Check(area, Verdict.OK, told)
            else:
                what = f"{place}: {pool['reason_code']}: {pool['reason']}"
                yield Check(area, Verdict.FAILED, what, "correct the market's pools")
