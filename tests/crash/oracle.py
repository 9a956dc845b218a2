"""The oracle: holds chain, orders, trail and metrics against one another after a case."""

import json
import re
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from app.domain.events import Event, EventKind, verify_chain
from tests.chain_oracle import Execution, executions_of, landed
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
SOL_DECIMALS = 9
DECIMALS = {"SOL": SOL_DECIMALS, "USDC": 6, "BONK": 5, "RAY": 6}
"""Of the tokens that the acts trade."""
CLOSING_SLOTS = 2
"""Until what was pushed in vain, or once too often, is in a block that the node shows."""
FAILED_FEES = re.compile(r'synergy7_fees_lamports_total\{[^}]*kind="failed"[^}]*\} (\S+)')


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
    run.chain.step(CLOSING_SLOTS)
    executions = new_executions(run)
    found.lost += unknown(executions, by_id.keys())
    found.duplicates += repeated(executions)
    executed = Counter(each.order_id for each in executions)
    for order_id, order in by_id.items():
        found.duplicates += _duplicates(order, executed[order_id])
        found.differences += [
            f"{order_id}: {text}" for text in verify(run.chain.rpc_url, order, run.wallet)
        ]
    found.incomplete += _trail(run.databases, by_id)
    found.differences += _metrics(run.databases, by_id)
    found.differences += _failures(run, by_id)
    return found


def new_executions(run: Run) -> list[Execution]:
    """List what this case executed, beside what earlier ones on its chain did; counts it as theirs now."""
    listed = executions_of(run.chain.rpc_url, run.wallet)
    new = [each for each in listed if each.signature not in run.earlier]
    run.earlier.update(each.signature for each in new)
    return new


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


def unknown(executions: Sequence[Execution], order_ids: Collection[str]) -> Iterator[str]:
    """Name what was executed for orders that are not there."""
    for each in executions:
        if each.order_id not in order_ids:
            yield f"{each.order_id} was executed as {each.signature} and is not there"


def repeated(executions: Sequence[Execution]) -> Iterator[str]:
    """Name the client's keys that were executed more than once, under whatever order ids."""
    orders: defaultdict[str, list[str]] = defaultdict(list)
    for each in executions:
        orders[each.client_hash].append(each.order_id)
    for client_hash, order_ids in orders.items():
        if len(order_ids) > 1:
            yield f"the key {client_hash} was executed {len(order_ids)} times: {order_ids}"


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
    wanted = _amounts(order)
    if list(row[4:]) != wanted:
        yield f"amounts and fees {row[4:]}, and the order says {wanted}"


def _amounts(order: Json) -> list[int | None]:
    """Give what a fill moved and cost in base units, in the order of the metrics' row."""
    fill = order["fill"]
    if fill is None:
        return [None] * 6
    base, quote = (DECIMALS[symbol] for symbol in order["market"].split("-"))
    paid_in = base if order["action"] == "SELL" else quote
    return [
        _units(fill["base_amount"], base),
        _units(fill["quote_amount"], quote),
        *[_units(fill["fees"][name], SOL_DECIMALS) for name in FEES],
        _units(fill["fees"]["venue"], paid_in),
    ]


def _units(amount: str, decimals: int) -> int:
    units = Decimal(amount).scaleb(decimals)
    assert units == int(units), f"{amount} is finer than {decimals} digits"
    return int(units)


def _failures(run: Run, orders: Mapping[str, Json]) -> Iterator[str]:
    """Attempts that are said to have failed did so on the chain, there, and their fees are told."""
    paid = 0
    for order_id, order in orders.items():
        for attempt in order["attempts"]:
            if attempt["status"] != "failed":
                continue
            found = landed(run.chain.rpc_url, attempt["signature"])
            if found is None or found.error is None or found.slot != attempt["landed_slot"]:
                yield f"{order_id}: {attempt} failed, and the chain says {found}"
            else:
                paid += found.fee
    told = run.alive(_failed_fees)
    alone = run.service.starts == 1
    if told > paid or (alone and told != paid):
        yield f"the metrics tell of {told} lamports for failures, and the chain of {paid}"


def _failed_fees(run: Run) -> int:
    """Read what this start of the service says it paid for attempts that landed and failed."""
    text = run.service.ask("GET", "/metrics").text
    return sum(int(Decimal(each)) for each in FAILED_FEES.findall(text))


__all__ = ["KINDS", "Findings", "Rows", "judge", "new_executions"]
