"""Reads of the chain over several endpoints: a ring of blockhashes, heights, statuses, proofs."""

import asyncio
import base64
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from app.domain.attempt import Blockhash, StoredAttempt
from app.domain.errors import ReasonCode, TransientError
from app.domain.outcome import (
    Absent,
    ChainStatus,
    Commitment,
    Heights,
    NotProved,
    Proof,
    Seen,
    Unreachable,
)
from app.domain.resolution import Hearing
from app.engine.ports import LandedTransaction, ProvedFailure, Simulation, Snapshot
from app.solana import decode
from app.solana.blockhash_ring import LIFE_BLOCKS, BlockhashRing
from app.solana.endpoint_health import EndpointHealth
from app.solana.endpoints import HEDGE_SECONDS, Endpoints, Worth
from app.solana.json_rpc import JsonRpcClient
from app.solana.wallet_history import WalletHistories
from app.solana.witnesses import Witnesses

STATUSES_MAX: Final = 256
"""Signatures in one getSignatureStatuses (a node refuses more)."""
FEE_ACCOUNTS_MAX: Final = 128
"""Accounts in one getRecentPrioritizationFees (a node refuses more)."""
STALE_SECONDS: Final = 10.0
"""A blockhash or height older than this is no basis for signing or for judging expiry."""
STALLED_SECONDS: Final = 3.0
STALLED_BLOCKS: Final = 8
"""A finalized height that did not grow for so long, and so many blocks' time, is looked for elsewhere."""
_LEVEL: Final = {"commitment": "confirmed"}


class RpcChain:
    """The `Chain` port over JSON-RPC endpoints, the healthiest serving the reads."""

    def __init__(
        self,
        clients: Sequence[JsonRpcClient],
        *,
        proof_endpoints: int,
        poll_seconds: float,
        notice: Callable[[str], Awaitable[None]] | None = None,
        hedge_seconds: float | None = HEDGE_SECONDS,
        on_hedge: Callable[[str], None] = lambda _method: None,
    ) -> None:
        """`notice` subscribes to a signature, an accelerator; `poll_seconds` paces the watch of the tip.

        A read that has no answer after `hedge_seconds` (None: never) goes to the next endpoint too, and
        `on_hedge` is told its RPC method.
        """
        self._witnesses = Witnesses(clients, proof_endpoints)
        self.histories = WalletHistories(clients, proof_endpoints)
        self._endpoints = Endpoints(clients, EndpointHealth(_now), hedge_seconds, on_hedge)
        self._poll_seconds = poll_seconds
        self._notice = notice
        self._ring = BlockhashRing()
        self._tip_at = float("-inf")
        self._heights: Heights | None = None
        self._heights_at = float("-inf")
        self._grown_at = float("-inf")
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
        """Take the newest blockhash; one from behind the known tip is a lagging node's, and no news."""
        try:
            blockhash = await self._endpoints.read(
                "getLatestBlockhash",
                [_LEVEL],
                decode.blockhash,
                worth=lambda found: self._worth(found.slot),
            )
        except TransientError:
            return
        now, known = _now(), self.tip
        fresh = now - self._tip_at < STALE_SECONDS
        if known and fresh and blockhash.last_valid_block_height < known.last_valid_block_height:
            return
        self._ring.add(blockhash, now)
        self.tip, self._tip_at = blockhash, now

    async def _look_at_heights(self) -> None:
        try:
            heights = await self._endpoints.read(
                "getEpochInfo",
                [{"commitment": "finalized"}],
                decode.heights,
                worth=self._worth_of_heights,
            )
        except TransientError:
            return
        known, now = self._heights, _now()
        if known is None or heights.block_height > known.block_height:
            self._grown_at = now
        if known is None or heights.block_height >= known.block_height:
            self._heights = heights
        self._heights_at = now

    def _worth_of_heights(self, heights: Heights) -> Worth:
        """Judge a height: while the highest known one does not grow, somebody else may know better.

        Without this a node whose chain stands still, and that answers, would be believed for ever.
        """
        known = self._heights
        stalled = max(STALLED_SECONDS, STALLED_BLOCKS * self._ring.block_seconds())
        stands = _now() - self._grown_at >= stalled
        behind = known is not None and heights.block_height <= known.block_height and stands
        return Worth.BEHIND if behind else Worth.SOUND

    def ready(self) -> bool:
        """Tell whether the chain was read recently enough to sign anything."""
        fresh = _now() - self._tip_at < STALE_SECONDS
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
        return self._ring.pick(life_seconds, _now())

    async def heights(self) -> Heights | None:
        """See the port."""
        fresh = _now() - self._heights_at < STALE_SECONDS
        return self._heights if fresh else None

    # ------------------------------------------------------------ reads

    async def genesis_hash(self) -> str:
        """Give the hash that names the cluster."""
        return await self._endpoints.read("getGenesisHash", [], decode.text, hedged=False)

    def belongs_to(self, genesis_hash: str) -> None:
        """Say which chain the orders belong to: endpoints of another are passed over from here on.

        Before that nothing is proved dead: on another chain every signature is absent.
        """
        self._witnesses.belongs_to(genesis_hash)
        self.histories.belongs_to(genesis_hash)
        self._endpoints.belongs_to(genesis_hash)

    def endpoints(self) -> Sequence[Mapping[str, object]]:
        """Tell each endpoint's state: host and port, latency, and what it ails from."""
        return self._endpoints.state()

    def _worth(self, slot: int) -> Worth:
        """Judge an answer by its slot: from before what is finalized it is a lagging node's."""
        known = self._heights
        return Worth.BEHIND if known is not None and slot < known.slot else Worth.SOUND

    async def accounts(self, addresses: Sequence[str]) -> Snapshot:
        """See the port."""
        keys = list(addresses)
        params = [keys, {**_LEVEL, "encoding": "base64"}]
        return await self._endpoints.read(
            "getMultipleAccounts",
            params,
            lambda r: decode.snapshot(r, keys),
            worth=lambda snapshot: self._worth(snapshot.slot),
        )

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
        return await self._endpoints.read("simulateTransaction", params, decode.simulation)

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
        """Ask for one batch; what an endpoint that answered has seen is told, unless another denies it."""
        came: list[Sequence[ChainStatus]] = []

        def read(result: object) -> Sequence[ChainStatus]:
            came.append(decode.statuses(result, len(batch)))
            return came[-1]

        params = [list(batch), {"searchTransactionHistory": history}]
        try:
            best = await self._endpoints.read(
                "getSignatureStatuses", params, read, worth=self._worth_of_statuses
            )
        except TransientError as error:
            return dict.fromkeys(batch, Unreachable(error.what))
        told = [_agreed(each) for each in zip(best, *came, strict=True)]
        return dict(zip(batch, told, strict=True))

    def _worth_of_statuses(self, statuses: Sequence[ChainStatus]) -> Worth:
        """Judge a batch: that a signature is absent means little from a node that lags."""
        slots = [each.context_slot for each in statuses if isinstance(each, Absent)]
        return self._worth(min(slots)) if slots else Worth.SOUND

    async def transaction(self, signature: str) -> LandedTransaction | Unreachable | None:
        """See the port."""
        options = {**_LEVEL, "encoding": "json", "maxSupportedTransactionVersion": 0}
        try:
            return await self._endpoints.read(
                "getTransaction",
                [signature, options],
                lambda r: None if r is None else decode.transaction(r, signature),
                worth=lambda landed: Worth.EMPTY if landed is None else Worth.SOUND,
            )
        except TransientError as error:
            return Unreachable(error.what)

    async def recent_fees(self, addresses: Sequence[str]) -> Sequence[int]:
        """See the port."""
        params = [list(addresses[:FEE_ACCOUNTS_MAX])]
        return await self._endpoints.read("getRecentPrioritizationFees", params, decode.recent_fees)

    async def landing_notice(self, signature: str) -> None:
        """See the port."""
        if self._notice is not None:
            await self._notice(signature)

    # ------------------------------------------------------------ proofs of death

    async def prove_dead(self, attempt: StoredAttempt) -> Proof | NotProved:
        """See the port."""
        return await self._witnesses.prove_dead(attempt)

    async def prove_failed(self, attempt: StoredAttempt) -> ProvedFailure | NotProved:
        """See the port."""
        return await self._witnesses.prove_failed(attempt)

    async def testimony(self, attempt: StoredAttempt) -> Sequence[Hearing]:
        """See the port."""
        return await self._witnesses.testimony(attempt)


_COMMITMENTS: Final = tuple(Commitment)
"""From the least to the most settled."""


def _agreed(told: Sequence[ChainStatus]) -> ChainStatus:
    """Give the most settled word; where endpoints differ on whether it failed there is none."""
    failed = {each.error is not None for each in told if isinstance(each, Seen)}
    if len(failed) > 1:
        return Unreachable("endpoints disagree on whether it failed")
    return max(told, key=_settled)


def _settled(status: ChainStatus) -> int:
    """Rank a status: the more settled a landing is, the more it tells; that there is none tells least."""
    return _COMMITMENTS.index(status.commitment) if isinstance(status, Seen) else -1


def _now() -> float:
    return asyncio.get_running_loop().time()


def _unavailable(what: str) -> TransientError:
    return TransientError(ReasonCode.CHAIN_UNAVAILABLE, what)
