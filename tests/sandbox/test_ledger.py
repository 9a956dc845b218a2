"""The ledger: what was answered survives, what is replayed is the same, damage is refused."""

import errno
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from zlib import crc32

import pytest
from solders.keypair import Keypair

from app.sandbox.chain import ChainRules
from app.sandbox.ledger import LEDGER_FILE, Ledger, LedgerBroken, LedgerError, LedgerLock
from app.sandbox.node import PROGRAM_FILE, Node, NodeOptions
from tests.sandbox.kit import STRANGER, UNIX_TIME, WALLET, Desk, make_node

ACCOUNTS_SEEN = [STRANGER, WALLET.pubkey()]


def picture(node: Node) -> object:
    """Take down what a client could ask of a chain."""
    chain = node.chain
    banks = [chain.bank(each) for each in ("processed", "confirmed", "finalized")]
    owned = chain.machine.holdings.of(WALLET.pubkey())
    accounts = [chain.machine.read(each) for each in [*ACCOUNTS_SEEN, *owned]]
    landed = [
        (each.signature, each.slot, each.height, each.index, each.unix_time, each.err, each.memo)
        for each in chain.landed.values()
    ]
    return chain.genesis_hash, banks, accounts, landed, node.unix_ms


def live(node: Node) -> None:
    """Let a little of everything happen."""
    desk = Desk(node)
    for step in range(60):
        node.land(desk.payment(1_000_000 + step))
        if step % 3 == 0:
            node.land(desk.swap(1_000_000, minimum_out=2**60 if step % 2 else 0))
        if step == 20:
            node.fork(2)
        if step == 30:
            node.skip(2)
        if step == 40:
            node.airdrop(STRANGER, 5_000)
            node.airdrop(STRANGER, 5_000)
        node.step(1)
    node.land(desk.payment(999_999))


def test_a_replay_makes_the_same_chain(tmp_path: Path) -> None:
    """Heights, hashes, balances, statuses and times come back exactly, the open block too."""
    first = make_node(tmp_path)
    live(first)
    before = picture(first)
    first.close()
    second = make_node(tmp_path)
    assert picture(second) == before
    second.close()


def test_a_killed_process_loses_nothing(tmp_path: Path) -> None:
    """Without any closing or flushing, another process reads everything."""
    first = make_node(tmp_path)
    live(first)
    second = make_node(tmp_path)
    assert picture(second) == picture(first)
    first.close()
    second.close()


def test_after_a_restart_nothing_runs_twice_and_old_hashes_live(tmp_path: Path) -> None:
    """A signature from before is known, and what was signed before still lands."""
    first = make_node(tmp_path)
    desk = Desk(first)
    sent, unsent = desk.payment(1_000_000), desk.payment(2_000_000)
    first.land(sent)
    first.close()
    second = make_node(tmp_path)
    assert second.forward(sent) is None
    assert second.forward(unsent) is not None
    assert Desk(second).lamports() == 3_000_000
    second.close()


def test_details_of_old_transactions_survive_a_restart(tmp_path: Path) -> None:
    """What getTransaction shows is the same before and after."""
    first = make_node(tmp_path)
    landed = first.land(Desk(first).swap(1_000_000))
    early = first.history.details(landed).meta
    first.step(40)
    late = first.history.details(landed).meta
    first.close()
    second = make_node(tmp_path)
    again = second.history.details(second.chain.landed[landed.signature]).meta
    assert early == late == again
    second.close()


def test_details_longer_than_a_read_come_back_whole(tmp_path: Path) -> None:
    """A transaction with many logs is read in several pieces."""
    node = make_node(tmp_path)
    desk = Desk(node)
    landed = node.land(desk.signed(*[desk.swap_instruction(1_000 + each) for each in range(8)]))
    early = node.history.details(landed).meta
    node.step(40)
    assert node.history.details(landed).meta == early
    assert len(str(early)) > 8_192
    node.close()


def test_time_never_goes_back(tmp_path: Path) -> None:
    """A clock set back does not take the chain back."""
    node = make_node(tmp_path)
    node.tick(node.unix_ms + 5_000)
    late = node.unix_ms
    node.tick(late - 60_000)
    assert node.unix_ms == late
    node.close()


def test_a_torn_last_line_is_cut_off(tmp_path: Path) -> None:
    """A write that a power cut broke off never happened."""
    first = make_node(tmp_path)
    Desk(first).node.step(3)
    before = picture(first)
    first.step(1)
    first.close()
    path = tmp_path / LEDGER_FILE
    path.write_bytes(path.read_bytes()[:-5])
    for _ in range(2):  # the second start finds no trace of it
        again = make_node(tmp_path)
        assert picture(again) == before
        again.close()


@pytest.mark.parametrize("line", [0, 1, 5, 90])
def test_damage_inside_is_refused_by_name(tmp_path: Path, line: int) -> None:
    """A flipped byte anywhere but at the end is said, with what to do."""
    node = make_node(tmp_path)
    node.step(100)
    node.close()
    path = tmp_path / LEDGER_FILE
    lines = path.read_bytes().splitlines(keepends=True)
    before = sum(map(len, lines[:line]))
    lines[line] = lines[line].replace(b'"type"', b'"tyre"')
    path.write_bytes(b"".join(lines))
    with pytest.raises(LedgerError, match=rf"^LEDGER_CORRUPT: .* at byte {before}; "):
        make_node(tmp_path)


def test_a_line_that_is_no_object_is_damage(tmp_path: Path) -> None:
    """Even with a sound checksum."""
    node = make_node(tmp_path)
    node.close()
    with (tmp_path / LEDGER_FILE).open("ab") as file:
        file.write(b"%08x []\n" % crc32(b"[]") * 2)
    with pytest.raises(LedgerError, match="LEDGER_CORRUPT"):
        make_node(tmp_path)


@pytest.mark.parametrize(
    "entry",
    [
        {"type": "close", "t": UNIX_TIME * 1_000 + 400, "hash": "1" * 8},
        {"type": "tx", "raw": ""},
    ],
)
def test_a_replay_that_differs_is_refused(tmp_path: Path, entry: dict[str, object]) -> None:
    """A ledger that another version would execute otherwise is not silently bent."""
    node = make_node(tmp_path)
    payment = Desk(node).payment()
    node.land(payment)
    node.close()
    ledger = Ledger(tmp_path)
    list(ledger.read())
    if entry["type"] == "tx":
        ledger.append(_last_entry(tmp_path))
    else:
        ledger.append(entry)
    ledger.close()
    with pytest.raises(LedgerError, match="LEDGER_DIVERGED"):
        make_node(tmp_path)


def _last_entry(folder: Path) -> dict[str, object]:
    ledger = Ledger(folder)
    entries = list(ledger.read())
    ledger.close()
    return entries[-1]


def test_the_genesis_hash_is_stable_and_names_the_chain(tmp_path: Path) -> None:
    """Equal beginnings have one name; another seed, time or wallet has another."""
    made = [
        NodeOptions(WALLET, UNIX_TIME),
        NodeOptions(WALLET, UNIX_TIME),
        NodeOptions(WALLET, UNIX_TIME, ChainRules(seed=8)),
        NodeOptions(WALLET, UNIX_TIME + 1),
        NodeOptions(Keypair(), UNIX_TIME),
    ]
    names = []
    for index, options in enumerate(made):
        folder = tmp_path / str(index)
        folder.mkdir()
        node = Node(folder, options)
        names.append(node.chain.genesis_hash)
        node.close()
    assert names[0] == names[1]
    assert len(set(names)) == 4


def test_rules_and_time_of_an_old_chain_are_its_own(tmp_path: Path) -> None:
    """A start with another seed or a later time goes on with what the chain was made with."""
    first = make_node(tmp_path)
    name = first.chain.genesis_hash
    first.close()
    later = NodeOptions(WALLET, UNIX_TIME + 99, ChainRules(seed=8))
    second = Node(tmp_path, later)
    assert second.chain.genesis_hash == name
    assert second.options.rules == ChainRules()
    second.close()


def test_another_wallet_is_refused(tmp_path: Path) -> None:
    """The funded wallet is part of the chain."""
    make_node(tmp_path).close()
    with pytest.raises(LedgerError, match="LEDGER_OTHER_WALLET"):
        Node(tmp_path, NodeOptions(Keypair(), UNIX_TIME))


def test_another_market_program_is_refused(tmp_path: Path) -> None:
    """A chain keeps the program it was begun with, and says so when another is asked for."""
    make_node(tmp_path).close()
    program = (tmp_path / PROGRAM_FILE).read_bytes()
    make_node(tmp_path, program=program).close()
    with pytest.raises(LedgerError, match="LEDGER_OTHER_PROGRAM"):
        make_node(tmp_path, program=program + b"\0")


def test_a_missing_market_program_is_refused(tmp_path: Path) -> None:
    """Without the program the ledger was written with nothing can be replayed."""
    make_node(tmp_path).close()
    (tmp_path / PROGRAM_FILE).unlink()
    with pytest.raises(LedgerError, match="LEDGER_OTHER_PROGRAM"):
        make_node(tmp_path)


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("format", 99, "LEDGER_NEWER"),
        ("genesis_hash", "1" * 32, "LEDGER_OTHER_VERSION"),
    ],
)
def test_a_ledger_of_another_version_is_refused(
    tmp_path: Path, field: str, value: object, code: str
) -> None:
    """What this version cannot read faithfully it does not read."""
    make_node(tmp_path).close()
    first = {**_last_entry(tmp_path), field: value}
    (tmp_path / LEDGER_FILE).unlink()
    ledger = Ledger(tmp_path)
    ledger.append(first)
    ledger.close()
    with pytest.raises(LedgerError, match=code):
        make_node(tmp_path)


def test_two_holders_of_one_ledger_are_refused(tmp_path: Path) -> None:
    """The lock is free again as soon as its holder is gone."""
    with (
        LedgerLock(tmp_path),
        pytest.raises(LedgerError, match="LEDGER_LOCKED"),
        LedgerLock(tmp_path),
    ):
        raise AssertionError("two processes write one ledger")
    with LedgerLock(tmp_path):
        pass


def test_a_flush_is_wanted_after_writing_only(tmp_path: Path) -> None:
    """Nothing written, nothing to flush."""
    node = make_node(tmp_path)
    node.sync()
    assert not node.needs_sync()
    node.step(1)
    assert node.needs_sync()
    node.close()


def no_space(_fd: int, _line: bytes) -> int:
    """Fail as a full disk does."""
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("write", [lambda _fd, _line: 3, no_space])
def test_a_write_that_fails_is_no_answer(
    tmp_path: Path, write: Callable[[int, bytes], int]
) -> None:
    """When the operating system does not take a whole line, nothing is claimed to be kept."""
    ledger = Ledger(tmp_path)
    with pytest.raises(LedgerBroken, match="LEDGER_UNWRITABLE"):
        ledger.append({"type": "tx"}, write)
    ledger.close()


def test_the_keeper_goes_on_after_a_restart(tmp_path: Path) -> None:
    """A moving market moves on along its path, and its moves are on the ledger."""
    first = make_node(tmp_path, keeper_volatility_bps=50)
    first.step(3)
    moves = first.chain.transaction_count
    assert moves > 0
    before = picture(first)
    first.close()
    second = make_node(tmp_path, keeper_volatility_bps=50)
    assert picture(second) == before
    second.step(3)
    assert second.chain.transaction_count > moves
    second.close()


def test_options_are_not_bent_by_an_old_ledger(tmp_path: Path) -> None:
    """What is no part of the chain's rules is taken as given."""
    make_node(tmp_path).close()
    node = Node(tmp_path, replace(NodeOptions(WALLET, UNIX_TIME), slot_ms=50))
    assert node.options.slot_ms == 50
    node.close()
