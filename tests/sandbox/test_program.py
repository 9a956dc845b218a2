"""The market program does what Raydium CPMM does: recorded cases, the formula, fees, the event."""

from typing import Any

import pytest
from solders.pubkey import Pubkey

from app.sandbox.layouts import CPMM_PROGRAM, SWAP_EVENT, PoolState
from tests.sandbox.bench import NOW, Bench, Outcome, Terms, load

PLENTY = 2**62
PLAIN = ("cp_deep", "cp_creator_0", "cp_creator_2", "cp_swap_disabled", "cp_not_open")
RECORDED: list[dict[str, Any]] = [
    *load("raydium_cpmm.json")["cases"],
    *(case for case in load("exact_out.json")["cases"] if case["venue"] == "cpmm"),
]


def name_of(case: dict[str, Any]) -> str:
    """Name a recorded case after its state and amounts."""
    amount = case.get("amount_in", case.get("amount_out"))
    kind = "in" if "amount_in" in case else "out"
    return f"{case['state']}-{kind}-{amount}-{'01' if case['zero_for_one'] else '10'}"


def replay(bench: Bench, case: dict[str, Any]) -> tuple[Outcome, int, int, Pubkey]:
    """Run a recorded case; give the outcome, what was spent and received, and the pool."""
    address, pool = bench.load_state(case["state"])
    bench.set_clock(case["clock_unix"], case.get("epoch", 0))
    swap = bench.swap(address, pool, 0 if case["zero_for_one"] else 1, PLENTY)
    if "amount_in" in case:
        instruction = swap.exact_in(case["amount_in"], case["min_amount_out"])
    else:
        instruction = swap.exact_out(case["max_amount_in"], case["amount_out"])
    outcome = bench.send(instruction)
    spent = PLENTY - bench.amount(swap.source)
    return outcome, spent, bench.amount(swap.destination), address


def owed(pool: PoolState) -> dict[str, int]:
    """Name a pool's fee fields as the recordings do."""
    kinds = {"protocol": pool.protocol_fees, "fund": pool.fund_fees, "creator": pool.creator_fees}
    return {f"{k}_fees_token_{i}": fees[i] for k, fees in kinds.items() for i in (0, 1)}


@pytest.mark.parametrize("case", [c for c in RECORDED if c["state"] in PLAIN], ids=name_of)
def test_a_recorded_swap_comes_out_as_on_the_real_program(case: dict[str, Any]) -> None:
    """Amounts, owed fees and error codes equal what Raydium's own binary did, to the unit."""
    outcome, spent, received, address = replay(bench := Bench(), case)
    observed = case["observed"]
    assert outcome.error == observed["error_custom_code"]
    assert (spent, received) == (observed["amount_in_spent"], observed["amount_out_received"])
    if "pool_after" in observed:
        assert owed(bench.pool(address)) == observed["pool_after"]


@pytest.mark.parametrize("case", [c for c in RECORDED if c["state"] not in PLAIN], ids=name_of)
def test_a_mint_with_extensions_is_refused(case: dict[str, Any]) -> None:
    """A pool whose mint may take transfer fees answers 6007 and moves nothing."""
    address, pool = (bench := Bench()).load_state(case["state"])
    swap = bench.swap(address, pool, 0 if case["zero_for_one"] else 1, PLENTY)
    before = [bench.data(vault) for vault in pool.vaults]
    assert bench.send(swap.exact_in(case["amount_in"], 0)).error == 6007
    assert [bench.data(vault) for vault in pool.vaults] == before


def test_the_recorded_cases_are_all_here() -> None:
    """The tables above are not empty, and each kind of swap and of refusal is among them."""
    codes = {case["observed"]["error_custom_code"] for case in RECORDED}
    assert len(RECORDED) == 57
    assert codes == {None, 2505, 6000, 6005}


# ------------------------------------------------------------------- the event, the log, time

DEEP = Terms(vaults=(10**15, 2 * 10**15), creator_fee_on=2, enable_creator_fee=True)


@pytest.mark.parametrize("by_input", [True, False])
def test_the_event_tells_the_fill(by_input: bool) -> None:
    """The 170 bytes name pool, mints, reserves before, amounts, fees and the kind of swap."""
    bench = Bench()
    address, pool = bench.put_pool(DEEP)
    swap = bench.swap(address, pool, 0, PLENTY)
    make = swap.exact_in if by_input else swap.exact_out
    event = bench.send(make(*((10**9, 1) if by_input else (10**10, 10**9)))).event()
    after = bench.pool(address)
    assert event["tag"] == SWAP_EVENT
    assert (event["pool"], event["by_input"]) == (bytes(address), by_input)
    assert (event["mint_in"], event["mint_out"]) == tuple(map(bytes, pool.mints))
    assert (event["reserve_in"], event["reserve_out"]) == DEEP.vaults
    assert event["amount_in"] == PLENTY - bench.amount(swap.source)
    assert event["amount_out"] == bench.amount(swap.destination)
    assert (event["transfer_fee_in"], event["transfer_fee_out"]) == (0, 0)
    assert (event["fee_on_input"], event["creator_fee"]) == (False, after.creator_fees[1])
    assert event["trade_fee"] * 12 // 100 == after.protocol_fees[0]


def test_the_log_reads_like_the_real_program(bench: Bench) -> None:
    """A swap logs its instruction's name; a refusal logs Anchor's sentence with name and number."""
    swap = bench.swap(*bench.put_pool(DEEP), 0, PLENTY)
    assert "Program log: Instruction: SwapBaseInput" in bench.send(swap.exact_in(10**9, 0)).logs
    refused = bench.send(swap.exact_out(1, 10**9))
    assert "Program log: Instruction: SwapBaseOutput" in refused.logs
    assert (
        "Program log: AnchorError occurred. Error Code: ExceededSlippage. Error Number: 6005."
        " Error Message: Exceeds desired slippage limit."
    ) in refused.logs


def test_the_limit_is_inclusive(bench: Bench) -> None:
    """The quote itself passes as the limit; a unit more out, or less in, is refused with 6005."""
    address, pool = bench.put_pool(DEEP)
    swap = bench.swap(address, pool, 0, PLENTY)
    state = {key: bench.data(key) for key in (address, *pool.vaults)}
    quote = bench.send(swap.exact_in(10**9, 0)).event()["amount_out"]
    for key, data in state.items():
        account = bench.svm.get_account(key)
        assert account is not None
        bench.put(key, account.owner, data)
    assert bench.send(swap.exact_in(10**9, quote + 1)).error == 6005
    assert bench.send(swap.exact_in(10**9, quote)).error is None


def test_a_pool_opens_on_the_second(bench: Bench) -> None:
    """A swap is refused with 6000 before the open time and runs at it."""
    swap = bench.swap(*bench.put_pool(Terms(vaults=(10**9, 10**9), open_time=NOW + 5)), 0, PLENTY)
    bench.set_clock(NOW + 4)
    assert bench.send(swap.exact_in(10**6, 0)).error == 6000
    bench.set_clock(NOW + 5)
    assert bench.send(swap.exact_in(10**6, 0)).error is None


def test_only_the_swap_bit_of_the_status_stops_swaps(bench: Bench) -> None:
    """Status bits for deposits and withdrawals leave swapping alone."""
    for status, error in ((3, None), (4, 6000), (7, 6000)):
        pool = bench.put_pool(Terms(vaults=(10**9, 10**9), status=status))
        assert bench.send(bench.swap(*pool, 0, PLENTY).exact_in(10**6, 0)).error == error


def free(bench: Bench, address: Pubkey) -> list[int]:
    """Give a pool's own reserves."""
    pool = bench.pool(address)
    return [bench.amount(vault) - pool.owed(i) for i, vault in enumerate(pool.vaults)]


def observations(history: bytes, index: int) -> tuple[int, ...]:
    """Read an entry of a price history: time, and the two cumulative prices."""
    at = 43 + 40 * index
    cuts = ((at, at + 8), (at + 8, at + 24), (at + 24, at + 40))
    return tuple(int.from_bytes(history[start:end], "little") for start, end in cuts)


@pytest.mark.parametrize("side", [0, 1])
def test_a_swap_notes_epoch_and_price_history(bench: Bench, side: int) -> None:
    """Prices before the swap accumulate after 15 s as seconds x (quote << 32) // base."""
    address, pool = bench.put_pool(Terms(vaults=(3 * 10**9, 10**12)))
    swap = bench.swap(address, pool, side, PLENTY)
    bench.set_clock(NOW + 14, epoch=9)
    assert bench.send(swap.exact_in(10**6, 0)).error is None
    assert bench.data(pool.observation)[9] == 0
    base, quote = free(bench, address)
    bench.set_clock(NOW + 15, epoch=10)
    assert bench.send(swap.exact_in(10**6, 0)).error is None
    history = bench.data(pool.observation)
    prices = ((quote << 32) // base, (base << 32) // quote)
    assert history[9] == 1
    assert observations(history, 1) == (NOW + 15, 15 * prices[0], 15 * prices[1])
    assert bench.pool(address).recent_epoch == 10


def test_the_price_history_is_a_ring(bench: Bench) -> None:
    """The entry after the hundredth is the first, and sums carry into their upper half."""
    address, pool = bench.put_pool(Terms(vaults=(10**6, 10**18)))
    history = bytearray(bench.data(pool.observation))
    history[9], last = 99, 43 + 40 * 99
    full = (2**64 - 1).to_bytes(16, "little")
    history[last : last + 40] = NOW.to_bytes(8, "little") + full + full
    bench.put(pool.observation, CPMM_PROGRAM, bytes(history))
    base, quote = free(bench, address)
    bench.set_clock(NOW + 100)
    assert bench.send(bench.swap(address, pool, 0, PLENTY).exact_in(10**3, 0)).error is None
    after = bench.data(pool.observation)
    sums = (2**64 - 1 + 100 * ((quote << 32) // base), 2**64 - 1 + 100 * ((base << 32) // quote))
    assert (after[9], observations(after, 0)) == (0, (NOW + 100, *sums))


def test_a_price_history_from_the_future_is_left_alone(bench: Bench) -> None:
    """A clock behind the last entry adds nothing and stops no swap."""
    address, pool = bench.put_pool(Terms(vaults=(10**9, 10**9)))
    before = bench.data(pool.observation)
    bench.set_clock(NOW - 60)
    assert bench.send(bench.swap(address, pool, 0, PLENTY).exact_in(10**6, 0)).error is None
    assert bench.data(pool.observation) == before


@pytest.mark.parametrize(
    "terms",
    [
        Terms(vaults=(10**9, 10**9), creator_fee_on=3),
        Terms(vaults=(10**9, 10**9), trade=10**6),
        Terms(vaults=(10**9, 10**9), creator=2**64 - 1, enable_creator_fee=True),
    ],
)
def test_senseless_fees_are_refused(bench: Bench, terms: Terms) -> None:
    """An unknown place for the creator fee, or a rate of one and more, is refused with 6013."""
    swap = bench.swap(*bench.put_pool(terms), 0, PLENTY)
    assert bench.send(swap.exact_in(10**6, 0)).error == 6013
    assert bench.send(swap.exact_out(PLENTY, 10**6)).error == 6013


def test_a_swap_stays_cheap(bench: Bench) -> None:
    """A swap takes less than the real program's 22,500 compute units."""
    swap = bench.swap(*bench.put_pool(DEEP), 1, PLENTY)
    assert bench.send(swap.exact_in(10**9, 0)).units < 15_000
    assert bench.send(swap.exact_out(PLENTY, 10**9)).units < 15_000
