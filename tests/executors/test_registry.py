"""The registry of methods: built in or installed, each name once, trouble told at the start."""

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
import structlog

from app.domain.errors import StartupError
from app.engine.ports import Hindrance, TipNeeds
from app.executors.gate import Gate
from app.executors.guarded import Guarded, Work
from app.executors.limiter import Limiter
from app.executors.method import Method, Target
from app.executors.registry import (
    ENTRY_POINT_GROUP,
    ExecutorRegistry,
    Factory,
    MethodContext,
    build_registry,
)
from app.executors.rpc import rpc, send
from app.executors.tip_accounts import TIP_ACCOUNTS
from app.solana.json_rpc import JsonRpcClient
from tests.solana.server import Observer

ACCOUNTS = TIP_ACCOUNTS["helius"][:2]
SENDER = '''
from app.engine.ports import Privacy, TipNeeds


class Sender:
    """A method of another package."""

    privacy = Privacy.PUBLIC

    def __init__(self, context):
        options = context.options
        self.name = options.get("called", context.name)
        self.needs = TipNeeds(tuple(options.get("payees", ())), 5)
        if "fails" in options:
            raise options["fails"]

    def hindrance(self, *, again=False):
        raise RuntimeError


async def ends():
    pass


def busy(context):
    context.background("watch", ends)
    return Sender(context)


def broken(context):
    raise AssertionError("made, though nobody asked")
'''


BACKGROUND: dict[str, Work] = {}


def connect(url: str, headers: Mapping[str, str]) -> JsonRpcClient:
    """Make a client."""
    return JsonRpcClient(url, timeout_seconds=1, observer=Observer(), headers=headers)


def context(name: str, **options: object) -> MethodContext:
    """Make what a method is made of."""
    node = connect("http://127.0.0.1:1", {})
    return MethodContext(
        name=name,
        options=options,
        gate=Gate(name),
        rpc_clients=[node],
        connect=connect,
        limiter=lambda _key, per_second: Limiter(per_second),
        background=BACKGROUND.__setitem__,
    )


BUILT_IN: dict[str, Factory] = {"rpc": lambda made_of: rpc(made_of.rpc_clients, made_of.gate)}


def build(
    names: Sequence[str], make_context: Callable[[str], MethodContext] = context
) -> ExecutorRegistry:
    """Build a registry of the one built-in method and what is installed."""
    return build_registry(names, BUILT_IN, make_context)


def install(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *points: str, package: str = "sender"
) -> None:
    """Install a package with these entry points, as an installer would."""
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("\n".join([f"[{ENTRY_POINT_GROUP}]", *points, ""]))
    (folder / "sender_of_another.py").write_text(SENDER)
    monkeypatch.syspath_prepend(folder)


def refused(*names: str) -> StartupError:
    """Build what must be refused."""
    with pytest.raises(StartupError) as caught:
        build(names)
    return caught.value


def test_a_built_in_method_is_made_by_name() -> None:
    """With its gate; the registry gives it in order and by name."""
    registry = build(["rpc"])
    (executor,) = registry
    assert isinstance(executor, Method)
    assert registry.mapping() == {"rpc": executor}


def test_an_installed_method_is_made_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One file and one entry point make a method; the order is the configured one."""
    install(tmp_path, monkeypatch, "sender = sender_of_another:Sender")
    registry = build(["sender", "rpc"])
    assert list(registry.mapping()) == ["sender", "rpc"]


def test_only_what_is_installed_is_guarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever another package's method raises, the engine does not meet it."""
    install(tmp_path, monkeypatch, "sender = sender_of_another:Sender")
    sender, own = build(["sender", "rpc"])
    assert isinstance(sender, Guarded)
    assert sender.hindrance() == Hindrance("defect", math.inf)
    assert not isinstance(own, Guarded)


@pytest.mark.anyio
async def test_background_work_of_what_is_installed_is_guarded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its end is not the service's: it rests, and begins anew."""
    install(tmp_path, monkeypatch, "sender = sender_of_another:busy")
    build(["sender"])
    with structlog.testing.capture_logs() as lines:
        task = asyncio.create_task(_run(BACKGROUND["watch"]))
        await asyncio.sleep(0)
        assert not task.done()
        task.cancel()
        await asyncio.wait([task])
    assert [line["event"] for line in lines] == ["background work of a method ended"]


async def _run(work: Work) -> None:
    await work()


def test_what_a_method_is_told_is_not_shown() -> None:
    """Any of its options may be a key."""
    told = context("sender", api_key="hush")
    assert told.options == {"api_key": "hush"}
    assert "hush" not in repr(told) + str(told)


@pytest.mark.parametrize(
    ("payees", "fault"),
    [
        (["payee"], "entry 0 is no Solana address"),
        ([*ACCOUNTS, ACCOUNTS[0][:-1]], "entry 2 is no Solana address"),
        ([*ACCOUNTS, ACCOUNTS[0]], "entry 2 stands twice"),
    ],
)
def test_payees_that_nobody_can_be_paid_at_are_refused(
    payees: list[str], fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the start, whoever's method it is: an address has no checksum, and a tip to a wrong one is lost."""
    install(tmp_path, monkeypatch, "sender = sender_of_another:Sender")
    line = f"CONFIG_INVALID: the payees of the method 'sender': {fault}; "
    with pytest.raises(StartupError, match=f"^{line}"):
        build(["sender"], lambda name: context(name, payees=payees))
    gate, needs = Gate("sender"), TipNeeds(tuple(payees), 5)

    def own(made_of: MethodContext) -> Method:
        return Method(
            "sender", send, [Target(made_of.rpc_clients[0], Limiter())], gate, needs=lambda: needs
        )

    with pytest.raises(StartupError, match=r"^CONFIG_INVALID: the payees of the method 'own': "):
        build_registry(["own"], {"own": own}, context)


def test_a_method_that_cannot_be_made_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one line without its own words; a refusal that it makes itself is its word to the operator."""
    install(tmp_path, monkeypatch, "sender = sender_of_another:Sender")
    line = (
        r"^METHOD_BROKEN: the plug-in method 'sender' is defective \(ValueError sender_of_another"
    )
    with pytest.raises(StartupError, match=line) as caught:
        build(["sender"], lambda name: context(name, fails=ValueError("hush")))
    assert "hush" not in str(caught.value)
    own = StartupError("ITS_OWN", "methods.options.sender.key is not set", "set it")
    with pytest.raises(StartupError, match=r"^ITS_OWN: "):
        build(["sender"], lambda name: context(name, fails=own))


def test_no_method_at_all_is_refused() -> None:
    """Nothing could ever be executed."""
    assert refused().code == "NO_METHODS"


def test_an_unknown_name_is_refused_with_the_known_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A typo is found at the start, and the line says what to write."""
    install(tmp_path, monkeypatch, "sender = sender_of_another:Sender")
    error = refused("rcp")
    assert error.code == "METHOD_UNKNOWN"
    assert "rpc, sender" in error.todo


@pytest.mark.parametrize("second", ["rpc", "sender"])
def test_a_name_claimed_twice_is_refused(
    second: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a built-in and a plug-in, or by two plug-ins: nobody chooses in silence."""
    install(tmp_path / "a", monkeypatch, "sender = sender_of_another:Sender")
    install(tmp_path / "b", monkeypatch, f"{second} = sender_of_another:Sender", package="other")
    assert refused("rpc").code == "METHOD_DUPLICATE"


def test_a_method_named_twice_is_refused() -> None:
    """The configured list has each once."""
    assert refused("rpc", "rpc").code == "METHOD_DUPLICATE"
    (one,) = build(["rpc"])
    with pytest.raises(StartupError):
        ExecutorRegistry([one, one])


@pytest.mark.parametrize("point", ["no_such_module:Sender", "sender_of_another:NoSuchClass"])
def test_a_plug_in_that_cannot_be_loaded_is_refused_when_it_is_used(
    point: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that nobody uses keeps nobody from starting."""
    install(tmp_path, monkeypatch, f"sender = {point}")
    build(["rpc"])
    assert refused("sender").code == "METHOD_BROKEN"


def test_a_method_that_calls_itself_otherwise_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signals name methods as they are configured."""
    install(tmp_path, monkeypatch, "sender = sender_of_another:Sender")
    with pytest.raises(StartupError, match="METHOD_BROKEN"):
        build(["sender"], lambda name: context(name, called="other"))
