"""`synergy7 migrate`: both databases to this version, without starting anything."""

import asyncio
from typing import Literal

import typer

from app.database.addresses import address_of
from app.database.migrate import Migrated, migrate
from app.settings import Settings


def migrate_databases(settings: Settings) -> int:
    """Migrate orders, then metrics, telling each; raises StartupError at the first that cannot be."""
    orders, metrics = settings.order_management, settings.metrics
    secret = orders.database_url
    _migrate(settings, "orders", secret.get_secret_value() if secret else str(orders.db_path))
    secret = metrics.database_url
    _migrate(
        settings, "metrics", secret.get_secret_value() if secret else str(metrics.metrics_db_path)
    )
    return 0


def _migrate(settings: Settings, section: Literal["orders", "metrics"], url: str) -> None:
    done = asyncio.run(migrate(url, section, backup_dir=settings.order_management.backup_path))
    typer.echo(f"{section}: {address_of(url)} {told(done)}")


def told(done: Migrated) -> str:
    """Say what a migration did."""
    if done.before == done.after:
        return f"is at {done.after} already"
    if done.before is None:
        return f"was created at {done.after}"
    copied = f", copied to {done.backup} before" if done.backup else ""
    return f"went from {done.before} to {done.after}{copied}"
