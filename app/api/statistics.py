"""The statistics document: groups of orders added up."""

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Final

from app.domain.documents import Document, sol_string
from app.domain.market import Markets
from app.domain.money import amount_string, decimal_string
from app.domain.order import OrderStatus
from app.engine.ports import StatisticsRow

_RATE_PLACES = Decimal("0.0001")


def statistics_document(rows: Iterable[StatisticsRow], markets: Markets) -> Document:
    """Add up groups of orders in all, and by status, market, strategy, method and reason.

    Volumes stand per market and action (tokens do not add up across markets); those of a market that is
    no longer configured are left out, its decimals being unknown. `success_rate` is filled / (filled +
    failed + expired), `average_ms` the mean time from acceptance to the end of ended orders.
    """
    all_rows = list(rows)
    return {
        **_totals(all_rows, markets),
        "success_rate": _success_rate(all_rows),
        **{f"by_{name}": _groups(all_rows, key, markets) for name, key in _GROUPINGS.items()},
    }


_GROUPINGS: Final[Mapping[str, Callable[[StatisticsRow], str | None]]] = {
    "status": lambda row: row.status.value,
    "market": lambda row: row.market,
    "strategy": lambda row: row.strategy,
    "method": lambda row: row.method,
    "reason": lambda row: row.reason,
}


def _groups(
    rows: list[StatisticsRow], key: Callable[[StatisticsRow], str | None], markets: Markets
) -> list[Document]:
    """Total the rows by a key, in the key's order, the group without one first."""
    groups: dict[str | None, list[StatisticsRow]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    named = sorted(groups.items(), key=lambda group: (group[0] is not None, group[0] or ""))
    return [{"key": name, **_totals(members, markets)} for name, members in named]


def _totals(rows: list[StatisticsRow], markets: Markets) -> Document:
    ended = sum(row.orders for row in rows if row.status.final)
    time_us = sum(row.seconds_total_us for row in rows if row.status.final)
    return {
        "orders": sum(row.orders for row in rows),
        "average_ms": None if ended == 0 else time_us // ended // 1_000,
        "fees": {
            "network": sol_string(sum(row.network_fees for row in rows)),
            "priority": sol_string(sum(row.priority_fees for row in rows)),
            "tip": sol_string(sum(row.tips for row in rows)),
        },
        "volumes": _volumes(rows, markets),
    }


def _volumes(rows: list[StatisticsRow], markets: Markets) -> list[Document]:
    sums: dict[tuple[str, str], tuple[int, int]] = {}
    for row in rows:
        base, quote = sums.get((row.market, row.action), (0, 0))
        sums[row.market, row.action] = (base + row.base_amount, quote + row.quote_amount)
    return [
        {
            "market": name,
            "action": action,
            "base_amount": amount_string(base, markets[name].base.decimals),
            "quote_amount": amount_string(quote, markets[name].quote.decimals),
        }
        for (name, action), (base, quote) in sorted(sums.items())
        if name in markets and base > 0
    ]


def _success_rate(rows: list[StatisticsRow]) -> str | None:
    decided = (OrderStatus.FILLED, OrderStatus.FAILED, OrderStatus.EXPIRED)
    filled = sum(row.orders for row in rows if row.status is OrderStatus.FILLED)
    ended = sum(row.orders for row in rows if row.status in decided)
    if ended == 0:
        return None
    return decimal_string((Decimal(filled) / ended).quantize(_RATE_PLACES))
