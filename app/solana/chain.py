"""Reads of the chain over several endpoints: a ring of blockhashes, heights, statuses, proofs."""

import asyncio
import base64
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, TypeVar

import structlog

from app.domain.attempt import Blockhash, StoredAttempt
from app.domain.errors import ReasonCode, TransientError
from app.domain.outcome import (
    Absent,
    ChainStatus,
    Evidence,
    Heights,
    NotProved,
    Proof,
    Seen,
    Unreachable,
)
from app.engine.ports import LandedTransaction, Simulation, Snapshot
from app.solana import decode
from app.solana.blockhash_ring import LIFE_BLOCKS, BlockhashRing
from app.solana.json_rpc import Answer, JsonRpcClient, Result, RpcError, outcome_label

STATUSES_MAX: Final = 256
"""Signatures in one getSignatureStatuses (a node refuses more)."""
FEE_ACCOUNTS_MAX: Final = 128
"""Accounts in one getRecentPrioritizationFees (a node refuses more)."""
STALE_SECONDS: Final = 10.0
"""A blockhash or height older than this is no basis for signing or for judging expiry."""
_LEVEL: Final = {"commitment": "confirmed"}
_MIN_CONTEXT_SLOT: Final = -32016

T = TypeVar("T")
_log = structlog.get_logger(__name__)


class RpcChain:
    """The `Chain` port over JSON-RPC endpoints, the first healthy one serving the reads."""

    def __init__(
        self,
        clients: Sequence[JsonRpcClient],
        *,
        proof_endpoints: int,
        poll_seconds: float,
        notice: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        """`notice` subscribes to a signature, an accelerator; `poll_seconds` paces the watch of the tip."""
        self._clients = list(clients)
        self._proof_endpoints = proof_endpoints
        self._poll_seconds = poll_seconds
        self._notice = notice
        self._ring = BlockhashRing()
        self._tip_at = float("-inf")
        self._heights: Heights | None = None
        self._heights_at = float("-inf")
        self._genesis: str | None = None
        self._of_the_chain: set[JsonRpcClient] = set()
        self.tip: Blockhash | None = None
        self.verified = False
        """Set once the chain is known to be the one that the orders belong to."""

    # ------------------------------------------------------------ the tip, watched in the background

    async def run(self) -> None:
        """Keep blockhashes and heights fresh until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(self._poll_seconds)

    async def look(self) -> None:
        """Read the newest blockhash and the finalized height once."""
        await asyncio.gather(self._look_at_blockhash(), self._look_at_heights())

    async def _look_at_blockhash(self) -> None:
        try:
            blockhash = await self._read("getLatestBlockhash", [_LEVEL], decode.blockhash)
        except TransientError:
            return
        now = asyncio.get_running_loop().time()
        self._ring.add(blockhash, now)
        self.tip, self._tip_at = blockhash, now

    async def _look_at_heights(self) -> None:
        try:
            heights = await self._read(
                "getEpochInfo", [{"commitment": "finalized"}], decode.heights
            )
        except TransientError:
            return
        known = self._heights
        if known is None or heights.block_height >= known.block_height:
            self._heights = heights
        self._heights_at = asyncio.get_running_loop().time()

    def ready(self) -> bool:
        """Tell whether the chain was read recently enough to sign anything."""
        fresh = asyncio.get_running_loop().time() - self._tip_at < STALE_SECONDS
        return self.verified and fresh

    @property
    def block_height(self) -> int | None:
        """The height of the newest confirmed block that was seen."""
        return None if self.tip is None else self.tip.last_valid_block_height - LIFE_BLOCKS

    @property
    def known_heights(self) -> Heights | None:
        """The last known finalized slot and height, however old."""
        return self._heights

    @property
    def block_seconds(self) -> float:
        """The measured time of a block."""
        return self._ring.block_seconds()

    async def blockhash(self, life_seconds: float) -> Blockhash | None:
        """See the port."""
        if not self.ready():
            raise _unavailable("no recent blockhash could be read")
        return self._ring.pick(life_seconds, asyncio.get_running_loop().time())

    async def heights(self) -> Heights | None:
        """See the port."""
        fresh = asyncio.get_running_loop().time() - self._heights_at < STALE_SECONDS
        return self._heights if fresh else None

    # ------------------------------------------------------------ reads

    async def genesis_hash(self) -> str:
        """Give the hash that names the cluster."""
        return await self._read("getGenesisHash", [], decode.text)

    def belongs_to(self, genesis_hash: str) -> None:
        """Say which chain the orders belong to: endpoints of another are passed over from here on.

        Before that nothing is proved dead: on another chain every signature is absent.
        """
        self._genesis = genesis_hash

    async def accounts(self, addresses: Sequence[str]) -> Snapshot:
        """See the port."""
        keys = list(addresses)
        params = [keys, {**_LEVEL, "encoding": "base64"}]
        return await self._read("getMultipleAccounts", params, lambda r: decode.snapshot(r, keys))

    async def simulate(self, raw: bytes, slot_min: int) -> Simulation:
        """See the port."""
        options = {
            **_LEVEL,
            "encoding": "base64",
            "replaceRecentBlockhash": True,
            "sigVerify": False,
            "minContextSlot": slot_min,
        }
        params = [base64.b64encode(raw).decode(), options]
        return await self._read("simulateTransaction", params, decode.simulation)

    async def statuses(
        self, signatures: Sequence[str], *, history: bool = False
    ) -> Mapping[str, ChainStatus]:
        """See the port."""
        batches = [
            signatures[start : start + STATUSES_MAX]
            for start in range(0, len(signatures), STATUSES_MAX)
        ]
        found = await asyncio.gather(*(self._statuses(batch, history=history) for batch in batches))
        return {signature: status for batch in found for signature, status in batch.items()}

    async def _statuses(self, batch: Sequence[str], *, history: bool) -> dict[str, ChainStatus]:
        params = [list(batch), {"searchTransactionHistory": history}]
        try:
            statuses = await self._read(
                "getSignatureStatuses", params, lambda r: decode.statuses(r, len(batch))
            )
        except TransientError as error:
            return dict.fromkeys(batch, Unreachable(error.what))
        return dict(zip(batch, statuses, strict=True))

    async def transaction(self, signature: str) -> LandedTransaction | Unreachable | None:
        """See the port."""
        options = {**_LEVEL, "encoding": "json", "maxSupportedTransactionVersion": 0}
        try:
            return await self._read(
                "getTransaction",
                [signature, options],
                lambda r: None if r is None else decode.transaction(r, signature),
            )
        except TransientError as error:
            return Unreachable(error.what)

    async def recent_fees(self, addresses: Sequence[str]) -> Sequence[int]:
        """See the port."""
        params = [list(addresses[:FEE_ACCOUNTS_MAX])]
        return await self._read("getRecentPrioritizationFees", params, decode.recent_fees)

    async def landing_notice(self, signature: str) -> None:
        """See the port."""
        if self._notice is not None:
            await self._notice(signature)

    # ------------------------------------------------------------ proof of death

    async def prove_dead(self, attempt: StoredAttempt) -> Proof | NotProved:
        """See the port: expiry first, status second, then how far back the endpoint's history reaches."""
        answers = await asyncio.gather(
            *(_evidence(client, attempt, self._genesis) for client in self._clients)
        )
        evidence = tuple(answer for answer in answers if isinstance(answer, Evidence))
        if any(isinstance(answer, Seen) for answer in answers):
            if evidence:
                endpoints = [e.endpoint for e in evidence]
                _log.critical(
                    "endpoints disagree on a signature",
                    signature=attempt.signature,
                    absent_on=endpoints,
                )
            return NotProved("an endpoint has the transaction")
        # a node that is named twice is one witness
        if len({each.endpoint for each in evidence}) >= self._proof_endpoints:
            return Proof(evidence)
        reasons = [answer.reason for answer in answers if isinstance(answer, NotProved)]
        return NotProved("; ".join(reasons) or "too few endpoints")

    # ------------------------------------------------------------ one read, over the endpoints

    async def _read(self, method: str, params: Sequence[object], read: Callable[[object], T]) -> T:
        """Ask endpoint after endpoint until one gives a sound answer."""
        why = "no endpoint"
        for client in self._clients:
            if not await self._is_of_the_chain(client):
                why = f"{client.endpoint}: not known to serve this chain"
                continue
            answer = await client.call(method, params)
            if isinstance(answer, Result):
                try:
                    return read(answer.value)
                except ValueError:
                    why = f"{client.endpoint}: {method} answered in a wrong shape"
            else:
                why = f"{client.endpoint}: {method}: {_words(answer)}"
        raise _unavailable(why)

    async def _is_of_the_chain(self, client: JsonRpcClient) -> bool:
        """Tell whether an endpoint serves the chain that is executed on: another's answers mean nothing."""
        if self._genesis is None or client in self._of_the_chain:
            return True
        answer = await client.call("getGenesisHash", [])
        if not isinstance(answer, Result):
            return False
        if answer.value != self._genesis:
            _log.error("an endpoint serves another chain", endpoint=client.endpoint)
            return False
        self._of_the_chain.add(client)
        return True


async def _evidence(
    client: JsonRpcClient, attempt: StoredAttempt, genesis: str | None
) -> Evidence | Seen | NotProved:
    try:
        await _demand_chain(client, genesis)
        heights = await _ask(client, "getEpochInfo", [{"commitment": "finalized"}], decode.heights)
        if heights.block_height <= attempt.last_valid_block_height:
            return NotProved(f"{client.endpoint}: not expired yet")
        status = await _ask(
            client,
            "getSignatureStatuses",
            [[attempt.signature], {"searchTransactionHistory": True}],
            lambda r: decode.statuses(r, 1)[0],
        )
        # read last: what a ledger keeps only shrinks, so the status was answered with at least this much
        ledger_min = await _ask(client, "minimumLedgerSlot", [], decode.integer)
    except ValueError as error:
        return NotProved(str(error))
    if isinstance(status, Seen):
        return status
    if not isinstance(status, Absent) or status.context_slot < heights.slot:
        return NotProved(f"{client.endpoint}: the status is older than the expiry")
    if ledger_min > attempt.signed.blockhash.slot:
        return NotProved(f"{client.endpoint}: its history does not reach back to the attempt")
    return Evidence(
        client.endpoint, heights.slot, heights.block_height, status.context_slot, ledger_min
    )


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
        raise ValueError(f"{client.endpoint}: {method}: {_words(answer)}")  # noqa: TRY004
    try:
        return read(answer.value)
    except ValueError:
        raise ValueError(f"{client.endpoint}: {method} answered in a wrong shape") from None


def _words(answer: Answer) -> str:
    if isinstance(answer, RpcError):
        lagging = answer.code == _MIN_CONTEXT_SLOT
        return "the node lags behind" if lagging else f"error {answer.code or answer.http}"
    return outcome_label(answer)


def _unavailable(what: str) -> TransientError:
    return TransientError(ReasonCode.CHAIN_UNAVAILABLE, what)
