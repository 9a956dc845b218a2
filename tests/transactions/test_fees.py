"""Fees are computed as the network charges them, tips as the methods ask for them, within limits."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.attempt import AttemptStatus
from app.domain.errors import ReasonCode, RefusedError
from app.engine.ports import TipNeeds
from app.transactions import fees
from app.transactions.fees import FeePolicy, Tip
from tests.domain import makers

LIMIT = 50_000


def refusal(code: ReasonCode, needs: Sequence[TipNeeds]) -> str:
    """Give the words with which tips are refused."""
    with pytest.raises(RefusedError) as caught:
        fees.tips_of(needs, 0)
    assert caught.value.code is code
    return caught.value.what


def test_the_limit_has_headroom_and_a_ceiling() -> None:
    """A tenth and 5,000 units more than simulated, never above what the network allows."""
    assert fees.unit_limit(42_555) == 46_811 + 5_000
    assert fees.unit_limit(0) == 5_000
    assert fees.unit_limit(1_399_999) == 1_400_000


@given(units=st.integers(0, 1_400_000), price=st.integers(0, 50_000_000))
def test_the_priority_fee_is_rounded_up(units: int, price: int) -> None:
    """The fee is the least whole number of lamports that covers limit x price."""
    fee = fees.priority_fee(units, price)
    assert (fee - 1) * 1_000_000 < units * price <= fee * 1_000_000


# ------------------------------------------------------------------------------- the unit price

BETWEEN = FeePolicy(unit_price_micro_lamports=20_000, unit_price_max_micro_lamports=900_000)
PRICES: Mapping[str, tuple[int | None, Sequence[TipNeeds], int]] = {
    "nothing known: the floor": (None, [], 20_000),
    "nothing paid by others: the floor": (0, [], 20_000),
    "below the floor": (19_999, [], 20_000),
    "between": (20_001, [], 20_001),
    "at the cap": (900_000, [], 900_000),
    "an absurd estimate": (17_900_000_000, [], 900_000),
    "a method's floor below the going price": (80_000, [TipNeeds(unit_price_min=70_000)], 80_000),
    "a method's floor above it": (60_000, [TipNeeds(), TipNeeds(unit_price_min=70_000)], 70_000),
    "the highest of several": (
        None,
        [TipNeeds(unit_price_min=70_000), TipNeeds(unit_price_min=90_000)],
        90_000,
    ),
    "a method's floor at the cap": (None, [TipNeeds(unit_price_min=900_000)], 900_000),
    "a whole fee": (None, [TipNeeds(priority_fee_lamports_min=5_000)], 100_000),
    "a whole fee below the going price": (
        100_001,
        [TipNeeds(priority_fee_lamports_min=5_000)],
        100_001,
    ),
    "a whole fee at the cap": (None, [TipNeeds(priority_fee_lamports_min=45_000)], 900_000),
}


@pytest.mark.parametrize(("going", "needs", "price"), PRICES.values(), ids=PRICES)
def test_the_unit_price(going: int | None, needs: Sequence[TipNeeds], price: int) -> None:
    """The going price within floor and cap, raised to what the methods demand."""
    assert BETWEEN.unit_price(going, needs, LIMIT) == price


BEYOND = {
    "the unit price": TipNeeds(unit_price_min=900_001),
    "the whole fee": TipNeeds(priority_fee_lamports_min=45_001),
}


@pytest.mark.parametrize("need", BEYOND.values(), ids=BEYOND)
def test_a_method_that_demands_more_than_the_cap_is_refused(need: TipNeeds) -> None:
    """It would turn a lower bid down: nothing is sent that it refuses."""
    with pytest.raises(RefusedError, match="micro-lamports") as caught:
        BETWEEN.unit_price(None, [TipNeeds(), need], LIMIT)
    assert caught.value.code is ReasonCode.FEE_CAP_EXCEEDED
    assert "fees.priority.cap_micro_lamports" in caught.value.todo


def test_nothing_is_bid_above_the_ceiling() -> None:
    """50,000,000 micro-lamports a unit, whatever is configured, estimated or demanded."""
    policy = FeePolicy()
    assert policy.unit_price(10**12, [], LIMIT) == fees.UNIT_PRICE_MAX
    with pytest.raises(RefusedError):
        policy.unit_price(None, [TipNeeds(unit_price_min=fees.UNIT_PRICE_MAX + 1)], LIMIT)


@given(
    going=st.none() | st.integers(0, 10**12),
    limit=st.integers(5_000, 1_400_000),
    unit_price=st.integers(0, 10**6),
    whole=st.integers(0, 10**6),
)
def test_every_methods_floor_is_met_or_the_order_is_refused(
    going: int | None, limit: int, unit_price: int, whole: int
) -> None:
    """The bid reaches the unit price and the whole fee, rounded up or down, and costs little more."""
    need = TipNeeds(unit_price_min=unit_price, priority_fee_lamports_min=whole)
    try:
        bid = FeePolicy().unit_price(going, [need], limit)
    except RefusedError:
        assert -(-whole * 1_000_000 // limit) > fees.UNIT_PRICE_MAX
        return
    assert unit_price <= bid <= fees.UNIT_PRICE_MAX
    assert limit * bid // 1_000_000 >= whole
    if going is None and unit_price == 0 and bid > fees.UNIT_PRICE_DEFAULT:
        assert fees.priority_fee(limit, bid) <= whole + 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"unit_price_micro_lamports": -1},
        {"unit_price_micro_lamports": fees.UNIT_PRICE_MAX + 1},
        {"unit_price_max_micro_lamports": fees.UNIT_PRICE_MAX + 1},
        {"unit_price_micro_lamports": 20_000, "unit_price_max_micro_lamports": 19_999},
        {"fee_max_lamports": 0},
        {"fee_max_bps": 0},
    ],
    ids=str,
)
def test_limits_that_contradict_each_other_are_an_error_at_the_start(wrong: dict[str, int]) -> None:
    """A slip in the settings neither pays a fortune for priority nor stops every order."""
    with pytest.raises(ValueError, match=r"unit price|cap"):
        FeePolicy(**wrong)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------ the order's cap

CAPS: Sequence[tuple[int | None, int | None, int | None, int | None]] = [
    # lamports, basis points, the order's value, the cap that follows
    (None, None, 10**9, None),
    (None, None, None, None),
    (60_000, None, 10**9, 60_000),
    (60_000, None, None, 60_000),
    (None, 30, 10**9, 3_000_000),
    (None, 30, 1_999_999, 5_999),  # 5,999.997, rounded down
    (None, 30, 0, 0),
    (60_000, 30, 10**9, 60_000),
    (60_000, 30, 10**7, 30_000),
]


@pytest.mark.parametrize(("lamports", "bps", "value", "cap"), CAPS)
def test_an_order_pays_up_to_its_cap_and_not_a_lamport_more(
    lamports: int | None, bps: int | None, value: int | None, cap: int | None
) -> None:
    """The lower of both caps holds, to the lamport; the one in lamports needs no value."""
    policy = FeePolicy(fee_max_lamports=lamports, fee_max_bps=bps)
    if cap is None:
        policy.demand(10**15, value)
        return
    policy.demand(cap, value)
    with pytest.raises(RefusedError) as caught:
        policy.demand(cap + 1, value)
    assert caught.value.code is ReasonCode.FEE_CAP_EXCEEDED
    words = f"fees and tip of {cap + 1} lamports exceed the cap of {cap} lamports"
    assert caught.value.what == words
    for setting in ("fees.max_order_lamports", "fees.max_order_bps"):
        assert setting in caught.value.todo


@pytest.mark.parametrize("lamports", [None, 10**9])
def test_without_a_value_a_cap_in_basis_points_lets_nothing_pass(lamports: int | None) -> None:
    """What cannot be held against its cap is not paid, whatever else is allowed."""
    policy = FeePolicy(fee_max_lamports=lamports, fee_max_bps=10_000)
    with pytest.raises(RefusedError) as caught:
        policy.demand(0, None)
    assert caught.value.code is ReasonCode.FEE_CAP_EXCEEDED
    words = "the order's value in SOL cannot be told, so fees.max_order_bps cannot be kept"
    assert caught.value.what == words


@given(fee=st.integers(0, 2**40), value=st.integers(0, 2**63), bps=st.integers(1, 10_000))
def test_the_cap_in_basis_points_is_exact(fee: int, value: int, bps: int) -> None:
    """A fee passes just when fee / value is at most bps / 10,000, without any rounding."""
    policy = FeePolicy(fee_max_bps=bps)
    if fee * 10_000 <= value * bps:
        policy.demand(fee, value)
    else:
        with pytest.raises(RefusedError):
            policy.demand(fee, value)


def test_only_attempts_that_landed_and_failed_have_paid() -> None:
    """Signature and priority fee of each; no tip, and nothing for what never landed."""
    signed = replace(makers.signed(), priority_fee_lamports=700, tip_lamports=90_000)
    attempts = [makers.attempt(status, signed=signed) for status in AttemptStatus]
    assert fees.paid_before(attempts) == 5_700
    assert fees.paid_before([*attempts, *attempts]) == 11_400
    assert fees.paid_before([]) == 0


# ----------------------------------------------------------------------------------------- tips

JITO = ("j1", "j2", "j3")
GROUPS: Mapping[str, tuple[Sequence[TipNeeds], Mapping[str, int]]] = {
    "no method": ([], {}),
    "no demand": ([TipNeeds(), TipNeeds(("a",)), TipNeeds((), tip_lamports=90)], {}),
    "one": ([TipNeeds(("a",), tip_lamports=5)], {"a": 5}),
    "the same payees share the larger tip": (
        [TipNeeds(JITO, tip_lamports=1_000), TipNeeds(JITO, tip_lamports=10_000)],
        {"j1": 10_000},
    ),
    "payees in common share it too": (
        [TipNeeds(("a", "b"), tip_lamports=7), TipNeeds(("c", "b"), tip_lamports=4)],
        {"b": 7},
    ),
    "other payees get their own": (
        [TipNeeds(JITO, tip_lamports=1_000), TipNeeds(("h",), tip_lamports=200_000)],
        {"j1": 1_000, "h": 200_000},
    ),
    "who wants no tip binds nobody": (
        [TipNeeds(JITO, tip_lamports=1_000), TipNeeds(("j2",))],
        {"j1": 1_000},
    ),
    "the choosy ones go first": (
        [
            TipNeeds(("a", "b"), tip_lamports=1),
            TipNeeds(("a", "c"), tip_lamports=2),
            TipNeeds(("b",), tip_lamports=3),
            TipNeeds(("c",), tip_lamports=4),
        ],
        {"b": 3, "c": 4},
    ),
    "a chain has no payee in common": (
        [
            TipNeeds(("a", "b"), tip_lamports=1),
            TipNeeds(("b", "c"), tip_lamports=2),
            TipNeeds(("c", "d"), tip_lamports=3),
        ],
        {"b": 2, "c": 3},
    ),
    "three": ([TipNeeds((name,), tip_lamports=9) for name in "abc"], {"a": 9, "b": 9, "c": 9}),
}


@pytest.mark.parametrize(("needs", "tips"), GROUPS.values(), ids=GROUPS)
def test_methods_share_a_tip_where_they_share_a_payee(
    needs: Sequence[TipNeeds], tips: Mapping[str, int]
) -> None:
    """Each group pays the largest tip that one of it asks for, once."""
    found = fees.tips_of(needs, 0)
    assert {tip.payee: tip.lamports for tip in found} == tips
    assert len(found) == len(tips)


def test_the_choice_spreads_over_a_groups_payees() -> None:
    """Every payee gets its share of the orders, so that none is contended for."""
    needs = [TipNeeds(JITO, tip_lamports=1_000), TipNeeds(("x", "j3", "j1"), tip_lamports=2)]
    chosen = [fees.tips_of(needs, choice) for choice in range(4)]
    assert [tips[0].payee for tips in chosen] == ["j1", "j3", "j1", "j3"]
    alone = {fees.tips_of(needs[:1], choice) for choice in range(3)}
    assert alone == {(Tip(payee, 1_000),) for payee in JITO}


def test_more_than_three_tips_are_refused() -> None:
    """Each takes space and money: such an order names fewer methods."""
    needs = [TipNeeds((name,), tip_lamports=9) for name in "abcd"]
    assert "4 different payees, 3 at most" in refusal(ReasonCode.TIPS_TOO_MANY, needs)


def test_tips_have_a_ceiling() -> None:
    """No demand makes a transaction give away more than 0.1 SOL, all tips together."""
    most = TipNeeds(("a",), tip_lamports=fees.TIP_LAMPORTS_MAX)
    assert fees.tips_of([most], 0) == (Tip("a", 100_000_000),)
    over = [most, TipNeeds(("b",), tip_lamports=1)]
    assert "100000001" in refusal(ReasonCode.FEE_CAP_EXCEEDED, over)


NEEDS = st.lists(
    st.builds(
        TipNeeds,
        st.lists(st.sampled_from("abcdef"), max_size=4).map(tuple),
        st.integers(0, 50_000_000),
    ),
    max_size=5,
)


@given(needs=NEEDS, choice=st.integers(0, 2**256))
def test_every_method_is_tipped_enough_and_nobody_twice(needs: list[TipNeeds], choice: int) -> None:
    """One transfer to a payee of each method that asks; no two to one payee; none for nobody."""
    asking = [need for need in needs if need.payees and need.tip_lamports]
    asked = sum(need.tip_lamports for need in asking)
    try:
        tips = fees.tips_of(needs, choice)
    except RefusedError:
        assert len(asking) > fees.TIPS_MAX or asked > fees.TIP_LAMPORTS_MAX
        return
    for need in asking:
        assert any(t.payee in need.payees and t.lamports >= need.tip_lamports for t in tips)
    assert len({tip.payee for tip in tips}) == len(tips) <= fees.TIPS_MAX
    assert {tip.lamports for tip in tips} <= {need.tip_lamports for need in asking}
    assert fees.total(tips) <= min(asked, fees.TIP_LAMPORTS_MAX)


def test_methods_that_overlap_crosswise_cost_the_same_in_any_order() -> None:
    """Two transfers serve four methods, however the plan orders them."""
    needs, _ = GROUPS["the choosy ones go first"]
    costs = {fees.total(fees.tips_of(each, 0)) for each in itertools.permutations(needs)}
    assert costs == {7}
