"""Transactions of ours, read back from nothing but what the chain has of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from solders.compute_budget import ID as COMPUTE_BUDGET
from solders.instruction import Instruction
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from app.domain.attempt import Blockhash, Signed, Spend
from app.domain.errors import ReasonCode, RefusedError, TransientError
from app.domain.market import Market, PoolRef
from app.domain.memo import Memo, parse_memo
from app.domain.quote import Limit, Quote, SwapIntent
from app.domain.signal import US, Action
from app.engine.recovery_port import Found, Mention, Recovered
from app.transactions import fees
from app.transactions.guard import decompile, transfer_lamports
from app.transactions.tokens import (
    MEMO_PROGRAM,
    SYSTEM_PROGRAM,
    TOKEN_PROGRAMS,
    associated_address,
)
from app.transactions.venues.base import Terms, Venue

BLOCKHASH_SLOTS_MAX = 300
"""A blockhash is no older than 150 blocks when it is used; so many slots hold them, skipped ones too."""
_SET_LIMIT, _SET_PRICE = 2, 3
"""First bytes of SetComputeUnitLimit (then a u32) and SetComputeUnitPrice (then a u64)."""


@dataclass(frozen=True, slots=True)
class _Swap:
    """A swap of ours: on which pool and market, and what it said."""

    pool: PoolRef
    market: str
    base_to_quote: bool
    terms: Terms


def read_recovered(
    found: Found,
    mention: Mention,
    until_height: int,
    *,
    wallet: str,
    markets: Mapping[str, Market],
    venues: Mapping[str, Venue],
) -> Recovered | None:
    """Read a transaction back; None when not this wallet signed and paid it with a memo of ours.

    Anybody can name a wallet, and write any memo: only the wallet's own signature tells. Bytes without
    their signatures are not what landed, and raise TransientError: who passes them over hides what did.
    What the chain does not have stands for what cannot matter any more: the last valid height is
    `until_height`, no earlier than the true one. Raises RefusedError when it is ours and its swap cannot
    be read.
    """
    message, memo = _ours(found, wallet)
    if message is None or memo is None:
        return None
    instructions = decompile(message)
    swap = _swap(instructions, found.mints, markets, venues)
    if swap is None:
        what = (
            f"transaction {found.landed.signature} bears a memo of ours and no swap that is known"
        )
        raise RefusedError(ReasonCode.POOL_INVALID, what, todo="configure its venue")
    intent = SwapIntent(swap.base_to_quote, swap.terms.exact_in, swap.terms.amount)
    by_base = swap.base_to_quote == swap.terms.exact_in
    slot = found.landed.slot
    blockhash = Blockhash(
        str(message.recent_blockhash), until_height, max(slot - BLOCKHASH_SLOTS_MAX, 0)
    )
    return Recovered(
        memo=memo,
        wallet=wallet,
        signed=Signed(
            raw=found.raw,
            signature=found.landed.signature,
            blockhash=blockhash,
            quote=_quote(swap, intent, slot),
            limit=Limit(swap.terms.exact_in, swap.terms.bound),
            spend=Spend("", 0, 0),  # it has landed: balances show what it took
            priority_fee_lamports=_priority_fee(instructions),
            tip_lamports=_tips(instructions),
            seed=None,
        ),
        market=swap.market,
        action=Action.SELL if swap.base_to_quote else Action.BUY,
        size=intent.amount if by_base else None,
        quote_size=None if by_base else intent.amount,
        slot=slot,
        failed=mention.failed and found.landed.error is not None,
        at_us=(found.unix_time or 0) * US,
    )


def _ours(found: Found, wallet: str) -> tuple[MessageV0 | None, Memo | None]:
    transaction = VersionedTransaction.from_bytes(found.raw)
    signed = transaction.verify_with_results()
    if not signed or not all(signed):
        what = f"the bytes shown of transaction {found.landed.signature} are not what was signed"
        raise TransientError(ReasonCode.CHAIN_UNAVAILABLE, what)
    message = transaction.message
    if not isinstance(message, MessageV0) or message.address_table_lookups:
        return None, None
    if str(message.account_keys[0]) != wallet:
        return None, None
    texts = (bytes(i.data) for i in decompile(message) if i.program_id == MEMO_PROGRAM)
    memos = [memo for text in texts if (memo := parse_memo(text.decode("utf-8", "replace")))]
    return (message, memos[0]) if len(memos) == 1 else (None, None)


def _swap(
    instructions: Sequence[Instruction],
    mints: Mapping[str, str],
    markets: Mapping[str, Market],
    venues: Mapping[str, Venue],
) -> _Swap | None:
    for name, venue in venues.items():
        for each in instructions:
            if each.program_id != venue.program:
                continue
            terms = venue.terms([meta.pubkey for meta in each.accounts], bytes(each.data))
            if terms is not None:
                return _placed(PoolRef(name, terms.pool), terms, mints, markets)
    return None


def _placed(
    pool: PoolRef, terms: Terms, mints: Mapping[str, str], markets: Mapping[str, Market]
) -> _Swap | None:
    """Name the market; one that is not configured any more is named by its mints, as a sale."""
    terms = _directed(terms, mints)
    mint_in, mint_out = (mints.get(str(each)) for each in (terms.vault_in, terms.vault_out))
    if mint_in is None or mint_out is None:
        return None
    for market in markets.values():
        if {str(market.base.mint), str(market.quote.mint)} == {mint_in, mint_out} and (
            pool in market.pools
        ):
            return _Swap(pool, market.name, mint_in == str(market.base.mint), terms)
    return _Swap(pool, f"{mint_in}-{mint_out}", base_to_quote=True, terms=terms)


def _directed(terms: Terms, mints: Mapping[str, str]) -> Terms:
    """Put the vaults in order by whose account the swap was paid from or into, where the bytes do not say.

    One of the two is the wallet's associated account of its mint, even where the transaction failed
    before it was created; the other may be a temporary one.
    """
    mint_in, mint_out = (mints.get(str(each)) for each in (terms.vault_in, terms.vault_out))
    if terms.directed or mint_in is None or mint_out is None:
        return terms
    owner, turned = terms.user.owner, False
    for program in TOKEN_PROGRAMS:
        pays_out = associated_address(owner, Pubkey.from_string(mint_out), program)
        gets_in = associated_address(owner, Pubkey.from_string(mint_in), program)
        turned |= terms.user.source == pays_out or terms.user.destination == gets_in
    return replace(terms, vault_in=terms.vault_out, vault_out=terms.vault_in) if turned else terms


def _quote(swap: _Swap, intent: SwapIntent, slot: int) -> Quote:
    amount, bound = intent.amount, swap.terms.bound
    amount_in, amount_out = (amount, bound) if intent.exact_in else (bound, amount)
    return Quote(swap.pool, intent, amount_in, amount_out, venue_fee=0, slot=slot)


def _priority_fee(instructions: Sequence[Instruction]) -> int:
    limit = price = 0
    for each in instructions:
        if each.program_id == COMPUTE_BUDGET:
            data = bytes(each.data)
            value = int.from_bytes(data[1:], "little")
            limit = value if data[0] == _SET_LIMIT else limit
            price = value if data[0] == _SET_PRICE else price
    return fees.priority_fee(limit, price)


def _tips(instructions: Sequence[Instruction]) -> int:
    data = (bytes(each.data) for each in instructions if each.program_id == SYSTEM_PROGRAM)
    return sum(transfer_lamports(each) for each in data)
