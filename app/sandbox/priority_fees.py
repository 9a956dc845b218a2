"""QuickNode's fee add-on: what transactions of the last blocks paid for a compute unit."""

from collections.abc import Iterable, Sequence
from itertools import takewhile

from app.sandbox.blocks import Landed
from app.sandbox.call import Call
from app.sandbox.errors import invalid
from app.sandbox.params import Config, as_pubkey
from app.sandbox.render import Json

BLOCKS_MAX = 100
LEVELS = {"low": 25, "medium": 50, "high": 75, "extreme": 90}
RECOMMENDED = 75
_NEWEST = 2**63  # above every number a landed transaction can have


def estimate_priority_fees(call: Call) -> object:
    """Show percentiles of recent prices: per compute unit and per transaction, in micro-lamports.

    Parameters by name: `last_n_blocks` (1 to 100), `account`, `api_version`.
    """
    config = call.params.config(0) if len(call.params) else Config({})
    bank = call.bank_at("confirmed", config)
    paid = list(_recent(call, config, bank.height - _blocks(config) + 1))
    unit_prices = [each.unit_price * call.view.fees_times for each in paid]
    totals = [price * each.units for price, each in zip(unit_prices, paid, strict=True)]
    return {
        "context": {"slot": bank.slot},
        "per_compute_unit": _figures(unit_prices),
        "per_transaction": _figures(totals),
        "recommended": _percentile(sorted(unit_prices), RECOMMENDED),
    }


def _blocks(config: Config) -> int:
    """Read how far to look back: a number, or one written as a text."""
    text = config.digits("last_n_blocks")
    blocks = BLOCKS_MAX if text is None else text
    if not 1 <= blocks <= BLOCKS_MAX:
        raise invalid(f"last_n_blocks must be within 1 and {BLOCKS_MAX}")
    return blocks


def _recent(call: Call, config: Config, lowest: int) -> Iterable[Landed]:
    """Walk the transactions from a height on, newest first."""
    account, chain = config.text("account"), call.node.chain
    if account is None:
        newest: Iterable[Landed] = reversed(chain.landed.values())
    else:
        newest = chain.history_of(as_pubkey(account), _NEWEST)
    return takewhile(lambda each: each.height >= lowest, newest)


def _figures(values: Sequence[int]) -> Json:
    ordered = sorted(values)
    levels = {name: _percentile(ordered, level) for name, level in LEVELS.items()}
    steps = {str(step): _percentile(ordered, step) for step in range(0, 101, 5)}
    return {**levels, "percentiles": steps}


def _percentile(ordered: Sequence[int], percentile: int) -> int:
    """Pick by nearest rank; 0 when nothing was paid."""
    if not ordered:
        return 0
    rank = -(-percentile * len(ordered) // 100)
    return ordered[max(rank - 1, 0)]
