"""Bundles on the chain: all of it or nothing, also after a kill, a fork and from a snapshot."""

from dataclasses import replace
from pathlib import Path

import pytest
from solders.keypair import Keypair

from app.sandbox.blocks import NotIncluded
from app.sandbox.layouts import BONK_MINT
from app.sandbox.ledger import LEDGER_FILE, Ledger, LedgerError
from app.sandbox.node import Node, genesis_hash
from app.sandbox.snapshot import SNAPSHOT_FILE
from app.sandbox.tips import TIP_PROGRAM, derive_tip_accounts
from app.sandbox.transactions import SignedTransaction, bundle_id_of
from tests.sandbox.kit import TIP_ACCOUNT, WALLET, Desk, make_node, pay
from tests.sandbox.test_ledger import picture
from tests.sandbox.test_snapshot import history


def failing(desk: Desk) -> SignedTransaction:
    """Sign a swap that the market refuses."""
    return desk.swap(1_000_000, minimum_out=2**60)


def state(node: Node) -> object:
    """Take down a chain with its bundles."""
    bundles = {name: [each.signature for each in of] for name, of in node.chain.bundles.items()}
    return picture(node), history(node), bundles


def test_a_bundle_lands_in_order_in_one_block(tmp_path: Path) -> None:
    """The second transaction spends what the first one brought."""
    node, poor = make_node(tmp_path), Keypair()
    desk = Desk(node)
    first = desk.signed(pay(10_000_000, poor.pubkey()))
    second = desk.signed(pay(2_000_000, payer=poor), payer=poor)
    landed = node.land_bundle([first, second])
    assert [(each.slot, each.index, each.err) for each in landed] == [
        (node.chain.open.slot, 0, None),
        (node.chain.open.slot, 1, None),
    ]
    assert desk.lamports() == 2_000_000
    name = bundle_id_of([first.signature, second.signature])
    assert node.chain.bundles[name] == landed
    node.close()


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_failing_transaction_drops_the_whole_bundle(tmp_path: Path, place: int) -> None:
    """No fee is paid and nothing is recorded, wherever in the bundle it fails."""
    node = make_node(tmp_path)
    desk = Desk(node)
    node.land(desk.payment(999))
    ledger_size = (tmp_path / LEDGER_FILE).stat().st_size
    before = state(node), node.chain.open.lowest_prices.copy()
    bundle = [desk.payment(1_000_000, price=7), desk.swap(500_000)]
    bundle.insert(place, failing(desk))
    with pytest.raises(NotIncluded):
        node.land_bundle(bundle)
    assert (state(node), node.chain.open.lowest_prices) == before
    assert (tmp_path / LEDGER_FILE).stat().st_size == ledger_size
    node.close()


def test_the_rest_of_a_dropped_bundle_may_land_later(tmp_path: Path) -> None:
    """By itself, as an ordinary transaction, and then no more in any bundle."""
    node = make_node(tmp_path)
    desk = Desk(node)
    good, bad = desk.payment(1_000_000), failing(desk)
    with pytest.raises(NotIncluded):
        node.land_bundle([good, bad])
    landed = node.land(good)
    assert landed.bundle_id is None
    with pytest.raises(NotIncluded, match="AlreadyProcessed"):
        node.land_bundle([good, desk.payment(5)])
    assert desk.lamports() == 1_000_000
    node.close()


def test_what_a_leader_would_drop_drops_the_bundle(tmp_path: Path) -> None:
    """A payer without money, and one transaction twice."""
    node = make_node(tmp_path)
    desk, poor = Desk(node), Keypair()
    good = desk.payment(1_000_000)
    with pytest.raises(NotIncluded):
        node.land_bundle([good, desk.signed(pay(1, payer=poor), payer=poor)])
    with pytest.raises(NotIncluded, match="AlreadyProcessed"):
        node.land_bundle([good, good])
    assert desk.lamports() == 0
    node.close()


def bundled_life(node: Node) -> None:
    """Let bundles land, fail, be undone and land again, among ordinary transactions."""
    desk = Desk(node)
    for step in range(50):
        first, second = desk.payment(1_000_000 + step), desk.swap(10_000 + step)
        node.land_bundle([first, second])
        with pytest.raises(NotIncluded):
            node.land_bundle([desk.payment(2_000_000 + step), failing(desk)])
        node.land(desk.payment(3_000_000 + step))
        if step == 20:
            node.fork(2)
        if step == 30:
            node.unbundle(1)
        node.step(1)
    node.land_bundle([desk.payment(7), desk.payment(8)])


def test_a_killed_sandbox_finds_its_bundles(tmp_path: Path) -> None:
    """Another process reads the same chain, bundles included, from ledger and from snapshot."""
    first = make_node(tmp_path)
    bundled_life(first)
    assert len(first.chain.bundles) > 40
    second = make_node(tmp_path)
    before = state(second)
    assert before == state(first)
    second.close()
    first.close()
    third = make_node(tmp_path)
    assert state(third) == before
    third.close()
    (tmp_path / SNAPSHOT_FILE).unlink()
    fourth = make_node(tmp_path)
    assert state(fourth) == before
    fourth.close()


def test_a_fork_takes_bundles_back_and_lets_them_land_again(tmp_path: Path) -> None:
    """Neither is it known any more, nor executed twice."""
    node = make_node(tmp_path)
    desk = Desk(node)
    bundle = [desk.payment(1_000_000), desk.payment(2_000_000)]
    node.land_bundle(bundle)
    node.step(1)
    node.fork(1)
    assert node.chain.bundles == {}
    assert desk.lamports() == 0
    node.land_bundle(bundle)
    assert desk.lamports() == 3_000_000
    node.close()


def test_a_bundle_that_cannot_be_replayed_is_refused(tmp_path: Path) -> None:
    """As any other entry that comes out otherwise than it was written."""
    node = make_node(tmp_path)
    node.land_bundle([Desk(node).payment()])
    node.close()
    ledger = Ledger(tmp_path)
    *_, last = ledger.read()
    ledger.append(last)
    ledger.close()
    with pytest.raises(LedgerError, match="LEDGER_DIVERGED: a bundle is refused now"):
        make_node(tmp_path)


def test_an_entry_of_a_later_version_is_refused(tmp_path: Path) -> None:
    """By name, with what to do."""
    make_node(tmp_path).close()
    ledger = Ledger(tmp_path)
    list(ledger.read())
    ledger.append({"type": "frog"})
    ledger.close()
    with pytest.raises(LedgerError, match="LEDGER_NEWER"):
        make_node(tmp_path)


def test_the_tip_accounts_are_there_from_the_first_block(tmp_path: Path) -> None:
    """So a tip below an account's rent lands; a chain that was begun without them has them too."""
    node = make_node(tmp_path)
    for address in derive_tip_accounts():
        account = node.chain.machine.read(address)
        assert account is not None
        assert account.owner == TIP_PROGRAM
    desk = Desk(node)
    before = desk.lamports(TIP_ACCOUNT)
    assert node.land(desk.signed(pay(1_000, TIP_ACCOUNT))).err is None
    assert desk.lamports(TIP_ACCOUNT) == before + 1_000
    others = tuple(each for each in node.genesis.accounts if each.owner != TIP_PROGRAM)
    named = genesis_hash(replace(node.genesis, accounts=others), node.chain.rules)
    assert node.chain.genesis_hash == named
    node.close()


# ---------------------------------------------------------------------------- skipped blocks


def test_a_skipped_block_makes_ordinary_transactions_of_its_bundles(tmp_path: Path) -> None:
    """All its blocks' transactions vanish; those of bundles come again, each by itself."""
    node = make_node(tmp_path)
    desk = Desk(node)
    plain = desk.payment(500)
    bundle = [desk.payment(1_000_000), desk.payment(2_000_000)]
    node.land(plain)
    node.land_bundle(bundle)
    node.step(1)
    vanished, again = node.unbundle(1)
    names = [each.signature for each in bundle]
    assert sorted(each.signature for each in vanished) == sorted([plain.signature, *names])
    assert [each.signature for each in again] == names
    assert [each.bundle_id for each in again] == [None, None]
    assert node.chain.bundles == {}
    assert desk.lamports() == 3_000_000
    node.close()


def test_a_bundle_from_a_skipped_block_is_no_longer_atomic(tmp_path: Path) -> None:
    """One of its transactions lands and the other fails, which a bundle never does."""
    node = make_node(tmp_path)
    desk, poor = Desk(node), Keypair()
    node.land(desk.signed(pay(3_000_000, poor.pubkey())))  # no part of the bundle: it vanishes
    trade, follow = desk.payment(1_000_000), desk.signed(pay(1_000_000, payer=poor), payer=poor)
    node.land_bundle([trade, follow])
    node.step(1)
    _, again = node.unbundle(1)
    assert [each.signature for each in again] == [trade.signature]
    assert follow.signature not in node.chain.landed
    assert desk.lamports() == 1_000_000
    node.close()


def test_a_transaction_from_a_skipped_block_may_fail_and_pay(tmp_path: Path) -> None:
    """Bundles that fail cost nothing; what comes out of them pays its fee like any other."""
    node = make_node(tmp_path)
    desk = Desk(node)
    node.land(desk.sale(10**14))  # made the purchase cheap, and vanishes
    trade = desk.swap(1_000_000, minimum_out=bought(node, desk.swap(1_000_000)))
    node.land_bundle([trade])
    purse = desk.lamports(WALLET.pubkey())
    node.step(1)
    _, (again,) = node.unbundle(1)
    assert again.signature == trade.signature
    assert again.err == {"InstructionError": [0, {"Custom": 6005}]}
    assert desk.lamports(WALLET.pubkey()) == purse + 5_000  # the sale's fee came back, not its own
    node.close()


def bought(node: Node, swap: SignedTransaction) -> int:
    """Say how much BONK a swap would bring now, in base units."""
    with node.chain.rehearsal() as run:
        done = run(swap)
    before = {each.index: each.holding for each in done.pre_tokens}
    after = {each.index: each.holding for each in done.post_tokens}
    gains = [
        after[index].amount - held.amount
        for index, held in before.items()
        if held.mint == BONK_MINT and held.owner == WALLET.pubkey()
    ]
    return gains[0]


def test_unbundling_survives_a_restart(tmp_path: Path) -> None:
    """It is a fork and sends, and both are in the ledger."""
    node = make_node(tmp_path)
    desk = Desk(node)
    node.land_bundle([desk.payment(1_000_000), desk.payment(2_000_000)])
    node.step(1)
    node.unbundle(1)
    again = make_node(tmp_path)
    assert state(again) == state(node)
    again.close()
    node.close()


def test_addresses_are_those_that_the_network_has() -> None:
    """The derived tip accounts are mainnet's, letter by letter."""
    assert [str(each) for each in derive_tip_accounts()] == TIP_ACCOUNTS


TIP_ACCOUNTS = [
    "96gYZGLnJYVFmbjzopPSU6QiEV5fGqZNyN9nmNhvrZU5",
    "HFqU5x63VTqvQss8hp11i4wVV8bD44PvwucfZ2bU7gRe",
    "Cw8CFyM9FkoMi7K7Crf6HNQqf4uEMzpKw6QNghXLvLkY",
    "ADaUMid9yfUytqMBgopwjb2DTLSokTSzL1zt6iGPaS49",
    "DfXygSm4jCyNCybVYYK6DwvWqjKee8pbDmJGcLWNDXjh",
    "ADuUkR4vqLUMWXxW9gh6D6L8pMSawimctcNZ5pGwDcEt",
    "DttWaMuVvTiduZRnguLF7jNxTgiMBZ1hyAumKUiL2KRL",
    "3AVi9Tg9Uo68tJfuvoKvqKNWKkC5wPdSSdeBnizKZ6jT",
]
