"""Bursts of signals, timed from the first POST to the last `filled`."""

from pathlib import Path

from benchmarks.documents import Json, accepted_by, unix_seconds
from benchmarks.figures import Figure, at_least, at_most
from benchmarks.service import Subject, subject, without_limits
from benchmarks.settings import ALL, BLOCK_ENGINE, FIRST_METHOD, RPC_ALONE, WIDE
from benchmarks.sizes import Measured, Sizes
from tests.harness import free_port


def burst(sizes: Sizes, folder: Path) -> Measured:
    """Post bursts, and count what they cost."""
    rates: list[float] = []
    calls: list[float] = []
    subscriptions: list[float] = []
    signed: list[float] = []
    with subject(folder, {**RPC_ALONE, **WIDE}) as under:
        under.warm_up(sizes.warm_up)
        for number in range(sizes.runs):
            under.calls()
            rate, filled = _burst(under, f"burst-{number}", sizes.burst)
            asked = under.calls()
            rates.append(rate)
            subscriptions.append(asked.pop("signatureSubscribe", 0) / sizes.burst)
            calls.append(asked.total() / sizes.burst)
            signed.append(sum(len(each["attempts"]) for each in filled) / len(filled))
        figures = (
            Figure("POST to filled, 256 at once, 50 ms slots", "orders/s", rates, at_least(80)),
            Figure("RPC calls for an order, all included", "calls", calls, at_most(4)),
            Figure("websocket subscriptions for an order", "calls", subscriptions),
            Figure("transactions signed for an order", "", signed),
            Figure("peak memory of the service", "MB", [under.memory_mb()], at_most(300)),
        )
        return figures, under.audit()


def first_method_down(sizes: Sizes, folder: Path) -> Measured:
    """Post bursts in turn to a service with all its methods up, and to one whose block engine is gone."""
    closed = {BLOCK_ENGINE: f"http://127.0.0.1:{free_port()}"}
    with (
        without_limits(folder / "up", WIDE),
        without_limits(folder / "down", WIDE),
        subject(folder / "up", {**ALL, **WIDE}) as up,
        subject(folder / "down", {**ALL, **WIDE, **closed}) as down,
    ):
        rates: dict[Subject, list[float]] = {up: [], down: []}
        for under in rates:
            under.warm_up(sizes.warm_up)
        for number in range(sizes.runs):
            for under, of_one in rates.items():
                rate, filled = _burst(under, f"methods-{number}", sizes.burst)
                of_one.append(rate)
                _demand_first_method(filled, took=under is up)
        audited = up.audit() + down.audit()
    ratios = [without / with_ for with_, without in zip(rates[up], rates[down], strict=True)]
    figures = (
        Figure("POST to filled, four methods, all up", "orders/s", rates[up]),
        Figure("POST to filled, the first method down", "orders/s", rates[down]),
        Figure("first method down, as a ratio to all up", "", ratios, at_least(0.8)),
    )
    return figures, audited


def _burst(under: Subject, label: str, count: int) -> tuple[float, list[Json]]:
    """Post a burst and wait for its end; gives orders a second, and the filled ones."""
    load = under.post_at_once(label, count)
    under.wait_done()
    filled = under.filled(under.accepted[-count:])
    last = max(unix_seconds(each["filled_at"]) for each in filled)
    return count / (last - min(each.sent_at for each in load.answers)), filled


def _demand_first_method(filled: list[Json], *, took: bool) -> None:
    """Make sure that the first method is what it is said to be: up, or down."""
    wrong = [each["order_id"] for each in filled if accepted_by(each, FIRST_METHOD) is not took]
    assert not wrong, f"{FIRST_METHOD} up: {took}, yet not so in {wrong[:3]}"
