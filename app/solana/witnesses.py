"""Proofs that an attempt is dead: each endpoint is asked by itself, and none may contradict another."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import structlog

from app.domain.attempt import StoredAttempt
from app.domain.outcome import (
    Absent,
    Commitment,
    Evidence,
    FailureEvidence,
    NotProved,
    Proof,
    Seen,
)
from app.engine.ports import LandedTransaction, ProvedFailure
from app.solana import decode
from app.solana.endpoints import words
from app.solana.json_rpc import JsonRpcClient, Result

FINAL_SLOTS: Final = 32
"""No landing is finalized sooner, so whoever has come this far beyond a finalized one has it too."""

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
        return f"{self.endpoint}: it does not have the transaction"


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
        """Prove that it never lands: expiry first, status second, then how far back history reaches."""
        answers = await asyncio.gather(
            *(_evidence(client, attempt, self._genesis) for client in self._clients)
        )
        evidence = tuple(each for each in answers if isinstance(each, Evidence))
        landings = [each for each in answers if isinstance(each, _Landing)]
        if landings:
            if evidence or len(_outcomes(landings, firm=True)) > 1:
                _alarm(attempt, landings, [each.endpoint for each in evidence])
            return NotProved("an endpoint has the transaction")
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
        if denials or len(_outcomes(landings, firm=True)) > 1:
            _alarm(attempt, landings, denials)
        if denials or len(_outcomes(landings)) > 1:
            return NotProved("endpoints disagree on how it ended")
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


def _outcome(told: Seen | LandedTransaction) -> tuple[int, bool]:
    return told.slot, told.error is None


def _outcomes(landings: Collection[_Landing], *, firm: bool = False) -> set[tuple[int, bool]]:
    told = [each for each in landings if each.firm or not firm]
    return {outcome for each in told for outcome in each.outcomes()}


def _not_proved(reasons: Iterable[str]) -> NotProved:
    return NotProved("; ".join(reasons) or "too few endpoints")


def _alarm(attempt: StoredAttempt, landings: Iterable[_Landing], absent_on: Sequence[str]) -> None:
    said: Mapping[str, str] = {each.endpoint: each.said for each in landings}
    _log.critical(
        "endpoints disagree on a signature",
        signature=attempt.signature,
        absent_on=absent_on,
        said=said,
    )


# ---------------------------------------------------------------- one endpoint


async def _evidence(
    client: JsonRpcClient, attempt: StoredAttempt, genesis: str | None
) -> Evidence | _Landing | NotProved:
    try:
        await _demand_chain(client, genesis)
        heights = await _ask(client, "getEpochInfo", [{"commitment": "finalized"}], decode.heights)
        if heights.block_height <= attempt.last_valid_block_height:
            return NotProved(f"{client.endpoint}: not expired yet")
        status, ledger_min = await _status(client, attempt), await _ledger_slot_min(client)
    except ValueError as error:
        return NotProved(str(error))
    if isinstance(status, Seen):
        return _Landing(client.endpoint, status, NotProved("not asked for"))
    if status.context_slot < heights.slot:
        return NotProved(f"{client.endpoint}: the status is older than the expiry")
    if ledger_min > attempt.signed.blockhash.slot:
        return NotProved(f"{client.endpoint}: its history does not reach back to the attempt")
    return Evidence(
        client.endpoint, heights.slot, heights.block_height, status.context_slot, ledger_min
    )


async def _word(
    client: JsonRpcClient, attempt: StoredAttempt, genesis: str | None
) -> _Landing | _Absence | NotProved:
    try:
        await _demand_chain(client, genesis)
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


async def _landed(client: JsonRpcClient, signature: str) -> LandedTransaction | NotProved:
    """Read the transaction at finalized; what its status says stands when it cannot be read."""
    options = {"commitment": "finalized", "encoding": "json", "maxSupportedTransactionVersion": 0}
    try:
        landed = await _ask(
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
    return await _ask(client, "getSignatureStatuses", params, lambda r: decode.statuses(r, 1)[0])


async def _ledger_slot_min(client: JsonRpcClient) -> int:
    """Read after a status: what a ledger keeps only shrinks, so that was answered with this at least."""
    return await _ask(client, "minimumLedgerSlot", [], decode.integer)


async def _demand_chain(client: JsonRpcClient, genesis: str | None) -> None:
    """Make sure, each time, that an endpoint serves the chain; raises ValueError."""
    if genesis is None or await _ask(client, "getGenesisHash", [], decode.text) != genesis:
        raise ValueError(f"{client.endpoint}: not known to serve this chain")


async def _ask(
    client: JsonRpcClient, method: str, params: Sequence[object], read: Callable[[object], T]
) -> T:
    """Ask one endpoint; raises ValueError with words for anything but a sound answer."""
    answer = await client.call(method, params)
    if not isinstance(answer, Result):
        raise ValueError(f"{client.endpoint}: {method}: {words(answer)}")  # noqa: TRY004
    try:
        return read(answer.value)
    except ValueError:
        raise ValueError(f"{client.endpoint}: {method} answered in a wrong shape") from None
