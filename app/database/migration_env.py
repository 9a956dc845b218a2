"""What both of alembic's env.py do: run the scripts on a connection handed over, or by a URL."""

import asyncio

from alembic.runtime.environment import EnvironmentContext
from sqlalchemy import Connection

from app.database.addresses import SqliteFile, address_of
from app.database.engine import postgres_engine, sqlite_engine
from app.database.migrate import METADATA, PATIENT, Section, refuse_dangling, version_table


def run(context: EnvironmentContext, section: Section) -> None:
    """Run the scripts of a section; alone on the command line, the ini file (or -x url=) names it."""
    connection: Connection | None = context.config.attributes.get("connection")
    if connection is not None:
        _on(context, section, connection)
        return
    url = context.get_x_argument(as_dictionary=True).get("url")
    _by_url(context, section, url or context.config.get_main_option("sqlalchemy.url") or "")


def _on(context: EnvironmentContext, section: Section, conn: Connection) -> None:
    context.configure(
        connection=conn,
        target_metadata=METADATA[section],
        version_table=version_table(section),
        include_name=lambda name, kind, _parents: _known(section, name, kind),
        compare_type=True,
        render_as_batch=conn.dialect.name == "sqlite",
    )
    context.run_migrations()


def _known(section: Section, name: str | None, kind: str) -> bool:
    """Look at this section's tables only: both may live in one PostgreSQL database."""
    return kind != "table" or name in METADATA[section].tables


def _by_url(context: EnvironmentContext, section: Section, url: str) -> None:
    address = address_of(url)
    if isinstance(address, SqliteFile):
        engine = sqlite_engine(address, foreign_keys=False)
        with engine.begin() as conn:
            _on(context, section, conn)
            refuse_dangling(conn)
        engine.dispose()
        return

    async def migrate() -> None:
        server = postgres_engine(address, size=1, limits=PATIENT)
        async with server.begin() as conn:
            await conn.run_sync(lambda sync: _on(context, section, sync))
        await server.dispose()

    asyncio.run(migrate())
