"""Where a database is: a file, or a PostgreSQL URL."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from app.domain.errors import StartupError

_POSTGRESQL: Final = ("postgresql", "postgres", "postgresql+asyncpg")
_SQLITE: Final = ("sqlite", "sqlite+aiosqlite")


@dataclass(frozen=True, slots=True)
class SqliteFile:
    """A SQLite database: its file."""

    path: Path

    def url(self, driver: str) -> URL:
        """Give the URL for a driver."""
        return URL.create(f"sqlite+{driver}", database=str(self.path))

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """A PostgreSQL database: its URL for asyncpg."""

    url: URL

    def __str__(self) -> str:
        """Name it without its password."""
        return self.url.set(drivername="postgresql").render_as_string(hide_password=True)


Address = SqliteFile | PostgresServer


def address_of(url: str) -> Address:
    """Read a path, `sqlite:///path` or `postgresql://...`; raises StartupError(DATABASE_URL_INVALID)."""
    if "://" not in url:
        return SqliteFile(Path(url))
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise _invalid("a database URL cannot be read") from error
    if parsed.drivername in _SQLITE:
        if parsed.database in (None, "", ":memory:"):
            raise _invalid("a database in memory would not be durable")
        return SqliteFile(Path(parsed.database or ""))
    if parsed.drivername in _POSTGRESQL:
        return PostgresServer(_asyncpg(parsed))
    raise _invalid(f"{parsed.drivername} is no database that the service knows")


def _asyncpg(url: URL) -> URL:
    """Give libpq's URL as asyncpg's driver understands it: `sslmode` is `ssl` there."""
    query = dict(url.query)
    if "sslmode" in query:
        query["ssl"] = query.pop("sslmode")
    return url.set(drivername="postgresql+asyncpg", query=query)


def _invalid(what: str) -> StartupError:
    return StartupError("DATABASE_URL_INVALID", what, "write sqlite:///path or postgresql://...")
