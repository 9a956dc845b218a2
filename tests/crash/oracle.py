"""The oracle: holds chain, orders, trail and metrics against one another after a case."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from app.domain.events import Event, EventKind, verify_chain
from tests.chain_oracle import executions_by_order
from tests.crash.databases import Databases, Rows
from tests.crash.run import Run
from tests.crash.service import Died, Json
from tests.crash.trail import illegalities
from tests.harness import FINAL
from tests.verifier import verify

KINDS = ("duplicates", "lost", "changed_finals", "incomplete", "differences")
CATCH_UP_SECONDS = 20.0
LOOK_SECONDS = 0.02
EVENTS = "SELECT order_id, seq, at_us, kind, data, position, hash FROM events ORDER BY position"
UNSEALED = "SELECT count(*) FROM events WHERE position IS NULL"
CURSOR = "SELECT position FROM metrics_cursor"
EXECUTIONS = (
    "SELECT order_id, status, reason_code, attempts, base_amount, quote_amount,"
    " network_fee, priority_fee, tip, venue_fee FROM executions"
)
FEES = ("network", "priority", "tip")


@dataclass
class Findings:
    """What is wrong, by kind; nothing, if all is well."""

    duplicates: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    changed_finals: list[str] = field(default_factory=list)
    incomplete: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)

    def told(self) -> Iterator[str]:
        """Give each finding in words."""
        for kind in KINDS:
            yield from (f"{kind}: {text}" for text in getattr(self, kind))


def judge(run: Run) -> Findings:
    """Judge a case whose every order has ended, while its service still runs."""
    run.alive(catch_up)
    orders = run.alive(Run.documents)
    found = Findings(changed_finals=list(run.changed))
    found.lost += _lost(run, orders)
    by_id = {order["order_id"]: order for order in orders.values()}
    executed = executions_by_order(run.chain.rpc_url, run.wallet)
    for order_id, order in by_id.items():
        found.duplicates += _duplicates(order, executed[order_id])
        found.differences += [
            f"{order_id}: {text}" for text in verify(run.chain.rpc_url, order, run.wallet)
        ]
    found.incomplete += _trail(run.databases, by_id)
    found.differences += _metrics(run.databases, by_id)
    return found


def catch_up(run: Run) -> None:
    """Wait until every event is sealed, and the metrics have read it; raises Died."""
    end = time.monotonic() + CATCH_UP_SECONDS
    while not _has_caught_up(run.databases):
        assert time.monotonic() < end, "seals or metrics are late"
        if run.service.has_ended():
            raise Died
        time.sleep(LOOK_SECONDS)


def _has_caught_up(databases: Databases) -> bool:
    ((unsealed,),) = databases.orders(UNSEALED)
    ((last,),) = databases.orders("SELECT max(position) FROM events")
    return not unsealed and databases.metrics(CURSOR) == [(last,)]


def _lost(run: Run, orders: Mapping[str, Json]) -> Iterator[str]:
    for name, order_id in run.accepted.items():
        if name not in orders or orders[name]["order_id"] != order_id:
            yield f"{name} was accepted as {order_id} and is not there"
        elif orders[name]["status"] not in FINAL:
            yield f"{name} has not ended"
    yield from (f"{name} was never posted" for name in orders.keys() - run.posted)


def _duplicates(order: Json, executions: int) -> Iterator[str]:
    wanted = 1 if order["status"] == "filled" else 0
    if executions != wanted:
        yield f"{order['order_id']} is {order['status']} and was executed {executions} times"


def _trail(databases: Databases, orders: Mapping[str, Json]) -> Iterator[str]:
    """The trail is whole, its hashes follow from one another, and it tells what the orders show."""
    events = [_event(row) for row in databases.orders(EVENTS)]
    broken = verify_chain(events)
    if broken is not None:
        yield f"the trail breaks at {broken}"
    for order_id, order in orders.items():
        own = [event for event in events if event.order_id == order_id]
        yield from (f"{order_id}: {text}" for text in illegalities(own, order))
    strange = {event.order_id for event in events} - orders.keys() - {""}
    yield from (f"events of an order that is not there: {order_id}" for order_id in strange)


def _event(row: Sequence[object]) -> Event:
    order_id, seq, at_us, kind, data, position, chained = row
    assert isinstance(seq, int)
    assert isinstance(at_us, int)
    return Event(
        order_id=str(order_id),
        seq=seq,
        at_us=at_us,
        kind=EventKind(str(kind)),
        data=json.loads(str(data)),
        position=position if isinstance(position, int) else None,
        hash=str(chained),
    )


def _metrics(databases: Databases, orders: Mapping[str, Json]) -> Iterator[str]:
    """The metrics have a row for each order, with the same end and the same amounts."""
    rows = {row[0]: row for row in databases.metrics(EXECUTIONS)}
    for order_id in orders.keys() ^ rows.keys():
        yield f"orders and metrics do not both have {order_id}"
    for order_id, order in orders.items():
        if order_id in rows:
            yield from (f"metrics of {order_id}: {text}" for text in _row(rows[order_id], order))


def _row(row: Sequence[object], order: Json) -> Iterator[str]:
    said = (order["status"], order["reason_code"], len(order["attempts"]))
    if tuple(row[1:4]) != said:
        yield f"{row[1:4]}, and the order says {said}"
    fill = order["fill"]
    amounts = [Decimal(0)] * 3 if fill is None else [Decimal(fill["fees"][n]) * 10**9 for n in FEES]
    if [Decimal(str(each or 0)) for each in row[6:9]] != amounts:
        yield f"fees {row[6:9]}, and the order says {amounts}"
    if (row[4] is None) is not (fill is None):
        yield f"base amount {row[4]}, and the order says {fill}"


__all__ = ["KINDS", "Findings", "Rows", "judge"]
