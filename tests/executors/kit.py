"""Methods over real servers that do what a test says, limiters on a clock that is turned by hand."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from app.domain.attempt import StoredAttempt
from app.domain.outcome import Reply
from app.engine.ports import Executor, TipNeeds
from app.executors.gate import Gate
from app.executors.limiter import Limiter
from app.executors.method import Method, Target
from tests.domain.makers import attempt
from tests.solana.server import Server, Step, client_of, serving

ATTEMPT = attempt()
SECONDS = 5.0
TIPS = TipNeeds(("payee",), 5_000)


@dataclass
class Clock:
    """Seconds that pass when a test says so."""

    now: float = 1_000.0

    def __call__(self) -> float:
        """Give the time."""
        return self.now


@dataclass
class Rig:
    """A method over servers, with what it stands on."""

    method: Method
    gate: Gate
    clock: Clock
    servers: list[Server]
    limiters: list[Limiter] = field(default_factory=list)

    @property
    def asked(self) -> list[int]:
        """Tell how often each server was asked."""
        return [len(server.requests) for server in self.servers]


Build = Callable[[Sequence[Target], Gate], Method]
Answers = Step | Callable[[dict[str, Any]], Step]


@asynccontextmanager
async def rigged(
    build: Build,
    *steps: Answers,
    per_second: float = math.inf,
    gate: Gate | None = None,
) -> AsyncIterator[Rig]:
    """Open a method over servers, each of which always does one thing."""
    gate, clock = gate or Gate("method", reset_seconds=60), Clock()
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(serving(always(step))) for step in steps]
        clients = [await stack.enter_async_context(client_of(server)) for server in servers]
        limiters = [Limiter(per_second, monotonic=clock) for _ in servers]
        targets = [Target(*pair) for pair in zip(clients, limiters, strict=True)]
        yield Rig(build(targets, gate), gate, clock, servers, limiters)


def always(step: Answers) -> Callable[[dict[str, Any]], Step]:
    """Do the same whatever is asked, or what a function says."""
    return step if callable(step) else (lambda _request: step)


async def push(
    executor: Executor, seconds: float = SECONDS, attempt_: StoredAttempt = ATTEMPT
) -> Reply:
    """Push once."""
    deadline = asyncio.get_running_loop().time() + seconds
    return await executor.submit(attempt_, deadline, lambda: True)
