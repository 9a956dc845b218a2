"""A small trading bot: buys when the short average crosses above the long one, sells when below.

    python examples/live_bot.py --market SOL-USDC --size 0.1 --trades 4

It reads the pool's price from the chain that the service trades on, and trades over HTTP the way any
bot should: each decision has an idempotency key, and a post whose answer was lost is repeated with
the same key, which can never make a second order. It waits for each order's end before it goes on.

On the sandbox prices stand still unless somebody trades: start the service with
`SYNERGY7_SANDBOX__KEEPER_VOLATILITY_BPS=20` for a market that moves.
"""

import argparse
import sys
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import httpx
from solders.pubkey import Pubkey

CPMM = Pubkey.from_string("CPMMoo8L3F4NbTegBCKVNunggL7H1ZpdTHKxQB5qKP1C")
MINTS = {
    "SOL": "So11111111111111111111111111111111111111112",
    "USDC": "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v",
    "BONK": "DezXAZ8z7PnrnRJjz3wXBoRgixCa6xjnB7YaB1pPB263",
    "RAY": "4k3Dyjzvzp8eMZWUXbBCjEvwSkkk59S5iCNLY3QrkX6R",
}
FINAL = {"filled", "failed", "expired", "canceled", "rejected"}
POST_TRIES = 5
RETRY_SECONDS = 1.0

Json = dict[str, Any]


class PoolPrice:
    """The price of a constant-product pool: what its two vaults hold, quote over base."""

    def __init__(self, rpc_url: str, market: str) -> None:
        """Work out where the pool of the 0.25 % tier keeps its tokens."""
        self._http = httpx.Client(base_url=rpc_url, timeout=5)
        mints = [Pubkey.from_string(MINTS[symbol]) for symbol in market.split("-")]
        config = _derive(b"amm_config", bytes(2))
        pool = _derive(b"pool", bytes(config), *sorted(map(bytes, mints)))
        self._vaults = [_derive(b"pool_vault", bytes(pool), bytes(mint)) for mint in mints]

    def read(self) -> Decimal:
        """Give quote per base in whole tokens."""
        base, quote = (self._balance(vault) for vault in self._vaults)
        return quote / base

    def _balance(self, vault: Pubkey) -> Decimal:
        params = [str(vault), {"commitment": "confirmed"}]
        body = {"jsonrpc": "2.0", "id": 1, "method": "getTokenAccountBalance", "params": params}
        answer = self._http.post("", json=body).json()
        return Decimal(answer["result"]["value"]["uiAmountString"])


def _derive(*seeds: bytes) -> Pubkey:
    return Pubkey.find_program_address(list(seeds), CPMM)[0]


class Cross:
    """The rule: averages over the last `short` and `long` prices, and the side they were on."""

    def __init__(self, short: int, long: int) -> None:
        """Start without prices; nothing is said before `long` of them are known."""
        self._short = short
        self._prices: deque[Decimal] = deque(maxlen=long)
        self._above: bool | None = None

    def decide(self, price: Decimal) -> str | None:
        """Take the next price; BUY or SELL when the averages cross, else None."""
        self._prices.append(price)
        if len(self._prices) < (self._prices.maxlen or 0):
            return None
        recent = list(self._prices)[-self._short :]
        short, long = sum(recent) / len(recent), sum(self._prices) / len(self._prices)
        if short == long:
            return None
        before, self._above = self._above, short > long
        if before in (None, self._above):
            return None
        return "BUY" if self._above else "SELL"


class Service:
    """The execution service over HTTP."""

    def __init__(self, url: str) -> None:
        """Connect to `url`, e.g. `http://127.0.0.1:8000`."""
        self._http = httpx.Client(base_url=url, timeout=40)

    def rpc_url(self) -> str:
        """Ask where the chain is."""
        return str(self._http.get("/status").raise_for_status().json()["chain"]["rpc_url"])

    def submit(self, signal: Json, key: str) -> str:
        """Post a signal until the service has answered; the key makes repeating it safe."""
        for left in reversed(range(POST_TRIES)):
            try:
                answer = self._http.post("/signals", json=signal, headers={"Idempotency-Key": key})
            except httpx.TransportError:
                if not left:
                    raise
            else:
                if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE or not left:
                    return str(answer.raise_for_status().json()["order_id"])
            time.sleep(RETRY_SECONDS)
        raise AssertionError("not reached")

    def wait(self, order_id: str) -> Json:
        """Wait for an order's end, however long it takes."""
        while True:
            order: Json = self._http.get(f"/orders/{order_id}", params={"wait": 30}).json()
            if order["status"] in FINAL:
                return order


@dataclass(frozen=True)
class Plan:
    """What to trade, and when to stop."""

    market: str
    size: str
    trades: int
    seconds: float
    interval: float


def trade(
    plan: Plan, service: Service, rule: Cross, read_price: Callable[[], Decimal]
) -> Iterator[Json]:
    """Follow the rule; yields each order at its end."""
    run = uuid.uuid4()
    made = 0
    end = time.monotonic() + plan.seconds
    while made < plan.trades and time.monotonic() < end:
        price = read_price()
        action = rule.decide(price)
        if action:
            made += 1
            signal = {"action": action, "market": plan.market, "size": plan.size}
            # the price now, and half a percent of patience (the service's default slippage)
            signal["price"] = f"{price:.9f}"
            yield service.wait(service.submit(signal, key=f"{run}-{made}"))
        time.sleep(plan.interval)


def told(order: Json) -> str:
    """Say in a line how an order ended."""
    start = f"{order['action']} {order['size']} {order['market']}: {order['status']}"
    fill = order["fill"]
    if not fill:
        return f"{start} {order['reason_code']}"
    price = Decimal(fill["average_price"])
    return f"{start} at {price:.6f}, {fill['slippage_bps']} bps against the signal"


def main() -> int:
    """Run the bot; 0 when it made all its trades and all were filled."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--market", default="SOL-USDC")
    parser.add_argument("--size", default="0.1", help="base tokens a trade")
    parser.add_argument("--trades", type=int, default=2, help="stop after so many")
    parser.add_argument("--seconds", type=float, default=600, help="stop after so long")
    parser.add_argument("--interval", type=float, default=0.4, help="seconds between prices")
    parser.add_argument("--short", type=int, default=3, help="prices in the short average")
    parser.add_argument("--long", type=int, default=8, help="prices in the long average")
    given = parser.parse_args()
    service = Service(given.url)
    price = PoolPrice(service.rpc_url(), given.market)
    plan = Plan(given.market, given.size, given.trades, given.seconds, given.interval)
    orders = []
    print(f"watching {given.market} at {price.read():.6f}", flush=True)
    for order in trade(plan, service, Cross(given.short, given.long), price.read):
        orders.append(order)
        print(told(order), flush=True)
    filled = sum(order["status"] == "filled" for order in orders)
    print(f"{len(orders)} trades, {filled} filled")
    return 0 if filled == given.trades else 1


if __name__ == "__main__":
    sys.exit(main())
