"""What a block engine says of the bundles that it accepted: claims, kept to be held against the chain.

Nothing follows from a claim: `Invalid` is also what an engine says of a bundle that it does not know
yet, and bundles have landed after `Failed`. Asking costs places of the one request a second that sends
need, so it is done only where one is spare.

All of it is in memory: after a restart or a takeover only what is pushed again is watched again, so a
landing after a `Failed` that an earlier process heard of is neither counted nor told.
"""

import asyncio
import random
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from app.executors.limiter import loop_time
from app.executors.method import Target
from app.executors.provider_rules import JITO_BUNDLES
from app.executors.replies import by_rules
from app.solana.json_rpc import JsonRpcClient, NeverSent, NoReply, Result, RpcError

PATH: Final = "/api/v1/getInflightBundleStatuses"
"""Where a block engine answers; QuickNode's add-on answers at the endpoint itself."""
BATCH_MAX: Final = 5
"""Most bundles in one question."""
POLL_SECONDS: Final = 1.0
WATCH_SECONDS: Final = 120.0
"""How long a bundle is asked about: longer than a blockhash lives, shorter than the engine looks back."""
INVALID_AFTER_SECONDS: Final = 2.0
"""Before, `Invalid` only says that the engine has not got round to the bundle."""
WATCHED_MAX: Final = 500
CLAIMS_MAX: Final = 4_096
"""The oldest are forgotten beyond these: nothing depends on them."""

_FINAL: Final = frozenset({"Landed", "Failed"})
_KNOWN: Final = _FINAL | {"Invalid", "Pending"}


@dataclass(slots=True)
class _Watched:
    signature: str
    client: JsonRpcClient
    since: float
    methods: set[str]
    """Those that were told that the bundle is accepted: what is said is said of theirs."""
    status: str = ""


class BundleStatuses:
    """Watches accepted bundles of one transaction, each at the target that took it last."""

    def __init__(
        self,
        targets: Sequence[Target],
        *,
        path: str = PATH,
        on_status: Callable[[str], None] = lambda _status: None,
        monotonic: Callable[[], float] = loop_time,
    ) -> None:
        """`on_status` is told each new status of a bundle: Invalid, Pending, Failed, Landed."""
        self._targets = targets
        self._path = path
        self._on_status = on_status
        self._monotonic = monotonic
        self._watched: OrderedDict[str, _Watched] = OrderedDict()
        self._ended: OrderedDict[str, float] = OrderedDict()
        """When a bundle's last word was said: its bytes are pushed on, and it would be said again."""
        self._claims: OrderedDict[tuple[str, str], str] = OrderedDict()

    def watch(self, method: str, client: JsonRpcClient, signature: str, bundle_id: str) -> None:
        """Begin to ask about a bundle that an endpoint has accepted; again: ask there from now on.

        Not after `Landed` or `Failed`: that is said once.
        """
        if bundle_id in self._ended:
            return
        known = self._watched.get(bundle_id)
        if known is not None:
            known.client = client
            known.methods.add(method)
            return
        self._watched[bundle_id] = _Watched(signature, client, self._monotonic(), {method})
        if len(self._watched) > WATCHED_MAX:
            self._watched.popitem(last=False)

    def claims_of(self, method: str) -> Callable[[str], str | None]:
        """Give what tells `Failed` or `Invalid` when that was last said of a method's transaction."""
        return lambda signature: self._claims.get((method, signature))

    async def run(self) -> None:
        """Ask again and again; never returns."""
        while True:
            await self.poll()
            spread = random.uniform(0.8, 1.2)  # noqa: S311 - spreads requests, guards nothing
            await asyncio.sleep(POLL_SECONDS * spread)

    async def poll(self) -> None:
        """Ask each target once about some of its bundles, where a place is spare."""
        self._forget(before=self._monotonic() - WATCH_SECONDS)
        await asyncio.gather(*[self._ask(target) for target in self._targets])

    def _forget(self, *, before: float) -> None:
        """Forget the bundles whose bytes must be dead by now."""
        for bundle_id in [key for key, each in self._watched.items() if each.since < before]:
            del self._watched[bundle_id]
        for bundle_id in [key for key, ended_at in self._ended.items() if ended_at < before]:
            del self._ended[bundle_id]

    async def _ask(self, target: Target) -> None:
        spare = target.limiter.wait_seconds(again=True) == 0
        ids = self._next_of(target.client) if spare else ()
        if not ids or not target.limiter.take():
            return
        asked_at = self._monotonic()
        answer = await target.client.call("getInflightBundleStatuses", [ids], path=self._path)
        if isinstance(answer, NeverSent | NoReply):
            return
        if isinstance(answer, RpcError):
            reply = by_rules(answer, JITO_BUNDLES.rules)
            if reply.reason == "rate_limited":
                target.limiter.refused(reply.retry_after_seconds)
                return
        target.limiter.served()
        if isinstance(answer, Result):
            self._learn(answer.value, ids, asked_at)

    def _next_of(self, client: JsonRpcClient) -> Sequence[str]:
        """Give some bundles of an endpoint, those first that were asked about longest ago."""
        mine = [key for key, each in self._watched.items() if each.client is client][:BATCH_MAX]
        for bundle_id in mine:
            self._watched.move_to_end(bundle_id)
        return mine

    def _learn(self, value: object, ids: Iterable[str], asked_at: float) -> None:
        for bundle_id, status in _statuses(value):
            watched = self._watched.get(bundle_id) if bundle_id in ids else None
            early = watched is not None and asked_at - watched.since < INVALID_AFTER_SECONDS
            if watched is None or (status == "Invalid" and early):
                continue
            if status != watched.status:
                watched.status = status
                self._on_status(status)
                self._keep(watched, status)
            if status in _FINAL:
                self._end(bundle_id)

    def _end(self, bundle_id: str) -> None:
        del self._watched[bundle_id]
        self._ended[bundle_id] = self._monotonic()
        if len(self._ended) > CLAIMS_MAX:
            self._ended.popitem(last=False)

    def _keep(self, watched: _Watched, status: str) -> None:
        """Keep what was said last, when it says that the bundle will not land."""
        for method in watched.methods:
            key = (method, watched.signature)
            self._claims.pop(key, None)
            if status in ("Failed", "Invalid"):
                self._claims[key] = status
        while len(self._claims) > CLAIMS_MAX:
            self._claims.popitem(last=False)


def _statuses(value: object) -> Iterator[tuple[str, str]]:
    """Give bundle id and status of every item that means something; none is no news.

    Items of getBundleStatuses have a confirmation status instead, in either spelling: those landed.
    """
    items = value.get("value") if isinstance(value, dict) else None
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict) and isinstance(bundle_id := item.get("bundle_id"), str):
            status = _status(item)
            if status in _KNOWN:
                yield bundle_id, status


def _status(item: Mapping[str, object]) -> str:
    confirmed = item.get("confirmation_status") or item.get("confirmationStatus")
    status = item.get("status")
    if isinstance(status, str):
        return status
    return "Landed" if isinstance(confirmed, str) else ""
