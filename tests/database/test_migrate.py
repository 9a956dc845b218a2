"""Migrations: what they make is what the code expects, and what is not ours is left alone."""

import argparse
import asyncio
import re
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Column, Connection, Text, text
from sqlalchemy.exc import IntegrityError

from alembic import command
from app.database.addresses import SqliteFile, address_of
from app.database.engine import open_database, sqlite_engine
from app.database.metrics import open_metrics_database
from app.database.migrate import METADATA, Section, migrate, refuse_dangling, version_table
from app.database.orders import open_store
from app.domain.errors import StartupError
from tests.database import steps
from tests.database.conftest import Server

pytestmark = pytest.mark.anyio
HEADS = {"orders": "orders_0002", "metrics": "metrics_0001"}
SECTIONS: tuple[Section, ...] = ("orders", "metrics")


def differences(conn: Connection, section: Section) -> list[object]:
    """Compare a database with the models, as `alembic check` does."""
    context = MigrationContext.configure(
        conn,
        opts={
            "version_table": version_table(section),
            "compare_type": True,
            "include_name": lambda name, kind, _: (
                kind != "table" or name in METADATA[section].tables
            ),
        },
    )
    return list(compare_metadata(context, METADATA[section]))


@pytest.mark.parametrize("section", SECTIONS)
async def test_migrations_make_what_the_models_say_on_sqlite(
    section: Section, tmp_path: Path
) -> None:
    """A model without its migration fails here."""
    url = str(tmp_path / "new" / "x.db")
    await migrate(url, section, tmp_path)
    async with open_database(address_of(url), pool_size=1) as database:
        assert await database.read(partial(differences, section=section)) == []


@pytest.mark.postgres
async def test_migrations_make_what_the_models_say_on_postgresql(
    server: Server, tmp_path: Path
) -> None:
    """Both sections, in one database."""
    url = await server.database()
    for section in SECTIONS:
        done = await migrate(url, section, tmp_path)
        assert (done.before, done.after, done.backup) == (None, HEADS[section], None)
        assert (await migrate(url, section, tmp_path)).before == done.after
    async with open_database(address_of(url), pool_size=1) as database:
        for section in SECTIONS:
            assert await database.read(partial(differences, section=section)) == []
    async with open_store(url, process_name="x") as store, open_metrics_database(url) as metrics:
        await steps.accept(store)
        assert await metrics.position() == 0


def tables_of(path: Path) -> dict[str, list[str]]:
    """Read every table and index as SQLite was told to make it; the order of its parts aside."""
    with closing(sqlite3.connect(path)) as conn:
        rows = conn.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    return {name: parts_of(sql) for name, sql in rows if not name.startswith("alembic_version")}


def parts_of(sql: str) -> list[str]:
    """Split a statement at its commas and brackets: columns that came later stand elsewhere."""
    return sorted(re.sub(r"\s+", " ", part).strip() for part in re.split(r"[,()]", sql))


@pytest.mark.parametrize("section", SECTIONS)
async def test_migrations_make_the_same_constraints_as_the_models(
    section: Section, tmp_path: Path
) -> None:
    """CHECKs and names too, which a comparison by reflection does not see."""
    await migrate(str(tmp_path / "migrated.db"), section, tmp_path)
    engine = sqlite_engine(SqliteFile(tmp_path / "made.db"))
    with engine.begin() as conn:
        METADATA[section].create_all(conn)
    engine.dispose()
    assert tables_of(tmp_path / "migrated.db") == tables_of(tmp_path / "made.db")


async def test_a_pending_migration_is_preceded_by_a_copy(tmp_path: Path) -> None:
    """An existing file is copied, log included, before anything is done; an up-to-date one is not."""
    path = tmp_path / "orders.db"
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("PRAGMA journal_mode=WAL")
        conn.execute("CREATE TABLE alembic_version_orders (version_num VARCHAR(32) NOT NULL)")
        conn.commit()
        done = await migrate(str(path), "orders", tmp_path / "backups")
    assert (done.before, done.after) == (None, HEADS["orders"])
    assert done.backup is not None
    assert done.backup.parent == tmp_path / "backups"
    with closing(sqlite3.connect(done.backup)) as copy:
        (names,) = copy.execute("SELECT group_concat(name) FROM sqlite_master").fetchone()
    assert names == "alembic_version_orders"
    again = await migrate(str(path), "orders", tmp_path / "backups")
    assert (again.before, again.backup) == (HEADS["orders"], None)


async def test_a_new_database_needs_no_copy(tmp_path: Path) -> None:
    """There is nothing to lose yet."""
    done = await migrate(f"sqlite:///{tmp_path}/deep/down/x.db", "orders", tmp_path / "backups")
    assert done.backup is None
    assert not (tmp_path / "backups").exists()


def contents(path: str) -> bytes:
    """Read a file."""
    return Path(path).read_bytes()


def tear(path: Path) -> None:
    """Cut a file in half, at a page."""
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2 // 4096 * 4096])


async def refused(url: str, section: Section = "orders") -> str:
    """Give the code with which a database is refused."""
    with pytest.raises(StartupError) as error:
        await migrate(url, section, Path("nowhere"))
    code, _, rest = str(error.value).partition(": ")
    assert "; " in rest
    assert "\n" not in rest
    return code


async def test_a_newer_database_is_refused(sqlite_url: str) -> None:
    """By migrate and by whoever opens it; it is left as it is."""
    with closing(sqlite3.connect(sqlite_url)) as conn:
        conn.execute("UPDATE alembic_version_orders SET version_num = 'orders_9999'")
        conn.commit()
    before = contents(sqlite_url)
    assert await refused(sqlite_url) == "DATABASE_NEWER"
    with pytest.raises(StartupError, match="DATABASE_NEWER"):
        await open_store(sqlite_url, process_name="x").__aenter__()
    assert contents(sqlite_url) == before


@pytest.mark.postgres
async def test_a_newer_server_database_is_refused(server: Server) -> None:
    """On PostgreSQL too."""
    url = await server.database()
    await migrate(url, "orders", Path("nowhere"))
    change = text("UPDATE alembic_version_orders SET version_num = 'orders_9999'")
    async with open_database(address_of(url), pool_size=1) as database:
        await database.write(lambda conn: conn.execute(change))
    assert await refused(url) == "DATABASE_NEWER"


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    """It is named, and not a byte of it is changed."""
    path = tmp_path / "letter.db"
    path.write_bytes(b"Dear reader, " * 1_000)
    assert await refused(str(path)) == "DATABASE_CORRUPT"
    assert path.read_bytes() == b"Dear reader, " * 1_000


async def test_a_torn_database_is_refused(sqlite_url: str) -> None:
    """A file with its second half gone is no sound database."""
    tear(Path(sqlite_url))
    assert await refused(sqlite_url) == "DATABASE_CORRUPT"


async def test_a_foreign_database_is_refused(tmp_path: Path) -> None:
    """Somebody else's tables are never written beside."""
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("CREATE TABLE customers (id INTEGER)")
    assert await refused(str(path)) == "DATABASE_FOREIGN"


async def test_tables_of_ours_without_a_revision_are_refused(tmp_path: Path) -> None:
    """An orders table that no migration made is not taken for ours."""
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("CREATE TABLE orders (id INTEGER)")
    assert await refused(str(path)) == "DATABASE_FOREIGN"


@pytest.mark.postgres
async def test_a_foreign_server_database_is_refused(server: Server) -> None:
    """On PostgreSQL too."""
    url = await server.database()
    async with open_database(address_of(url), pool_size=1) as database:
        await database.write(lambda conn: conn.execute(text("CREATE TABLE customers (id INT)")))
    assert await refused(url) == "DATABASE_FOREIGN"


async def test_a_database_in_use_is_not_migrated(sqlite_url: str) -> None:
    """The lock of the running service holds for migrate as well."""
    async with open_store(sqlite_url, process_name="x"):
        assert await refused(sqlite_url) == "DATABASE_LOCKED"


async def test_an_unmigrated_database_is_not_opened(tmp_path: Path) -> None:
    """Opening says which command brings it up to date."""
    path = tmp_path / "x.db"
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("CREATE TABLE alembic_version_orders (version_num VARCHAR(32) NOT NULL)")
        conn.commit()
    with pytest.raises(StartupError, match=r"DATABASE_NOT_MIGRATED.+synergy7 migrate"):
        await open_store(str(path), process_name="x").__aenter__()


async def test_an_orders_file_is_no_metrics_file(sqlite_url: str) -> None:
    """Paths confused in the configuration: refused, since metrics would lie in the wrong place."""
    with pytest.raises(StartupError, match="DATABASE_NOT_MIGRATED"):
        await open_metrics_database(sqlite_url).__aenter__()


@pytest.mark.parametrize(
    "url",
    ["sqlite://", "sqlite:///:memory:", "mysql://h/x", "postgresql://h:port/x", "nonsense://"],
)
async def test_a_url_that_will_not_do_is_refused(url: str) -> None:
    """Nothing but files and PostgreSQL; nothing in memory."""
    assert await refused(url) == "DATABASE_URL_INVALID"


async def test_a_server_out_of_reach_is_refused() -> None:
    """One line, without the password."""
    with pytest.raises(StartupError, match="DATABASE_UNREACHABLE") as error:
        await migrate("postgresql://me:secret@127.0.0.1:1/x", "orders", Path("nowhere"))
    assert "secret" not in str(error.value)
    with pytest.raises(StartupError, match="DATABASE_UNREACHABLE"):
        await open_store("postgresql://127.0.0.1:1/x", process_name="x").__aenter__()


async def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    """A file where a folder should be: one line."""
    (tmp_path / "file").write_text("")
    assert await refused(str(tmp_path / "file" / "x.db")) == "DATABASE_UNREACHABLE"


@pytest.mark.postgres
async def test_a_forgetful_server_is_refused(server: Server) -> None:
    """A server that answers COMMIT before the work is on disk is not trusted with orders."""
    url = await server.database()
    await migrate(url, "orders", Path("nowhere"))
    name = url.partition("?")[0].rpartition("/")[2]
    change = text(f"ALTER DATABASE {name} SET synchronous_commit = off")
    async with open_database(address_of(url), pool_size=1) as database:
        await database.write(lambda conn: conn.execute(change))
    with pytest.raises(StartupError, match=r"DATABASE_NOT_DURABLE.+synchronous_commit"):
        await open_store(url, process_name="x").__aenter__()


async def test_alembic_itself_works_from_the_command_line(empty_url: str, tmp_path: Path) -> None:
    """The named sections of alembic.ini serve those who know the tool; down to nothing and back."""
    url = empty_url if "://" in empty_url else f"sqlite:///{empty_url}"
    for section in SECTIONS:
        config = Config(
            Path(__file__).parents[2] / "alembic.ini",
            ini_section=section,
            cmd_opts=argparse.Namespace(x=[f"url={url}"]),
        )
        for step in (command.upgrade, command.downgrade, command.upgrade):
            await asyncio.to_thread(step, config, "base" if step is command.downgrade else "head")
        await asyncio.to_thread(command.check, config)
    assert (await migrate(url, "orders", tmp_path)).before == HEADS["orders"]


async def test_a_rebuilt_table_takes_nothing_with_it(sqlite_url: str) -> None:
    """On the connection that migrates, dropping and remaking orders leaves their attempts."""
    async with open_store(sqlite_url, process_name="x") as store:
        await steps.sign(store, await steps.begin(store))
    engine = sqlite_engine(SqliteFile(Path(sqlite_url)), foreign_keys=False)
    with engine.begin() as conn:
        operations = Operations(MigrationContext.configure(conn))
        with operations.batch_alter_table("orders", recreate="always") as batch:
            batch.add_column(Column("note", Text))
        refuse_dangling(conn)
    engine.dispose()
    async with open_store(sqlite_url, process_name="x") as store:
        view = await store.view("default", "order1")
    assert view is not None
    assert len(view.attempts) == 1


def test_rows_without_what_they_refer_to_are_noticed(sqlite_url: str) -> None:
    """A migration that leaves such rows is not committed."""
    engine = sqlite_engine(SqliteFile(Path(sqlite_url)), foreign_keys=False)
    key = "INSERT INTO order_keys (account, idempotency_key, order_id) VALUES ('a', 'k', 'gone')"
    with engine.connect() as conn:
        conn.execute(text(key))
        with pytest.raises(IntegrityError, match="order_keys"):
            refuse_dangling(conn)
    engine.dispose()
