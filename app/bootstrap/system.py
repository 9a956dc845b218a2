"""ExecutionSystem: the whole wired together, usable from Python without HTTP."""

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from decimal import Decimal
from types import TracebackType
from typing import Self

from app.bootstrap.access import refuse_unguarded
from app.bootstrap.wiring import Parts, open_parts
from app.domain.documents import order_document
from app.domain.order import OrderStatus
from app.engine.order_manager import DEFAULT_ACCOUNT
from app.settings import Settings, load_settings


class ExecutionSystem:
    """Opens everything in order, runs the workers, and closes everything in the reverse order.

    `await initialize()` opens, migrates and recovers; `await start()` starts the workers; `await stop()`
    drains and closes. `async with ExecutionSystem() as system:` does all three.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        on_failure: Callable[[str], None] | None = None,
    ) -> None:
        """Take settings, by default those of config.yaml and the environment.

        `on_failure` is called with the name of a background task that died; the system must then be
        stopped, since it no longer keeps its promises.
        """
        self._settings = settings
        self._tell = on_failure or (lambda _task: None)
        self._failure: str | None = None
        self._stack = AsyncExitStack()
        self._parts: Parts | None = None
        self._started = False

    async def __aenter__(self) -> Self:
        await self.initialize()
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    @property
    def parts(self) -> Parts:
        """The opened parts; raises RuntimeError outside the system's life."""
        if self._parts is None:
            raise RuntimeError("the system is not initialized: await initialize() first")
        return self._parts

    @property
    def opened(self) -> bool:
        """Tell whether the system is initialized and not stopped."""
        return self._parts is not None

    async def initialize(self) -> None:
        """Open the chain, the wallet and the databases; raises StartupError, leaving nothing open."""
        if self._parts is not None:
            return
        settings = self._settings or load_settings()
        self._settings = settings
        refuse_unguarded(settings)
        async with AsyncExitStack() as stack:
            self._parts = await open_parts(settings, stack, self._fail)
            self._stack = stack.pop_all()

    async def start(self) -> None:
        """Start the workers and what feeds them."""
        if self._started:
            return
        parts = self.parts
        self._started = True  # from here on there are tasks to be ended, whatever comes
        await parts.start()

    async def stop(self) -> None:
        """Drain up to a limit, give held orders back, and close everything."""
        parts, self._parts = self._parts, None
        if parts is not None and self._started:
            parts.manager.stop_accepting()
            await parts.engine.stop()
        self._started = False
        await self._stack.aclose()

    def _fail(self, task: str) -> None:
        self._failure = task
        self._tell(task)

    @property
    def failure(self) -> str | None:
        """The background task that died, if one did."""
        return self._failure

    async def submit_trading_signal(self, signal: Mapping[str, object]) -> str:
        """Take a signal in as `POST /signals` would and give its order id.

        A float is taken as the decimal that Python shows for it: 0.01 is exactly 0.01. Raises SignalError
        or IntakeError; an order refused by a rule raises nothing, its status is `rejected`.
        """
        accepted = await self.parts.manager.submit(_exact(signal))
        return accepted.order.order_id

    async def get_order_status(self, order_id: str) -> Mapping[str, object] | None:
        """Give the document of `GET /orders/{id}`; None for an unknown order."""
        view = await self.parts.manager.view(DEFAULT_ACCOUNT, order_id)
        if view is None:
            return None
        return order_document(view, self.parts.manager.rules.markets.get(view.order.signal.market))

    async def wait_for_order(self, order_id: str, seconds: float) -> OrderStatus | None:
        """Wait for a final state, at most `seconds`; gives the status, None for an unknown order."""
        view = await self.parts.manager.wait_final(DEFAULT_ACCOUNT, order_id, seconds)
        return view.order.status if view is not None else None

    def get_system_status(self) -> Mapping[str, object]:
        """Give the document of `GET /status`, from memory."""
        return self.parts.report.status()


def _exact(value: object) -> object:
    """Take floats as the decimals they are written as, all the way down."""
    if isinstance(value, float):
        return Decimal(repr(value))
    if isinstance(value, Mapping):
        return {key: _exact(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_exact(item) for item in value]
    return value
