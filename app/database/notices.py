"""Word of new work between processes: PostgreSQL's NOTIFY, an accelerator beside polling."""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog
from asyncpg import InterfaceError, PostgresError
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from app.database.addresses import Address, PostgresServer
from app.database.engine import postgres_engine

CHANNEL: Final = "synergy7_work"
AGAIN_SECONDS: Final = 1.0
"""Pause before a lost connection is opened again; polling goes on meanwhile."""
_NOTIFY = text(f"NOTIFY {CHANNEL}")

_log = structlog.get_logger(__name__)


def announce(conn: Connection) -> None:
    """Tell other processes of new work once this transaction is committed; nothing to do on SQLite."""
    if conn.dialect.name == "postgresql":
        conn.execute(_NOTIFY)


async def listen(address: Address, wake: Callable[[], None]) -> None:
    """Call `wake` whenever a process has committed new work, until cancelled.

    On SQLite there is no other process to hear of.
    """
    if not isinstance(address, PostgresServer):
        await asyncio.Event().wait()
        return
    engine = postgres_engine(address, size=1)
    try:
        while True:
            await _listen_once(engine, wake)
            await asyncio.sleep(AGAIN_SECONDS)
    finally:
        await engine.dispose()


async def _listen_once(engine: AsyncEngine, wake: Callable[[], None]) -> None:
    """Listen until the connection is lost."""
    lost = asyncio.Event()

    def notified(*_notice: object) -> None:
        wake()

    def ended(_connection: object) -> None:
        lost.set()

    try:
        async with engine.connect() as conn:
            driver = (await conn.get_raw_connection()).driver_connection
            assert driver is not None
            driver.add_termination_listener(ended)
            await driver.add_listener(CHANNEL, notified)
            try:
                wake()  # for what was announced while nobody listened
                await lost.wait()
                await conn.invalidate()
            finally:
                if not driver.is_closed():
                    driver.remove_termination_listener(ended)
                    await driver.remove_listener(CHANNEL, notified)
    except (SQLAlchemyError, OSError, PostgresError, InterfaceError) as error:
        _log.warning("new work is found by polling only", why=str(error).partition("\n")[0])
