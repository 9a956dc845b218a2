"""Quotes are what the real programs did, to the unit."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.domain.errors import RefusedError, TransientError
from app.transactions.venues import known_venues
from tests.transactions.states import PORTABLE, cpmm, load_state, onchain, swap
from tests.vectors.__main__ import main
from tests.vectors.check import FILES, check_folder

MILLION = 1_000_000
PROTOCOL_RATE = 120_000
VENUE_OF_FILE = {
    "whirlpool.json": "orca_whirlpool",
    "raydium_cpmm.json": "raydium_cpmm",
    "raydium_amm_v4.json": "raydium_amm_v4",
}
VENUE_OF_NAME = {
    "whirlpool": "orca_whirlpool",
    "cpmm": "raydium_cpmm",
    "ammv4": "raydium_amm_v4",
}
SHARED_CODES = {1, 2003, 2006, 2012, 3007, 3012}
"""Codes of the token program and of Anchor, which no venue needs to know."""


def test_quotes_equal_the_portable_recordings() -> None:
    """Amounts, prices after, fees' state after and error codes, of all made-up pools, both ways."""
    result = check_folder(PORTABLE)
    assert result.wrong == []
    assert (result.checked, result.skipped) == (229, [])


def test_quotes_equal_the_mainnet_recordings() -> None:
    """The same for states recorded on mainnet; what a quote cannot show is named."""
    result = check_folder(onchain())
    assert result.wrong == []
    assert result.checked >= 228
    assert len(result.skipped) <= 5


def recorded(folder: Path, file: str) -> Any:
    """Read a file of cases."""
    return json.loads((folder / file).read_text())


def test_recorded_error_codes_have_meanings() -> None:
    """Every error that a program was seen to give is known by its code."""
    for folder in (PORTABLE, onchain()):
        for file in FILES:
            if not (folder / file).is_file():
                continue
            for case in recorded(folder, file)["cases"]:
                code = case["observed"].get("error_custom_code")
                name = VENUE_OF_FILE.get(file) or VENUE_OF_NAME[case["venue"]]
                if code is not None and code not in SHARED_CODES:
                    assert known_venues()[name].classify_error(code) is not None, (name, code)


def one_unit_more(case: Any) -> None:
    """Say that one unit more came out."""
    case["observed"]["amount_out_received"] += 1


def another_price(case: Any) -> None:
    """Say that the price after was another."""
    after = case["observed"]["pool_after"]
    after["sqrt_price"] = str(int(after["sqrt_price"]) + 1)


def another_code(case: Any) -> None:
    """Say that it failed otherwise."""
    case["observed"] = {"ok": False, "error_custom_code": 6001}


@pytest.mark.parametrize("spoil", [one_unit_more, another_price, another_code])
def test_a_wrong_recording_is_found(
    tmp_path: Path,
    spoil: Callable[[Any], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The check itself can fail: one number off in one case is one wrong, and the exit says so."""
    folder = tmp_path / "spoiled"
    shutil.copytree(PORTABLE, folder)
    (folder / "exact_out.json").unlink()
    document = recorded(folder, "whirlpool.json")
    spoil(document["cases"][0])
    (folder / "whirlpool.json").write_text(json.dumps(document))
    assert main([str(folder)]) == 1
    told = capsys.readouterr().out.splitlines()
    assert len([line for line in told if line.startswith("WRONG whirlpool.json[0]")]) == 1
    assert told[-1] == "139 checked, 1 wrong, 0 skipped"


def test_a_sequence_goes_on_from_where_the_case_before_left_the_pool(tmp_path: Path) -> None:
    """Taken afresh each, as without their notes, the recorded sequence is wrong."""
    folder = tmp_path / "afresh"
    shutil.copytree(PORTABLE, folder)
    document = recorded(folder, "whirlpool.json")
    noted = [case.pop("note") for case in document["cases"] if "note" in case]
    (folder / "whirlpool.json").write_text(json.dumps(document))
    assert len(noted) == len(check_folder(folder).wrong) == 4


def test_a_folder_that_is_none_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A missing folder, or one without any case, is an error of its own: nothing was checked."""
    assert main([str(tmp_path / "nowhere")]) == 2
    assert "is no folder" in capsys.readouterr().err
    assert main([str(tmp_path)]) == 2
    told = capsys.readouterr()
    assert told.out == "0 checked, 0 wrong, 0 skipped\n"
    assert "holds no cases" in told.err


def test_the_fee_told_is_the_fee_booked() -> None:
    """The protocol's booked share is its rate of the trade fee that the quote tells."""
    for case in recorded(PORTABLE, "raydium_cpmm.json")["cases"]:
        if case["state"] != "cp_deep" or not case["observed"]["ok"] or not case["zero_for_one"]:
            continue
        pool = cpmm(load_state("cp_deep"))
        priced = pool.quote(swap(pool, zero_for_one=True, exact_in=True, amount=case["amount_in"]))
        after = case["observed"]["pool_after"]["protocol_fees_token_0"]
        owed_before = 111_222_333
        assert after - owed_before == priced.venue_fee * PROTOCOL_RATE // MILLION


def test_closed_pools_are_told_apart() -> None:
    """A pool that is switched off ends the order; one that opens later only makes it wait."""
    disabled = cpmm(load_state("cp_swap_disabled"))
    with pytest.raises(RefusedError, match="switched off"):
        disabled.quote(swap(disabled, zero_for_one=True, exact_in=True, amount=10**6))
    later = cpmm(load_state("cp_not_open"))
    with pytest.raises(TransientError, match="opens in"):
        later.quote(swap(later, zero_for_one=True, exact_in=True, amount=10**6))
