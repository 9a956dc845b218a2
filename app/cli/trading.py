"""Posting a batch of signals to a service and watching the orders to their ends."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from app.cli.client import Client, as_json

POLL_SECONDS = 0.15
FINAL = frozenset({"filled", "failed", "expired", "canceled", "rejected"})
REFUSED = "refused"

Json = dict[str, Any]
Signal = Mapping[str, object]


@dataclass(frozen=True)
class Expected:
    """How a signal ought to end: a status (`refused`: no order), with the reason code if any."""

    status: str = "filled"
    code: str | None = None


FILLED = Expected()


@dataclass
class Trade:
    """A signal, what is expected of it, and its order as last read; `reply` is the intake's answer."""

    signal: Signal
    expected: Expected = FILLED
    reply: Json = field(default_factory=dict)
    accepted: bool = False
    order: Json | None = None

    @property
    def status(self) -> str:
        """The order's status; `refused` when there is no order, `-` before the signal is posted."""
        if self.order is not None:
            return str(self.order["status"])
        if not self.reply:
            return "-"
        return str(self.reply["status"]) if self.accepted else REFUSED

    @property
    def code(self) -> str | None:
        """The reason code of an order without a fill, or of the refusal."""
        found = self.order["reason_code"] if self.order else self.reply.get("code")
        return None if self.status == "filled" else found

    @property
    def done(self) -> bool:
        """Whether nothing will change any more."""
        return self.status in FINAL or self.status == REFUSED

    @property
    def as_expected(self) -> bool:
        """Whether it ended as it ought to."""
        return (self.status, self.code) == (self.expected.status, self.expected.code)

    @property
    def fill(self) -> Json | None:
        """What was traded."""
        return self.order["fill"] if self.order else None

    @property
    def seconds(self) -> float | None:
        """From acceptance to the fill, by the service's own times."""
        if not self.order or not self.order["filled_at"]:
            return None
        began, ended = (
            datetime.fromisoformat(self.order[key]) for key in ("accepted_at", "filled_at")
        )
        return (ended - began).total_seconds()

    @property
    def method(self) -> str | None:
        """The method that the landing is credited to: the first that accepted the landed bytes."""
        landed = [each for each in (self.order or {}).get("attempts", []) if each["landed_slot"]]
        pushes = landed[-1]["submissions"] if landed else []
        return next((p["method"] for p in pushes if p["outcome"] == "accepted"), None)

    @property
    def fee_sol(self) -> Decimal:
        """What the chain took besides the pool's fee: network, priority and tip, in SOL."""
        fees = (self.fill or {}).get("fees", {})
        return sum(
            (Decimal(fees[k]) for k in ("network", "priority", "tip") if k in fees), Decimal()
        )


def describe(signal: Signal) -> str:
    """Say a signal in a few words: `SELL 0.01 SOL at 180`, `BUY RAY for 0.25 SOL`."""
    base, _, quote = str(signal["market"]).partition("-")
    by_size = "size" in signal
    what = f"{signal['size']} {base}" if by_size else f"{base} for {signal['quote_size']} {quote}"
    price = f" at {signal['price']}" if "price" in signal else ""
    return f"{signal['action']} {what}{price}"


def post(client: Client, trade: Trade, key: str) -> None:
    """Post a trade's signal under an idempotency key and keep the answer."""
    answer = client.send("POST", "/signals", body=trade.signal, headers={"Idempotency-Key": key})
    trade.reply = as_json(answer)
    trade.accepted = answer.is_success


def watch(
    client: Client,
    trades: Sequence[Trade],
    changed: Callable[[], None],
    *,
    seconds: float,
) -> bool:
    """Read the orders until all are over, calling `changed` each time; False when time ran out."""
    end = time.monotonic() + seconds
    while True:
        for trade in trades:
            if trade.accepted and not trade.done:
                trade.order = client.document("GET", f"/orders/{trade.reply['order_id']}")
        changed()
        if all(trade.done for trade in trades):
            return True
        if time.monotonic() > end:
            return False
        time.sleep(POLL_SECONDS)
