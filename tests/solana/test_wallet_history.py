"""A wallet's past over nodes that page, lag, forget, hide or repeat themselves."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from app.domain.errors import TransientError
from app.domain.outcome import Heights
from app.engine.recovery_port import Mention
from app.solana.chain import RpcChain
from app.solana.wallet_history import WalletHistories
from tests.solana.chains import DEAD, DOWN, GENESIS, chain_of
from tests.solana.server import error, node

pytestmark = pytest.mark.anyio

Entry = dict[str, Any]
HEIGHTS = Heights(6_000, 1_001)
SINCE = 5_500
ERROR = {"InstructionError": [2, {"Custom": 6005}]}


def entry(number: int, **given: object) -> Entry:
    """Make an entry of a list; its number is its slot."""
    return {
        "signature": f"sig{number}",
        "slot": number,
        "err": None,
        "memo": f"[5] memo{number}",
        "blockTime": number * 10,
        "confirmationStatus": "finalized",
        **given,
    }


def paging(entries: list[Entry], size: int = 2) -> Callable[[list[Any]], list[Entry]]:
    """Answer as a node does: newest first, so many at once, from `before` on."""

    def answer(params: list[Any]) -> list[Entry]:
        before = params[1].get("before")
        signatures = [each["signature"] for each in entries]
        start = signatures.index(before) + 1 if before in signatures else 0
        return entries[start : start + size]

    return answer


def node_with(entries: list[Entry], **answers: object) -> dict[str, Any]:
    """Make a node with a history that reaches back far enough."""
    return {
        **DEAD,
        "minimumLedgerSlot": SINCE,
        "getSignaturesForAddress": paging(entries),
        **answers,
    }


async def listed(chain: RpcChain, since_slot: int | None = SINCE) -> list[Mention]:
    """List what names the wallet."""
    found = await chain.histories.mentions(
        "wallet", since_slot=since_slot, until_height=HEIGHTS.block_height - 1
    )
    return list(found.mentions)


@pytest.mark.parametrize(
    ("kept", "first"),
    [((0, 5_500), 5_500), ((0, 0), 0), ((0, error(200, -32601, "unknown")), HEIGHTS.slot)],
    ids=["an archive and two days", "archives", "one does not tell"],
)
async def test_a_whole_history_begins_where_every_node_has_kept_it(
    kept: tuple[object, ...], first: int
) -> None:
    """The latest beginning of all that were listened to; who tells of none has kept nothing."""
    nodes = [node_with([entry(5_900)], getFirstAvailableBlock=slot) for slot in kept]
    async with chain_of(*nodes) as (chain, _nodes):
        found = await chain.histories.mentions(
            "wallet", since_slot=None, until_height=HEIGHTS.block_height - 1
        )
    assert (len(found.mentions), found.first_slot) == (1, first)


LONG = [entry(number) for number in range(5_900, 4_000, -100)]


async def test_pages_are_read_back_past_the_slot() -> None:
    """Further than the slot by more than any fork, and no page beyond; all at finalized and fenced."""
    async with chain_of(node_with(LONG)) as (chain, (only,)):
        found = await listed(chain)
    assert [each.slot for each in found] == list(range(5_900, 4_900, -100))
    asked = [params[1] for params in only.asked("getSignaturesForAddress")]
    assert all(each["commitment"] == "finalized" for each in asked)
    assert all(each["minContextSlot"] == HEIGHTS.slot for each in asked)
    assert [each.get("before") for each in asked] == [
        None,
        *(f"sig{at}" for at in (5_800, 5_600, 5_400, 5_200)),
    ]


async def test_a_short_history_ends_where_the_ledger_does_not() -> None:
    """An end of the pages is the wallet's beginning only where the node kept what it finalized."""
    few = [entry(5_900, memo=None, blockTime=None)]
    async with chain_of(node_with(few)) as (chain, _nodes):
        (only,) = await listed(chain)
        assert only == Mention("sig5900", 5_900, failed=False, memo=None, unix_time=None)
        assert len(await listed(chain, None)) == 1
    async with chain_of(node_with(few, minimumLedgerSlot=SINCE + 1)) as (chain, _nodes):
        with pytest.raises(TransientError, match="reaches back to slot 5501 only"):
            await listed(chain)


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        ({"getEpochInfo": {"absoluteSlot": 5_999, "blockHeight": 1_000}}, "not finalized enough"),
        ({"getGenesisHash": "another"}, "not known to serve this chain"),
        ({"getSignaturesForAddress": error(200, -32016, "Minimum context slot")}, "lags behind"),
        ({"getSignaturesForAddress": [{"signature": "s", "slot": 5_900}]}, "wrong shape"),
        ({"getSignaturesForAddress": [entry(5_900), entry(5_901)]}, "does not go back"),
        ({"getSignaturesForAddress": [entry(5_900)]}, "does not go back"),
    ],
    ids=["behind", "another chain", "fenced", "no err", "forwards", "the same page for ever"],
)
async def test_a_history_that_cannot_be_trusted_is_none(
    answers: Mapping[str, Any], why: str
) -> None:
    """Reconciliation waits: what it does not see would be traded again."""
    async with chain_of({**node_with(LONG), **answers}) as (chain, _nodes):
        with pytest.raises(TransientError, match=why):
            await listed(chain)


async def test_a_history_without_an_end_is_left() -> None:
    """A node that always has something more is given up."""
    async with node(**node_with(LONG)) as endless:
        assert endless.client is not None
        histories = WalletHistories([endless.client], 1, pages_max=3)
        histories.belongs_to(GENESIS)
        with pytest.raises(TransientError, match="does not end"):
            await histories.mentions(
                "wallet", since_slot=None, until_height=HEIGHTS.block_height - 1
            )


async def test_none_of_those_that_must_agree_can_hide_an_execution() -> None:
    """What one lists is there; failed is what all who list it call so; a memo is anybody's."""
    honest = [entry(5_900, memo="[9] synergy7:a"), entry(5_800, err=ERROR), entry(5_700)]
    liar = [entry(5_900, err=ERROR, memo=None), entry(5_800, err=ERROR)]
    for lists in ((honest, liar), (liar, honest)):
        nodes = [node_with(each) for each in lists]
        async with chain_of(*nodes, proof_endpoints=2) as (chain, _nodes):
            found = await listed(chain)
        assert [(each.slot, each.failed) for each in found] == [
            (5_900, False),
            (5_800, True),
            (5_700, False),
        ]
        assert found[0].memo == "[9] synergy7:a"
    async with chain_of(node_with(honest), DOWN, proof_endpoints=2) as (chain, _nodes):
        with pytest.raises(TransientError):
            await listed(chain)
    async with chain_of(node_with(honest), DOWN) as (chain, _nodes):
        assert len(await listed(chain)) == 3


def tip(
    last_valid: int, *, slot: int = 6_040, height: int = HEIGHTS.block_height
) -> dict[str, Any]:
    """Make a node that tells of a newest blockhash, and where it is itself."""
    blockhash = {"blockhash": "b", "lastValidBlockHeight": last_valid}
    return {
        **DEAD,
        "getEpochInfo": {"absoluteSlot": slot, "blockHeight": height},
        "getLatestBlockhash": {"context": {"slot": slot}, "value": blockhash},
    }


async def test_the_highest_life_of_any_blockhash_is_waited_for() -> None:
    """A node that lags knows of less than another has given out."""
    async with chain_of(tip(1_200), tip(1_234)) as (chain, nodes):
        assert await chain.histories.last_valid_height(None) == 1_234
        assert nodes[0].asked("getLatestBlockhash") == [[{"commitment": "processed"}]]
    async with chain_of(tip(1_200), DOWN, proof_endpoints=2) as (chain, _nodes):
        with pytest.raises(TransientError):
            await chain.histories.last_valid_height(None)


@pytest.mark.parametrize(
    ("nodes", "why"),
    [
        ([tip(1_151, slot=5_999)], "has not seen slot 6000"),
        ([tip(10**9)], "is valid for 999998999 blocks"),
        ([tip(1_001)], "is valid for 0 blocks"),
        ([tip(1_151), tip(1_752, height=1_602)], "tells of height 1752"),
    ],
    ids=["it lags", "too high", "too low", "apart"],
)
async def test_a_height_that_cannot_be_right_is_none(nodes: list[Any], why: str) -> None:
    """Too low, lost bytes would land after all; too high, it would be waited for without an end."""
    async with chain_of(*nodes) as (chain, _nodes):
        with pytest.raises(TransientError, match=why):
            await chain.histories.last_valid_height(6_000)


async def test_a_node_that_lags_or_lies_about_its_height_keeps_nobody_waiting() -> None:
    """As many as are needed must be past a height, each by itself: no other's counts for it."""
    far, ahead = tip(0, height=10**9), tip(0, height=HEIGHTS.block_height + 40)
    nodes = [node_with(LONG), {**node_with(LONG), "getEpochInfo": ahead["getEpochInfo"]}, far]
    async with chain_of(*nodes[:2], proof_endpoints=2) as (chain, _nodes):
        assert await chain.histories.finalized_height() == HEIGHTS.block_height
        assert len(await listed(chain)) == 10
    async with chain_of(*nodes, proof_endpoints=2) as (chain, _nodes):
        assert await chain.histories.finalized_height() == HEIGHTS.block_height + 40
    async with chain_of(nodes[0], DOWN, proof_endpoints=2) as (chain, _nodes):
        with pytest.raises(TransientError):
            await chain.histories.finalized_height()


async def test_bytes_of_another_transaction_are_none() -> None:
    """The next node is asked; without one that has them the transaction is not read."""
    other = {"slot": 1, "transaction": ["AAAA", "base64"], "meta": {}}
    async with chain_of({**DEAD, "getTransaction": other}, {**DEAD, "getTransaction": None}) as (
        chain,
        nodes,
    ):
        with pytest.raises(TransientError, match="wrong shape"):
            await chain.histories.found("sig")
        assert "getTransaction" in nodes[1].order()
