"""Markets and quotes over HTTP: asked of the desk, its refusals told as problems."""

import pytest

from app.domain.errors import ReasonCode, RefusedError, TransientError
from tests.api.kit import Running

pytestmark = pytest.mark.anyio


async def test_markets_are_what_the_desk_shows(api: Running) -> None:
    """In a list of their own; parameters are not taken."""
    assert await api.get("/markets") == {"markets": [{"name": "SOL-USDC"}]}
    assert (await api.client.get("/markets?x=1")).status_code == 422


async def test_a_quote_is_asked_for_with_the_fields_of_a_signal(api: Running) -> None:
    """As text, but for the slippage, which is a whole number."""
    query = "market=SOL-USDC&action=SELL&size=0.01&price=180&max_slippage_bps=50"
    given = {
        "market": "SOL-USDC",
        "action": "SELL",
        "size": "0.01",
        "price": "180",
        "max_slippage_bps": 50,
    }
    assert (await api.client.get(f"/quote?{query}")).json() == {"quoted": given}
    odd = await api.client.get("/quote?market=SOL-USDC&max_slippage_bps=some")
    assert odd.json() == {"quoted": {"market": "SOL-USDC", "max_slippage_bps": "some"}}
    assert (await api.client.get("/quote?methods=rpc")).status_code == 422


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RefusedError(ReasonCode.PRICE_IMPACT, "too far"), 422),
        (TransientError(ReasonCode.MID_PRICE_GAP, "they disagree"), 503),
        (TransientError(ReasonCode.CHAIN_UNAVAILABLE, "nobody answers"), 503),
    ],
)
async def test_what_stands_in_the_way_is_a_problem(
    api: Running, error: RefusedError | TransientError, status: int
) -> None:
    """With the code that an order would end or wait with."""
    api.desk.trouble = error
    for path in ("/markets", "/quote?market=SOL-USDC&action=SELL&size=1"):
        answer = await api.client.get(path)
        assert answer.status_code == status
        assert answer.json()["code"] == error.code.value
