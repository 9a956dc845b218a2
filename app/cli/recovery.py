"""`synergy7 backup`, `restore`, `reconcile`: the orders database as a whole; `halt` and `resume`."""

import asyncio
import time
from pathlib import Path

import typer

from app.cli.orders import Json, connect, print_document
from app.database.addresses import Address, PostgresServer, address_of
from app.database.backup import back_up, mark_database, moment, restore
from app.domain.documents import time_string
from app.domain.errors import StartupError
from app.domain.signal import parse_time
from app.settings import Settings

NEXT = "start the service, and when it says that the database is reconciled: synergy7 resume"


def backup_orders(settings: Settings, file: Path | None) -> int:
    """Copy the orders database while the service runs, and print where the copy is."""
    source = _file(settings, "back it up with pg_dump --format=custom, see docs/operation.md")
    name = f"{source.stem}-backup-{moment()}{source.suffix}"
    target = file or settings.order_management.backup_path / name
    back_up(source, target)
    typer.echo(str(target))
    return 0


def restore_orders(settings: Settings, file: Path, *, salvaging: bool) -> int:
    """Put a copy into the place of the orders database, which is kept."""
    target = _file(
        settings, "restore it with pg_restore, then: synergy7 reconcile, see docs/operation.md"
    )
    restored = restore(file, target, salvaging=salvaging)
    typer.echo(f"{target} is restored from {file}")
    if restored.kept is not None:
        typer.echo(f"what was there before is {restored.kept}")
    if restored.salvaged is not None:
        for name, table in restored.salvaged.tables.items():
            typer.echo(f"{name}: {table}")
        if restored.salvaged.lost_commits:
            typer.echo(f"commits in its log: at least {restored.salvaged.lost_commits} lost")
    typer.echo(f"trading is halted; {NEXT}")
    return 0


def reconcile_orders(settings: Settings, since: str | None, *, whole: bool) -> int:
    """Mark the orders database as one that lost commits, at any time or after a moment."""
    since_us = None if since is None else _moment(since, whole=whole)
    address = _address(settings)
    asyncio.run(mark_database(address, since_us=since_us))
    typer.echo(f"{address} will be compared with the chain; trading is halted; {NEXT}")
    if since_us is None:
        typer.echo("the whole history is read; --since TIME reads what came after a moment only")
    else:
        typer.echo(f"what was stored before {time_string(since_us)} is taken to be complete")
    return 0


def _moment(text: str, *, whole: bool) -> int:
    since_us = parse_time(text)
    if since_us is None or since_us > time.time_ns() // 1_000:
        what = "--since is no past time with its offset, such as 2026-01-31T12:00:00Z"
        raise typer.BadParameter(what)
    if whole:
        raise typer.BadParameter("--since and --from-beginning contradict each other")
    return since_us


def _address(settings: Settings) -> Address:
    orders = settings.order_management
    url = orders.database_url
    return address_of(url.get_secret_value() if url is not None else str(orders.db_path))


def _file(settings: Settings, todo: str) -> Path:
    address = _address(settings)
    if isinstance(address, PostgresServer):
        raise StartupError("SQLITE_ONLY", f"{address} is no SQLite file", todo)
    return address.path


# ---------------------------------------------------------------- the running service


def halt_trading(url: str | None, reason: str | None, *, as_json: bool) -> int:
    """Halt trading and print the state."""
    body = {} if reason is None else {"reason": reason}
    document = connect(url).document("POST", "/trading/halt", body=body)
    print_document(document, lambda state: [_told(state)], as_json=as_json)
    return 0


def resume_trading(url: str | None, *, as_json: bool) -> int:
    """Resume trading and print the state."""
    document = connect(url).document("POST", "/trading/resume")
    print_document(document, lambda state: [_told(state)], as_json=as_json)
    return 0


def _told(state: Json) -> str:
    if state["state"] == "active":
        return "trading is active"
    why = f": {state['reason']}" if state["reason"] else ""
    return f"trading is halted since {state['since']}{why}"
