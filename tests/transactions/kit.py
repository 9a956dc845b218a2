"""A chain on LiteSVM with the sandbox's first block, and orders to trade on it."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from solders.clock import Clock as SysvarClock
from solders.keypair import Keypair
from solders.litesvm import LiteSVM
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction
from solders.transaction_metadata import FailedTransactionMetadata, TransactionMetadata

from app.domain.attempt import AttemptStatus, Blockhash, LanePlan, Signed, StoredAttempt
from app.domain.market import Market, PoolRef, Token
from app.domain.order import Order, OrderStatus
from app.domain.outcome import ChainStatus, Heights, NotProved, Proof, Unreachable
from app.domain.resolution import Hearing
from app.domain.signal import Action, Signal
from app.engine.ports import (
    Account,
    Chain,
    LandedTransaction,
    ProvedFailure,
    Simulation,
    Snapshot,
    TipNeeds,
)
from app.sandbox.genesis import DECIMALS, build_genesis
from app.transactions.tokens import TOKEN_PROGRAMS, random_seed
from app.transactions.trading import TransactionTrading
from app.transactions.wallet import LocalSigner

UNIX_TIME = 1_790_000_000
TOKEN_ACCOUNT_BYTES = 165
WALLET = Keypair.from_seed(sha256(b"a trader in the tests").digest())
GENESIS = build_genesis(wallet=WALLET, unix_time=UNIX_TIME)


@dataclass
class ManualClock:
    """Time that a test turns."""

    seconds: float = 0.0

    def now_us(self) -> int:
        return UNIX_TIME * 1_000_000 + int(self.seconds * 1_000_000)

    def monotonic(self) -> float:
        return self.seconds


@dataclass
class LiteChain:
    """The reads and the landing of a chain, on LiteSVM; counts what is read."""

    svm: LiteSVM
    slot: int = 1_000
    reads: list[tuple[str, ...]] = field(default_factory=list)

    def ready(self) -> bool:
        return True

    async def blockhash(self, life_seconds: float) -> Blockhash | None:
        return Blockhash(str(self.svm.latest_blockhash()), 150, self.slot)

    async def accounts(self, addresses: Sequence[str]) -> Snapshot:
        self.reads.append(tuple(addresses))
        return Snapshot(self.slot, {each: self.account(each) for each in addresses})

    def account(self, address: str) -> Account | None:
        found = self.svm.get_account(Pubkey.from_string(address))
        if found is None or (found.lamports == 0 and not found.data):
            return None
        return Account(found.lamports, str(found.owner), bytes(found.data))

    async def simulate(self, raw: bytes, slot_min: int) -> Simulation:
        transaction = VersionedTransaction.from_bytes(raw)
        assert isinstance(transaction.message, MessageV0)
        fresh = _with_blockhash(transaction, self.svm)
        result = self.svm.simulate_transaction(fresh)
        meta = result.meta()
        return Simulation(
            raw_error(result), tuple(meta.logs()), meta.compute_units_consumed(), self.slot
        )

    async def statuses(
        self, signatures: Sequence[str], *, history: bool = False
    ) -> Mapping[str, ChainStatus]:
        return {each: Unreachable("not asked") for each in signatures}

    async def heights(self) -> Heights | None:
        return None

    async def transaction(self, signature: str) -> LandedTransaction | Unreachable | None:
        return None

    async def recent_fees(self, addresses: Sequence[str]) -> Sequence[int]:
        return ()

    async def prove_dead(self, attempt: StoredAttempt) -> Proof | NotProved:
        return NotProved("not asked")

    async def prove_failed(self, attempt: StoredAttempt) -> ProvedFailure | NotProved:
        return NotProved("not asked")

    async def testimony(self, attempt: StoredAttempt) -> Sequence[Hearing]:
        return ()

    async def landing_notice(self, signature: str) -> None:
        return

    def land(self, raw: bytes) -> LandedTransaction:
        """Execute a signed transaction and give the chain's record of it."""
        transaction = VersionedTransaction.from_bytes(raw)
        keys = transaction.message.account_keys
        before = self._balances(keys)
        result = self.svm.send_transaction(transaction)
        meta = result if isinstance(result, TransactionMetadata) else result.meta()
        after = self._balances(keys)
        return LandedTransaction(
            signature=str(transaction.signatures[0]),
            slot=self.slot,
            error=raw_error(result),
            fee_lamports=meta.fee(),
            logs=tuple(meta.logs()),
            account_keys=tuple(map(str, keys)),
            lamports_before=before[0],
            lamports_after=after[0],
            tokens_before=before[1],
            tokens_after=after[1],
        )

    def _balances(self, keys: Sequence[Pubkey]) -> tuple[tuple[int, ...], dict[int, int]]:
        found = [self.account(str(key)) for key in keys]
        lamports = tuple(0 if each is None else each.lamports for each in found)
        return lamports, {
            at: int.from_bytes(each.data[64:72], "little")
            for at, each in enumerate(found)
            if each is not None
            and Pubkey.from_string(each.owner) in TOKEN_PROGRAMS
            and len(each.data) >= TOKEN_ACCOUNT_BYTES
        }


@dataclass
class HeldChain(LiteChain):
    """A chain whose reads wait until a test lets them go, and may be told to fail."""

    gate: asyncio.Event = field(default_factory=asyncio.Event)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    trouble: Exception | None = None

    async def accounts(self, addresses: Sequence[str]) -> Snapshot:
        self.asked.set()
        await self.gate.wait()
        if self.trouble is not None:
            raise self.trouble
        return await super().accounts(addresses)


@dataclass
class ProbedChain(LiteChain):
    """A chain whose simulations give one error."""

    error: object = None
    simulated: list[bytes] = field(default_factory=list)

    async def simulate(self, raw: bytes, slot_min: int) -> Simulation:
        self.simulated.append(raw)
        return Simulation(self.error, (), 0, slot_min)


def raw_error(result: object) -> object | None:
    """Write an error as the JSON-RPC API does; None for a success."""
    if not isinstance(result, FailedTransactionMetadata):
        return None
    error: object = json.loads(result.to_json())["err"]
    return error


def _with_blockhash(transaction: VersionedTransaction, svm: LiteSVM) -> VersionedTransaction:
    """Do what `replaceRecentBlockhash` asks a node for."""
    message = transaction.message
    assert isinstance(message, MessageV0)
    fresh = MessageV0(
        message.header,
        message.account_keys,
        svm.latest_blockhash(),
        message.instructions,
        message.address_table_lookups,
    )
    return VersionedTransaction.populate(fresh, transaction.signatures)


def lite_chain() -> LiteChain:
    """Open a chain on the sandbox's first block; the draft's zeroed signature passes its simulation."""
    svm = LiteSVM().with_sigverify(False).with_transaction_history(0)
    GENESIS.install(svm)
    svm.set_clock(SysvarClock(1_000, UNIX_TIME, 0, 1, UNIX_TIME))
    return LiteChain(svm)


def tokens() -> Mapping[Pubkey, Token]:
    """Name the sandbox's mints."""
    names = ("SOL", "USDC", "BONK", "RAY")
    pairs = zip(names, DECIMALS.items(), strict=True)
    return {mint: Token(name, mint, decimals) for name, (mint, decimals) in pairs}


def markets() -> dict[str, Market]:
    """List the sandbox's markets as the service is configured for them."""
    named = tokens()
    return {
        each.name: Market(
            each.name,
            named[each.base_mint],
            named[each.quote_mint],
            (PoolRef("raydium_cpmm", each.pool),),
        )
        for each in GENESIS.markets
    }


def order(market: str = "SOL-USDC", action: Action = Action.SELL, **given: object) -> Order:
    """Make an order of the test wallet."""
    sizes = {} if "size" in given or "quote_size" in given else {"size": 10_000_000}
    fields: dict[str, object] = {"action": action, "market": market, **sizes, **given}
    return Order(
        order_id="0198c0de-0000-7000-8000-000000000001",
        account="default",
        wallet="main",
        signal=Signal(**fields),  # type: ignore[arg-type]
        fingerprint="f" * 64,
        idempotency_key=None,
        status=OrderStatus.EXECUTING,
        accepted_at_us=UNIX_TIME * 1_000_000,
        deadline_us=(UNIX_TIME + 300) * 1_000_000,
    )


def stored(signed: Signed) -> StoredAttempt:
    """Stand for the attempt that the store gives back."""
    return StoredAttempt(
        attempt_id="a",
        order_id="o",
        number=1,
        wallet="main",
        status=AttemptStatus.SUBMITTED,
        plan=LanePlan(()),
        signed=signed,
        signed_at_us=0,
    )


@dataclass
class Desk:
    """Trading on a chain of its own."""

    chain: LiteChain
    clock: ManualClock
    trading: TransactionTrading

    def with_markets(self, markets: Mapping[str, Market]) -> TransactionTrading:
        """Give trading on other markets of the same chain."""
        return open_trading(self.chain, self.clock, markets=markets)

    async def signed(
        self,
        order: Order,
        needs: Sequence[TipNeeds] = (),
        earlier: Sequence[StoredAttempt] = (),
    ) -> Signed:
        """Take an order from its quote to its signature."""
        quoted = await self.trading.quote(order)
        draft = await self.trading.draft(order, 1, quoted, needs, earlier)
        simulation = await self.chain.simulate(draft.raw, draft.slot)
        verdict = self.trading.check(draft, simulation)
        assert verdict is None, (verdict, simulation.logs)
        blockhash = await self.chain.blockhash(30)
        assert blockhash is not None
        return await self.trading.sign(draft, simulation, blockhash)


def desk(seed_source: Callable[[], str] = random_seed, **options: object) -> Desk:
    """Open trading on a fresh chain."""
    chain, clock = lite_chain(), ManualClock()
    return Desk(chain, clock, open_trading(chain, clock, seed_source=seed_source, **options))


def open_trading(chain: Chain, clock: ManualClock, **options: object) -> TransactionTrading:
    """Open trading with the test wallet on the sandbox's markets, or on other ones."""
    given: dict[str, object] = {
        "signers": {"main": LocalSigner(WALLET)},
        "markets": markets(),
        "slot_seconds": 0.4,
        **options,
    }
    return TransactionTrading(chain=chain, clock=clock, **given)  # type: ignore[arg-type]
