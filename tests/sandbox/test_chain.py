"""Slots, blocks, blockhashes, forks: what holds on the chain whatever is sent."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from solders.keypair import Keypair

from app.sandbox.blocks import CannotUndo, NotIncluded
from app.sandbox.chain import BLOCKS_KEPT, HASH_LIFE_BLOCKS, Chain, ChainRules
from app.sandbox.layouts import token_amount
from app.sandbox.node import Node
from tests.sandbox.kit import STRANGER, UNIX_TIME, WALLET, Desk, make_node, pay

FINALITY = ChainRules().finality_blocks


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """Give a new chain."""
    node = make_node(tmp_path)
    yield node
    node.close()


@pytest.fixture
def chain(node: Node) -> Chain:
    """Give the new chain itself."""
    return node.chain


@pytest.fixture
def desk(node: Node) -> Desk:
    """Give a trader on the new chain."""
    return Desk(node)


def test_slot_and_height_always_differ_and_some_slots_are_skipped(node: Node) -> None:
    """A service that mixes the two up is found out, on any block."""
    offsets = set()
    for _ in range(200):
        node.step(1)
        offsets.add(node.chain.open.slot - node.chain.open.height)
    assert min(offsets) > 1_000
    assert len(offsets) > 3


def test_commitments_lag_by_one_block_and_by_finality(chain: Chain) -> None:
    """Confirmed is the block before the open one, finalized as many blocks behind as ruled."""
    processed = chain.bank("processed").height
    assert chain.bank("confirmed").height == processed - 1
    assert chain.bank("finalized").height == processed - 1 - FINALITY


def test_a_bank_behind_is_the_bank_of_earlier(node: Node) -> None:
    """Seen three blocks behind, the chain is what it was three blocks ago."""
    before = [node.chain.bank(each) for each in ("confirmed", "finalized")]
    node.step(3)
    assert [node.chain.bank(each, 3) for each in ("confirmed", "finalized")] == before
    assert node.chain.bank("processed", 1) == node.chain.bank("confirmed")


def test_no_bank_lies_before_the_oldest_block_kept(chain: Chain) -> None:
    """However far behind a node is said to be, it answers from a block."""
    assert chain.bank("finalized", 10_000).height == chain.closed[0].height


def test_a_transaction_runs_on_arrival_and_pays(desk: Desk) -> None:
    """It is executed before its block is closed, and costs amount and fee."""
    before = desk.lamports(WALLET.pubkey())
    landed = desk.node.land(desk.payment(1_000_000))
    assert landed.err is None
    assert desk.lamports() == 1_000_000
    assert desk.lamports(WALLET.pubkey()) == before - 1_000_000 - 5_000


def test_a_signature_executes_once_however_late_it_comes_again(desk: Desk) -> None:
    """In its block, in the next, and after its blockhash has died."""
    payment = desk.payment()
    desk.node.land(payment)
    for steps in (0, 1, 40, HASH_LIFE_BLOCKS):
        desk.node.step(steps)
        assert desk.node.forward(payment) is None
    assert desk.lamports() == 1_000_000


def test_a_blockhash_dies_after_150_blocks(desk: Desk) -> None:
    """It still serves in the last block of its life, not in the one after."""
    first, second = desk.payment(1_000_001), desk.payment(1_000_002)
    desk.node.step(HASH_LIFE_BLOCKS)
    assert desk.node.forward(first) is not None
    desk.node.step(1)
    with pytest.raises(NotIncluded, match="BlockhashNotFound"):
        desk.node.land(second)


def test_nothing_lands_above_its_last_valid_block_height(desk: Desk) -> None:
    """Once the confirmed height is above it, the transaction is refused for ever."""
    confirmed = desk.node.chain.bank("confirmed")
    last_valid = confirmed.newest_hash_height + HASH_LIFE_BLOCKS
    payment = desk.payment()
    desk.node.step(last_valid - confirmed.height)
    assert desk.node.chain.bank("confirmed").height == last_valid
    desk.node.step(1)
    assert desk.node.forward(payment) is None


def test_the_bank_of_a_commitment_does_not_know_younger_hashes(node: Node) -> None:
    """A blockhash read at confirmed is unknown to the finalized bank, as on the real network."""
    chain = node.chain
    newest = chain.bank("confirmed").blockhash
    assert chain.accepts_hash(newest, chain.bank("confirmed"))
    assert not chain.accepts_hash(newest, chain.bank("finalized"))


def test_a_wrong_signature_never_runs(desk: Desk) -> None:
    """Signatures are checked even when the node was asked to check nothing."""
    good = desk.payment()
    other = desk.payment(2_000_000)
    forged = type(good)(
        raw=good.raw,
        parsed=type(good.parsed).populate(good.message, other.parsed.signatures),
        message=good.message,
        signature=other.signature,
        blockhash=good.blockhash,
    )
    with pytest.raises(NotIncluded, match="SignatureFailure"):
        desk.node.land(forged)


def test_who_cannot_pay_the_fee_is_dropped(desk: Desk) -> None:
    """Without a fee nothing is included and nothing remembered."""
    poor = Keypair()
    payment = desk.signed(pay(1, payer=poor), payer=poor)
    with pytest.raises(NotIncluded, match="AccountNotFound"):
        desk.node.land(payment)
    assert payment.signature not in desk.node.chain.landed


def test_a_failing_swap_lands_and_pays_its_fee_only(desk: Desk) -> None:
    """A swap that would give too little is included as failed: the fee is gone, nothing else."""
    before = desk.lamports(WALLET.pubkey())
    landed = desk.node.land(desk.swap(1_000_000, minimum_out=2**60))
    assert landed.err == {"InstructionError": [0, {"Custom": 6005}]}
    assert desk.lamports(WALLET.pubkey()) == before - 5_000


def test_a_fork_undoes_state_statuses_and_heights_but_not_slots(desk: Desk) -> None:
    """What the undone blocks did is gone; slots go on, heights go back, hashes are others."""
    node, chain = desk.node, desk.node.chain
    kept = node.land(desk.payment(3_000_000))
    node.step(1)
    undone_hash = chain.bank("confirmed").blockhash
    first = node.land(desk.payment(5_000_000))
    node.step(1)
    second = node.land(desk.payment(7_000_000))
    slot, height = chain.open.slot, chain.open.height
    vanished = node.fork(1)
    assert {each.signature for each in vanished} == {first.signature, second.signature}
    assert desk.lamports() == 3_000_000
    assert list(chain.landed) == [kept.signature]
    assert chain.open.slot > slot
    assert chain.open.height == height - 1
    assert chain.bank("confirmed").blockhash == undone_hash
    assert [each.signature for each in chain.history_of(STRANGER, 10**9)] == [kept.signature]


def test_an_undone_transaction_may_land_again(desk: Desk) -> None:
    """Sent again while its blockhash lives, it executes, once."""
    payment = desk.payment()
    desk.node.land(payment)
    desk.node.step(1)
    desk.node.fork(1)
    assert desk.lamports() == 0
    desk.node.land(payment)
    assert desk.node.forward(payment) is None
    assert desk.lamports() == 1_000_000


def test_a_fork_kills_the_blockhashes_of_its_blocks(desk: Desk) -> None:
    """A transaction built on an undone block can never land."""
    desk.node.step(1)
    payment = desk.payment()
    desk.node.fork(1)
    assert desk.node.forward(payment) is None


def test_a_fork_of_nothing_undoes_the_open_block(desk: Desk) -> None:
    """What was only processed vanishes."""
    desk.node.land(desk.payment())
    assert len(desk.node.fork(0)) == 1
    assert desk.lamports() == 0


@pytest.mark.parametrize("blocks", [-1, FINALITY + 1])
def test_what_is_final_cannot_be_undone(node: Node, blocks: int) -> None:
    """A fork reaches to the last final block and no further."""
    with pytest.raises(CannotUndo):
        node.fork(blocks)
    final = node.chain.bank("finalized")
    node.fork(FINALITY)
    assert node.chain.bank("finalized") == final
    with pytest.raises(CannotUndo):
        node.fork(1)


def test_a_fork_restores_token_accounts_and_their_index(desk: Desk) -> None:
    """Swapped amounts come back, and an account made by the undone block is gone."""
    node = desk.node

    def holdings() -> list[int]:
        machine = node.chain.machine
        accounts = [machine.read(each) for each in machine.holdings.of(WALLET.pubkey())]
        return [token_amount(each.data) for each in accounts if each]

    before = holdings()
    node.land(desk.swap(1_000_000))
    assert before != holdings()
    node.fork(0)
    assert before == holdings()


def test_state_is_read_at_the_commitment_asked_for(desk: Desk) -> None:
    """Processed shows a payment at once, confirmed a block later, finalized when it is final."""

    def seen() -> list[int]:
        accounts = [
            desk.node.chain.read(STRANGER, each) for each in ("processed", "confirmed", "finalized")
        ]
        return [each.lamports if each else 0 for each in accounts]

    desk.node.land(desk.payment())
    assert seen() == [1_000_000, 0, 0]
    desk.node.step(1)
    assert seen() == [1_000_000, 1_000_000, 0]
    desk.node.step(FINALITY)
    assert seen() == [1_000_000, 1_000_000, 1_000_000]


def test_skipped_slots_pass_without_a_block(node: Node) -> None:
    """Slots go on, the height stands; then blocks go on."""
    node.skip(3)
    slot, height = node.chain.open.slot, node.chain.open.height
    node.step(3)
    assert (node.chain.open.slot, node.chain.open.height) == (slot + 3, height)
    node.step(1)
    assert node.chain.open.height == height + 1


def test_what_has_landed_keeps_its_slot_when_slots_are_skipped(desk: Desk) -> None:
    """A block with transactions in it waits; the slots after it are the skipped ones."""
    landed = desk.node.land(desk.payment())
    desk.node.skip(2)
    desk.node.step(2)
    assert desk.node.chain.open.slot == landed.slot
    desk.node.step(1)
    assert desk.node.chain.open.slot >= landed.slot + 3


def test_programs_see_the_clock_of_the_open_block(node: Node) -> None:
    """A step moves the time by one slot's length."""
    node.step(5)
    assert node.chain.open.unix_time == UNIX_TIME + 2


def test_old_blocks_are_forgotten_and_old_transactions_are_not(desk: Desk) -> None:
    """The chain's memory of blocks is bounded; its history is whole."""
    landed = desk.node.land(desk.payment())
    desk.node.step(BLOCKS_KEPT + 1)
    assert len(desk.node.chain.closed) == BLOCKS_KEPT
    assert desk.node.chain.landed[landed.signature].outcome is None
    assert desk.node.history.details(landed).meta["fee"] == 5_000
    assert desk.node.chain.hash_height(landed.signature) is None
