"""`synergy7 metrics rebuild`: the execution rows derived anew."""

import asyncio

import typer

from app.bootstrap.metrics_rebuild import rebuild
from app.settings import Settings


def rebuild_metrics(settings: Settings) -> int:
    """Rebuild, and say how many rows there are; raises StartupError."""
    done = asyncio.run(rebuild(settings))
    typer.echo(f"rows={done.rows} position={done.position}")
    if done.begins_after:
        typer.echo(f"events up to {done.begins_after} are cleaned up: older orders have no row")
    if done.kept is not None:
        typer.echo(f"the file that was there is now {done.kept}")
    return 0
