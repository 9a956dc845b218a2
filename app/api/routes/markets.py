"""Markets and quotes: what can be traded, and what an order would get now."""

from typing import Final

from app.api.answers import Answer, json_answer
from app.api.endpoint import Call
from app.api.parameters import parse_integer

QUOTE_PARAMETERS: Final = ("market", "action", "size", "quote_size", "price", "max_slippage_bps")


async def list_markets(call: Call) -> Answer:
    """List the markets with their pools, fees and prices."""
    call.query()
    return json_answer({"markets": list(await call.service.desk.markets())})


async def get_quote(call: Call) -> Answer:
    """Show what would be signed now for a signal of these fields; nothing is stored."""
    given: dict[str, object] = dict(call.query(*QUOTE_PARAMETERS).values)
    slippage = given.get("max_slippage_bps")
    if isinstance(slippage, str):
        number = parse_integer(slippage)
        given["max_slippage_bps"] = slippage if number is None else number
    return json_answer(await call.service.desk.quote(given))
