"""The chain that a database belongs to: orders of one chain mean nothing on another."""

from typing import Final

from sqlalchemy import Connection, bindparam, insert, select

from app.database.tables import META
from app.domain.errors import StartupError

_NETWORK: Final = "network"
_GENESIS: Final = "genesis_hash"
_READ = select(META.c.value).where(META.c.name == bindparam("wanted"))


def bind(conn: Connection, database: str, network: str, genesis_hash: str) -> None:
    """Note the chain of a new database; raises StartupError(DATABASE_OTHER_CHAIN) for another chain."""
    known = conn.scalar(_READ, {"wanted": _GENESIS})
    if known is None:
        rows = [
            {"name": _GENESIS, "value": genesis_hash},
            {"name": _NETWORK, "value": network},
        ]
        conn.execute(insert(META), rows)
    elif known != genesis_hash:
        owner = conn.scalar(_READ, {"wanted": _NETWORK})
        what = (
            f"{database} belongs to another chain ({owner}, genesis {known}), "
            f"not to this one ({network}, genesis {genesis_hash})"
        )
        todo = "name another database, or go back to that chain"
        raise StartupError("DATABASE_OTHER_CHAIN", what, todo)
