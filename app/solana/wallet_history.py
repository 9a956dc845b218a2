"""A wallet's finalized transactions, from each endpoint by itself: none may hide what another shows."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from typing import Final, TypeVar

from app.domain.errors import ReasonCode, TransientError
from app.engine.recovery_port import Found, Listing, Mention
from app.solana import decode
from app.solana.asking import ask, demand_chain
from app.solana.found import OPTIONS, agreed, read_found, read_signers
from app.solana.json_rpc import JsonRpcClient

PAGE: Final = 1_000
"""Signatures in one getSignaturesForAddress (a node gives no more)."""
PAGES_MAX: Final = 10_000
"""Ten million transactions: a node that goes on for longer repeats itself."""
MARGIN_SLOTS: Final = 300
"""How far behind the slot is read that is asked for: further than any fork moves a transaction."""
BLOCKHASH_BLOCKS: Final = 150
"""A blockhash is valid for so many blocks after its own."""
DRIFT_BLOCKS: Final = 100
"""Blocks that a node may make between two answers, or one backend be behind another: 40 s."""
APART_BLOCKS_MAX: Final = 500
"""What nodes that follow the chain differ by at most: 200 s. Beyond, somebody lies or stands still."""
FINALIZED: Final = {"commitment": "finalized"}
PROCESSED: Final = {"commitment": "processed"}

T = TypeVar("T")


class WalletHistories:
    """The `History` port: as many endpoints as `needed` must answer, and what they show is united.

    Of those one is assumed to be honest, as for a proof of death; what it lists is not overlooked, and
    what it does not list as failed counts as executed.
    """

    def __init__(
        self, clients: Sequence[JsonRpcClient], needed: int, *, pages_max: int = PAGES_MAX
    ) -> None:
        """A node that is named twice is one witness, and one that never comes to an end is none."""
        self._pages_max = pages_max
        self._clients = list(clients)
        self._needed = needed
        self._genesis: str | None = None

    def belongs_to(self, genesis_hash: str) -> None:
        """Say which chain is read; before that nothing is."""
        self._genesis = genesis_hash

    async def last_valid_height(self, newest_slot: int | None) -> int:
        """See the port; of processed blocks, since those are the newest that can be signed for."""
        told = await self._told(lambda client: _last_valid_height(client, newest_slot))
        heights = [height for _, height in told]
        if max(heights) - min(heights) > APART_BLOCKS_MAX:
            raise _unavailable(
                [f"{client.endpoint} tells of height {height}" for client, height in told]
            )
        return max(heights)

    async def finalized_height(self) -> int:
        """See the port."""
        told = await self._told(_finalized_height)
        by_endpoint = {client.endpoint: height for client, height in told}
        return sorted(by_endpoint.values(), reverse=True)[self._needed - 1]

    async def mentions(self, address: str, *, since_slot: int | None, until_height: int) -> Listing:
        """See the port."""

        async def ask(client: JsonRpcClient) -> Listing:
            return await _history(client, address, since_slot, until_height, self._pages_max)

        listings = await self._all(ask)
        mentions = _united([each.mentions for each in listings])
        return Listing(mentions, max(each.first_slot for each in listings))

    async def found(self, signature: str) -> Found:
        """See the port: who signed is proved by the bytes, what it did by as many as are needed."""
        told = await self._told(lambda client: _transaction(client, signature, read_found))
        try:
            return agreed(told, self._needed)
        except ValueError as error:
            raise _unavailable([f"{signature}: {error}"]) from None

    async def signers(self, signature: str) -> Sequence[str]:
        """Name who signed a finalized transaction: its bytes prove it, so that one endpoint is enough.

        Raises TransientError without one that has it.
        """
        whys = []
        for client in self._clients:
            try:
                await demand_chain(client, self._genesis)
                return await _transaction(client, signature, read_signers)
            except ValueError as error:
                whys.append(str(error))
        raise _unavailable(whys)

    async def _all(self, ask: Callable[[JsonRpcClient], Awaitable[T]]) -> list[T]:
        """Ask every endpoint; raises TransientError unless enough answer."""
        return [answer for _, answer in await self._told(ask)]

    async def _told(
        self, ask: Callable[[JsonRpcClient], Awaitable[T]]
    ) -> list[tuple[JsonRpcClient, T]]:
        async def one(client: JsonRpcClient) -> T | str:
            try:
                await demand_chain(client, self._genesis)
                return await ask(client)
            except ValueError as error:
                return str(error)

        answers = await asyncio.gather(*(one(client) for client in self._clients))
        told = zip(self._clients, answers, strict=True)
        sound = [(client, answer) for client, answer in told if not isinstance(answer, str)]
        if len({client.endpoint for client, _ in sound}) < self._needed:
            raise _unavailable([answer for answer in answers if isinstance(answer, str)])
        return sound


def _unavailable(whys: Iterable[str]) -> TransientError:
    return TransientError(ReasonCode.CHAIN_UNAVAILABLE, "; ".join(whys) or "too few endpoints")


def _united(histories: Sequence[Sequence[Mention]]) -> list[Mention]:
    """Unite what endpoints list, newest first: failed is what everybody calls so, a memo is anybody's."""
    by_signature: dict[str, list[Mention]] = {}
    for mention in (each for history in histories for each in history):
        by_signature.setdefault(mention.signature, []).append(mention)
    united = [
        Mention(
            signature=signature,
            slot=_most(each.slot for each in told),
            failed=all(each.failed for each in told),
            memo="; ".join({each.memo: None for each in told if each.memo}) or None,
            unix_time=_most(each.unix_time for each in told),
        )
        for signature, told in by_signature.items()
    ]
    return sorted(united, key=lambda each: each.slot, reverse=True)


H = TypeVar("H", bound=Hashable)


def _most(told: Iterable[H]) -> H:
    """Give what most tell; it decides nothing: what does is read from the transaction itself."""
    return Counter(told).most_common(1)[0][0]


# ---------------------------------------------------------------- one endpoint


async def _last_valid_height(client: JsonRpcClient, newest_slot: int | None) -> int:
    own = await ask(client, "getEpochInfo", [PROCESSED], decode.heights)
    if newest_slot is not None and own.slot < newest_slot:
        raise ValueError(f"{client.endpoint}: it has not seen slot {newest_slot}, which is known")
    found = await ask(client, "getLatestBlockhash", [PROCESSED], decode.blockhash)
    life = found.last_valid_block_height - own.block_height
    if abs(life - BLOCKHASH_BLOCKS) > DRIFT_BLOCKS:
        raise ValueError(f"{client.endpoint}: its newest blockhash is valid for {life} blocks")
    return found.last_valid_block_height


async def _finalized_height(client: JsonRpcClient) -> int:
    return (await ask(client, "getEpochInfo", [FINALIZED], decode.heights)).block_height


async def _history(
    client: JsonRpcClient,
    address: str,
    since_slot: int | None,
    until_height: int,
    pages_max: int,
) -> Listing:
    """Page back until an entry is older than the slot, or there is none left.

    Expiry is read first: what this node had not finalized then would be missing from its pages.
    """
    own = await ask(client, "getEpochInfo", [FINALIZED], decode.heights)
    if own.block_height <= until_height:
        raise ValueError(f"{client.endpoint}: it has not finalized enough blocks")
    mentions: list[Mention] = []
    seen: set[str] = set()
    options: dict[str, object] = {**FINALIZED, "limit": PAGE, "minContextSlot": own.slot}
    for _ in range(pages_max):
        page = await ask(client, "getSignaturesForAddress", [address, options], read_page)
        if not page:
            return Listing(mentions, await _first_slot(client, since_slot, own.slot))
        _demand_order(client, [*mentions[-1:], *page], seen)
        mentions += page
        if since_slot is not None and page[-1].slot < since_slot - MARGIN_SLOTS:
            return Listing(mentions, since_slot)
        options["before"] = page[-1].signature
    raise ValueError(f"{client.endpoint}: its history does not end")


async def _first_slot(client: JsonRpcClient, since_slot: int | None, newest: int) -> int:
    """Give the slot since which the pages hold everything; raises ValueError unless that is `since_slot`.

    A whole history ends where the node's does. Where that is, an archive tells by its first block; a node
    that does not is taken to have kept nothing.
    """
    if since_slot is None:
        try:
            return await ask(client, "getFirstAvailableBlock", [], decode.integer)
        except ValueError:
            return newest
    kept = await ask(client, "minimumLedgerSlot", [], decode.integer)
    if kept > since_slot:
        raise ValueError(f"{client.endpoint}: its history reaches back to slot {kept} only")
    return since_slot


def _demand_order(client: JsonRpcClient, page: Sequence[Mention], seen: set[str]) -> None:
    """See that pages go back without repeating themselves: raises ValueError."""
    slots = [mention.slot for mention in page]
    signatures = [mention.signature for mention in page if mention.signature not in seen]
    fresh = len(set(signatures))
    if slots != sorted(slots, reverse=True) or fresh < len(page) - (1 if seen else 0):
        raise ValueError(f"{client.endpoint}: its history does not go back")
    seen.update(signatures)


def read_page(result: object) -> list[Mention]:
    """Read one page of getSignaturesForAddress; raises ValueError."""
    return [_mention(decode.mapping(each)) for each in decode.sequence(result)]


def _mention(entry: Mapping[str, object]) -> Mention:
    if "err" not in entry:
        raise ValueError("no err")
    memo = entry.get("memo")
    return Mention(
        signature=decode.text(entry.get("signature")),
        slot=decode.integer(entry.get("slot")),
        failed=entry["err"] is not None,
        memo=None if memo is None else decode.text(memo),
        unix_time=decode.unix_time(entry.get("blockTime")),
    )


async def _transaction(
    client: JsonRpcClient, signature: str, read: Callable[[object, str], T]
) -> T:
    params = [signature, dict(OPTIONS)]
    return await ask(client, "getTransaction", params, lambda result: read(result, signature))
