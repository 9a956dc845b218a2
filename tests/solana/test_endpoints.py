"""Reads over two nodes that differ: who is asked, whose answer counts, and what a laggard cannot do."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from app.domain.errors import TransientError
from app.domain.outcome import (
    Absent,
    ChainStatus,
    Commitment,
    Heights,
    Proof,
    Seen,
    Unreachable,
)
from app.engine.ports import LandedTransaction, Snapshot
from app.solana import decode
from app.solana.chain import STALE_SECONDS, STALLED_SECONDS, RpcChain
from app.solana.endpoint_health import COOL_DOWN_SECONDS_MAX
from tests.domain.makers import LAST_HEIGHT, attempt
from tests.solana.chains import DEAD, DOWN, GENESIS, ShiftedLoop, chain_of, put_forward
from tests.solana.server import CLOSE, HANG, Later, Node, Step, error, http, result
from tests.solana.test_decode import TRANSACTION

pytestmark = pytest.mark.anyio

FINALIZED = 6_000
"""The finalized slot that the chain knows of when it reads."""
OLD, NEW = FINALIZED - 1, FINALIZED + 32
HEDGE_SECONDS = 0.02
NEVER_SECONDS = 60.0
"""A hedge that would let a test fail by its time."""
LONG_SECONDS = 1.0
"""A hedge whose time a test lets pass by the clock."""
LOOP_TURNS = 100
"""Turns of the loop in which a rival, if there were one, would have been asked."""


class Slow:
    """An answer that comes after the time of a rival, however long that is."""

    def __init__(self, step: bytes) -> None:
        self.asked = asyncio.Event()
        self.let = asyncio.Event()
        self.step = step

    def __call__(self, _params: object) -> Step:
        """Answer later."""
        self.asked.set()
        return Later(self.step, self.let)

    async def come(self) -> None:
        """Let the time of a rival pass, then answer."""
        await self.asked.wait()
        put_forward(LONG_SECONDS * 2)
        for _ in range(LOOP_TURNS):
            await asyncio.sleep(0)
        self.let.set()


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, object]]:
    """Let cool-downs pass without waiting for them."""
    return "asyncio", {"use_uvloop": False, "loop_factory": ShiftedLoop}


@asynccontextmanager
async def two(
    first: dict[str, Any],
    second: dict[str, Any],
    hedge_seconds: float | None = NEVER_SECONDS,
    on_hedge: Callable[[str], None] = lambda _method: None,
) -> AsyncIterator[tuple[RpcChain, Node, Node]]:
    """Open a chain over two nodes of which all but these answers are well; it knows what is finalized."""
    opened = chain_of(DEAD, DEAD, hedge_seconds=hedge_seconds, on_hedge=on_hedge)
    async with opened as (chain, (a, b)):
        a.answers["getEpochInfo"] = CLOSE
        final = DEAD["getEpochInfo"]
        b.answers["getEpochInfo"] = {**final, "blockHeight": final["blockHeight"] - 1}
        await chain.look()  # both are asked, and name their chain
        put_forward(COOL_DOWN_SECONDS_MAX)
        a.answers["getEpochInfo"] = b.answers["getEpochInfo"] = final
        await chain.look()
        for each, answers in ((a, first), (b, second)):
            assert each.server is not None
            each.server.requests.clear()
            each.answers.update(answers)
        yield chain, a, b


def statuses_at(slot: int, *levels: str | None) -> dict[str, Any]:
    """Answer with the levels of signatures, None for one that is absent."""
    values = [
        level and {"slot": 5, "confirmations": 1, "err": None, "confirmationStatus": level}
        for level in levels
    ]
    return {"context": {"slot": slot}, "value": values}


def seen(level: str, context_slot: int) -> Seen:
    """Make the status that such an answer tells."""
    return Seen(5, Commitment(level), None, context_slot)


STATUSES: list[tuple[str, object, object, list[ChainStatus], int]] = [
    (
        "the first is up to date",
        statuses_at(NEW, None),
        statuses_at(NEW, "confirmed"),
        [Absent(NEW)],
        0,
    ),
    (
        "a laggard's nothing hides no landing",
        statuses_at(OLD, None),
        statuses_at(NEW, "confirmed"),
        [seen("confirmed", NEW)],
        1,
    ),
    (
        "a laggard's nothing gives way to a newer one",
        statuses_at(OLD, None),
        statuses_at(NEW, None),
        [Absent(NEW)],
        1,
    ),
    (
        "a laggard's nothing is told as what it is, when there is no other",
        statuses_at(OLD, None),
        CLOSE,
        [Absent(OLD)],
        1,
    ),
    (
        "two laggards",
        statuses_at(OLD, None),
        statuses_at(OLD - 1, None),
        [Absent(OLD)],
        1,
    ),
    (
        "a laggard's landing counts",
        statuses_at(OLD, "finalized"),
        statuses_at(NEW, None),
        [seen("finalized", OLD)],
        0,
    ),
    (
        "a laggard's landing counts beside what it lacks",
        statuses_at(OLD, "confirmed", None, "processed"),
        statuses_at(NEW, None, "confirmed", "finalized"),
        [seen("confirmed", OLD), seen("confirmed", NEW), seen("finalized", NEW)],
        1,
    ),
    ("the first is away", CLOSE, statuses_at(NEW, None), [Absent(NEW)], 1),
    ("the first refuses", error(429, 429, "slow"), statuses_at(NEW, None), [Absent(NEW)], 1),
    ("the first is mad", "?", statuses_at(NEW, "processed"), [seen("processed", NEW)], 1),
]


@pytest.mark.parametrize(
    ("first", "second", "wanted", "asked"), [s[1:] for s in STATUSES], ids=[s[0] for s in STATUSES]
)
async def test_a_status_is_the_best_that_came(
    first: object, second: object, wanted: list[ChainStatus], asked: int
) -> None:
    """Whoever has seen it has; absent counts from whoever is up to date; the second only if needed."""
    names = [f"signature{number}" for number in range(len(wanted))]
    method = "getSignatureStatuses"
    async with two({method: first}, {method: second}) as (chain, _, b):
        assert await chain.statuses(names) == dict(zip(names, wanted, strict=True))
        assert len(b.asked(method)) == asked


@pytest.mark.parametrize(
    ("laggard", "other"),
    [
        (("finalized", "liar's"), ("confirmed", None)),
        (("finalized", "liar's"), ("finalized", None)),
        (("confirmed", "another fork's"), ("finalized", None)),
        (("finalized", None), ("processed", "another fork's")),
    ],
)
async def test_a_status_that_endpoints_tell_apart_is_unsettled(
    laggard: tuple[str, object], other: tuple[str, object]
) -> None:
    """Whether it failed is not decided by who calls it more settled."""
    method, names = "getSignatureStatuses", ["told apart", "lacking"]

    def answer(slot: int, level: str, error: object) -> dict[str, Any]:
        answers = statuses_at(slot, level, None)
        answers["value"][0]["err"] = error
        return answers

    first, second = answer(OLD, *laggard), answer(NEW, *other)
    async with two({method: first}, {method: second}) as (chain, _, _b):
        told = await chain.statuses(names)
        assert told["told apart"] == Unreachable("endpoints disagree on whether it failed")
        assert told["lacking"] == Absent(NEW)


async def test_statuses_that_nobody_tells_are_unreachable() -> None:
    """Neither absent nor seen, and each endpoint's reason is told."""
    method = "getSignatureStatuses"
    async with two({method: CLOSE}, {method: http(503, "")}) as (chain, _, _b):
        (status,) = (await chain.statuses(["signature"])).values()
        assert isinstance(status, Unreachable)
        assert "no_reply" in status.reason
        assert "error 503" in status.reason


def accounts_at(slot: int) -> dict[str, Any]:
    """Answer with no accounts at a slot."""
    return {"context": {"slot": slot}, "value": [None]}


@pytest.mark.parametrize(
    ("first", "second", "slot"),
    [
        (accounts_at(NEW), accounts_at(NEW + 1), NEW),
        (accounts_at(FINALIZED), accounts_at(NEW), FINALIZED),
        (accounts_at(OLD), accounts_at(NEW), NEW),
        (accounts_at(OLD), CLOSE, OLD),
        (accounts_at(OLD), accounts_at(OLD - 1), OLD),
    ],
)
async def test_prices_are_not_read_from_before_what_is_final(
    first: object, second: object, slot: int
) -> None:
    """Unless no endpoint has anything newer."""
    method = "getMultipleAccounts"
    async with two({method: first}, {method: second}) as (chain, _, _b):
        assert await chain.accounts(["one"]) == Snapshot(slot, {"one": None})


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [
        (TRANSACTION, CLOSE, True),
        (None, TRANSACTION, True),
        (CLOSE, TRANSACTION, True),
        (None, None, False),
        (None, CLOSE, False),
        (CLOSE, None, False),
    ],
)
async def test_a_transaction_is_looked_for_everywhere(
    first: object, second: object, found: bool
) -> None:
    """One node may not have it yet; that is nothing against the node."""
    method = "getTransaction"
    async with two({method: first}, {method: second}) as (chain, a, _):
        landed = await chain.transaction("signature")
        assert isinstance(landed, LandedTransaction) if found else landed is None
        if first is None:
            await chain.transaction("signature")
            assert len(a.asked(method)) == 2


def heights_at(slot: int, height: int) -> dict[str, int]:
    """Answer with a finalized slot and height."""
    return {"absoluteSlot": slot, "blockHeight": height}


@pytest.mark.parametrize(
    ("first", "second", "wanted"),
    [
        (heights_at(7_000, 900_000), CLOSE, Heights(7_000, 900_000)),
        (heights_at(1, 1), CLOSE, Heights(FINALIZED, LAST_HEIGHT + 1)),
        (CLOSE, heights_at(7_000, 900_000), Heights(7_000, 900_000)),
        (CLOSE, heights_at(1, 1), Heights(FINALIZED, LAST_HEIGHT + 1)),
        (CLOSE, CLOSE, None),
    ],
)
async def test_an_expiry_is_judged_on_the_highest_finalized_height(
    first: object, second: object, wanted: Heights | None
) -> None:
    """Whoever told it: what is final stays so, and a laggard is only late."""
    method = "getEpochInfo"
    async with two({method: first}, {method: second}) as (chain, _, _b):
        put_forward(STALE_SECONDS)
        await chain.look()
        assert await chain.heights() == wanted


async def test_an_endpoint_whose_chain_stands_still_is_not_believed_for_ever() -> None:
    """It answers at once and well, only always the same: after a while another one is asked."""
    method = "getEpochInfo"
    stuck, well = heights_at(7_000, 900_000), heights_at(7_500, 900_400)
    async with two({method: stuck}, {method: well}) as (chain, _a, b):
        await chain.look()
        assert await chain.heights() == Heights(7_000, 900_000)
        assert b.asked(method) == []
        put_forward(2 * STALLED_SECONDS)
        await chain.look()
        assert await chain.heights() == Heights(7_500, 900_400)
        assert chain.endpoints()[0]["ailing"]


async def test_a_chain_that_stands_still_everywhere_is_read_on() -> None:
    """Nobody knows better: what was known stays known, and fresh."""
    method = "getEpochInfo"
    stuck = heights_at(7_000, 900_000)
    async with two({method: stuck}, {method: stuck}) as (chain, _, _b):
        await chain.look()
        for _ in range(2):
            put_forward(2 * STALLED_SECONDS)
            await chain.look()
        assert await chain.heights() == Heights(7_000, 900_000)


def tip_at(slot: int, last_height: int, blockhash: str) -> dict[str, Any]:
    """Answer with a blockhash."""
    value = {"blockhash": blockhash, "lastValidBlockHeight": last_height}
    return {"context": {"slot": slot}, "value": value}


KNOWN = LAST_HEIGHT + 200
TIPS: list[tuple[str, object, object, str]] = [
    ("newer", tip_at(NEW + 9, KNOWN + 1, "newer"), CLOSE, "newer"),
    ("another block of the height", tip_at(NEW + 9, KNOWN, "fork"), CLOSE, "fork"),
    ("older", tip_at(NEW, KNOWN - 1, "older"), tip_at(NEW + 9, KNOWN + 1, "newer"), "tip"),
    ("final long ago", tip_at(OLD, KNOWN - 90, "old"), tip_at(NEW + 9, KNOWN + 1, "b"), "b"),
    ("final long ago, alone", tip_at(OLD, KNOWN - 90, "old"), CLOSE, "tip"),
]


@pytest.mark.parametrize(
    ("first", "second", "wanted"), [each[1:] for each in TIPS], ids=[each[0] for each in TIPS]
)
async def test_the_tip_never_goes_back(first: object, second: object, wanted: str) -> None:
    """What is signed on a laggard's blockhash would live shorter than it was meant to."""
    method = "getLatestBlockhash"
    async with two({method: first}, {method: second}) as (chain, _, _b):
        await chain.look()
        assert chain.tip is not None
        assert chain.tip.blockhash == wanted
        signed_on = await chain.blockhash(60)
        assert signed_on is not None
        assert signed_on.blockhash == wanted


async def test_a_laggards_tip_is_no_news() -> None:
    """It does not keep the chain ready; once nobody told a newer one for long, it is taken."""
    async with two({}, DOWN) as (chain, a, _):
        a.answers["getLatestBlockhash"] = tip_at(NEW, KNOWN - 1, "older")
        put_forward(STALE_SECONDS - 1)
        await chain.look()
        assert chain.ready()
        put_forward(1)
        assert not chain.ready()
        await chain.look()
        assert chain.ready()
        assert chain.tip is not None
        assert chain.tip.blockhash == "older"


# ---------------------------------------------------------------- rivals


METHOD = "getEpochInfo"
NEWEST = heights_at(8_000, 900_001)
NEWER = heights_at(7_000, 900_000)


async def test_a_quick_endpoint_has_no_rival() -> None:
    """Each read costs one request."""
    async with two({}, {}) as (chain, a, b):
        await chain.look()
        assert (len(a.asked(METHOD)), len(b.asked(METHOD))) == (1, 0)


async def test_an_endpoint_that_takes_long_gets_a_rival() -> None:
    """The read is answered, the slow one given up, and the next read goes elsewhere at once."""
    told: list[str] = []
    answers = ({METHOD: HANG}, {METHOD: NEWER})
    async with two(*answers, HEDGE_SECONDS, told.append) as (chain, a, b):
        await chain.look()
        assert await chain.heights() == Heights(7_000, 900_000)
        assert told == [METHOD]
        b.answers[METHOD] = NEWEST
        await chain.look()
        assert await chain.heights() == Heights(8_000, 900_001)
        assert (len(a.asked(METHOD)), len(b.asked(METHOD))) == (1, 2)
        assert troubles(chain) == ["overtaken", None]
        assert requests_under_way() == 0


def troubles(chain: RpcChain) -> list[object]:
    """Say what each endpoint ails from as to the method."""
    ailing = [decode.mapping(each["ailing"]) for each in chain.endpoints()]
    return [decode.mapping(each.get(METHOD) or {}).get("why") for each in ailing]


def requests_under_way() -> int:
    """Count the tasks that ask an endpoint."""
    return sum("_Race" in repr(task.get_coro()) for task in asyncio.all_tasks())


@pytest.mark.parametrize("trouble", [CLOSE, http(503, ""), "?"], ids=["away", "503", "mad"])
async def test_a_rival_that_fails_changes_nothing(trouble: object) -> None:
    """The slow one is still waited for, and nothing is held against it."""
    let = asyncio.Event()

    def rival(_params: object) -> object:
        let.set()
        return trouble

    slow = Later(result(NEWER), let)
    async with two({METHOD: slow}, {METHOD: rival}, HEDGE_SECONDS) as (chain, _, b):
        await chain.look()
        assert await chain.heights() == Heights(7_000, 900_000)
        assert len(b.asked(METHOD)) == 1
        assert troubles(chain)[0] is None


async def test_a_slow_endpoint_may_still_win() -> None:
    """Its rival hangs: nothing is held against either."""
    let = asyncio.Event()

    def rival(_params: object) -> Step:
        let.set()
        return HANG

    slow = Later(result(NEWER), let)
    async with two({METHOD: slow}, {METHOD: rival}, HEDGE_SECONDS) as (chain, _, b):
        await chain.look()
        assert await chain.heights() == Heights(7_000, 900_000)
        assert len(b.asked(METHOD)) == 1
        assert troubles(chain) == [None, None]


async def test_a_rival_that_lags_is_no_rival() -> None:
    """Its nothing comes first, the slow one's landing counts."""
    let = asyncio.Event()

    def rival(_params: object) -> object:
        let.set()
        return statuses_at(OLD, None)

    method = "getSignatureStatuses"
    slow = Later(result(statuses_at(NEW, "confirmed")), let)
    async with two({method: slow}, {method: rival}, HEDGE_SECONDS) as (chain, _, _b):
        assert await chain.statuses(["s"]) == {"s": seen("confirmed", NEW)}


async def test_no_rival_is_an_endpoint_that_asked_to_be_left_alone() -> None:
    """It is asked when the other fails, not to win a few milliseconds."""
    slow_down = error(429, 429, "slow down", None, "retry-after: 20")
    async with two({}, {METHOD: slow_down}, LONG_SECONDS) as (chain, a, b):
        a.answers[METHOD] = CLOSE
        await chain.look()  # learns of both troubles
        put_forward(2)
        a.answers[METHOD] = slow = Slow(result(NEWER))
        await asyncio.gather(chain.look(), slow.come())
        assert await chain.heights() == Heights(7_000, 900_000)
        assert len(b.asked(METHOD)) == 1


async def test_a_read_that_is_given_up_leaves_nothing_behind() -> None:
    """Both requests end with it, and neither endpoint is blamed."""
    asked = asyncio.Event()

    def hang(_params: object) -> Step:
        asked.set()
        return HANG

    async with two({METHOD: HANG}, {METHOD: hang}, HEDGE_SECONDS) as (chain, _, _b):
        looking = asyncio.create_task(chain.look())
        await asked.wait()
        looking.cancel()
        await asyncio.wait([looking])
        assert looking.cancelled()
        assert requests_under_way() == 0
        assert troubles(chain) == [None, None]


# ---------------------------------------------------------------- health


async def test_an_endpoint_in_trouble_is_spared_until_its_cool_down_ends() -> None:
    """Then it is the first again, as configured."""
    async with two({METHOD: http(503, "")}, {}) as (chain, a, b):
        for _ in range(3):
            await chain.look()
        assert (len(a.asked(METHOD)), len(b.asked(METHOD))) == (1, 3)
        a.answers[METHOD] = NEWER
        put_forward(COOL_DOWN_SECONDS_MAX)
        await chain.look()
        assert (len(a.asked(METHOD)), len(b.asked(METHOD))) == (2, 3)


async def test_trouble_with_one_method_is_none_with_another() -> None:
    """A node without history still serves heights."""
    no_history = error(200, -32011, "Transaction history is not available from this node")
    first = {"getTransaction": no_history}
    async with two(first, {"getTransaction": TRANSACTION}) as (chain, a, b):
        for _ in range(2):
            assert isinstance(await chain.transaction("signature"), LandedTransaction)
        assert len(a.asked("getTransaction")) == 1
        await chain.look()
        assert b.asked(METHOD) == []


async def test_an_endpoint_in_trouble_is_asked_when_no_other_is_well() -> None:
    """The last resort, whatever is held against it."""
    async with two({METHOD: CLOSE}, {METHOD: CLOSE}) as (chain, a, _):
        await chain.look()
        a.answers[METHOD] = NEWER
        await chain.look()
        assert await chain.heights() == Heights(7_000, 900_000)


@pytest.mark.parametrize("trouble", [accounts_at(OLD), {"slot": 1}], ids=["lagging", "mad"])
async def test_an_endpoint_whose_answers_are_of_no_use_is_spared_too(trouble: object) -> None:
    """The next read does not begin with it."""
    method = "getMultipleAccounts"
    async with two({method: trouble}, {method: accounts_at(NEW)}) as (chain, a, b):
        for _ in range(2):
            await chain.accounts(["one"])
        assert (len(a.asked(method)), len(b.asked(method))) == (1, 2)


async def test_the_chain_is_named_by_the_endpoint_that_is_named_first() -> None:
    """Not by whoever answers quicker: of two chains it must be the configured one."""
    slow = Slow(result(GENESIS))
    async with chain_of({"getGenesisHash": slow}, DEAD) as (_, nodes):
        clients = [each.client for each in nodes if each.client is not None]
        chain = RpcChain(clients, proof_endpoints=1, poll_seconds=1, hedge_seconds=LONG_SECONDS)
        named, _ = await asyncio.gather(chain.genesis_hash(), slow.come())
        assert named == GENESIS
        assert nodes[1].order() == []


async def test_an_endpoint_of_another_chain_is_spared_too() -> None:
    """It is asked again now and then, since it may be mended while the service runs."""
    async with chain_of({**DEAD, "getGenesisHash": "another"}, DEAD) as (chain, (foreign, _)):
        for _ in range(3):
            await chain.look()
        assert len(foreign.asked("getGenesisHash")) == 2  # once for each method
        foreign.answers["getGenesisHash"] = GENESIS
        put_forward(COOL_DOWN_SECONDS_MAX)
        await chain.look()
        assert len(foreign.asked(METHOD)) == 1


async def test_a_rival_of_another_chain_is_no_rival() -> None:
    """However slow the own one is."""
    foreign = {**DEAD, "getGenesisHash": "another", METHOD: NEWEST}
    let = asyncio.Event()

    def named(_params: object) -> object:
        let.set()
        return "another"

    own = {**DEAD, METHOD: Later(result(NEWER), let)}
    foreign["getGenesisHash"] = named
    async with chain_of(own, foreign, hedge_seconds=HEDGE_SECONDS) as (chain, _):
        await chain.look()
        assert await chain.heights() == Heights(7_000, 900_000)


async def test_a_proof_asks_each_endpoint_whatever_its_health() -> None:
    """An endpoint that is spared is a witness all the same."""
    async with two({METHOD: CLOSE}, {}) as (chain, a, b):
        await chain.look()
        for each in (a, b):
            each.answers.update(DEAD)
        before = len(a.asked(METHOD)), len(b.asked(METHOD))
        assert isinstance(await chain.prove_dead(attempt()), Proof)
        assert (len(a.asked(METHOD)), len(b.asked(METHOD))) == (before[0] + 1, before[1] + 1)


async def test_an_endpoint_alone_has_its_whole_time() -> None:
    """There is nobody to race with."""
    slow = Slow(result(NEWER))
    async with chain_of({**DEAD, METHOD: slow}, hedge_seconds=LONG_SECONDS) as (chain, _):
        await asyncio.gather(chain.look(), slow.come())
        assert await chain.heights() == Heights(7_000, 900_000)


async def test_no_endpoint_at_all_is_no_wait() -> None:
    """It is said at once."""
    with pytest.raises(TransientError, match="no endpoint"):
        await RpcChain([], proof_endpoints=1, poll_seconds=1).accounts(["one"])
