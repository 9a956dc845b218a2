"""The chain's past for verification: every endpoint is asked by itself, and silence is no answer."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from app.domain.attempt import StoredAttempt
from app.domain.errors import TransientError
from app.domain.outcome import Absent, ChainStatus, Commitment, Heights, Seen, Unreachable
from app.engine.ports import LandedTransaction
from app.engine.recovery_port import Mention
from app.solana import decode
from app.solana.asking import ask
from app.solana.chain import STATUSES_MAX, RpcChain
from app.solana.json_rpc import JsonRpcClient
from app.solana.wallet_history import FINALIZED, PAGE, PAGES_MAX, WalletHistories, read_page


@dataclass(frozen=True, slots=True)
class _Told:
    """What one endpoint says of some signatures: its finalized height first, what it keeps last."""

    endpoint: str
    heights: Heights
    statuses: Sequence[ChainStatus]
    ledger_slot_min: int

    def lacks(self, attempt: StoredAttempt, status: ChainStatus) -> bool:
        """Tell whether it would have the attempt, had that ever been finalized, and has it not."""
        return (
            isinstance(status, Absent)
            and self.heights.block_height > attempt.last_valid_block_height
            and status.context_slot >= self.heights.slot
            and self.ledger_slot_min <= attempt.signed.blockhash.slot
        )


class RpcLedger:
    """The `Ledger` port over JSON-RPC endpoints that serve one chain."""

    def __init__(
        self,
        clients: Sequence[JsonRpcClient],
        *,
        chain: RpcChain,
        histories: WalletHistories,
        needed: int,
        genesis_hash: str,
    ) -> None:
        """`needed` endpoints must agree that a transaction is not there; others serve another chain."""
        self._clients = list(clients)
        self._chain = chain
        self._histories = histories
        self._needed = needed
        self._genesis = genesis_hash

    async def fates(
        self, attempts: Sequence[StoredAttempt]
    ) -> Mapping[str, Seen | Absent | Unreachable]:
        """See the port."""
        found: dict[str, Seen | Absent | Unreachable] = {}
        for start in range(0, len(attempts), STATUSES_MAX):
            some = attempts[start : start + STATUSES_MAX]
            answers = await asyncio.gather(*(self._told(each, some) for each in self._clients))
            told = [each for each in answers if isinstance(each, _Told)]
            whys = [each for each in answers if isinstance(each, str)]
            for index, attempt in enumerate(some):
                found[attempt.signature] = self._fate(attempt, index, told, whys)
        return found

    async def _told(self, client: JsonRpcClient, attempts: Sequence[StoredAttempt]) -> _Told | str:
        signatures = [attempt.signature for attempt in attempts]
        try:
            await self._demand_chain(client)
            heights = await ask(client, "getEpochInfo", [FINALIZED], decode.heights)
            statuses = await ask(
                client,
                "getSignatureStatuses",
                [signatures, {"searchTransactionHistory": True}],
                lambda result: decode.statuses(result, len(signatures)),
            )
            kept = await ask(client, "minimumLedgerSlot", [], decode.integer)
        except ValueError as error:
            return str(error)
        return _Told(client.endpoint, heights, statuses, kept)

    def _fate(
        self, attempt: StoredAttempt, index: int, told: Sequence[_Told], whys: Sequence[str]
    ) -> Seen | Absent | Unreachable:
        by_endpoint = [(each, each.statuses[index]) for each in told]
        seen = [status for _, status in by_endpoint if isinstance(status, Seen)]
        firm = [status for status in seen if status.commitment is not Commitment.PROCESSED]
        if len({(status.slot, status.error is None) for status in firm}) > 1:
            return Unreachable("endpoints disagree on how it ended")
        if firm:
            return max(firm, key=lambda status: status.commitment is Commitment.FINALIZED)
        if seen:
            return Unreachable("it is in no confirmed block")
        lacking = {
            each.endpoint: status
            for each, status in by_endpoint
            if isinstance(status, Absent) and each.lacks(attempt, status)
        }
        if len(lacking) >= self._needed:
            return next(iter(lacking.values()))
        return Unreachable("; ".join(whys) or _OUT_OF_REACH)

    async def transaction(self, signature: str) -> LandedTransaction | Unreachable | None:
        """See the port."""
        return await self._chain.transaction(signature)

    async def signed_by(self, signature: str, wallet: str) -> bool | Unreachable:
        """See the port."""
        try:
            return wallet in await self._histories.signers(signature)
        except TransientError as error:
            return Unreachable(error.what)

    async def mentions(
        self, wallet: str, since_slot: int, *, whole: bool
    ) -> AsyncIterator[Sequence[Mention] | Unreachable]:
        """See the port."""
        for client in self._clients:
            try:
                await self._demand_chain(client)
                async for page in _pages(client, wallet, since_slot, whole=whole):
                    yield page
                kept = await ask(client, "minimumLedgerSlot", [], decode.integer)
            except ValueError as error:
                yield Unreachable(str(error))
                continue
            if kept > since_slot:
                yield Unreachable(
                    f"{client.endpoint}: its history reaches back to slot {kept} only"
                )

    async def _demand_chain(self, client: JsonRpcClient) -> None:
        if await ask(client, "getGenesisHash", [], decode.text) != self._genesis:
            raise ValueError(f"{client.endpoint}: not known to serve this chain")


_OUT_OF_REACH: Final = "no endpoint has it, and too few would have to: history may be pruned"


async def _pages(
    client: JsonRpcClient, wallet: str, since_slot: int, *, whole: bool
) -> AsyncIterator[Sequence[Mention]]:
    """Page back; raises ValueError when the endpoint does not answer soundly."""
    options: dict[str, object] = {**FINALIZED, "limit": PAGE}
    for _ in range(PAGES_MAX):
        page = await ask(client, "getSignaturesForAddress", [wallet, options], read_page)
        if not page:
            return
        yield page
        if not whole and page[-1].slot < since_slot:
            return
        if page[-1].signature == options.get("before"):
            break
        options["before"] = page[-1].signature
    raise ValueError(f"{client.endpoint}: its history does not end")
