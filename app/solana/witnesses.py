"""Proofs that an attempt is dead: each endpoint is asked by itself, and none may contradict another."""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import structlog

from app.domain.attempt import StoredAttempt
from app.domain.outcome import (
    Absent,
    Commitment,
    Disagreement,
    Dispute,
    Evidence,
    FailureEvidence,
    Heights,
    NotProved,
    Proof,
    Seen,
    Unreachable,
)
from app.domain.resolution import Hearing
from app.engine.ports import LandedTransaction, ProvedFailure
from app.solana import decode
from app.solana.asking import ask, demand_chain
from app.solana.json_rpc import JsonRpcClient

FINAL_SLOTS: Final = 32
"""No landing is finalized sooner, so whoever has come this far beyond a finalized one has it too."""

_ABSENT: Final = "it does not have the transaction"
_STILL_VALID: Final = "an endpoint holds the blockhash for valid past its last height"

T = TypeVar("T")
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Landing:
    """What one endpoint says of a transaction that it has."""

    endpoint: str
    status: Seen
    landed: LandedTransaction | NotProved
    """The transaction itself at finalized, or why it was not read: no status of a final failure."""

    def outcomes(self) -> Iterable[tuple[int, bool]]:
        """Give slot and success as the status tells them, and as the transaction does."""
        yield _outcome(self.status)
        if isinstance(self.landed, LandedTransaction):
            yield _outcome(self.landed)

    @property
    def firm(self) -> bool:
        """Tell whether this is more than what a single fork holds."""
        return self.status.commitment is not Commitment.PROCESSED

    @property
    def said(self) -> str:
        """Give all that it says in words."""
        told = [f"{'succeeded' if well else 'failed'} in {slot}" for slot, well in self.outcomes()]
        return f"{self.status.commitment}: {', then '.join(dict.fromkeys(told))}"


@dataclass(frozen=True, slots=True)
class _Absence:
    """An endpoint that does not have the transaction, and what it would have to have."""

    endpoint: str
    context_slot: int
    ledger_slot_min: int

    def denies(self, slot: int, attempt: StoredAttempt) -> bool:
        """Tell whether it would have the transaction, had that been finalized in this slot."""
        reaches_back = self.ledger_slot_min <= attempt.signed.blockhash.slot
        return reaches_back and self.context_slot >= slot + FINAL_SLOTS

    @property
    def reason(self) -> str:
        """Say why it is no witness of a failure."""
        return f"{self.endpoint}: {_ABSENT}"


@dataclass(frozen=True, slots=True)
class _Valid:
    """An endpoint to which the blockhash is valid above the last height that came with it."""

    endpoint: str
    height: int

    @property
    def said(self) -> str:
        """Give what it says in words."""
        return f"the blockhash is valid at height {self.height}"


class Witnesses:
    """The endpoints of a chain, asked one by one whatever their health; so many must agree."""

    def __init__(self, clients: Sequence[JsonRpcClient], needed: int) -> None:
        """A node that is named twice is one witness."""
        self._clients = list(clients)
        self._needed = needed
        self._genesis: str | None = None

    def belongs_to(self, genesis_hash: str) -> None:
        """Say which chain is witnessed; before that nothing is proved."""
        self._genesis = genesis_hash

    def _suffice(self, endpoints: Iterable[str]) -> bool:
        return len(set(endpoints)) >= self._needed

    async def prove_dead(self, attempt: StoredAttempt) -> Proof | NotProved:
        """Prove that it never lands: expired, its blockhash gone, then absent from a long enough history."""
        answers = await asyncio.gather(
            *(_evidence(client, attempt, self._genesis) for client in self._clients)
        )
        evidence = tuple(each for each in answers if isinstance(each, Evidence))
        landings = [each for each in answers if isinstance(each, _Landing)]
        valid = [each for each in answers if isinstance(each, _Valid)]
        if landings or valid:
            why = "an endpoint has the transaction" if landings else _STILL_VALID
            told = {each.endpoint: _ABSENT for each in evidence}
            told |= {each.endpoint: each.said for each in valid}
            told |= {each.endpoint: each.said for each in landings}
            absent = bool(evidence and landings)
            return _denied(attempt, why, _dispute(landings, absent=absent, valid=bool(valid)), told)
        if self._suffice(each.endpoint for each in evidence):
            return Proof(evidence)
        return _not_proved([each.reason for each in answers if isinstance(each, NotProved)])

    async def prove_failed(self, attempt: StoredAttempt) -> ProvedFailure | NotProved:
        """Prove that it failed for good: by status and transaction, both finalized, in one slot.

        A success, another slot, or an absence from a history that must have it, is a denial: then
        nothing is proved, whoever is right.
        """
        answers = await asyncio.gather(
            *(_word(client, attempt, self._genesis) for client in self._clients)
        )
        landings = [each for each in answers if isinstance(each, _Landing)]
        failures = [
            (each, each.landed) for each in landings if isinstance(each.landed, LandedTransaction)
        ]
        denials = [
            each.endpoint
            for each in answers
            if isinstance(each, _Absence)
            and any(each.denies(landed.slot, attempt) for _, landed in failures)
        ]
        if denials or len(_outcomes(landings)) > 1:
            said = {**dict.fromkeys(denials, _ABSENT), **{e.endpoint: e.said for e in landings}}
            dispute = _dispute(landings, absent=bool(denials))
            return _denied(attempt, "endpoints disagree on how it ended", dispute, said)
        if failures and self._suffice(each.endpoint for each, _ in failures):
            evidence = [
                FailureEvidence(each.endpoint, landed.slot, each.status.context_slot)
                for each, landed in failures
            ]
            return ProvedFailure(failures[0][1], tuple(evidence))
        told = [each.landed if isinstance(each, _Landing) else each for each in answers]
        return _not_proved(
            [each.reason for each in told if not isinstance(each, LandedTransaction)]
        )

    async def testimony(self, attempt: StoredAttempt) -> Sequence[Hearing]:
        """Ask each endpoint what it knows: its finalized height first, the status second."""
        return await asyncio.gather(
            *(_testimony(client, attempt, self._genesis) for client in self._clients)
        )


def _outcome(told: Seen | LandedTransaction) -> tuple[int, bool]:
    return told.slot, told.error is None


def _outcomes(landings: Collection[_Landing], *, firm: bool = False) -> set[tuple[int, bool]]:
    told = [each for each in landings if each.firm or not firm]
    return {outcome for each in told for outcome in each.outcomes()}


def _not_proved(reasons: Iterable[str]) -> NotProved:
    return NotProved("; ".join(reasons) or "too few endpoints")


def _dispute(
    landings: Collection[_Landing], *, absent: bool, valid: bool = False
) -> Dispute | None:
    """Say what is disputed, if more than a fork: that it is there, how it ended, or its expiry."""
    if absent:
        return Dispute.PRESENCE
    if len(_outcomes(landings, firm=True)) > 1:
        return Dispute.OUTCOME
    return Dispute.EXPIRY if valid else None


def _denied(
    attempt: StoredAttempt, why: str, dispute: Dispute | None, said: Mapping[str, str]
) -> NotProved:
    """Prove nothing, and raise the alarm where endpoints contradict each other."""
    if dispute is None:
        return NotProved(why)
    signature = attempt.signature
    _log.critical(
        "endpoints disagree on a signature", signature=signature, dispute=dispute, said=said
    )
    return NotProved(f"{why}; in dispute: {dispute}", Disagreement(dispute, said))


# ---------------------------------------------------------------- one endpoint


async def _evidence(
    client: JsonRpcClient, attempt: StoredAttempt, genesis: str | None
) -> Evidence | _Landing | _Valid | NotProved:
    try:
        await demand_chain(client, genesis)
        heights = await _expiry(client, attempt)
        valid, invalid_slot = await _validity(client, attempt, heights.slot)
        if valid:
            return _Valid(client.endpoint, heights.block_height)
        status, ledger_min = await _status(client, attempt), await _ledger_slot_min(client)
        if isinstance(status, Seen):
            return _Landing(client.endpoint, status, NotProved("not asked for"))
        _demand_reach(client, attempt, heights, status, ledger_min)
    except ValueError as error:
        return NotProved(str(error))
    return Evidence(
        client.endpoint,
        heights.slot,
        heights.block_height,
        status.context_slot,
        ledger_min,
        invalid_slot,
    )


async def _expiry(client: JsonRpcClient, attempt: StoredAttempt) -> Heights:
    heights = await ask(client, "getEpochInfo", [{"commitment": "finalized"}], decode.heights)
    if heights.block_height <= attempt.last_valid_block_height:
        raise ValueError(f"{client.endpoint}: not expired yet")
    return heights


async def _validity(
    client: JsonRpcClient, attempt: StoredAttempt, slot_min: int
) -> tuple[bool, int]:
    """Ask whether the blockhash is valid, of a bank that is not older than the expiry.

    That was read from a finalized one, and what a node adds to it descends from it: there the blockhash is
    no younger. So the newest bank does; some nodes (Surfpool) tell of heights whose slot they let no
    finalized bank have.
    """
    options = {"commitment": "processed", "minContextSlot": slot_min}
    params = [attempt.signed.blockhash.blockhash, options]
    valid, slot = await ask(client, "isBlockhashValid", params, decode.validity)
    if slot < slot_min:  # one that lags calls a blockhash invalid that it has not come to yet
        raise ValueError(f"{client.endpoint}: the blockhash was judged before the expiry")
    return valid, slot


def _demand_reach(
    client: JsonRpcClient, attempt: StoredAttempt, heights: Heights, status: Absent, ledger_min: int
) -> None:
    """Make sure that an absence was told from after the expiry, and of all of the attempt's life."""
    if status.context_slot < heights.slot:
        raise ValueError(f"{client.endpoint}: the status is older than the expiry")
    if ledger_min > attempt.signed.blockhash.slot:
        raise ValueError(f"{client.endpoint}: its history does not reach back to the attempt")


async def _word(
    client: JsonRpcClient, attempt: StoredAttempt, genesis: str | None
) -> _Landing | _Absence | NotProved:
    try:
        await demand_chain(client, genesis)
        status = await _status(client, attempt)
        if isinstance(status, Absent):
            ledger_min = await _ledger_slot_min(client)
            return _Absence(client.endpoint, status.context_slot, ledger_min)
    except ValueError as error:
        return NotProved(str(error))
    if status.error is None or status.commitment is not Commitment.FINALIZED:
        landed = NotProved(f"{client.endpoint}: no failure that is final")
        return _Landing(client.endpoint, status, landed)
    return _Landing(client.endpoint, status, await _landed(client, attempt.signature))


async def _testimony(client: JsonRpcClient, attempt: StoredAttempt, genesis: str | None) -> Hearing:
    heights = None
    try:
        await demand_chain(client, genesis)
        heights = await ask(client, "getEpochInfo", [{"commitment": "finalized"}], decode.heights)
        status = await _status(client, attempt)
        if isinstance(status, Absent) and status.context_slot < heights.slot:
            raise ValueError(f"{client.endpoint}: the status is older than the height")  # noqa: TRY301
    except ValueError as error:
        return Hearing(client.endpoint, heights, Unreachable(str(error)))
    return Hearing(client.endpoint, heights, status)


async def _landed(client: JsonRpcClient, signature: str) -> LandedTransaction | NotProved:
    """Read the transaction at finalized; what its status says stands when it cannot be read."""
    options = {"commitment": "finalized", "encoding": "json", "maxSupportedTransactionVersion": 0}
    try:
        landed = await ask(
            client,
            "getTransaction",
            [signature, options],
            lambda r: None if r is None else decode.transaction(r, signature),
        )
    except ValueError as error:
        return NotProved(str(error))
    return landed or NotProved(f"{client.endpoint}: it does not show the transaction")


async def _status(client: JsonRpcClient, attempt: StoredAttempt) -> Seen | Absent:
    params = [[attempt.signature], {"searchTransactionHistory": True}]
    return await ask(client, "getSignatureStatuses", params, lambda r: decode.statuses(r, 1)[0])


async def _ledger_slot_min(client: JsonRpcClient) -> int:
    """Read after a status: what a ledger keeps only shrinks, so that was answered with this at least."""
    return await ask(client, "minimumLedgerSlot", [], decode.integer)
