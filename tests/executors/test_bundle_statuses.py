"""What engines say of bundles: asked for where a place is spare, kept as a claim, believed by nobody."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from app.executors.bundle_statuses import (
    CLAIMS_MAX,
    INVALID_AFTER_SECONDS,
    WATCH_SECONDS,
    WATCHED_MAX,
    BundleStatuses,
)
from app.executors.limiter import Limiter
from app.executors.method import Target
from app.solana.json_rpc import Answer, JsonRpcClient, Result
from tests.engine import virtual_time
from tests.executors.kit import Clock
from tests.solana.server import (
    CLOSE,
    Observer,
    Server,
    Step,
    client_of,
    error,
    http,
    result,
    serving,
)

pytestmark = pytest.mark.anyio

ID = "a" * 64
PATH = "POST /secret/api/v1/getInflightBundleStatuses?api-key=hidden"
Says = Callable[[list[str]], Step]


@dataclass
class Rig:
    """Two regions that say what a test sets, and who asks them."""

    statuses: BundleStatuses
    clock: Clock
    targets: list[Target]
    servers: list[Server]
    says: list[Says]
    told: list[str] = field(default_factory=list)

    def watch(
        self, bundle_id: str = ID, signature: str = "s", region: int = 0, method: str = "bundle"
    ) -> None:
        """Have accepted a bundle."""
        self.statuses.watch(method, self.targets[region].client, signature, bundle_id)

    async def poll(self, answer: Step | None = None, *, after: float = 2.0) -> str | None:
        """Ask once, later; gives what is claimed of the one bundle."""
        self.clock.now += after
        if answer is not None:
            self.says[0] = lambda _ids: answer
        await self.statuses.poll()
        return self.claim("s")

    def claim(self, signature: str, method: str = "bundle") -> str | None:
        """Give what is claimed of a method's transaction."""
        return self.statuses.claims_of(method)(signature)

    def asked(self, region: int = 0) -> list[list[str]]:
        """List which bundles were asked about."""
        return [request["params"][0] for request in self.servers[region].requests]


@asynccontextmanager
async def watching(per_second: float = 1.0) -> AsyncIterator[Rig]:
    """Open two regions."""
    clock, told = Clock(), list[str]()
    says: list[Says] = [lambda _ids: result({"value": []}), lambda _ids: result({"value": []})]

    def answer_of(region: int) -> Callable[[dict[str, Any]], Step]:
        return lambda request: says[region](request["params"][0])

    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(serving(answer_of(n))) for n in range(2)]
        clients = [await stack.enter_async_context(client_of(server)) for server in servers]
        targets = [Target(client, Limiter(per_second, monotonic=clock)) for client in clients]
        statuses = BundleStatuses(targets, on_status=told.append, monotonic=clock)
        yield Rig(statuses, clock, targets, servers, says, told)


def said(status: str, bundle_id: str = ID) -> bytes:
    """Say what became of a bundle."""
    item = {"bundle_id": bundle_id, "status": status, "landed_slot": None}
    return result({"context": {"slot": 280_999_028}, "value": [item]})


# ---------------------------------------------------------------- claims


@pytest.mark.parametrize(
    ("status", "claim", "asked_again"),
    [
        ("Failed", "Failed", False),
        ("Landed", None, False),
        ("Invalid", "Invalid", True),
        ("Pending", None, True),
        ("Exploded", None, True),
    ],
)
async def test_what_is_said_is_kept_as_a_claim(
    status: str, claim: str | None, asked_again: bool
) -> None:
    """And only what says that it will not land; it is asked until that is final."""
    async with watching() as rig:
        rig.watch()
        assert await rig.poll(said(status)) == claim
        assert await rig.poll() == claim
        assert len(rig.asked()) == 1 + asked_again
        assert rig.servers[0].requests[0]["method"] == "getInflightBundleStatuses"
        assert rig.servers[0].targets[0] == PATH
        assert rig.told == ([] if status == "Exploded" else [status])


async def test_invalid_right_after_acceptance_means_nothing() -> None:
    """The engine has not got round to the bundle; later it does not know it, which is a claim."""
    async with watching() as rig:
        rig.watch()
        assert await rig.poll(said("Invalid"), after=INVALID_AFTER_SECONDS - 0.1) is None
        assert rig.told == []
        assert await rig.poll() == "Invalid"
        assert await rig.poll() == "Invalid"
        assert rig.told == ["Invalid"]


@pytest.mark.parametrize("later", ["Pending", "Landed"])
async def test_the_last_word_counts(later: str) -> None:
    """A claim is taken back by a better one; each new word is told."""
    async with watching() as rig:
        rig.watch()
        assert await rig.poll(said("Invalid")) == "Invalid"
        assert await rig.poll(said(later)) is None
        assert rig.told == ["Invalid", later]


async def test_a_claim_is_one_of_those_who_had_the_bundle_accepted() -> None:
    """Methods share who asks; what is said of a bundle is nothing that another method claimed."""
    async with watching() as rig:
        rig.watch()
        await rig.poll(said("Invalid"))
        assert (rig.claim("s", "bundle"), rig.claim("s", "jito")) == ("Invalid", None)
        rig.watch(method="jito")
        await rig.poll(said("Failed"))
        assert (rig.claim("s", "bundle"), rig.claim("s", "jito")) == ("Failed", "Failed")


async def test_a_claim_outlives_the_watch() -> None:
    """It is asked for when the bytes land all the same."""
    async with watching() as rig:
        rig.watch()
        await rig.poll(said("Failed"))
        assert await rig.poll(after=10 * WATCH_SECONDS) == "Failed"
        assert rig.claim("another") is None


@pytest.mark.parametrize("status", ["Failed", "Landed"])
async def test_the_last_word_on_a_bundle_is_heard_once(status: str) -> None:
    """Its bytes are pushed on and accepted again; nobody asks again, and one bundle counts once."""
    async with watching() as rig:
        for region in (0, 1, 0):
            rig.watch(region=region)
            await rig.poll(said(status))
        assert rig.told == [status]
        assert (len(rig.asked(0)), len(rig.asked(1))) == (1, 0)
        await rig.poll(after=WATCH_SECONDS - 4)
        rig.watch()
        await rig.poll()
        assert rig.told == [status]


async def test_the_last_word_is_forgotten_when_the_bytes_must_be_dead() -> None:
    """Nothing is kept for ever: a bundle of that id would be a new one."""
    async with watching() as rig:
        rig.watch()
        await rig.poll(said("Failed"))
        await rig.poll(after=WATCH_SECONDS + 1)
        rig.watch()
        assert await rig.poll(said("Failed")) == "Failed"
        assert rig.told == ["Failed", "Failed"]


LANDED = {
    "bundle_id": ID,
    "transactions": ["s"],
    "slot": 242_804_011,
    "err": {"Ok": None},
}


@pytest.mark.parametrize("spelling", ["confirmation_status", "confirmationStatus"])
async def test_the_other_shape_of_a_status_is_understood(spelling: str) -> None:
    """In both spellings: a bundle that has a confirmation landed."""
    async with watching() as rig:
        rig.watch()
        await rig.poll(said("Invalid"))
        item = {**LANDED, spelling: "finalized"}
        assert await rig.poll(result({"context": {"slot": 1}, "value": [item]})) is None
        assert rig.told == ["Invalid", "Landed"]


NOTHING: list[object] = [
    None,
    [],
    {},
    {"value": None},
    {"value": []},
    {"value": [None]},
    {"value": ["Failed"]},
    {"value": {"bundle_id": ID, "status": "Failed"}},
    {"value": [{"status": "Failed"}]},
    {"value": [{"bundle_id": None, "status": "Failed"}]},
    {"value": [{"bundle_id": ID}]},
    {"value": [{"bundle_id": ID, "status": None}]},
    {"value": [{"bundle_id": ID, "status": ["Failed"]}]},
    {"value": [{"bundle_id": ID, "confirmation_status": None}]},
    {"value": [{"bundle_id": "b" * 64, "status": "Failed"}]},
]


@pytest.mark.parametrize("value", NOTHING)
async def test_what_says_nothing_changes_nothing(value: object) -> None:
    """No item, none of ours, or none that can be read: it is asked again."""
    async with watching() as rig:
        rig.watch()
        assert await rig.poll(result(value)) is None
        assert rig.told == []
        assert await rig.poll(said("Failed")) == "Failed"


async def test_what_was_not_asked_about_is_not_believed() -> None:
    """Not even of a bundle that is watched elsewhere."""
    async with watching() as rig:
        rig.watch()
        rig.watch("b" * 64, "other", region=1)
        rig.says[1] = lambda _ids: said("Failed")
        await rig.poll(result({"value": []}))
        assert rig.claim("s") is None


# ---------------------------------------------------------------- asking


async def test_only_a_spare_place_is_taken() -> None:
    """Sends come first: asking leaves the next place to them, and takes one itself."""
    async with watching(per_second=1) as rig:
        limiter = rig.targets[0].limiter
        rig.watch()
        assert limiter.take()
        await rig.poll(after=1.0)
        assert rig.asked() == []
        await rig.poll(after=1.0)
        assert len(rig.asked()) == 1
        assert not limiter.take()


async def test_a_region_that_tells_us_off_is_left_alone() -> None:
    """By the sends too: they share its limit; and it is no claim."""
    async with watching() as rig:
        rig.watch()
        busy = error(429, -32097, "Rate limit exceeded. Retry after 30000ms")
        assert await rig.poll(busy) is None
        limiter = rig.targets[0].limiter
        assert limiter.wait_seconds() == 30
        await rig.poll(after=29)
        assert len(rig.asked()) == 1
        await rig.poll(said("Failed"), after=2)
        assert len(rig.asked()) == 2


@pytest.mark.parametrize(
    ("between", "rest"),
    [
        (said("Pending"), 5.0),
        (error(500, -32603, "oops"), 5.0),
        (http(200, "<html>"), 5.0),
        (CLOSE, 10.0),
    ],
)
async def test_only_an_answer_shortens_the_next_rest(between: Step, rest: float) -> None:
    """As for a send."""
    async with watching() as rig:
        busy = error(429, -32097, "slow down")
        rig.watch()
        for answer in (busy, between, busy):
            await rig.poll(answer, after=20)
        assert rig.targets[0].limiter.wait_seconds() == rest


async def test_an_engine_that_is_not_reached_shortens_nothing() -> None:
    """Nobody was asked, nobody answered."""
    async with watching() as rig:
        rig.watch()
        await rig.poll(error(429, -32097, "slow down"))
        await rig.targets[0].client.close()
        await rig.poll(after=20)
        rig.targets[0].limiter.refused(None)
        assert rig.targets[0].limiter.wait_seconds() == 10


async def test_many_are_asked_about_in_turns_of_five() -> None:
    """Those first that were asked about longest ago."""
    async with watching() as rig:
        names = [f"{number:064}" for number in range(7)]
        for name in names:
            rig.watch(name, name)
        for _ in range(3):
            await rig.poll()
        assert rig.asked() == [names[:5], [*names[5:], *names[:3]], [*names[3:], names[0]]]


async def test_each_region_is_asked_about_its_own() -> None:
    """One does not know what another took; who took it last is asked."""
    async with watching() as rig:
        rig.watch()
        rig.watch("b" * 64, "other", region=1)
        await rig.poll()
        assert (rig.asked(0), rig.asked(1)) == ([[ID]], [["b" * 64]])
        rig.watch(region=1)
        await rig.poll()
        assert rig.asked(0) == [[ID]]
        assert sorted(rig.asked(1)[1]) == [ID, "b" * 64]


async def test_a_repetition_does_not_begin_anew() -> None:
    """Else a bundle that is pushed each second would never be invalid, and never over."""
    async with watching() as rig:
        rig.watch()
        rig.clock.now += 1.5
        rig.watch()
        assert await rig.poll(said("Invalid"), after=1.0) == "Invalid"
        rig.watch()
        await rig.poll(after=WATCH_SECONDS)
        assert len(rig.asked()) == 1


async def test_it_is_over_when_the_bytes_must_be_dead() -> None:
    """Nobody asks for ever; and with nothing to ask about nobody is asked."""
    async with watching() as rig:
        await rig.poll()
        rig.watch()
        await rig.poll(after=WATCH_SECONDS)
        assert len(rig.asked()) == 1
        await rig.poll()
        assert len(rig.asked()) == 1


# ---------------------------------------------------------------- bounds


class Engine(JsonRpcClient):
    """Answers in no time that everything failed."""

    def __init__(self) -> None:
        """Answer for nobody."""
        super().__init__("http://127.0.0.1:1", timeout_seconds=1, observer=Observer())
        self.asked: list[str] = []

    async def call(self, method: str, params: Any, **_options: object) -> Answer:
        """Say so."""
        (ids,) = params
        self.asked += ids
        return Result({"value": [{"bundle_id": each, "status": "Failed"} for each in ids]})


async def test_what_is_kept_is_bounded() -> None:
    """The oldest is forgotten: nothing depends on it."""
    engine, clock = Engine(), Clock()
    statuses = BundleStatuses([Target(engine, Limiter())], monotonic=clock)
    names = [str(number) for number in range(CLAIMS_MAX + 1)]
    for name in names:
        statuses.watch("bundle", engine, name, name)
        await statuses.poll()
    assert [statuses.claims_of("bundle")(name) for name in names[:2]] == [None, "Failed"]
    engine.asked.clear()
    for name in names[:2]:
        statuses.watch("bundle", engine, name, name)
    await statuses.poll()
    assert engine.asked == names[:1]
    engine.asked.clear()
    clock.now += 2 * WATCH_SECONDS
    await statuses.poll()
    for name in names[: WATCHED_MAX + 2]:
        statuses.watch("bundle", engine, name, name)
    for _ in range(WATCHED_MAX):
        await statuses.poll()
    assert engine.asked == names[2 : WATCHED_MAX + 2]


def test_it_asks_again_and_again() -> None:
    """As long as the service runs, about once a second."""
    engine = Engine()

    async def live() -> list[str]:
        limiter = Limiter(1)
        statuses = BundleStatuses([Target(engine, limiter)])
        asking = asyncio.create_task(statuses.run())
        for number in range(60):
            statuses.watch("bundle", engine, str(number), str(number))
            await asyncio.sleep(2.5)
        asking.cancel()
        await asyncio.wait([asking])
        return engine.asked

    assert len(virtual_time.run(live())) >= 58
