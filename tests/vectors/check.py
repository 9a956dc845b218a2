"""Holds the venues' decode and quote against a folder of recorded cases.

The format: `state_NAME.json` (pool, clock, epoch, accounts) and the cases of whirlpool.json,
raydium_cpmm.json, raydium_amm_v4.json and exact_out.json, each with what the program did (`observed`).
A case with a note of a sequence goes on from the state that the case before it of the same state left.
"""

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from app.domain.errors import ReasonCode, Synergy7Error
from app.transactions.venues.base import Pool, Swap
from app.transactions.venues.orca_whirlpool import Outcome, Whirlpool
from app.transactions.venues.raydium_amm_v4 import AmmV4Pool
from app.transactions.venues.raydium_cpmm import CpmmPool
from app.transactions.venues.whirlpool_accounts import oracle_address
from app.transactions.venues.whirlpool_math import SwapRefused
from tests.vectors.states import State, load_state

FILES: Final = ("whirlpool.json", "raydium_cpmm.json", "raydium_amm_v4.json", "exact_out.json")
Case = Mapping[str, Any]

_SLIPPAGE: Final = {
    (Whirlpool, True): 6036,
    (Whirlpool, False): 6037,
    (CpmmPool, True): 6005,
    (CpmmPool, False): 6005,
    (AmmV4Pool, True): 30,
    (AmmV4Pool, False): 30,
}
_CODES: Final = {
    CpmmPool: {
        ReasonCode.SIZE_TOO_SMALL: 2505,
        ReasonCode.MARKET_CLOSED: 6000,
        ReasonCode.INSUFFICIENT_LIQUIDITY: 6006,
    },
    AmmV4Pool: {
        ReasonCode.SIZE_TOO_SMALL: 29,
        ReasonCode.MARKET_CLOSED: 22,
        ReasonCode.INSUFFICIENT_LIQUIDITY: 40,
    },
}
"""What a quote's refusal is in the program's own codes; Whirlpools tell theirs."""
_WRONG_ACCOUNTS: Final = frozenset({2003, 2006, 2012, 2014, 2015, 3007, 3012, 6008, 6023, 6056})
_TOKEN_FUNDS, _AMM_FUNDS, _AMM_ORDER_BOOK = 1, 40, 12


@dataclass
class Result:
    """What came of a folder: how many were checked, and the lines about the others."""

    checked: int = 0
    wrong: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """Say it in one line."""
        return f"{self.checked} checked, {len(self.wrong)} wrong, {len(self.skipped)} skipped"


@dataclass(frozen=True)
class _Done:
    """What the venue says a case does: what is observable, and the state it leaves."""

    seen: Mapping[str, object]
    after: State


class _Unshown(Exception):
    """Decode and quote alone cannot show the case."""


def check_folder(folder: Path) -> Result:
    """Check every case of a folder."""
    result = Result()
    for file in FILES:
        if (folder / file).is_file():
            _check_file(folder, file, result)
    return result


def _check_file(folder: Path, file: str, result: Result) -> None:
    left: dict[str, State] = {}
    for number, case in enumerate(json.loads((folder / file).read_text())["cases"]):
        where = f"{file}[{number}] {case['state']}: {case.get('label', '').strip()}"
        try:
            done = _do(_begin(folder, case, left), case)
        except _Unshown as reason:
            result.skipped.append(f"{where}: {reason}")
            continue
        result.checked += 1
        left[case["state"]] = done.after
        for name, (got, observed) in _differences(done.seen, case["observed"]).items():
            result.wrong.append(f"{where}: {name} is {got}, the program's {observed}")
            break


def _begin(folder: Path, case: Case, left: Mapping[str, State]) -> State:
    name = case["state"]
    if "sequence" in str(case.get("note", "")) and name in left:
        return left[name]
    if not (folder / f"state_{name}.json").is_file():
        raise _Unshown(f"state_{name}.json is missing")
    return load_state(folder, name)


def _do(state: State, case: Case) -> _Done:
    observed = case["observed"]
    _require_shown(case)
    epoch, clock = case.get("epoch"), case.get("clock_unix")
    try:
        pool = state.decode(epoch, clock)
    except Synergy7Error as error:
        if "order book" in error.what:
            raise _Unshown("the pool trades on an order book") from error
        return _Done(_refused(error.code.value), state)
    swap = _swap(pool, case)
    if (
        not observed["ok"]
        and observed["error_custom_code"] == _AMM_FUNDS
        and "user" in str(case.get("label", ""))
        and _affordable(pool, swap)
    ):
        raise _Unshown("more than the user has")
    if isinstance(pool, Whirlpool):
        return _whirlpool(state, pool, swap, case)
    return _constant_product(state, pool, swap, case)


def _require_shown(case: Case) -> None:
    """Raise for what depends on more than the pool's state."""
    observed = case["observed"]
    if observed["ok"]:
        return
    code, error = observed.get("error_custom_code"), str(observed.get("error"))
    if code is None and "compute" in error.lower():
        raise _Unshown("compute exhausted")
    if code is None and "InvalidInstructionData" in error:
        raise _Unshown("the instruction is unknown to the old build")
    if code in _WRONG_ACCOUNTS:
        raise _Unshown("wrong accounts on purpose")
    if code == _TOKEN_FUNDS:
        raise _Unshown("more than the user has")
    if code == _AMM_ORDER_BOOK:
        raise _Unshown("the pool trades on an order book")


def _affordable(pool: Pool, swap: Swap) -> bool:
    """Tell whether the pool itself would do the swap."""
    try:
        pool.quote(swap)
    except Synergy7Error:
        return False
    return True


def _swap(pool: Pool, case: Case) -> Swap:
    exact_in = "amount_in" in case
    forward = next(case[name] for name in ("a_to_b", "zero_for_one", "coin_to_pc") if name in case)
    first, second = pool.decimals
    mints = (first, second) if forward else (second, first)
    return Swap(*mints, exact_in, case["amount_in" if exact_in else "amount_out"])


def _slipped(pool: Pool, case: Case, amount_in: int, amount_out: int) -> int | None:
    if "amount_in" in case:
        slipped = amount_out < case.get("min_amount_out", 0)
    else:
        slipped = amount_in > case.get("max_amount_in", amount_in)
    return _SLIPPAGE[type(pool), "amount_in" in case] if slipped else None


def _refused(code: object) -> Mapping[str, object]:
    return {"ok": False, "error_custom_code": code}


def _whirlpool(state: State, pool: Whirlpool, swap: Swap, case: Case) -> _Done:
    try:
        outcome = pool.outcome(swap, int(case.get("sqrt_price_limit") or 0))
    except SwapRefused as error:
        return _Done(_refused(error.code), state)
    slipped = _slipped(pool, case, outcome.amount_in, outcome.amount_out)
    if slipped is not None:
        return _Done(_refused(slipped), state)
    place, variables = outcome.trade.after, outcome.variables
    seen: dict[str, object] = {
        "ok": True,
        "amount_in_spent": outcome.amount_in,
        "amount_out_received": outcome.amount_out,
        "pool_after": {
            "sqrt_price": place.sqrt_price,
            "tick_current_index": place.tick,
            "liquidity": place.liquidity,
        },
    }
    if variables is not None:
        seen["oracle_after"] = {
            "last_reference_update_timestamp": variables.referenced_at,
            "last_major_swap_timestamp": variables.major_swap_at,
            "volatility_reference": variables.volatility,
            "tick_group_index_reference": variables.group,
            "volatility_accumulator": variables.accumulator,
        }
    return _Done(seen, _left_by(state, pool, outcome))


def _left_by(state: State, pool: Whirlpool, outcome: Outcome) -> State:
    place, variables = outcome.trade.after, outcome.variables
    numbers = place.liquidity.to_bytes(16, "little") + place.sqrt_price.to_bytes(16, "little")
    state = state.patched(pool.address, 49, numbers + struct.pack("<i", place.tick))
    if variables is None:
        return state
    packed = struct.pack(
        "<QQIiI",
        variables.referenced_at,
        variables.major_swap_at,
        variables.volatility,
        variables.group,
        variables.accumulator,
    )
    return state.patched(oracle_address(pool.address), 82, packed)


def _constant_product(state: State, pool: Pool, swap: Swap, case: Case) -> _Done:
    assert isinstance(pool, CpmmPool | AmmV4Pool)
    try:
        priced = pool.quote(swap)
    except Synergy7Error as error:
        return _Done(_refused(_CODES[type(pool)].get(error.code, error.code.value)), state)
    slipped = _slipped(pool, case, priced.amount_in, priced.amount_out)
    if slipped is not None:
        return _Done(_refused(slipped), state)
    seen = {
        "ok": True,
        "amount_in_spent": priced.amount_in,
        "amount_out_received": priced.amount_out,
    }
    vaults = pool.keys.vaults if isinstance(pool, CpmmPool) else pool.vaults
    side = list(pool.decimals).index(swap.mint_in)
    arrived, sent = priced.amount_in, priced.amount_out
    if isinstance(pool, CpmmPool):
        arrived -= pool.mints[side].fee.of(arrived)
        sent += pool.mints[1 - side].fee.on_top(sent)
        state = _owed(state, case["observed"].get("pool_after"))
    return _Done(seen, state.moved(vaults[side], arrived).moved(vaults[1 - side], -sent))


def _owed(state: State, after: Mapping[str, int] | None) -> State:
    """Book the fees that a CPMM pool owes after a swap, as recorded: the quote does not split them."""
    for at, name in ((341, "protocol"), (357, "fund"), (397, "creator")):
        for side in (0, 1):
            owed = None if after is None else after.get(f"{name}_fees_token_{side}")
            if owed is not None:
                state = state.patched(state.pool, at + 8 * side, struct.pack("<Q", int(owed)))
    return state


def _differences(
    seen: Mapping[str, object], observed: Mapping[str, object], within: str = ""
) -> dict[str, tuple[object, object]]:
    """List what the recording tells and the venue says otherwise, by name."""
    found: dict[str, tuple[object, object]] = {}
    for name, got in seen.items():
        if name not in observed:
            continue
        told = observed[name]
        if isinstance(got, Mapping) and isinstance(told, Mapping):
            found.update(_differences(got, told, f"{name}."))
        elif _plain(got) != _plain(told):
            found[within + name] = (got, told)
    return found


def _plain(value: object) -> object:
    """Numbers beyond 53 bits are recorded as text."""
    return int(value) if isinstance(value, str) and value.lstrip("-").isdigit() else value


def lines(result: Result) -> Iterator[str]:
    """Give the report, the summary last."""
    yield from (f"WRONG {each}" for each in result.wrong)
    yield from (f"SKIPPED {each}" for each in result.skipped)
    yield result.summary()
