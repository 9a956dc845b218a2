"""The market program equals its formula on made-up pools, up to the edges of 64 bits."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sandbox import formula
from tests.sandbox.bench import U64_MAX, Bench, Terms
from tests.sandbox.formula import Fill, Rates

EDGES = (0, 1, 2, 3, 10**6 - 1, 10**6, 2**32 - 1, 2**32, 2**63, U64_MAX - 1, U64_MAX)
FULL = 1_000_000
amounts = st.one_of(
    st.sampled_from(EDGES),
    st.integers(0, U64_MAX),
    st.integers(0, 64).flatmap(lambda bits: st.integers(0, 2**bits - 1)),
)
usual = st.integers(10**6, 10**16)
rates = st.one_of(st.sampled_from([0, 1, 2_500, 10_000, 500_000, FULL - 1]), st.integers(0, 30_000))
few = st.one_of(st.just(0), st.integers(0, 40).map(lambda bits: 2**bits - 1))
fees = st.tuples(few, few)


@st.composite
def pools(draw: st.DrawFn, reserve: st.SearchStrategy[int]) -> Terms:
    """Make up a pool whose vaults hold its reserves and what it owes."""
    kinds = [draw(fees) for _ in range(3)]
    held = [min(draw(reserve) + sum(kind[i] for kind in kinds), U64_MAX) for i in (0, 1)]
    return Terms(
        vaults=(held[0], held[1]),
        trade=draw(rates),
        protocol=draw(st.integers(0, FULL // 2)),
        fund=draw(st.integers(0, FULL // 2)),
        creator=draw(rates),
        protocol_fees=kinds[0],
        fund_fees=kinds[1],
        creator_fees=kinds[2],
        creator_fee_on=draw(st.integers(0, 2)),
        enable_creator_fee=draw(st.booleans()),
    )


def owed(terms: Terms) -> list[list[int]]:
    """List protocol, fund and creator fees, each by side."""
    return [list(terms.protocol_fees), list(terms.fund_fees), list(terms.creator_fees)]


def rates_of(terms: Terms, side: int) -> Rates:
    """Say what a pool charges when `side` is paid in."""
    creator = terms.creator if terms.enable_creator_fee else 0
    return Rates(
        terms.trade, terms.protocol, terms.fund, creator, terms.creator_fee_on in (0, side + 1)
    )


def expected(terms: Terms, side: int, amount: int, limit: int, by_input: bool) -> Fill | int:
    """Give the fill or the error code that a swap must have."""
    free = [terms.vaults[i] - sum(kind[i] for kind in owed(terms)) for i in (0, 1)]
    if min(free) <= 0:
        return formula.INSUFFICIENT_VAULT
    price = formula.exact_in if by_input else formula.exact_out
    fill = price(free[side], free[1 - side], amount, rates_of(terms, side))
    if isinstance(fill, int):
        return fill
    if fill.amount_out < limit if by_input else fill.amount_in > limit:
        return formula.SLIPPAGE
    all_there_is = U64_MAX - terms.vaults[side]
    return fill if fill.amount_in <= all_there_is else formula.INSUFFICIENT_FUNDS


def compare(bench: Bench, terms: Terms, side: int, amount: int, limit: int, by_input: bool) -> None:
    """Run a swap by somebody who holds all there is, and hold it against the formula."""
    wanted = expected(terms, side, amount, limit, by_input)
    address, pool = bench.put_pool(terms)
    holds = U64_MAX - terms.vaults[side]
    swap = bench.swap(address, pool, side, holds)
    make = swap.exact_in if by_input else swap.exact_out
    outcome = bench.send(make(*((amount, limit) if by_input else (limit, amount))))
    if isinstance(wanted, int):
        assert outcome.error == wanted
        return
    assert outcome.error is None
    assert bench.amount(swap.source) == holds - wanted.amount_in
    assert bench.amount(swap.destination) == wanted.amount_out
    assert bench.amount(pool.vaults[side]) == terms.vaults[side] + wanted.amount_in
    assert bench.amount(pool.vaults[1 - side]) == terms.vaults[1 - side] - wanted.amount_out
    fees_then = owed(terms)
    fees_then[0][side] += wanted.protocol_fee
    fees_then[1][side] += wanted.fund_fee
    fees_then[2][side if rates_of(terms, side).creator_on_input else 1 - side] += wanted.creator_fee
    after = bench.pool(address)
    assert [
        list(f) for f in (after.protocol_fees, after.fund_fees, after.creator_fees)
    ] == fees_then


@given(
    terms=pools(usual),
    side=st.integers(0, 1),
    amount=st.integers(0, 10**15),
    slack=st.integers(-1, 1),
    by_input=st.booleans(),
)
@settings(max_examples=400)
def test_usual_swaps_equal_the_formula(
    bench: Bench, terms: Terms, side: int, amount: int, slack: int, by_input: bool
) -> None:
    """Any usual pool and amount, with the limit on the quote or a unit beside it."""
    free = expected(terms, side, amount, 0 if by_input else U64_MAX, by_input)
    quote = (free.amount_out if by_input else free.amount_in) if isinstance(free, Fill) else 0
    compare(bench, terms, side, amount, max(quote + slack, 0), by_input)


@given(
    terms=pools(amounts),
    side=st.integers(0, 1),
    amount=amounts,
    limit=st.one_of(st.none(), amounts),
    by_input=st.booleans(),
)
@settings(max_examples=400)
def test_swaps_at_the_edges_of_64_bits_equal_the_formula(
    bench: Bench, terms: Terms, side: int, amount: int, limit: int | None, by_input: bool
) -> None:
    """Whatever the numbers, the outcome is the formula's fill or its error, never a third thing."""
    generous = 0 if by_input else U64_MAX
    compare(bench, terms, side, amount, generous if limit is None else limit, by_input)


@pytest.mark.parametrize("kind", [0, 1, 2], ids=["protocol", "fund", "creator"])
@pytest.mark.parametrize("side", [0, 1])
def test_what_a_pool_owes_is_not_traded(bench: Bench, kind: int, side: int) -> None:
    """A vault with no more than the fees owed from it refuses with 6012; a unit more trades."""
    owes = [(0, 0)] * 3
    owes[kind] = (10**9, 0) if side == 0 else (0, 10**9)
    for held, error in ((10**9, 6012), (10**9 - 1, 6012), (10**9 + 1, None)):
        vaults = (held, 10**12) if side == 0 else (10**12, held)
        terms = Terms(vaults=vaults, protocol_fees=owes[0], fund_fees=owes[1], creator_fees=owes[2])
        pool = bench.put_pool(terms)
        swap = bench.swap(*pool, side, 10**9)
        assert bench.send(swap.exact_in(10**6, 0)).error == error


def test_owed_fees_that_overflow_are_refused(bench: Bench) -> None:
    """Fees whose sum has no 64 bits do not wrap round to a small one."""
    half = (2**63, 0)
    pool = bench.put_pool(Terms(vaults=(10**12, 10**12), protocol_fees=half, fund_fees=half))
    assert bench.send(bench.swap(*pool, 0, 10**9).exact_in(10**6, 0)).error == 6012


def test_booked_fees_do_not_overflow(bench: Bench) -> None:
    """A fee field without room for the fee refuses the swap with 6006 and keeps its value."""
    owes = (U64_MAX - 10**6, 0)
    address, pool = bench.put_pool(Terms(vaults=(U64_MAX, 10**12), protocol_fees=owes))
    swap = bench.swap(address, pool, 0, 10**13)
    assert bench.send(swap.exact_in(10**13, 0)).error == 6006
    assert bench.pool(address).protocol_fees == owes


def test_a_price_of_exactly_two_to_the_64_does_not_wrap_round(bench: Bench) -> None:
    """When rounding up takes the input one unit past 64 bits, nothing is sold for nothing."""
    kept = FULL - 2_500
    reserve = U64_MAX * kept // FULL + 1
    assert formula.ceil_div(reserve * FULL, kept) == U64_MAX + 1
    assert reserve * FULL // kept == U64_MAX
    compare(bench, Terms(vaults=(reserve, 2)), 0, 1, U64_MAX, by_input=False)


@pytest.mark.parametrize("by_input", [True, False])
@pytest.mark.parametrize("vault", EDGES)
def test_every_edge_against_every_edge(bench: Bench, vault: int, by_input: bool) -> None:
    """Each edge as a vault meets each edge as the other vault and as the amount."""
    for other in EDGES:
        for amount in EDGES:
            limit = 0 if by_input else U64_MAX
            compare(bench, Terms(vaults=(vault, other)), 0, amount, limit, by_input)


@given(moves=st.lists(st.tuples(st.integers(0, 1), usual), min_size=1, max_size=12))
@settings(max_examples=30)
def test_a_pool_never_loses_by_trading(bench: Bench, moves: list[tuple[int, int]]) -> None:
    """However it is traded, the product of a pool's own reserves does not fall."""
    address, pool = bench.put_pool(Terms(vaults=(10**15, 3 * 10**14)))

    def reserves() -> list[int]:
        after = bench.pool(address)
        return [bench.amount(vault) - after.owed(i) for i, vault in enumerate(pool.vaults)]

    for side, amount in moves:
        x, y = reserves()
        assert bench.send(bench.swap(address, pool, side, amount).exact_in(amount, 0)).error is None
        more = reserves()
        assert more[0] * more[1] >= x * y
