"""One read over several endpoints: the healthiest first, the next one on trouble or when it takes long.

Only reads go through here, never a send, and never the proof of a death, which asks each endpoint itself.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, Generic, TypeVar

import structlog

from app.domain.errors import ReasonCode, TransientError
from app.solana.endpoint_health import EndpointHealth
from app.solana.json_rpc import Answer, JsonRpcClient, Result, RpcError, outcome_label

HEDGE_SECONDS: Final = 0.25
"""An endpoint that has not answered by then gets a rival: some four times what a good one takes."""
_MIN_CONTEXT_SLOT: Final = -32016

T = TypeVar("T")
_log = structlog.get_logger(__name__)


class Worth(Enum):
    """What a well-formed answer is worth; all but the best is taken only if nobody gives a better one."""

    SOUND = auto()
    EMPTY = auto()
    """The endpoint has nothing, which another may have; nothing is held against it."""
    BEHIND = auto()
    """From before what is known to be finalized: the endpoint lags."""


@dataclass(frozen=True, slots=True)
class _Found(Generic[T]):
    value: T
    worth: Worth


@dataclass(frozen=True, slots=True)
class _Nothing:
    why: str


class Endpoints:
    """The endpoints of one chain, as one that reads."""

    def __init__(
        self,
        clients: Sequence[JsonRpcClient],
        health: EndpointHealth,
        hedge_seconds: float | None,
        on_hedge: Callable[[str], None] = lambda _method: None,
    ) -> None:
        """`clients` are preferred in this order; `hedge_seconds` (None: never) starts a rival.

        `on_hedge` is told the RPC method of each read that got one.
        """
        self._on_hedge = on_hedge
        self._clients = list(clients)
        self._health = health
        self._hedge_seconds = hedge_seconds
        self._genesis: str | None = None
        self._of_the_chain: set[JsonRpcClient] = set()

    def belongs_to(self, genesis_hash: str) -> None:
        """Say which chain is read: endpoints of another are passed over from here on."""
        self._genesis = genesis_hash

    def state(self) -> list[Mapping[str, object]]:
        """Tell each endpoint's state."""
        return [self._health.state(client) for client in self._clients]

    async def read(
        self,
        method: str,
        params: Sequence[object],
        decode: Callable[[object], T],
        *,
        worth: Callable[[T], Worth] = lambda _value: Worth.SOUND,
        hedged: bool = True,
    ) -> T:
        """Give the first sound answer; `decode` raises ValueError for what is none.

        Raises TransientError(CHAIN_UNAVAILABLE) when nobody answers.
        """

        async def ask(client: JsonRpcClient) -> _Found[T] | _Nothing:
            return await self._ask(client, method, params, decode, worth)

        ranked = self._health.ranked(self._clients, method)
        seconds = self._hedge_seconds if hedged else None
        of_method = _MethodHealth(self._health, method, self._on_hedge)
        race = _Race(ranked, ask, of_method, seconds)
        return await race.run()

    async def _ask(
        self,
        client: JsonRpcClient,
        method: str,
        params: Sequence[object],
        decode: Callable[[object], T],
        worth: Callable[[T], Worth],
    ) -> _Found[T] | _Nothing:
        """Ask one endpoint, and keep what its answer says of its health."""
        if not await self._is_of_the_chain(client, method):
            return _Nothing(f"{client.endpoint}: not known to serve this chain")
        started = _now()
        answer = await client.call(method, params)
        if not isinstance(answer, Result):
            self._health.note(client, method, answer, _now() - started)
            return _Nothing(f"{client.endpoint}: {method}: {words(answer)}")
        try:
            value = decode(answer.value)
        except ValueError:
            self._health.blame(client, method, "wrong shape")
            return _Nothing(f"{client.endpoint}: {method} answered in a wrong shape")
        found = _Found(value, worth(value))
        if found.worth is Worth.BEHIND:
            self._health.blame(client, method, "behind")
        else:
            self._health.note(client, method, answer, _now() - started)
        return found

    async def _is_of_the_chain(self, client: JsonRpcClient, method: str) -> bool:
        """Tell whether an endpoint serves the chain that is executed on: another's answers mean nothing."""
        if self._genesis is None or client in self._of_the_chain:
            return True
        started = _now()
        answer = await client.call("getGenesisHash", [])
        if not isinstance(answer, Result):
            self._health.note(client, method, answer, _now() - started)
            return False
        if answer.value != self._genesis:
            self._health.blame(client, method, "another chain")
            _log.error("an endpoint serves another chain", endpoint=client.endpoint)
            return False
        self._of_the_chain.add(client)
        return True


@dataclass(frozen=True, slots=True)
class _MethodHealth:
    """The health of endpoints as to one RPC method."""

    health: EndpointHealth
    method: str
    on_hedge: Callable[[str], None]

    def hedged(self) -> None:
        self.on_hedge(self.method)

    def well(self, client: JsonRpcClient) -> bool:
        return self.health.well(client, self.method)

    def overtaken(self, client: JsonRpcClient) -> None:
        self.health.blame(client, self.method, "overtaken")


class _Race(Generic[T]):
    """One read: endpoints start in order, two at most run at once, the first sound answer wins."""

    def __init__(
        self,
        ranked: Sequence[JsonRpcClient],
        ask: Callable[[JsonRpcClient], Awaitable[_Found[T] | _Nothing]],
        health: _MethodHealth,
        hedge_seconds: float | None,
    ) -> None:
        self._waiting = deque(ranked)
        self._ask = ask
        self._health = health
        self._hedge_seconds = hedge_seconds
        self._running: dict[asyncio.Task[_Found[T] | _Nothing], JsonRpcClient] = {}
        self._spare: list[T] = []
        self._whys: list[str] = []

    async def run(self) -> T:
        """Run until there is an answer; raises TransientError without one."""
        try:
            while self._waiting or self._running:
                for answer in await self._next():
                    if isinstance(answer, _Found) and answer.worth is Worth.SOUND:
                        return answer.value
                    self._keep(answer)
        finally:
            await self._end()
        if self._spare:
            return self._spare[0]
        raise TransientError(ReasonCode.CHAIN_UNAVAILABLE, "; ".join(self._whys) or "no endpoint")

    def _keep(self, answer: _Found[T] | _Nothing) -> None:
        if isinstance(answer, _Found):
            self._spare.append(answer.value)
        else:
            self._whys.append(answer.why)

    async def _next(self) -> list[_Found[T] | _Nothing]:
        """Wait for an answer, or until it is time for a rival: then there is none yet."""
        if not self._running:
            client = self._waiting.popleft()
            if not self._waiting:  # nobody is left to race with
                return [await self._ask(client)]
            self._start(client)
        done, _ = await asyncio.wait(
            self._running, timeout=self._patience(), return_when=asyncio.FIRST_COMPLETED
        )
        if not done:
            self._health.hedged()
            self._start(self._waiting.popleft())
        return [self._finish(task) for task in list(self._running) if task in done]

    def _patience(self) -> float | None:
        """Give the time until a rival starts; never one that is ailing while the running one is well."""
        if len(self._running) != 1 or not self._waiting:
            return None
        (running,) = self._running.values()
        worse = self._health.well(running) and not self._health.well(self._waiting[0])
        return None if worse else self._hedge_seconds

    def _start(self, client: JsonRpcClient) -> None:
        async def ask() -> _Found[T] | _Nothing:
            return await self._ask(client)

        self._running[asyncio.create_task(ask())] = client

    def _finish(self, task: "asyncio.Task[_Found[T] | _Nothing]") -> _Found[T] | _Nothing:
        """Take an answer; a sound one says of who started earlier and still runs that it is slow."""
        earlier = list(self._running)[: list(self._running).index(task)]
        del self._running[task]
        answer = task.result()
        if isinstance(answer, _Found) and answer.worth is Worth.SOUND:
            for slow in earlier:
                self._health.overtaken(self._running[slow])
        return answer

    async def _end(self) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)


def words(answer: Answer) -> str:
    """Say what an answer was, without anything that an endpoint wrote."""
    if isinstance(answer, RpcError):
        lagging = answer.code == _MIN_CONTEXT_SLOT
        return "the node lags behind" if lagging else f"error {answer.code or answer.http}"
    return outcome_label(answer)


def _now() -> float:
    return asyncio.get_running_loop().time()
