"""How long it takes until the orders of a killed process are on their way again."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tests.chaos.books import HELD, Books, Row

LOOK_SECONDS: Final = 0.05
SECONDS_MAX: Final = 60.0
CLAIMED: Final = "order.executing"
CANCEL: Final = "order.cancel_requested"
NO_STEPS: Final = frozenset({CLAIMED, CANCEL})
"""Events by which no order moves: it changed hands, or somebody asked for something."""


@dataclass(frozen=True)
class Left:
    """An order as a killed process left it, read when that process was dead."""

    seq: int
    """The number of its last event then."""
    silent: bool = False
    """It is watched only, in doubt or to be canceled: there may be nothing to write for long."""
    taken: bool = False
    """Another process had taken it up by then."""


@dataclass(frozen=True)
class Recovery:
    """What became of the orders that a killed process held."""

    seconds: float
    """From the start of the next process until the last of them was on its way."""
    orders: int
    never: Sequence[str] = ()
    """Those that nothing was seen of within the limit."""


async def left_by(books: Books, pid: int, before: Mapping[str, int]) -> Mapping[str, Left] | None:
    """Read what a dead process holds, and what others took of what it held `before`; None: unreadable.

    It is to be called between the kill and the next start, which strikes the dead process out.
    """
    rows = await books.ask(
        "SELECT o.order_id, o.event_seq, o.cancel_requested_at_us, o.in_doubt_since_us, p.name"
        " FROM orders o LEFT JOIN processes p ON p.process_id = o.process"
        f" WHERE o.status IN {HELD} AND o.process IS NOT NULL"
    )
    return None if rows is None else left_in(rows, pid, before)


def left_in(rows: Sequence[Row], pid: int, before: Mapping[str, int]) -> dict[str, Left]:
    """Pick what was left by a process from rows of every held order."""
    left = {}
    for order_id, seq, cancel_us, doubt_us, name in rows:
        its = str(name).endswith(f":{pid}")
        if its or order_id in before:
            silent = cancel_us is not None or doubt_us is not None
            left[order_id] = Left(seq, silent, taken=not its)
    return left


def on_its_way(left: Left, kinds: Sequence[str]) -> bool:
    """Judge by the kinds of an order's events since its process died, oldest first.

    A claim is not enough: it takes what its new holder did for it and told afterwards, which is a
    signature, a recorded push, a requeue or an end. Who takes up a live attempt pushes it at once and
    records every push, so that such an order tells of itself too. Only one that is not to be pushed (in
    doubt, or its cancellation is asked for) counts with its claim: it is watched from then on.
    """
    if not left.taken:
        if CLAIMED not in kinds:
            return False
        kinds = kinds[kinds.index(CLAIMED) + 1 :]
    return left.silent or CANCEL in kinds or any(kind not in NO_STEPS for kind in kinds)


async def recovery(
    books: Books,
    started_at: float,
    held: Mapping[str, Left],
    seconds_max: float = SECONDS_MAX,
) -> Recovery:
    """Measure from a start (monotonic) until all of these orders are on their way."""
    left = dict(held)
    while left and time.monotonic() < started_at + seconds_max:
        await asyncio.sleep(LOOK_SECONDS)
        for order_id, kinds in (await _since(books, left)).items():
            if on_its_way(left[order_id], kinds):
                del left[order_id]
    return Recovery(time.monotonic() - started_at, len(held), sorted(left))


async def _since(books: Books, left: Mapping[str, Left]) -> Mapping[str, Sequence[str]]:
    """Give the kinds of the events since, of those orders that have any; nothing when unreadable."""
    rows = await books.ask(
        f"SELECT order_id, event_seq FROM orders WHERE order_id IN {_list(left)}"
    )
    kinds: dict[str, list[str]] = {
        order_id: []
        for order_id, seq in rows or ()
        if seq > left[order_id].seq or _at_once(left[order_id])
    }
    if not kinds:
        return kinds
    events = await books.ask(
        f"SELECT order_id, seq, kind FROM events WHERE order_id IN {_list(kinds)}"
        " ORDER BY order_id, seq"
    )
    for order_id, seq, kind in events or ():
        if seq > left[order_id].seq:
            kinds[order_id].append(kind)
    return kinds


def _at_once(left: Left) -> bool:
    return left.silent and left.taken


def _list(ids: Mapping[str, object]) -> str:
    return "(" + ", ".join(f"'{each}'" for each in ids) + ")"
