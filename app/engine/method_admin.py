"""What operators do to submission methods: reset, disable, enable; the same in every process."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol

import structlog

from app.domain.errors import IntakeError, NotFoundError, ReasonCode
from app.engine.ports import Clock, Store
from app.engine.store_port import MethodSwitches

SYNC_SECONDS: Final = 1.0
"""How often the switches of other processes are looked for."""

State = Mapping[str, object]

_log = structlog.get_logger(__name__)


class Methods(Protocol):
    """The configured methods, as `TransactionExecutor` holds them."""

    def has(self, name: str) -> bool:
        """Tell whether a method of this name is configured."""
        ...

    def reset(self, name: str) -> None:
        """Close a method's breaker and forget its back-offs."""
        ...

    def set_disabled(self, names: Iterable[str]) -> None:
        """Push nothing through these methods."""
        ...

    def states(self) -> Sequence[State]:
        """Give each method's state, with its `name`."""
        ...


class MethodAdmin:
    """Switches methods: stored first, so that it holds for all processes and after a start.

    Nothing that is under way is taken back: bytes that a method has stay followed to their end.
    """

    def __init__(self, store: Store, methods: Methods, clock: Clock) -> None:
        """Begin without knowing what is stored; `load` reads it."""
        self._store = store
        self._methods = methods
        self._clock = clock
        self._known = MethodSwitches(frozenset(), {})
        self._one_at_a_time = asyncio.Lock()

    # ------------------------------------------------------------ shown

    def states(self) -> Sequence[State]:
        """Give each method's state, in the configured order."""
        return self._methods.states()

    def state(self, name: str) -> State:
        """Give a method's state; raises NotFoundError(METHOD_NOT_FOUND)."""
        for state in self._methods.states():
            if state["name"] == name:
                return state
        raise _unknown()

    # ------------------------------------------------------------ switched

    async def disable(self, name: str) -> State:
        """Push nothing through a method any more; raises NotFoundError, or IntakeError of the store."""
        return await self._switch(name, disabled=True)

    async def enable(self, name: str) -> State:
        """Take a method into use again; raises NotFoundError, or IntakeError of the store."""
        return await self._switch(name, disabled=False)

    async def _switch(self, name: str, *, disabled: bool) -> State:
        self._demand(name)
        async with self._one_at_a_time:
            await self._store.switch_method(name, disabled=disabled, at_us=self._clock.now_us())
            known = self._known.disabled
            now = known | {name} if disabled else known - {name}
            self._apply(MethodSwitches(now, self._known.resets))
        return self.state(name)

    async def reset(self, name: str) -> State:
        """Close a method's breaker and forget its back-offs, here at once, elsewhere within seconds.

        Raises NotFoundError, or IntakeError of the store.
        """
        self._demand(name)
        async with self._one_at_a_time:
            mark = await self._store.reset_method(name, self._clock.now_us())
            resets = {**self._known.resets, name: mark}
            self._apply(MethodSwitches(self._known.disabled, resets))
        return self.state(name)

    def _demand(self, name: str) -> None:
        if not self._methods.has(name):
            raise _unknown()

    def _apply(self, now: MethodSwitches) -> None:
        """Do what changed since the last time; what is stored of other methods is left alone."""
        before, self._known = self._known, now
        self._methods.set_disabled(now.disabled)
        for name in sorted(now.disabled ^ before.disabled):
            _log.info("method switched", method=name, enabled=name not in now.disabled)
        for name, mark in now.resets.items():
            if before.resets.get(name) != mark and self._methods.has(name):
                self._methods.reset(name)
                _log.info("method reset", method=name)

    # ------------------------------------------------------------ other processes, and the start

    async def load(self) -> None:
        """Apply what is stored, before anything is pushed; raises IntakeError when it cannot be read."""
        async with self._one_at_a_time:
            stored = await self._store.method_switches()
            # a method that was just made has nothing to be reset
            self._known = MethodSwitches(self._known.disabled, stored.resets)
            self._apply(stored)

    async def run(self) -> None:
        """Apply what other processes switch, until cancelled; what was known holds meanwhile."""
        while True:
            await asyncio.sleep(SYNC_SECONDS)
            try:
                await self._look()
            except IntakeError as error:
                _log.warning("switches of methods could not be read", why=error.what)

    async def _look(self) -> None:
        async with self._one_at_a_time:
            self._apply(await self._store.method_switches())


def _unknown() -> NotFoundError:
    what = "no method of this name is configured"
    return NotFoundError(ReasonCode.METHOD_NOT_FOUND, what, todo="see GET /methods")
