"""Methods out of the settings: who shares which pace, what is tipped, and which settings are refused."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from app.bootstrap.methods import PACE_SHARE, MethodsBuilder, Surroundings
from app.bootstrap.opening import Network
from app.bootstrap.paying import priced_policy
from app.bootstrap.sandbox_process import SandboxEndpoints
from app.domain.errors import StartupError
from app.domain.events import EventKind
from app.domain.outcome import ReplyOutcome
from app.engine.ports import Executor
from app.executors.block_engine import derived_tip_accounts
from app.executors.tip_accounts import TIP_ACCOUNTS
from app.metrics.prometheus import PrometheusTelemetry
from app.settings import Settings
from app.solana.chain import RpcChain
from app.solana.json_rpc import JsonRpcClient
from tests.executors.kit import ATTEMPT
from tests.integration.plugins import install_here
from tests.solana.server import Observer, node

pytestmark = pytest.mark.anyio

NOWHERE = "http://127.0.0.1:1"
OTHER = "http://127.0.0.1:2"
JITO = derived_tip_accounts("mainnet")
LANE = TIP_ACCOUNTS["helius"][:2]
BUSY = """
from app.executors.method import Method, Target
from app.executors.rpc import send


async def rest():
    pass


def make(context):
    for name in context.options["works"].split():
        context.background(name, rest)
    limiter = context.limiter(context.options.get("key", "busy"), 1)
    return Method(context.name, send, [Target(context.rpc_clients[0], limiter)], context.gate)
"""


@dataclass
class Built:
    """A builder, what it noted, and the methods that it made."""

    builder: MethodsBuilder
    notes: list[tuple[EventKind, Mapping[str, object]]] = field(default_factory=list)
    methods: Mapping[str, Executor] = field(default_factory=dict)


def settings_of(methods: Mapping[str, Any], **sections: Any) -> Settings:
    """Make settings with this section of methods."""
    return Settings.model_validate({"methods": dict(methods), **sections})


@asynccontextmanager
async def building(
    settings: Settings, endpoints: SandboxEndpoints | None = None
) -> AsyncIterator[Built]:
    """Make a builder over a node that nobody reaches."""
    async with AsyncExitStack() as stack:
        client = JsonRpcClient(NOWHERE, timeout_seconds=1, observer=Observer())
        stack.push_async_callback(client.close)
        network = Network((client,), None, NOWHERE, None, None, endpoints)
        telemetry = PrometheusTelemetry(
            version="0", network="sandbox", methods=settings.methods.order
        )
        notes: list[tuple[EventKind, Mapping[str, object]]] = []
        around = Surroundings(settings, network, telemetry, stack, lambda *note: notes.append(note))
        yield Built(MethodsBuilder(around), notes)


@asynccontextmanager
async def built(
    *order: str, endpoints: SandboxEndpoints | None = None, **section: Any
) -> AsyncIterator[Built]:
    """Build methods."""
    async with building(settings_of({"order": order, **section}), endpoints) as made:
        made.methods = made.builder.build()
        yield made


async def refused(*order: str, **section: Any) -> str:
    """Build what must be refused; gives the line."""
    with pytest.raises(StartupError) as caught:
        async with built(*order, **section):
            pass
    return str(caught.value)


async def push(executor: Executor) -> ReplyOutcome:
    """Push once to nowhere."""
    deadline = asyncio.get_running_loop().time() + 5
    return (await executor.submit(ATTEMPT, deadline, lambda: True)).outcome


def limited(executor: Executor) -> float:
    """Give the seconds for which a pace holds a method back."""
    hindrance = executor.hindrance()
    assert hindrance is None or hindrance.reason == "limited"
    return 0 if hindrance is None else hindrance.seconds


def waits(executor: Executor) -> list[bool]:
    """Tell for each endpoint whether it has to wait for its pace."""
    limits = executor.state()["limits"]
    assert isinstance(limits, list)
    return [each["wait_seconds"] > 0 for each in limits]


# ---------------------------------------------------------------------- paces


async def test_a_region_has_one_pace_whoever_asks() -> None:
    """Jito counts the requests of all methods together, for each region; two paths are two regions."""
    urls = [f"{NOWHERE}/ny?uuid=a", f"{NOWHERE}/frankfurt", OTHER]
    async with built("bundle", "jito", block_engine={"urls": urls}) as made:
        bundle, jito = made.methods.values()
        assert waits(jito) == [False, False, False]
        assert await push(bundle) is ReplyOutcome.NOT_SENT
        assert waits(jito) == waits(bundle) == [True, True, True]
    async with built("bundle", block_engine={"urls": urls[:2], "requests_per_second": 0}) as made:
        await push(made.methods["bundle"])
        assert waits(made.methods["bundle"]) == [False, False]


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ({"regions": ["ny", "tokyo", "ny"]}, "regions"),
        ({"urls": [f"{NOWHERE}/ny", f"{NOWHERE}/ny/"]}, "urls"),
        ({"urls": [f"{NOWHERE}?uuid=hush", f"{NOWHERE}/?uuid=hush2"]}, "urls"),
    ],
)
async def test_a_region_named_twice_is_refused(section: dict[str, Any], key: str) -> None:
    """It would be asked twice for one limit; what tells them apart is no region."""
    line = await refused("jito", block_engine=section)
    assert line.startswith(f"CONFIG_INVALID: methods.block_engine.{key}: one stands twice; ")
    assert "hush" not in line


async def test_who_shares_a_credential_goes_at_the_slower_pace() -> None:
    """Two senders of one host and key; a third with a key of its own has a pace of its own."""
    one = {"url": NOWHERE, "key": {"where": "header", "name": "k", "required": False}}
    senders = {
        "fast": {**one, "rps": 1_000_000},
        "slow": {**one, "rps": 0.01},
        "own": {**one, "rps": 1_000_000, "api_key": "another"},
    }
    async with built("fast", "slow", "own", senders=senders) as made:
        await push(made.methods["fast"])
        assert limited(made.methods["fast"]) == pytest.approx(100 / PACE_SHARE, abs=1)
        assert limited(made.methods["slow"]) == pytest.approx(100 / PACE_SHARE, abs=1)
        assert limited(made.methods["own"]) == 0


async def test_questions_for_fees_share_quicknodes_pace() -> None:
    """One credential: a refusal of the estimator makes pushes rest, and it asks only where room is left."""
    async with node(qn_estimatePriorityFees=ESTIMATE) as own:
        assert own.client is not None
        url = f"http://{own.client.endpoint}"
        section = {"url": url, "token": "t", "requests_per_second": 0.01}
        settings = settings_of(
            {"order": ["quicknode"], "quicknode": section},
            fees={"priority": {"source": "quicknode"}},
        )
        async with building(settings) as made:
            chain = RpcChain([own.client], proof_endpoints=1, poll_seconds=1)
            policy = priced_policy(settings, chain, made.builder)
            (method,) = made.builder.build().values()
            assert policy.price_source is not None
            assert await policy.price_source.unit_price(["account"]) == 751
            assert limited(method) > 0
            assert await policy.price_source.unit_price(["account"]) is None
            assert len(own.asked("qn_estimatePriorityFees")) == 1
            target = made.builder.quicknode_target()
            assert target is not None
            target.limiter.refused(300)
            assert limited(method) == pytest.approx(300, abs=1)
            assert [note[1]["method"] for note in made.notes] == ["quicknode"]


ESTIMATE = {"per_compute_unit": {"percentiles": {"75": 751}}}


# ---------------------------------------------------------------------- tips


SANDBOX = SandboxEndpoints(NOWHERE, OTHER, "token")


@pytest.mark.parametrize(
    ("section", "payees"),
    [
        ({}, ()),
        ({"jito_tip": True}, JITO),
        ({"lil_jit": {"enabled": True}}, JITO),
        ({"lil_jit": {"enabled": True}, "jito_tip": True}, JITO),
        ({"fastlane": {"enabled": True, "tip_accounts": LANE}}, LANE),
        ({"fastlane": {"tip_accounts": LANE}}, ()),
    ],
)
async def test_whom_quicknode_wants_to_be_tipped(
    section: dict[str, Any], payees: tuple[str, ...]
) -> None:
    """Nobody; Jito where an add-on hands it the sends; or Fastlane's own accounts."""
    async with built("quicknode", endpoints=SANDBOX, quicknode=section) as made:
        needs = made.methods["quicknode"].needs
        assert needs.payees == payees
        assert (needs.tip_lamports > 0) is bool(payees)
        assert ("tip-floor" in made.builder.background) is (payees == JITO)


async def test_jitos_tip_and_fastlanes_are_not_paid_both() -> None:
    """One of them would be for nothing."""
    section = {"jito_tip": True, "fastlane": {"enabled": True, "tip_accounts": LANE}}
    line = await refused("quicknode", endpoints=SANDBOX, quicknode=section)
    assert line.startswith("QUICKNODE_OPTIONS: methods.quicknode.jito_tip ")


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize(
    ("accounts", "fault"),
    [
        ([*LANE, "hush"], "entry 2 is no Solana address"),
        ([LANE[0][:-1]], "entry 0 is no Solana address"),
        ([*LANE, LANE[0]], "entry 2 stands twice"),
    ],
)
async def test_fastlanes_accounts_are_addresses(
    accounts: list[str], fault: str, *, enabled: bool
) -> None:
    """Each once: an address has no checksum, and a tip to a wrong one is lost."""
    section = {"fastlane": {"enabled": enabled, "tip_accounts": accounts}}
    line = await refused("quicknode", endpoints=SANDBOX, quicknode=section)
    assert line.startswith(f"CONFIG_INVALID: methods.quicknode.fastlane.tip_accounts: {fault}; ")
    assert "hush" not in line


async def test_fastlane_without_accounts_is_refused() -> None:
    """They stand in QuickNode's dashboard only."""
    section = {"fastlane": {"enabled": True}}
    line = await refused("quicknode", endpoints=SANDBOX, quicknode=section)
    assert line.startswith("METHOD_NOT_CONFIGURED: methods.quicknode.fastlane.tip_accounts ")


async def test_a_tip_account_of_jitos_stands_once() -> None:
    """The choice among them is even."""
    section = {"urls": [NOWHERE], "tip_accounts": [JITO[0], JITO[1], JITO[0]]}
    line = await refused("bundle", block_engine=section)
    assert line.startswith("CONFIG_INVALID: methods.block_engine.tip_accounts: entry 2 ")


# ---------------------------------------------------------------------- settings that do nothing


MINE = {"mine": {"url": NOWHERE}}


@pytest.mark.parametrize(
    ("section", "line"),
    [
        ({"options": {"rpc": {"urls": []}}}, "CONFIG_UNKNOWN: methods.options.rpc names"),
        ({"options": {"relay": {}}}, "CONFIG_UNKNOWN: methods.options.relay names"),
        (
            {"senders": MINE, "options": {"mine": {}}},
            "CONFIG_UNKNOWN: methods.options.mine names",
        ),
        ({"patience": {"relay": 1}}, "CONFIG_UNKNOWN: methods.patience.relay names"),
        (
            {"senders": {"mine": {"url": NOWHERE, "urll": 1}}},
            "CONFIG_UNKNOWN: methods.senders.mine.urll names",
        ),
        (
            {"senders": {"mine": {"preset": "helios"}}},
            "CONFIG_INVALID: methods.senders.mine.preset: ",
        ),
        ({"senders": {"rpc": {"url": NOWHERE}}}, "METHOD_DUPLICATE: the sender 'rpc' "),
    ],
)
async def test_a_section_that_nothing_reads_is_refused(section: dict[str, Any], line: str) -> None:
    """Whoever wrote it meant something by it."""
    assert (await refused("rpc", **section)).startswith(line)


async def test_what_is_not_in_use_may_lack_its_key() -> None:
    """A sender waits for its credential outside the order; inside it is refused."""
    senders = {"nozomi": {"preset": "nozomi"}, **MINE}
    async with built("rpc", senders=senders, patience={"mine": 1}) as made:
        assert list(made.methods) == ["rpc"]
    line = await refused("rpc", "nozomi", senders=senders)
    assert line.startswith("METHOD_NOT_CONFIGURED: methods.senders.nozomi.api_key ")


# ---------------------------------------------------------------------- background work


async def test_work_is_named_after_its_method() -> None:
    """Two senders keep their connections open, each under its own name."""
    sender = {"url": NOWHERE, "keepalive": {"path": "/ping"}}
    async with built("one", "two", senders={"one": sender, "two": sender}) as made:
        assert list(made.builder.background) == ["one: keepalive", "two: keepalive"]


async def test_no_work_takes_the_place_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plug-in may call its work `chain`: it runs beside the service's own."""
    install_here(tmp_path, "busy", BUSY, monkeypatch)
    options = {"busy": {"works": "chain tip-floor"}}
    section = {"urls": [NOWHERE], "bundle_statuses": False}
    async with built("bundle", "busy", block_engine=section, options=options) as made:
        names = ["tip-floor", "busy: chain", "busy: tip-floor"]
        assert list(made.builder.background) == names


async def test_two_works_of_one_name_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of them would never run."""
    install_here(tmp_path, "busy", BUSY, monkeypatch)
    line = await refused("busy", options={"busy": {"works": "watch watch"}})
    assert line.startswith("METHOD_BROKEN: the method 'busy' starts two works of one name; ")
