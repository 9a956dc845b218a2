"""Snapshots: a start from one gives the same chain, and a bad one is passed over."""

from collections.abc import Callable
from pathlib import Path

import pytest
from solders.account import Account
from solders.pubkey import Pubkey

from app.sandbox.history import HISTORY_FILE
from app.sandbox.ledger import LedgerBroken, decode_line, encode_line
from app.sandbox.node import Node
from app.sandbox.snapshot import SNAPSHOT_FILE, read_snapshot, write_snapshot
from tests.sandbox.kit import STRANGER, WALLET, Desk, make_node, pay
from tests.sandbox.test_ledger import live, picture


def history(node: Node) -> object:
    """Take down what is indexed and shown of every transaction."""
    chain = node.chain
    by_wallet = [each.signature for each in chain.history_of(WALLET.pubkey(), 10**9)]
    by_stranger = [each.signature for each in chain.history_of(STRANGER, 10**9)]
    details = [node.history.details(each).meta for each in chain.landed.values()]
    return by_wallet, by_stranger, details, chain.recent_blocks(150)[-1].lowest_prices


def long_life(folder: Path) -> Node:
    """Make a chain with much behind its last final block, and forks before and after it."""
    node = make_node(folder)
    live(node)
    live(node)
    node.fork(3)
    Desk(node).node.land(Desk(node).payment(123))
    return node


def test_a_start_from_a_snapshot_gives_the_same_chain(tmp_path: Path) -> None:
    """State, hashes, statuses, history and times are those of a replay from the first block."""
    first = long_life(tmp_path)
    before = picture(first), history(first)
    first.close()
    quick = make_node(tmp_path)
    assert (picture(quick), history(quick)) == before
    quick.close()
    (tmp_path / SNAPSHOT_FILE).unlink()
    slow = make_node(tmp_path)
    assert (picture(slow), history(slow)) == before
    slow.close()


def test_a_snapshot_saves_the_replay(tmp_path: Path) -> None:
    """What is final is not executed again: only the rest of the ledger is read."""
    long_life(tmp_path).close()
    node = make_node(tmp_path)
    snapshot = read_snapshot(tmp_path, node.chain.genesis_hash)
    assert snapshot is not None
    ledger_size = (tmp_path / "ledger.jsonl").stat().st_size
    assert snapshot.position.size > ledger_size // 2
    assert snapshot.history_size > 0
    node.close()


def test_life_goes_on_after_a_snapshot(tmp_path: Path) -> None:
    """From snapshot to snapshot, through forks, nothing is lost and nothing runs twice."""
    node = long_life(tmp_path)
    payments = [each.signature for each in node.chain.landed.values()]
    for _ in range(3):
        before = picture(node), history(node)
        node.close()
        node = make_node(tmp_path)
        assert (picture(node), history(node)) == before
        live(node)
    assert set(payments) <= set(node.chain.landed)
    node.close()


def test_snapshots_are_taken_while_it_runs(tmp_path: Path) -> None:
    """After so many entries, with the next flush; a killed process starts from there."""
    node = make_node(tmp_path, snapshot_entries=50)
    live(node)
    assert not (tmp_path / SNAPSHOT_FILE).exists()
    node.sync()
    assert (tmp_path / SNAPSHOT_FILE).exists()
    again = make_node(tmp_path)
    assert (picture(again), history(again)) == (picture(node), history(node))
    node.close()
    again.close()


def cut_short(path: Path) -> None:
    """Lose the end of a file."""
    path.write_bytes(path.read_bytes()[:-40])


def flip(path: Path) -> None:
    """Change a byte near the start of a file."""
    data = bytearray(path.read_bytes())
    data[12] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("name", [SNAPSHOT_FILE, HISTORY_FILE])
@pytest.mark.parametrize("damage", [cut_short, flip, Path.unlink])
def test_a_damaged_snapshot_is_passed_over(
    tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    """The ledger alone is the truth, and enough."""
    node = long_life(tmp_path)
    before = picture(node), history(node)
    node.close()
    damage(tmp_path / name)
    again = make_node(tmp_path)
    assert (picture(again), history(again)) == before
    again.close()


@pytest.mark.parametrize(("field", "value"), [("format", 99), ("genesis_hash", "1" * 32)])
def test_a_snapshot_of_another_chain_is_passed_over(
    tmp_path: Path, field: str, value: object
) -> None:
    """Or of another version."""
    node = long_life(tmp_path)
    before = picture(node)
    node.close()
    path = tmp_path / SNAPSHOT_FILE
    document = decode_line(path.read_bytes())
    assert document is not None
    path.write_bytes(encode_line({**document, field: value}))
    again = make_node(tmp_path)
    assert picture(again) == before
    again.close()


def test_a_snapshot_of_a_longer_ledger_is_passed_over(tmp_path: Path) -> None:
    """A ledger restored from an older copy is believed, not the snapshot beside it."""
    node = make_node(tmp_path)
    node.step(3)
    before = picture(node)
    node.sync()
    copy = (tmp_path / "ledger.jsonl").read_bytes()
    live(node)
    node.close()
    (tmp_path / "ledger.jsonl").write_bytes(copy)
    again = make_node(tmp_path)
    assert picture(again) == before
    again.close()


def test_an_account_of_the_first_block_that_is_gone_stays_gone(tmp_path: Path) -> None:
    """An emptied wallet does not come back with a snapshot; passing accounts leave no trace."""
    node = make_node(tmp_path)
    desk = Desk(node)
    everything = desk.lamports(WALLET.pubkey()) - 5_000
    node.land(desk.signed(pay(everything)))
    assert desk.lamports(WALLET.pubkey()) == 0
    node.step(80)
    passing = Pubkey.new_unique()
    node.chain.machine.write(passing, Account(1, b"", Pubkey.default()))
    node.chain.machine.write(passing, None)
    node.close()
    assert passing not in node.chain.machine.written
    assert WALLET.pubkey() in node.chain.machine.written
    again = make_node(tmp_path)
    assert Desk(again).lamports(WALLET.pubkey()) == 0
    assert Desk(again).lamports() == everything
    again.close()


def test_a_chain_with_a_new_program_is_replayed_whole(tmp_path: Path) -> None:
    """A program cannot be written back, so no snapshot is taken of one."""
    node = make_node(tmp_path)
    node.step(80)
    program = node.chain.machine.read(next(iter(node.genesis.programs)))
    assert program is not None
    assert program.executable
    node.chain.machine.written.add(next(iter(node.genesis.programs)))
    node.close()
    assert not (tmp_path / SNAPSHOT_FILE).exists()


def test_a_disk_that_takes_no_snapshot_ends_the_sandbox(tmp_path: Path) -> None:
    """A flush that fails is said under the same name as a write that fails."""
    node = make_node(tmp_path, snapshot_entries=50)
    node.step(100)
    (tmp_path / SNAPSHOT_FILE).with_suffix(".partial").mkdir()
    with pytest.raises(LedgerBroken, match="LEDGER_UNWRITABLE"):
        node.sync()
    node.sync()
    assert not (tmp_path / SNAPSHOT_FILE).exists()
    node.history.close()


def test_a_snapshot_replaces_the_one_before_in_one_step(tmp_path: Path) -> None:
    """Whoever reads finds the old one or the new one."""
    for line in (b"old", b"new"):
        write_snapshot(tmp_path, line)
        assert (tmp_path / SNAPSHOT_FILE).read_bytes() == line
    assert [each.name for each in tmp_path.iterdir()] == [SNAPSHOT_FILE]
    assert read_snapshot(tmp_path, "1" * 32) is None
