"""A quoted order becomes a v0 message; the same instructions are simulated first and signed then."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from solders.compute_budget import set_compute_unit_limit, set_compute_unit_price
from solders.hash import Hash
from solders.instruction import Instruction
from solders.message import MessageV0, to_bytes_versioned
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from app.domain.attempt import Spend
from app.domain.errors import ReasonCode, RefusedError
from app.domain.market import Market, Token
from app.domain.memo import Memo, client_hash
from app.domain.money import SIGNATURE_LAMPORTS
from app.domain.order import Order
from app.domain.quote import Quote, SwapIntent
from app.engine.ports import Quoted, TipNeeds
from app.transactions import fees, tokens
from app.transactions.pools import Board
from app.transactions.venues.base import Pool, Swap, UserAccounts, Venue

TRANSACTION_BYTES_MAX: Final = 1_232
"""The largest transaction that the network carries: one IPv6 packet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Construction:
    """An attempt in the making: every instruction but the compute budget's, and what it may cost."""

    payer: Pubkey
    wallet: str
    venue: Venue
    pool: Pool
    swap: Swap
    quoted: Quoted
    user: UserAccounts
    body: tuple[Instruction, ...]
    needs: tuple[TipNeeds, ...]
    """What the methods demand of the unit price, which is known once the compute limit is."""
    tips: tuple[fees.Tip, ...]
    contended: tuple[str, ...]
    """What the swap writes and others do too: all but the wallet's own accounts."""
    value_lamports: int | None
    """What the order is worth; None when no pool tells it in SOL."""
    paid_before: int
    """Lamports that earlier attempts of the order were charged in vain."""
    seed: str | None
    funding: int
    """Lamports put into the temporary account, its rent included; 0 without one."""
    created_rent: int
    """Lamports that a new associated account costs; 0 when there is one."""
    paid: tuple[str, int]
    """Mint and amount of the tokens that may leave the wallet; an empty mint for SOL."""

    def spend(self, priority_fee_lamports: int) -> Spend:
        """Give what may leave the wallet at most."""
        mint, amount = self.paid
        lamports = self.funding + self.created_rent + self.cost(priority_fee_lamports)
        return Spend(mint, amount, lamports)

    def cost(self, priority_fee_lamports: int) -> int:
        """Give fees and tips of this attempt; rents are none, as they stay the wallet's."""
        return SIGNATURE_LAMPORTS + priority_fee_lamports + fees.total(self.tips)


class TransactionBuilder:
    """Builds the transactions of orders."""

    def __init__(self, *, seed_source: Callable[[], str]) -> None:
        self._seed_source = seed_source

    def construct(
        self, work: "Work", number: int, quoted: Quoted, needs: Sequence[TipNeeds]
    ) -> Construction:
        """Lay out attempt `number`.

        Raises RefusedError when the wallet lacks the token account to pay from, or cannot use it, and
        when the methods ask for too many or too large tips.
        """
        seed = self._seed_source() if work.base_or_quote_is_sol else None
        sides = _Sides(work, quoted, seed)
        digits = client_hash(work.order.account, work.order.client_key)
        tips = fees.tips_of(needs, int(digits, 16) + number)
        user = UserAccounts(work.payer, sides.source(), sides.destination())
        pool = work.board.pool(work.market.name, quoted.quote.pool)
        swap = pool.build(sides.swap, quoted.limit.bound, user)
        memo = Memo(work.order.order_id, number, digits)
        payments = [
            tokens.pay(work.payer, Pubkey.from_string(tip.payee), tip.lamports) for tip in tips
        ]
        body = (*sides.before(), swap, *sides.after(), tokens.memo(memo.text()), *payments)
        return Construction(
            payer=work.payer,
            wallet=work.order.wallet,
            venue=work.venue,
            pool=pool,
            swap=sides.swap,
            quoted=quoted,
            user=user,
            body=body,
            needs=tuple(needs),
            tips=tips,
            contended=_contended(swap, user),
            value_lamports=_value(work, quoted.quote),
            paid_before=work.paid_before,
            seed=seed,
            funding=sides.funding(),
            created_rent=sides.created_rent(),
            paid=sides.paid(),
        )


@dataclass(frozen=True, slots=True)
class Work:
    """An order with what it is built from."""

    order: Order
    market: Market
    payer: Pubkey
    board: Board
    venue: Venue
    paid_before: int
    """Lamports that earlier attempts were charged in vain."""

    @property
    def base_or_quote_is_sol(self) -> bool:
        """Tell whether a temporary wrapped-SOL account is needed."""
        return self.market.base.is_sol or self.market.quote.is_sol


def tokens_of(market: Market, intent: SwapIntent) -> tuple[Token, Token]:
    """Give what is paid and what is received."""
    sides = (market.base, market.quote)
    return sides if intent.base_to_quote else (sides[1], sides[0])


def swap_of(market: Market, intent: SwapIntent) -> Swap:
    """Say a swap in mints."""
    paid, received = tokens_of(market, intent)
    return Swap(paid.mint, received.mint, intent.exact_in, intent.amount)


def _contended(swap: Instruction, user: UserAccounts) -> tuple[str, ...]:
    """Name the accounts whose price is asked for, in an order that both directions of a pool share."""
    own = (user.owner, user.source, user.destination)
    written = (meta.pubkey for meta in swap.accounts if meta.is_writable)
    return tuple(sorted({str(key) for key in written if key not in own}))


def _value(work: Work, quote: Quote) -> int | None:
    """Give the quoted amount of SOL; without SOL, the worth in it of the quote token, else of the base."""
    market = work.market
    paid = tokens_of(market, quote.intent)[0]
    for token in sorted((market.quote, market.base), key=lambda each: not each.is_sol):
        amount = quote.amount_in if token == paid else quote.amount_out
        worth = work.board.worth(token, amount)
        if worth is not None:
            return worth
    return None


class _Sides:
    """What is paid from and received into, and the instructions around the swap that this takes."""

    def __init__(self, work: Work, quoted: Quoted, seed: str | None) -> None:
        intent = quoted.quote.intent
        self.swap = swap_of(work.market, intent)
        self._work = work
        self._seed = seed
        self._token_in, self._token_out = tokens_of(work.market, intent)
        self._paid_max = intent.amount if intent.exact_in else quoted.limit.bound
        self._mint_out = work.board.mint(work.market.name, self._token_out)
        self._holding_out = work.board.holding(work.market.name, work.payer, self._mint_out)

    def source(self) -> Pubkey:
        """Give the account that is paid from; the wallet must have it."""
        if self._token_in.is_sol:
            return self._temporary()
        work = self._work
        mint = work.board.mint(work.market.name, self._token_in)
        holding = work.board.holding(work.market.name, work.payer, mint)
        if not holding.exists:
            what = f"the wallet holds no {self._token_in.symbol}"
            raise RefusedError(ReasonCode.INSUFFICIENT_FUNDS, what, todo="fund the wallet")
        if not holding.usable:
            raise _unusable(self._token_in)
        return holding.address

    def destination(self) -> Pubkey:
        """Give the account that is received into."""
        if self._token_out.is_sol:
            return self._temporary()
        if self._holding_out.exists and not self._holding_out.usable:
            raise _unusable(self._token_out)
        return self._holding_out.address

    def before(self) -> tuple[Instruction, ...]:
        """Open the temporary account; create the account received into where there is none."""
        opened = self._seed and tokens.open_temporary(self._work.payer, self._seed, self.funding())
        created = tokens.create_associated(self._work.payer, self._mint_out)
        return (*(opened or ()), *([created] if self._creates() else []))

    def after(self) -> tuple[Instruction, ...]:
        """Close the temporary account: unspent and received SOL returns to the wallet."""
        return (tokens.close_temporary(self._work.payer, self._seed),) if self._seed else ()

    def funding(self) -> int:
        """Give the lamports that go into the temporary account."""
        if self._seed is None:
            return 0
        paid = self._paid_max if self._token_in.is_sol else 0
        return tokens.RENT_TOKEN_ACCOUNT + paid

    def created_rent(self) -> int:
        """Give the rent of the account received into, when it is created."""
        return self._mint_out.account_rent if self._creates() else 0

    def paid(self) -> tuple[str, int]:
        """Give mint and amount of the tokens that may leave."""
        if self._token_in.is_sol:
            return "", 0
        return str(self._token_in.mint), self._paid_max

    def _creates(self) -> bool:
        return not self._token_out.is_sol and not self._holding_out.exists

    def _temporary(self) -> Pubkey:
        return tokens.temporary_address(self._work.payer, self._seed or "")


def _unusable(token: Token) -> RefusedError:
    what = f"the wallet's {token.symbol} account is frozen or belongs to another owner"
    return RefusedError(ReasonCode.PROGRAM_ERROR, what, todo="trade from another wallet")


def compile_message(
    construction: Construction, *, limit: int, price: int, blockhash: Hash
) -> MessageV0:
    """Put the compute budget before the body and compile, without lookup tables."""
    budget = (set_compute_unit_limit(limit), set_compute_unit_price(price))
    return MessageV0.try_compile(construction.payer, [*budget, *construction.body], [], blockhash)


def serialize(message: MessageV0, signature: Signature) -> bytes:
    """Give the transaction's bytes; RefusedError when the network could not carry them."""
    raw = bytes(VersionedTransaction.populate(message, [signature]))
    if len(raw) > TRANSACTION_BYTES_MAX:
        what = f"the transaction has {len(raw)} bytes, {TRANSACTION_BYTES_MAX} at most"
        raise RefusedError(
            ReasonCode.INTERNAL_ERROR, what, todo="name fewer methods that want tips"
        )
    return raw


def signable(message: MessageV0) -> bytes:
    """Give the bytes that are signed: the version prefix and the message."""
    return bytes(to_bytes_versioned(message))
