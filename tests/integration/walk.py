"""The same orders on every chain and database: both sides, sizes in base and in quote, all markets."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from app.bootstrap import ExecutionSystem
from tests.integration.kit import Json, ended

WALK: Final[Sequence[Mapping[str, object]]] = (
    {"action": "SELL", "market": "SOL-USDC", "size": 0.01, "price": 180.0, "confidence": 0.8},
    {"action": "BUY", "market": "SOL-USDC", "size": "0.01", "price": "190"},
    {"action": "BUY", "market": "SOL-USDC", "quote_size": "9.999999"},
    {"action": "SELL", "market": "SOL-USDC", "quote_size": "5"},
    {"action": "SELL", "market": "BONK-USDC", "size": "1234567.89012", "price": "0.000019"},
    {"action": "BUY", "market": "BONK-USDC", "size": "1000000"},
    {"action": "SELL", "market": "RAY-SOL", "size": "10", "price": "0.0118"},
    {"action": "BUY", "market": "RAY-SOL", "quote_size": "0.123456789"},
)


async def walk(system: ExecutionSystem, differences: Callable[[Json], list[str]]) -> list[Json]:
    """Execute all of them; every fill must agree with the chain, to the unit. Gives the documents."""
    ids = [await system.submit_trading_signal(signal) for signal in WALK]
    orders = [await ended(system, order_id) for order_id in ids]
    for order in orders:
        assert order["status"] == "filled", order
        found = differences(order)
        assert found == [], found
    return orders
