"""The ASGI factory: HTTP around an ExecutionSystem that the lifespan opens and closes."""

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

import structlog
from fastapi import FastAPI

from app.api.app import build_api
from app.api.ports import ApiService
from app.api.waits import LongAnswers
from app.bootstrap import ExecutionSystem
from app.settings import Settings, load_settings

_log = structlog.get_logger(__name__)


def create_app(settings: Settings | None = None) -> FastAPI:
    """Make the application, e.g. for `uvicorn --factory app.main:create_app`.

    A background task that dies stops the process with SIGTERM; `app.state.system.failure` names it.
    Who runs the server closes `app.state.long_answers` when the end begins.
    """
    system = ExecutionSystem(settings or load_settings(), on_failure=_end_process)

    def service() -> ApiService | None:
        if not system.opened:
            return None
        parts = system.parts
        return ApiService(
            parts.manager,
            parts.report,
            parts.telemetry,
            parts.methods,
            parts.switch,
            parts.resolver,
            parts.desk,
        )

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with system:
            yield

    long_answers = LongAnswers()
    app = build_api(
        service,
        version=version("synergy7-execution"),
        lifespan=lifespan,
        long_answers=long_answers,
    )
    app.state.system = system
    app.state.long_answers = long_answers
    return app


def _end_process(task: str) -> None:
    """Ask the server to end: it keeps answering without its workers otherwise."""
    _log.critical("the service stops, since it cannot keep its promises", task=task)
    signal.raise_signal(signal.SIGTERM)
