"""Every method against every fault of an endpoint: what is told, who waits, and what the breaker does."""

import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import pytest

from app.domain.outcome import Reply, ReplyOutcome
from app.executors.bundle import bundle, bundle_id
from app.executors.gate import FAILURES_MAX, Gate
from app.executors.jito import jito
from app.executors.limiter import BACK_OFF_SECONDS, Limiter
from app.executors.method import MARGIN_SECONDS, Method, Target
from app.executors.quicknode import LilJit, quicknode
from app.executors.rpc import rpc
from tests.executors.kit import ATTEMPT, SECONDS, TIPS, Build, Clock, push
from tests.solana.server import (
    CLOSE,
    HANG,
    RESET,
    Half,
    Server,
    Step,
    client_of,
    error,
    http,
    result,
    serving,
)

pytestmark = pytest.mark.anyio

ID = bundle_id([ATTEMPT.signature])


def nodes(targets: Sequence[Target], gate: Gate) -> Method:
    """Make `rpc` on the targets' own limiters."""
    limiters = {target.client: target.limiter for target in targets}
    return rpc(list(limiters), gate, limiter=limiters.__getitem__)


@dataclass(frozen=True)
class Kind:
    """A way to push, what acknowledges it, and the word when something else comes back."""

    build: Build
    acknowledged: str = ATTEMPT.signature
    mismatch: str = "signature_mismatch"


KINDS = {
    "rpc": Kind(nodes),
    "jito": Kind(lambda targets, gate: jito(targets, gate, bundle_only=False, tips=lambda: TIPS)),
    "jito bundle only": Kind(
        lambda targets, gate: jito(targets, gate, bundle_only=True, tips=lambda: TIPS)
    ),
    "bundle": Kind(
        lambda targets, gate: bundle(targets, gate, tips=lambda: TIPS), ID, "bundle_id_mismatch"
    ),
    "quicknode": Kind(lambda targets, gate: quicknode(targets[0], gate)),
    "quicknode bundles": Kind(
        lambda targets, gate: quicknode(
            targets[0], gate, tips=lambda: TIPS, bundles=LilJit(region="ny")
        ),
        ID,
        "bundle_id_mismatch",
    ),
}
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
DOWN = None
"""Nobody listens."""
GARBLED = http(200, "<html>welcome</html>")
LIMITED = '{"jsonrpc":"2.0","error":{"code":-32097,"message":"slow down","data":null},"id":null}'
MILLISECONDS = error(429, -32097, "Rate limit exceeded. Retry after 1606ms")


@dataclass(frozen=True)
class Fault:
    """What an endpoint does, what is told of it, and how long it is left alone."""

    step: Step | None
    outcome: ReplyOutcome
    reason: str
    rest: float = 0.0


R, U = ReplyOutcome.REJECTED, ReplyOutcome.UNKNOWN
FAULTS = {
    "down": Fault(DOWN, ReplyOutcome.NOT_SENT, "transport"),
    "slow": Fault(HANG, U, "timeout"),
    "429 with Retry-After": Fault(http(429, "", "retry-after: 7"), R, "rate_limited", 7.0),
    "429 with a hint in words": Fault(MILLISECONDS, R, "rate_limited", 1.606),
    "429 without a hint": Fault(http(429, LIMITED), R, "rate_limited", BACK_OFF_SECONDS),
    "500 after forwarding": Fault(http(500, "oops"), U, "server_error"),
    "502": Fault(http(502, "<html>bad gateway</html>"), U, "server_error"),
    "503 with Retry-After": Fault(http(503, "", "retry-after: 7"), U, "server_error"),
    "504 with a code": Fault(error(504, -32003, "Gateway timeout"), U, "server_error"),
    "garbled": Fault(GARBLED, U, "garbled"),
    "null": Fault(result(None), U, "mismatch"),
    "wrong signature back": Fault(result("another"), U, "mismatch"),
    "hung up": Fault(CLOSE, U, "no_reply"),
    "reset": Fault(RESET, U, "no_reply"),
    "cut off": Fault(Half(result("x" * 500)[:200]), U, "no_reply"),
    "moved": Fault(http(307, "", "location: /elsewhere"), U, "garbled"),
    "locked out": Fault(http(401, "Unauthorized"), R, "auth_or_config"),
}
every_fault = pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)


class Endpoint:
    """An address where at first nobody listens, then somebody who does what is set."""

    def __init__(self, step: Step | None) -> None:
        self.step = step
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))  # bound and deaf: whoever connects is refused
        self.server = Server(self._answer, self.socket.getsockname()[1])
        self._stack = AsyncExitStack()

    async def listen(self) -> None:
        """Open for business."""
        self.server = await self._stack.enter_async_context(serving(self._answer, self.socket))

    async def recover(self, kind: Kind) -> None:
        """Acknowledge everything from now on."""
        deaf = self.step is None
        self.step = result(kind.acknowledged)
        if deaf:
            await self.listen()

    async def close(self) -> None:
        """Go away for good."""
        await self._stack.aclose()
        self.socket.close()

    def _answer(self, _request: object) -> Step:
        assert self.step is not None
        return self.step


@dataclass
class Rig:
    """A method over endpoints, all of which have the same fault at first."""

    method: Method
    gate: Gate
    endpoints: list[Endpoint]
    limiters: list[Limiter]
    clock: Clock
    states: list[str] = field(default_factory=list)

    @property
    def asked(self) -> list[int]:
        """Tell how often each endpoint was asked."""
        return [len(endpoint.server.requests) for endpoint in self.endpoints]

    async def push(self, patience: float = 0.03) -> Reply:
        """Push once, when no rest and no ailing is left; with patience when nothing will come."""
        self.clock.now += 1_000
        hangs = self.endpoints[0].step is HANG
        return await push(self.method, MARGIN_SECONDS + patience if hangs else SECONDS)


@asynccontextmanager
async def faulty(
    kind: Kind, *faults: Fault, reset_seconds: float = 60, failures_max: int = FAILURES_MAX
) -> AsyncIterator[Rig]:
    """Open a method over endpoints with these faults."""
    clock, states = Clock(), list[str]()
    gate = Gate(
        "m", failures_max=failures_max, reset_seconds=reset_seconds, on_change=states.append
    )
    async with AsyncExitStack() as stack:
        endpoints = [Endpoint(fault.step) for fault in faults]
        limiters = [Limiter(monotonic=clock) for _ in faults]
        targets = []
        for endpoint, limiter in zip(endpoints, limiters, strict=True):
            stack.push_async_callback(endpoint.close)
            if endpoint.step is not None:
                await endpoint.listen()
            client = await stack.enter_async_context(client_of(endpoint.server))
            targets.append(Target(client, limiter))
        yield Rig(kind.build(targets, gate), gate, endpoints, limiters, clock, states)


def answer_of(kind: Kind, fault: Fault) -> Reply:
    """Give what must be told of a fault."""
    reason = kind.mismatch if fault.reason == "mismatch" else fault.reason
    hinted = fault.rest if fault.rest != BACK_OFF_SECONDS else 0.0
    return Reply(fault.outcome, reason, hinted or None)


@every_fault
@every_kind
async def test_what_a_fault_tells_and_who_waits(kind: Kind, fault: Fault) -> None:
    """Sent once whatever comes back; only who is told off waits, and as long as was said."""
    async with faulty(kind, fault) as rig:
        assert await rig.push(patience=0.3) == answer_of(kind, fault)
        assert rig.asked == [0 if fault.step is DOWN else 1]
        assert rig.limiters[0].wait_seconds() == pytest.approx(fault.rest)
        hindrance = rig.method.hindrance()
        assert (hindrance is not None and hindrance.reason) == ("limited" if fault.rest else False)


@every_fault
@every_kind
async def test_the_breaker_opens_after_five_and_holds(kind: Kind, fault: Fault) -> None:
    """Then nothing is sent any more, and it is said for how long."""
    async with faulty(kind, fault) as rig:
        for _ in range(FAILURES_MAX):
            assert rig.gate.state == "closed"
            await rig.push()
        asked = rig.asked
        assert (rig.gate.state, rig.states) == ("open", ["open"])
        for _ in range(3):
            reply = await rig.push()
            assert (reply.outcome, reply.reason) == (ReplyOutcome.NOT_SENT, "breaker_open")
            assert reply.retry_after_seconds == pytest.approx(60, abs=5)
        assert rig.asked == asked


@every_fault
@every_kind
async def test_the_breaker_probes_and_closes(kind: Kind, fault: Fault) -> None:
    """A probe into the fault opens it again; one into an endpoint that is well closes it."""
    async with faulty(kind, fault, reset_seconds=0, failures_max=1) as rig:
        await rig.push()
        await rig.push()
        assert rig.states == ["open", "half-open", "open"]
        await rig.endpoints[0].recover(kind)
        assert await rig.push() == Reply(ReplyOutcome.ACCEPTED, "ok")
        assert rig.states[3:] == ["half-open", "closed"]


@every_fault
@pytest.mark.parametrize("name", ["rpc", "jito", "jito bundle only", "bundle"])
async def test_the_next_region_has_the_bytes_only_when_the_first_has_not(
    name: str, fault: Fault
) -> None:
    """At once after a refusal or a closed door; after silence and nonsense the next method is asked."""
    kind = KINDS[name]
    async with faulty(kind, fault, Fault(result(kind.acknowledged), U, "ok")) as rig:
        reply = await rig.push()
        moves_on = fault.outcome in (ReplyOutcome.NOT_SENT, ReplyOutcome.REJECTED)
        accepted = Reply(ReplyOutcome.ACCEPTED, "ok")
        assert reply == (accepted if moves_on else answer_of(kind, fault))
        assert rig.asked[1] == moves_on
