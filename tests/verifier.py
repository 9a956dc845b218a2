"""An independent verifier: holds an order's document against the chain, to the unit.

    python -m tests.verifier http://127.0.0.1:8000 ORDER_ID

`verify` recomputes fill, fees and bound of a filled order from balances, logs and bytes, and makes
sure that an order which is not filled executed nothing. It imports nothing of `app`.
"""

import json
import struct
import sys
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, localcontext
from typing import Any

from tests import chain_oracle as chain
from tests.chain_oracle import executions_by_order

__all__ = ["executions_by_order", "verify"]

MILLION = 1_000_000
BPS = 10_000
SLIPPAGE_BPS = 50
POOL_CONFIG, POOL, USER_IN, USER_OUT, VAULT_IN, VAULT_OUT, MINT_IN, MINT_OUT = (
    *(2, 3, 4, 5, 6, 7),
    *(10, 11),
)

Document = Mapping[str, Any]


def verify(
    rpc_url: str,
    document: Document,
    wallet: str,
    *,
    slippage_bps: int = SLIPPAGE_BPS,
    fee_rate: Callable[[str, str], int] = chain.trade_fee_rate,
) -> list[str]:
    """Give every difference between an order's document and the chain; empty: they agree.

    `fee_rate` reads a pool's fee: whoever verifies many orders may remember the answers.
    """
    attempts = [(each, chain.landed(rpc_url, each["signature"])) for each in document["attempts"]]
    executed = [(each, found) for each, found in attempts if found and found.error is None]
    if document["status"] != "filled":
        return [f"not filled, yet {each['signature']} executed" for each, _ in executed]
    if len(executed) != 1:
        return [f"filled, yet {len(executed)} attempts executed"]
    attempt, found = executed[0]
    try:
        swap = _Swap.read(found)
    except (AssertionError, ValueError, KeyError) as error:
        return [f"the transaction cannot be read: {error}"]
    claim = _Claim(document, attempt, wallet, slippage_bps)
    rate = fee_rate(rpc_url, swap.accounts[POOL_CONFIG])
    return [text for check in _CHECKS for text in check(claim, found, swap, rate)]


@dataclass(frozen=True)
class _Claim:
    """What the service says: the order, its landed attempt, and whose it is."""

    order: Document
    attempt: Document
    wallet: str
    slippage_bps: int

    @property
    def sell(self) -> bool:
        return bool(self.order["action"] == "SELL")

    @property
    def exact_in(self) -> bool:
        return self.sell is (self.order["size"] is not None)


@dataclass(frozen=True)
class _Swap:
    """The one swap of a transaction: from its instruction, the vaults' balances and its event."""

    exact_in: bool
    fixed: int
    bound: int
    accounts: tuple[str, ...]
    amount_in: int
    amount_out: int
    mint_in: str
    mint_out: str
    decimals_in: int
    decimals_out: int
    event: chain.SwapEvent

    @classmethod
    def read(cls, found: chain.Landed) -> "_Swap":
        """Read it; raises AssertionError, ValueError or KeyError when it is no plain swap."""
        (instruction,) = found.content.of(chain.CPMM)
        (event,) = chain.swap_events(found)
        kinds = {
            chain.discriminator("global", "swap_base_input"): True,
            chain.discriminator("global", "swap_base_output"): False,
        }
        exact_in = kinds[instruction.data[:8]]
        one, other = struct.unpack("<2Q", instruction.data[8:])
        accounts = instruction.accounts
        into, out = found.tokens[accounts[VAULT_IN]], found.tokens[accounts[VAULT_OUT]]
        return cls(
            exact_in=exact_in,
            fixed=one if exact_in else other,
            bound=other if exact_in else one,
            accounts=accounts,
            amount_in=into.change,
            amount_out=-out.change,
            mint_in=into.mint,
            mint_out=out.mint,
            decimals_in=into.decimals,
            decimals_out=out.decimals,
            event=event,
        )

    def sides(self, *, sell: bool) -> tuple[int, int, int, int]:
        """Give base amount, quote amount, base decimals, quote decimals."""
        into, out = (self.amount_in, self.decimals_in), (self.amount_out, self.decimals_out)
        base, quote = (into, out) if sell else (out, into)
        return base[0], quote[0], base[1], quote[1]


def _differs(what: str, said: object, is_: object) -> Iterator[str]:
    if said != is_:
        yield f"{what}: the document says {said}, the chain {is_}"


def _whole(amount: int, decimals: int) -> Decimal:
    return Decimal(amount).scaleb(-decimals)


def _attempt(claim: _Claim, found: chain.Landed, _swap: _Swap, _rate: int) -> Iterator[str]:
    """The bytes are the attempt's own, name the order, and are paid by the wallet."""
    yield from _differs("signature", claim.attempt["signature"], found.content.signatures[0])
    yield from _differs("wallet", claim.wallet, found.content.keys[0])
    yield from _differs("landed_slot", claim.attempt["landed_slot"], found.slot)
    yield from _differs("attempt status", claim.attempt["status"], "landed")
    memos = [each.data.decode() for each in found.content.of(chain.MEMO)]
    names = [memo.rpartition("/")[0] for memo in memos]
    wanted = f"synergy7:{claim.order['order_id']}/{claim.attempt['number']}"
    yield from _differs("memo", [wanted], names)


def _amounts(claim: _Claim, found: chain.Landed, swap: _Swap, _rate: int) -> Iterator[str]:
    """The fill is what the vaults gained and lost, what the log says, and what the wallet felt."""
    base, quote, base_decimals, quote_decimals = swap.sides(sell=claim.sell)
    fill = claim.order["fill"]
    yield from _differs("base_amount", Decimal(fill["base_amount"]), _whole(base, base_decimals))
    yield from _differs(
        "quote_amount", Decimal(fill["quote_amount"]), _whole(quote, quote_decimals)
    )
    yield from _differs(
        "event", (swap.event.amount_in, swap.event.amount_out), (swap.amount_in, swap.amount_out)
    )
    yield from _differs("event's pool", swap.event.pool, swap.accounts[POOL])
    yield from _token_side("input", found, swap.accounts[USER_IN], -swap.amount_in)
    yield from _token_side("output", found, swap.accounts[USER_OUT], swap.amount_out)


def _token_side(side: str, found: chain.Landed, account: str, change: int) -> Iterator[str]:
    """A lasting token account changed by the amount; a temporary one shows up in no balance."""
    if account in found.tokens:
        yield from _differs(f"{side} token account", change, found.tokens[account].change)


def _size(claim: _Claim, _found: chain.Landed, swap: _Swap, _rate: int) -> Iterator[str]:
    """What was posted is what was fixed on chain, and executed whole."""
    by_size = claim.order["size"] is not None
    posted = Decimal(claim.order["size"] if by_size else claim.order["quote_size"])
    decimals = swap.decimals_in if swap.exact_in else swap.decimals_out
    yield from _differs("exact-in", claim.exact_in, swap.exact_in)
    yield from _differs("posted amount", posted, _whole(swap.fixed, decimals))
    executed = swap.amount_in if swap.exact_in else swap.amount_out
    yield from _differs("executed amount", swap.fixed, executed)


def _bound(claim: _Claim, _found: chain.Landed, swap: _Swap, _rate: int) -> Iterator[str]:
    """The bound on chain is at least as tight as the signal's price allows, and was kept."""
    kept = swap.amount_out >= swap.bound if swap.exact_in else swap.amount_in <= swap.bound
    if not kept:
        yield "the bound on chain was not kept"
    if claim.order["price"] is None:
        return
    with localcontext(prec=80):
        sign = -claim.slippage_bps if claim.sell else claim.slippage_bps
        _, _, base_decimals, quote_decimals = swap.sides(sell=claim.sell)
        price = Decimal(claim.order["price"]) * (BPS + sign) / BPS
        unit_price = price.scaleb(quote_decimals - base_decimals)
        by_size = claim.order["size"] is not None
        worst = swap.fixed * unit_price if by_size else swap.fixed / unit_price
    if swap.exact_in and swap.bound < worst.to_integral_value(ROUND_CEILING):
        yield f"min_out {swap.bound} on chain is below what the price allows, {worst}"
    if not swap.exact_in and swap.bound > worst.to_integral_value(ROUND_FLOOR):
        yield f"max_in {swap.bound} on chain is above what the price allows, {worst}"


def _price(claim: _Claim, _found: chain.Landed, swap: _Swap, _rate: int) -> Iterator[str]:
    """Average price and slippage follow from the amounts (rounded to what the document shows)."""
    base, quote, base_decimals, quote_decimals = swap.sides(sell=claim.sell)
    fill = claim.order["fill"]
    with localcontext(prec=80):
        average = _whole(quote, quote_decimals) / _whole(base, base_decimals)
        said = Decimal(fill["average_price"])
        if abs(said - average) > Decimal(1).scaleb(-18):
            yield f"average_price: the document says {said}, the chain {average}"
        if claim.order["price"] is None:
            yield from _differs("slippage_bps", fill["slippage_bps"], None)
            return
        price = Decimal(claim.order["price"])
        worse = price - average if claim.sell else average - price
        slippage = worse / price * BPS
        if abs(Decimal(fill["slippage_bps"]) - slippage) > Decimal("0.005"):
            yield f"slippage_bps: the document says {fill['slippage_bps']}, the chain {slippage}"


def _network_fees(claim: _Claim, found: chain.Landed, swap: _Swap, _rate: int) -> Iterator[str]:
    """Fees follow from the bytes, and explain the wallet's lamports."""
    fees = claim.order["fill"]["fees"]
    network = chain.SIGNATURE_LAMPORTS * len(found.content.signatures)
    priority = priority_lamports(found.content)
    tip = tip_lamports(found, claim.wallet)
    yield from _differs("fees.network", Decimal(fees["network"]), _whole(network, 9))
    yield from _differs("fees.priority", Decimal(fees["priority"]), _whole(priority, 9))
    yield from _differs("fees.tip", Decimal(fees["tip"]), _whole(tip, 9))
    yield from _differs("fee charged", network + priority, found.fee)
    wrapped = {swap.mint_in: -swap.amount_in, swap.mint_out: swap.amount_out}
    traded = wrapped.get(chain.WRAPPED_SOL, 0)
    expected = traded - found.fee - tip - _rent(found, swap)
    yield from _differs("lamports of the wallet", expected, found.lamport_change(claim.wallet))
    total = sum(after - before for before, after in found.lamports.values())
    yield from _differs("lamports of all accounts", -found.fee, total)


def priority_lamports(read: chain.Bytes) -> int:
    """Compute the priority fee from the compute budget: ceil(units x micro-lamports / 1e6)."""
    units = price = 0
    for each in read.of(chain.COMPUTE_BUDGET):
        if each.data[0] == 2:
            units = struct.unpack("<I", each.data[1:])[0]
        elif each.data[0] == 3:
            price = struct.unpack("<Q", each.data[1:])[0]
    return -(-units * price // MILLION)


def tip_lamports(found: chain.Landed, wallet: str) -> int:
    """Add up plain transfers from the wallet to accounts that hold no tokens: tips."""
    transfers = [
        (each.accounts, struct.unpack("<IQ", each.data))
        for each in found.content.of(chain.SYSTEM)
        if each.data[:4] == struct.pack("<I", 2)
    ]
    return sum(
        lamports
        for (source, target), (_, lamports) in transfers
        if source == wallet and target not in found.tokens
    )


def _rent(found: chain.Landed, swap: _Swap) -> int:
    """Give the lamports that went into token accounts which are new and stay."""
    vaults = {swap.accounts[VAULT_IN], swap.accounts[VAULT_OUT]}
    return sum(
        found.lamports[account][1]
        for account in found.tokens
        if found.lamports[account][0] == 0 and account not in vaults
    )


def _venue_fee(claim: _Claim, _found: chain.Landed, swap: _Swap, rate: int) -> Iterator[str]:
    """The pool's fee follows from its rate and its reserves, by the constant product."""
    event = swap.event
    if swap.exact_in:
        fee = -(-swap.amount_in * rate // MILLION)
        net = swap.amount_in - fee
        out = net * event.reserve_out // (event.reserve_in + net)
        yield from _differs("constant product", out, swap.amount_out)
    else:
        left = event.reserve_out - swap.amount_out
        net = -(-event.reserve_in * swap.amount_out // left)
        paid = -(-net * MILLION // (MILLION - rate))
        fee = paid - net
        yield from _differs("constant product", paid, swap.amount_in)
    said = Decimal(claim.order["fill"]["fees"]["venue"])
    yield from _differs("fees.venue", said, _whole(fee, swap.decimals_in))


_CHECKS = (_attempt, _amounts, _size, _bound, _price, _network_fees, _venue_fee)


def _get(url: str) -> Any:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=10) as answer:
        return json.load(answer)


def main(url: str, order_id: str) -> int:
    """Print what the chain says against an order's document; 1 when anything differs."""
    status = _get(f"{url}/status")
    wallet = status["wallets"][0]["address"]
    found = verify(status["chain"]["rpc_url"], _get(f"{url}/orders/{order_id}"), wallet)
    print("\n".join(found) or "AGREES: the document and the chain, to the unit")  # noqa: T201
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
