"""Quotes are what the real program did, to the unit."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from app.domain.errors import ReasonCode, RefusedError, Synergy7Error, TransientError
from app.transactions.venues.raydium_cpmm import RaydiumCpmm
from tests.transactions.states import PORTABLE, cases, load_state, onchain, swap

MILLION = 1_000_000
PROTOCOL_RATE = 120_000
REFUSALS = {2505: ReasonCode.SIZE_TOO_SMALL, 6000: ReasonCode.MARKET_CLOSED}


def check_exact_in(case: Mapping[str, Any], folder: Path) -> None:
    """Hold a quote of what is paid against the recording."""
    state, seen = load_state(case["state"], folder), case["observed"]
    pool = state.decode(case["epoch"])
    wanted = swap(pool, zero_for_one=case["zero_for_one"], exact_in=True, amount=case["amount_in"])
    refusal = REFUSALS.get(seen["error_custom_code"])
    if refusal is not None:
        with pytest.raises(Synergy7Error) as caught:
            pool.quote(wanted)
        assert caught.value.code is refusal
        return
    priced = pool.quote(wanted)
    if seen["ok"]:
        got = (priced.amount_in, priced.amount_out)
        assert got == (seen["amount_in_spent"], seen["amount_out_received"])
    else:
        assert seen["error_custom_code"] == 6005
        assert case["min_amount_out"] == priced.amount_out + 1


def check_exact_out(case: Mapping[str, Any], folder: Path) -> None:
    """Hold a quote of what is received against the recording."""
    state, seen = load_state(case["state"], folder), case["observed"]
    pool = state.decode(case.get("epoch"))
    wanted = swap(
        pool, zero_for_one=case["zero_for_one"], exact_in=False, amount=case["amount_out"]
    )
    priced = pool.quote(wanted)
    assert priced.amount_out == case["amount_out"]
    if seen["ok"]:
        assert priced.amount_in == seen["amount_in_spent"]
    else:
        assert seen["error_custom_code"] == 6005
        assert case["max_amount_in"] == priced.amount_in - 1


def test_exact_in_quotes_equal_the_portable_recordings() -> None:
    """Every exact-in case of made-up pools gives the recorded amounts or the recorded refusal."""
    found = cases(PORTABLE, "raydium_cpmm.json")
    assert len(found) == 38
    for case in found:
        check_exact_in(case, PORTABLE)


def test_exact_out_quotes_equal_the_portable_recordings() -> None:
    """Every exact-out case of made-up pools costs what was recorded."""
    found = cases(PORTABLE, "exact_out.json")
    assert len(found) == 19
    for case in found:
        check_exact_out(case, PORTABLE)


def test_exact_in_quotes_equal_the_mainnet_recordings() -> None:
    """Every exact-in case of the recorded mainnet pool gives the recorded amounts."""
    folder = onchain()
    found = cases(folder, "raydium_cpmm.json")
    assert len(found) >= 20
    for case in found:
        check_exact_in(case, folder)


def test_exact_out_quotes_equal_the_mainnet_recordings() -> None:
    """Every exact-out case of the recorded mainnet pool costs what was recorded."""
    folder = onchain()
    found = cases(folder, "exact_out.json")
    assert found
    for case in found:
        check_exact_out(case, folder)


def test_the_fee_told_is_the_fee_booked() -> None:
    """The protocol's booked share is its rate of the trade fee that the quote tells."""
    for case in cases(PORTABLE, "raydium_cpmm.json"):
        if case["state"] != "cp_deep" or not case["observed"]["ok"] or not case["zero_for_one"]:
            continue
        pool = load_state("cp_deep").decode()
        priced = pool.quote(swap(pool, zero_for_one=True, exact_in=True, amount=case["amount_in"]))
        after = case["observed"]["pool_after"]["protocol_fees_token_0"]
        owed_before = 111_222_333
        assert after - owed_before == priced.venue_fee * PROTOCOL_RATE // MILLION


def test_recorded_error_codes_have_meanings() -> None:
    """Every error that the program was seen to give is known by its code."""
    seen = {
        case["observed"]["error_custom_code"]
        for file in ("raydium_cpmm.json", "exact_out.json")
        for case in cases(PORTABLE, file)
    } - {None}
    assert seen == {2505, 6000, 6005}
    for code in seen:
        assert RaydiumCpmm().classify_error(code) is not None


def test_closed_pools_are_told_apart() -> None:
    """A pool that is switched off ends the order; one that opens later only makes it wait."""
    disabled = load_state("cp_swap_disabled").decode()
    with pytest.raises(RefusedError, match="switched off"):
        disabled.quote(swap(disabled, zero_for_one=True, exact_in=True, amount=10**6))
    later = load_state("cp_not_open").decode()
    with pytest.raises(TransientError, match="opens in"):
        later.quote(swap(later, zero_for_one=True, exact_in=True, amount=10**6))
