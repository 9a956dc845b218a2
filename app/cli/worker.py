"""`synergy7 worker`: workers without HTTP."""

import asyncio
from contextlib import AsyncExitStack

import typer

from app.bootstrap import ExecutionSystem
from app.cli.ending import Ending
from app.domain.errors import StartupError
from app.settings import Settings

EXIT_FAILED = 1


def run_worker(settings: Settings) -> int:
    """Work until SIGTERM, Ctrl-C or a failure; gives the exit code, raises StartupError."""
    refuse_sqlite(settings)
    return asyncio.run(_work(settings))


def refuse_sqlite(settings: Settings) -> None:
    """Refuse a database that one process has for itself; raises StartupError."""
    url = settings.order_management.database_url
    if url is None or not url.get_secret_value().startswith("postgres"):
        what = "on SQLite the service's own workers are the only ones"
        todo = "run synergy7 serve, or set order_management.database_url to PostgreSQL"
        raise StartupError("WORKER_NEEDS_POSTGRESQL", what, todo)


async def _work(settings: Settings) -> int:
    ending = Ending()
    ending.listen()
    system = ExecutionSystem(settings, on_failure=lambda _task: ending.ask())
    async with AsyncExitStack() as stack:
        if await ending.enter(stack, system):
            network = system.get_system_status()["network"]
            typer.echo(f"Synergy7 worker on {network} (Ctrl-C ends it)")
            await ending.wait()
    return EXIT_FAILED if system.failure else 0
