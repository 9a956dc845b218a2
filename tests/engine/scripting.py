"""How a test tells a fake what to do: faults and gates by the name of the call."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


class Gate:
    """A place where a call waits until the test lets it go on."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()

    async def pass_through(self) -> None:
        """Tell that a call is here, and wait."""
        self.reached.set()
        await self.opened.wait()


@dataclass(frozen=True)
class Fault:
    """What befalls one call: a wait or an error, before or after its work is done."""

    before: Gate | None = None
    refuses: BaseException | None = None
    after: Gate | None = None
    loses: BaseException | None = None


async def _at_once(_name: str) -> None:
    """Let a call through; others get their turn."""
    await asyncio.sleep(0)


class Script:
    """The faults that wait for calls, and the calls that were made."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.pace: Callable[[str], Awaitable[None]] = _at_once
        self.dice: Callable[[str], Fault] = lambda _name: Fault()
        self._faults: dict[str, deque[Fault]] = defaultdict(deque)

    def add(self, name: str, *faults: Fault) -> None:
        """Let the next calls of this name meet these faults, one each."""
        self._faults[name].extend(faults)

    def gate(self, name: str, *, after: bool = False) -> Gate:
        """Stop the next call of this name before its work, or after it."""
        gate = Gate()
        self.add(name, Fault(after=gate) if after else Fault(before=gate))
        return gate

    async def run(self, name: str, work: Callable[[], T]) -> T:
        """Make a call: its work is done in one step, or not at all."""
        self.calls.append(name)
        waiting = self._faults[name]
        fault = waiting.popleft() if waiting else self.dice(name)
        await self.pace(name)
        if fault.before is not None:
            await fault.before.pass_through()
        if fault.refuses is not None:
            raise fault.refuses
        result = work()
        await self.pace(name)
        if fault.after is not None:
            await fault.after.pass_through()
        if fault.loses is not None:
            raise fault.loses
        return result
