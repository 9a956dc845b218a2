"""What an operator may say of an order in doubt, what may contradict it, and what follows from it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from typing import Final

from app.domain import changes
from app.domain.attempt import AttemptStatus, StoredAttempt
from app.domain.changes import AttemptUpdate, Change, OrderUpdate
from app.domain.errors import IllegalMoveError, ReasonCode, ResolutionError, SignalError
from app.domain.events import EventKind
from app.domain.market import Market, Token
from app.domain.money import BASE_UNITS_MAX, SIGNATURE_LAMPORTS, amount_string, to_base_units
from app.domain.order import Fill, OrderStatus, OrderView
from app.domain.outcome import Absent, ChainStatus, Heights, ProgramError, Seen
from app.domain.signal import UNPRINTABLE

EVIDENCE_LENGTH_MAX: Final = 2_000
REASON: Final = "an operator resolved it; the event order.resolved has the evidence"
_FIELDS: Final = ("as", "evidence", "base_amount", "quote_amount")
_UNPRINTABLE: Final = re.compile(rf"[{UNPRINTABLE}\ud800-\udfff]")
AMOUNT_PATTERN: Final = r"^[0-9]{1,20}(\.[0-9]{1,20})?$"
_AMOUNT: Final = re.compile(AMOUNT_PATTERN)


class Resolution(StrEnum):
    """How an operator says that an order in doubt ended."""

    FILLED = "filled"
    FAILED = "failed"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Word:
    """An operator's word: how it ended, on what evidence, and (filled, unseen) what it traded.

    Amounts are decimal strings of whole tokens, as they were given.
    """

    resolution: Resolution
    evidence: str
    base_amount: str | None = None
    quote_amount: str | None = None

    def amounts(self, market: Market | None) -> "Amounts | None":
        """Give the amounts in base units, None without any; raises SignalError."""
        given = {"base_amount": self.base_amount, "quote_amount": self.quote_amount}
        names = [name for name, amount in given.items() if amount is not None]
        if not names:
            return None
        if self.resolution is not Resolution.FILLED:
            raise _invalid(names[0], "goes with filled only")
        if market is None:
            raise _invalid(names[0], "has no meaning: its market is not configured any more")
        return Amounts(
            _amount("base_amount", self.base_amount, market.base),
            _amount("quote_amount", self.quote_amount, market.quote),
        )


@dataclass(frozen=True, slots=True)
class Amounts:
    """What was traded, in base units."""

    base: int
    quote: int


@dataclass(frozen=True, slots=True)
class Hearing:
    """What one endpoint says of an attempt: its finalized height first, the status second.

    `heights` is None when they could not be read; an Absent is not older than they are.
    """

    endpoint: str
    heights: Heights | None
    status: ChainStatus

    def document(self) -> Mapping[str, object]:
        """Give it as it stands in the trail."""
        heights, status = self.heights, self.status
        told: dict[str, object] = {
            "endpoint": self.endpoint,
            "slot": heights.slot if heights else None,
            "height": heights.block_height if heights else None,
        }
        if isinstance(status, Seen):
            said = "succeeded" if status.error is None else "failed"
            told |= {"landed_slot": status.slot, "commitment": status.commitment.value}
            return told | {"said": said, "context_slot": status.context_slot}
        if isinstance(status, Absent):
            return told | {"said": "absent", "context_slot": status.context_slot}
        return told | {"said": "nothing", "why": status.reason}


# ---------------------------------------------------------------- reading


def parse_word(body: object) -> Word:
    """Read `{"as", "evidence", "base_amount"?, "quote_amount"?}`; amounts are decimal strings.

    Raises SignalError.
    """
    if not isinstance(body, Mapping):
        raise SignalError(ReasonCode.BODY_NOT_OBJECT, "the body is not a JSON object")
    for name in body:
        if name not in _FIELDS:
            what = f"a field is none of {', '.join(_FIELDS)}"
            raise SignalError(ReasonCode.UNKNOWN_FIELD, what)
    return Word(
        _resolution(body.get("as")),
        _evidence(body.get("evidence")),
        _digits(body, "base_amount"),
        _digits(body, "quote_amount"),
    )


def _resolution(value: object) -> Resolution:
    if value is None:
        raise _missing("as", "is missing: filled, failed or expired")
    if not isinstance(value, str) or value not in {each.value for each in Resolution}:
        raise _invalid("as", "is none of filled, failed and expired")
    return Resolution(value)


def _evidence(value: object) -> str:
    if value is None:
        raise _missing("evidence", "is missing: say how it is known")
    if not isinstance(value, str) or not 0 < len(value) <= EVIDENCE_LENGTH_MAX:
        raise _invalid("evidence", f"is not a text of 1 to {EVIDENCE_LENGTH_MAX} characters")
    if _UNPRINTABLE.search(value):
        raise _invalid("evidence", "has characters that cannot be printed")
    return value


def _digits(body: Mapping[str, object], name: str) -> str | None:
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not _AMOUNT.fullmatch(value):
        raise _invalid(name, 'is no decimal string, such as "0.1"')
    return value


def _amount(name: str, value: str | None, token: Token) -> int:
    if value is None:
        raise _missing(name, "is missing: both amounts go together")
    amount = to_base_units(Decimal(value), token.decimals)
    if amount is None or not 0 < amount <= BASE_UNITS_MAX:
        least = amount_string(1, token.decimals)
        raise _invalid(name, f"is no amount of {token.symbol}: at least {least}, no more decimals")
    return amount


def _missing(name: str, what: str) -> SignalError:
    return SignalError(ReasonCode.MISSING_FIELD, f"{name} {what}", field=name)


def _invalid(name: str, what: str) -> SignalError:
    return SignalError(ReasonCode.INVALID_FIELD, f"{name} {what}", field=name)


# ---------------------------------------------------------------- judging


def refuse_contradicted(
    word: Resolution, told: Sequence[Hearing], last_valid_block_height: int
) -> None:
    """Raise ResolutionError while what endpoints say speaks against the operator's word.

    That nothing traded is believed only when one of them is past the attempt's life and knows of no
    success; silence is no evidence.
    """
    seen = [each.status for each in told if isinstance(each.status, Seen)]
    failed = any(status.error is not None for status in seen)
    if word is Resolution.FILLED:
        if failed:
            raise _contradicted("an endpoint shows that it landed and failed")
        return
    if any(status.error is None for status in seen):
        raise _contradicted("an endpoint shows that it succeeded: resolve it as filled")
    if failed and word is Resolution.EXPIRED:
        raise _contradicted("an endpoint shows that it landed and failed: resolve it as failed")
    if not any(_is_past(each, last_valid_block_height) for each in told):
        what = "no endpoint that answers has finalized a block past the attempt's last valid height"
        todo = "it may still land: try again later"
        raise ResolutionError(ReasonCode.RESOLUTION_TOO_EARLY, what, todo=todo)


def _is_past(told: Hearing, last_valid_block_height: int) -> bool:
    answered = isinstance(told.status, (Seen, Absent))
    heights = told.heights
    return answered and heights is not None and heights.block_height > last_valid_block_height


def _contradicted(what: str) -> ResolutionError:
    return ResolutionError(ReasonCode.RESOLUTION_CONTRADICTED, what)


# ---------------------------------------------------------------- what follows


def resolved_unfilled(
    view: OrderView,
    word: Word,
    told: Sequence[Hearing],
    *,
    by: str,
    at_us: int,
    error: ProgramError | None,
) -> list[Change]:
    """End an order in doubt without a fill, on an operator's word: it is never signed again."""
    attempt = _doubted(view)
    failed = word.resolution is Resolution.FAILED
    slots = [each.status.slot for each in told if isinstance(each.status, Seen)]
    update = AttemptUpdate(status=AttemptStatus.FAILED if failed else AttemptStatus.EXPIRED)
    if failed and slots:
        update["landed_slot"] = slots[0]
    if error is not None:
        update["error"] = error.document()
    dead = Change(
        kind=EventKind.RESOLVED,
        at_us=at_us,
        data=_data(attempt, word, told, by),
        order=OrderUpdate(in_doubt_since_us=None, landed_failed_at_us=None),
        number=attempt.number,
        attempt=update,
    )
    end = changes.ended(
        changes.apply(view, dead),
        OrderStatus.FAILED if failed else OrderStatus.EXPIRED,
        at_us=at_us,
        code=ReasonCode.RESOLVED_BY_OPERATOR,
        reason=REASON,
        program_error=error,
    )
    return [dead, end]


def resolved_filled(
    view: OrderView,
    word: Word,
    told: Sequence[Hearing],
    *,
    by: str,
    at_us: int,
    fill: Fill | None,
    amounts: Amounts | None = None,
) -> list[Change]:
    """Fill an order in doubt on an operator's word: with what the chain shows, or else as told.

    A fill that no endpoint shows cannot be followed to finality: it is settled with this.
    """
    attempt = _doubted(view)
    data = {**_data(attempt, word, told, by), "from_chain": fill is not None}
    heard = Change(kind=EventKind.RESOLVED, at_us=at_us, data=data)
    if fill is not None:
        return [heard, changes.filled(attempt, fill, at_us=at_us)]
    change = changes.filled(attempt, _told_fill(attempt, amounts), at_us=at_us)
    settled = replace(
        change,
        order={**change.order, "finalized_at_us": at_us},
        attempt=AttemptUpdate(status=AttemptStatus.LANDED),
    )
    return [heard, settled]


def _told_fill(attempt: StoredAttempt, amounts: Amounts | None) -> Fill:
    """Take the operator's amounts, and what is known of the fees; the slot is the earliest possible."""
    if amounts is None:
        raise _missing("base_amount", "is missing: no endpoint shows what it traded")
    return Fill(
        base_amount=amounts.base,
        quote_amount=amounts.quote,
        network_fee=SIGNATURE_LAMPORTS,
        priority_fee=attempt.signed.priority_fee_lamports,
        tip=attempt.signed.tip_lamports,
        venue_fee=0,
        slot=attempt.signed.blockhash.slot,
    )


def _doubted(view: OrderView) -> StoredAttempt:
    attempt = view.live_attempt
    if attempt is None or view.order.in_doubt_since_us is None:
        raise IllegalMoveError(f"order {view.order.order_id} is not in doubt")
    return attempt


def _data(
    attempt: StoredAttempt, word: Word, told: Sequence[Hearing], by: str
) -> dict[str, object]:
    return {
        "number": attempt.number,
        "signature": attempt.signature,
        "as": word.resolution.value,
        "evidence": word.evidence,
        "by": by,
        "asked": [dict(each.document()) for each in told],
        "base_amount": word.base_amount,
        "quote_amount": word.quote_amount,
    }
