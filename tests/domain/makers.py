"""Plain domain values for the tests: each maker takes what a case is about and fills in the rest."""

from decimal import Decimal

from solders.pubkey import Pubkey

from app.domain.attempt import (
    AttemptStatus,
    Blockhash,
    Lane,
    LanePlan,
    Signed,
    Spend,
    StoredAttempt,
    Submission,
)
from app.domain.market import WSOL_MINT, Market, PoolRef, Token
from app.domain.order import Fill, Order, OrderStatus, OrderView
from app.domain.outcome import Evidence, ProgramError, Proof, ReplyOutcome
from app.domain.quote import Limit, Quote, SwapIntent
from app.domain.signal import Action, Signal, SignalRules

SOL = Token("SOL", WSOL_MINT, 9)
USDC = Token("USDC", Pubkey.from_bytes(bytes([1] * 32)), 6)
POOL = PoolRef("cpmm", Pubkey.from_bytes(bytes([2] * 32)))
SOL_USDC = Market("SOL-USDC", SOL, USDC, (POOL,), base_size_min=1_000, quote_size_min=10)
RULES = SignalRules(markets={"SOL-USDC": SOL_USDC}, methods=("rpc", "jito"))

NOW = 1_769_860_800_000_000
"""2026-01-31T12:00:00Z."""
S = 1_000_000
LAST_HEIGHT = 1_000
BLOCKHASH_SLOT = 5_000


def signal(action: Action = Action.SELL, /, **given: object) -> Signal:
    """Make a signal of 0.01 SOL unless a size is given."""
    sizes = {} if "size" in given or "quote_size" in given else {"size": 10_000_000}
    return Signal(**{"action": action, "market": "SOL-USDC", **sizes, **given})  # type: ignore[arg-type]


def quote(intent: SwapIntent, amount_in: int, amount_out: int) -> Quote:
    """Make a quote of the one pool."""
    return Quote(POOL, intent, amount_in, amount_out, venue_fee=0, slot=BLOCKHASH_SLOT)


def order(status: OrderStatus = OrderStatus.EXECUTING, **given: object) -> Order:
    """Make an order accepted at NOW that may take 300 s."""
    fields: dict[str, object] = {
        "order_id": "0198c0de",
        "account": "default",
        "wallet": "main",
        "signal": signal(),
        "fingerprint": "f" * 64,
        "idempotency_key": None,
        "status": status,
        "accepted_at_us": NOW,
        "deadline_us": NOW + 300 * S,
    }
    return Order(**{**fields, **given})  # type: ignore[arg-type]


def signed(number: int = 1) -> Signed:
    """Make a signed transaction whose signature names its attempt."""
    intent = SwapIntent(base_to_quote=True, exact_in=True, amount=10_000_000)
    return Signed(
        raw=bytes([number % 256]),
        signature=f"signature{number}",
        blockhash=Blockhash("blockhash", LAST_HEIGHT, BLOCKHASH_SLOT),
        quote=quote(intent, 10_000_000, 1_850_000),
        limit=Limit(exact_in=True, bound=1_840_750),
        spend=Spend("", 0, 12_000_000),
        priority_fee_lamports=100,
        tip_lamports=0,
        seed=None,
    )


def attempt(
    status: AttemptStatus = AttemptStatus.SIGNED, number: int = 1, **given: object
) -> StoredAttempt:
    """Make an attempt as if the database held it."""
    fields: dict[str, object] = {
        "attempt_id": f"attempt{number}",
        "order_id": "0198c0de",
        "number": number,
        "wallet": "main",
        "status": status,
        "plan": LanePlan((Lane("rpc", 1_000),)),
        "signed": signed(number),
        "signed_at_us": NOW,
    }
    return StoredAttempt(**{**fields, **given})  # type: ignore[arg-type]


def view(
    status: OrderStatus = OrderStatus.EXECUTING, *attempts: AttemptStatus, **given: object
) -> OrderView:
    """Make an order with attempts of these states, numbered from 1."""
    numbered = enumerate(attempts, start=1)
    return OrderView(order(status, **given), tuple(attempt(s, n) for n, s in numbered))


def evidence(**given: object) -> Evidence:
    """Make evidence that just proves the attempts made here dead."""
    fields: dict[str, object] = {
        "endpoint": "one",
        "slot": 6_000,
        "height": LAST_HEIGHT + 1,
        "context_slot": 6_000,
        "ledger_slot_min": BLOCKHASH_SLOT,
        "invalid_slot": 6_000,
    }
    return Evidence(**{**fields, **given})  # type: ignore[arg-type]


def push(method: str = "rpc", outcome: ReplyOutcome = ReplyOutcome.ACCEPTED) -> Submission:
    """Make one push with its outcome."""
    return Submission(method=method, outcome=outcome, reason="ok", sent_at_us=NOW, latency_us=1_000)


PROOF = Proof((evidence(),))
FILL = Fill(
    base_amount=10_000_000,
    quote_amount=1_845_000,
    network_fee=5_000,
    priority_fee=100,
    tip=0,
    venue_fee=25_000,
    slot=5_005,
)
SLIPPAGE = ProgramError("SlippageExceeded", "the price moved", {"InstructionError": [2, 6005]})
PRICE = Decimal("180.5")
