"""What a landed transaction traded and cost, read from the chain's own record of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from solders.instruction import Instruction
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from app.domain.attempt import StoredAttempt
from app.domain.errors import ReasonCode, TransientError
from app.domain.money import SIGNATURE_LAMPORTS, ceil_div
from app.domain.order import Fill
from app.domain.quote import Quote
from app.engine.ports import LandedTransaction
from app.transactions import logs
from app.transactions.guard import decompile, transfer_lamports
from app.transactions.tokens import SYSTEM_PROGRAM
from app.transactions.venues.base import Report, Terms, Venue


@dataclass(frozen=True, slots=True)
class _Sent:
    """The attempt's own bytes, read back."""

    signatures: int
    instructions: Sequence[Instruction]
    terms: Terms


def read_fill(
    attempt: StoredAttempt, landed: LandedTransaction, venues: Mapping[str, Venue]
) -> Fill:
    """Read a fill; amounts are base units, fees lamports.

    The pool's event tells the amounts when the vaults' balances agree with it; else the balances do.
    Raises TransientError(CHAIN_UNAVAILABLE) when the record tells neither.
    """
    quote = attempt.signed.quote
    venue = venues[quote.pool.venue]
    sent = _read_back(attempt, venue)
    report = _report(sent.terms, landed, venue)
    amounts = (report.amount_in, report.amount_out)
    base, other = amounts if quote.intent.base_to_quote else amounts[::-1]
    network = SIGNATURE_LAMPORTS * sent.signatures
    return Fill(
        base_amount=base,
        quote_amount=other,
        network_fee=network,
        # some nodes report the fee without its priority part; what was bid is always charged
        priority_fee=max(landed.fee_lamports - network, attempt.signed.priority_fee_lamports),
        tip=_tip(sent.instructions),
        venue_fee=_venue_fee(report, quote),
        slot=landed.slot,
    )


def swap_report(venue: Venue, pool: Pubkey, lines: Sequence[str]) -> Report | None:
    """Find the swap of a pool in a log, among what the venue's program itself wrote."""
    return venue.parse_fill(pool, logs.events(lines, str(venue.program), venue.event_line))


def _read_back(attempt: StoredAttempt, venue: Venue) -> _Sent:
    transaction = VersionedTransaction.from_bytes(attempt.signed.raw)
    message = transaction.message
    instructions = decompile(message) if isinstance(message, MessageV0) else []
    swaps = [each for each in instructions if each.program_id == venue.program]
    for swap in swaps:
        terms = venue.terms([meta.pubkey for meta in swap.accounts], bytes(swap.data))
        if terms is not None:
            return _Sent(message.header.num_required_signatures, instructions, terms)
    raise ValueError("the attempt's bytes hold no swap of its venue")


def directed(terms: Terms, landed: LandedTransaction) -> Terms:
    """Put the vaults in order by what happened to them, where the bytes do not say it.

    Left as they are when the record shows no change: of a failed transaction nothing hangs on it.
    """
    moved = _change(landed, terms.vault_in)
    if terms.directed or moved is None or moved >= 0:
        return terms
    return replace(terms, vault_in=terms.vault_out, vault_out=terms.vault_in)


def _report(terms: Terms, landed: LandedTransaction, venue: Venue) -> Report:
    terms = directed(terms, landed)
    told = swap_report(venue, terms.pool, landed.logs)
    moved_in, moved_out = _change(landed, terms.vault_in), _change(landed, terms.vault_out)
    if moved_in is not None and moved_out is not None:
        agrees = told is not None and (told.vault_in, -told.vault_out) == (moved_in, moved_out)
        return told if told and agrees else _from_balances(terms, landed, moved_in, -moved_out)
    if told is None:
        what = "the node's record of the transaction tells no amounts"
        raise TransientError(ReasonCode.CHAIN_UNAVAILABLE, what)
    return told


def _from_balances(
    terms: Terms, landed: LandedTransaction, vault_in: int, vault_out: int
) -> Report:
    """Take the wallet's own accounts where they remain; a temporary one leaves only the vault's side."""
    paid = _change(landed, terms.user.source)
    received = _change(landed, terms.user.destination)
    return Report(
        amount_in=vault_in if paid is None else -paid,
        amount_out=vault_out if received is None else received,
        vault_in=vault_in,
        vault_out=vault_out,
        venue_fee=None,
    )


def _change(landed: LandedTransaction, account: Pubkey) -> int | None:
    """Give the change of a token account's amount, None when the record does not have it."""
    address = str(account)
    if address not in landed.account_keys:
        return None
    at = landed.account_keys.index(address)
    before, after = landed.tokens_before.get(at), landed.tokens_after.get(at)
    if after is None:
        return None
    return after - (before or 0)


def _tip(instructions: Sequence[Instruction]) -> int:
    """Add up what the transaction itself pays: its only plain transfers are tips."""
    return sum(
        transfer_lamports(bytes(each.data))
        for each in instructions
        if each.program_id == SYSTEM_PROGRAM
    )


def _venue_fee(report: Report, quote: Quote) -> int:
    """Take the fee that the event tells; else scale the quote's, whose rate was the same."""
    if report.venue_fee is not None:
        return report.venue_fee
    return ceil_div(report.amount_in * quote.venue_fee, quote.amount_in)
