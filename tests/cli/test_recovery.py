"""`synergy7 backup`, `restore`, `reconcile`, `halt` and `resume`, as a shell sees them."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.cli.commands import EXIT_UNUSABLE, run
from app.database.migrate import migrate
from tests.cli.stub import Stub, serving

ACTIVE = {
    "state": "active",
    "reason": None,
    "since": None,
    "reconciling": False,
    "blocks_left": None,
}
HALTED = {**ACTIVE, "state": "halted", "reason": "wild", "since": "2026-01-31T12:00:00.000000Z"}


@pytest.fixture
def stub() -> Iterator[Stub]:
    """Run a stand-in service."""
    with serving() as running:
        yield running


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Configure a migrated orders database."""
    path = tmp_path / "orders.db"
    asyncio.run(migrate(str(path), "orders", tmp_path))
    monkeypatch.setenv("SYNERGY7_ORDER_MANAGEMENT__DB_PATH", str(path))
    monkeypatch.setenv("SYNERGY7_ORDER_MANAGEMENT__BACKUP_PATH", str(tmp_path / "backups"))
    return path


def test_a_halt_and_its_end_are_told_in_a_line(
    stub: Stub, capsys: pytest.CaptureFixture[str]
) -> None:
    """The reason goes along; `--json` is the service's document."""
    stub.answers["POST /trading/halt"] = (200, HALTED)
    stub.answers["POST /trading/resume"] = (200, ACTIVE)
    assert run(["halt", "--reason", "wild", "--url", stub.url]) == 0
    told = "trading is halted since 2026-01-31T12:00:00.000000Z: wild\n"
    assert capsys.readouterr().out == told
    assert run(["resume", "--url", stub.url]) == 0
    assert capsys.readouterr().out == "trading is active\n"
    assert run(["halt", "--json", "--url", stub.url]) == 0
    assert json.loads(capsys.readouterr().out) == HALTED


def test_resume_before_its_time_says_what_is_missing(
    stub: Stub, capsys: pytest.CaptureFixture[str]
) -> None:
    """The service's own code and words, exit code 2."""
    detail = "the database is being reconciled with the chain, 12 blocks must be finalized before"
    stub.answers["POST /trading/resume"] = (409, {"code": "RECONCILING", "detail": detail})
    assert run(["resume", "--url", stub.url]) == EXIT_UNUSABLE
    assert capsys.readouterr().err == f"RECONCILING: {detail}\n"


def test_a_copy_is_made_named_and_put_back(
    database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By default under a name of its own; the restored one waits for the operator."""
    assert run(["backup"]) == 0
    copy = Path(capsys.readouterr().out.strip())
    assert copy.parent == tmp_path / "backups"
    assert copy.name.startswith("orders-backup-")
    assert run(["restore", str(copy)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{database} is restored from {copy}"
    assert lines[1].startswith(f"what was there before is {database}.before-restore-")
    assert lines[2].startswith("trading is halted; start the service")
    assert run(["backup", str(copy)]) == EXIT_UNUSABLE
    assert capsys.readouterr().err.startswith(f"BACKUP_FAILED: {copy} is there already")


def test_salvaging_tells_what_was_recovered_of_each_table(
    database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also from the database itself."""
    assert run(["restore", "--salvage", str(database)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "orders: 0 recovered, 0 lost" in lines


def test_a_database_that_lost_commits_is_marked(
    database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """However it was restored: rows of any age may be missing, unless it is said since when."""
    whole, since = "the whole history is read", "what was stored before 2026-01-31T12:00:00.000000Z"
    for extra, told in (
        ([], whole),
        (["--from-beginning"], whole),
        (["--since", "2026-01-31T13:00:00+01:00"], since),
    ):
        assert run(["reconcile", *extra]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].startswith(f"{database} will be compared with the chain; trading is halted")
        assert lines[1].startswith(told)


@pytest.mark.parametrize(
    "extra",
    [
        ["--since", "yesterday"],
        ["--since", "2026-01-31T12:00:00"],
        ["--since", "9000-01-31T12:00:00Z"],
        ["--since", "2026-01-31T12:00:00Z", "--from-beginning"],
    ],
)
def test_a_moment_that_is_none_marks_nothing(
    database: Path, extra: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A time without its offset, one to come, and two answers to one question."""
    before = database.read_bytes()
    assert run(["reconcile", *extra]) == EXIT_UNUSABLE
    assert capsys.readouterr().err.startswith("USAGE: ")
    assert database.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "tool"), [(["backup"], "pg_dump"), (["restore", "x"], "pg_restore")]
)
def test_postgresql_has_tools_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    tool: str,
) -> None:
    """They are named, and so is the page that says how."""
    url = "postgresql://user:secret@localhost/orders"
    monkeypatch.setenv("SYNERGY7_ORDER_MANAGEMENT__DATABASE_URL", url)
    assert run(arguments) == EXIT_UNUSABLE
    error = capsys.readouterr().err
    assert error.startswith("SQLITE_ONLY: ")
    assert tool in error
    assert "docs/operation.md" in error
    assert "secret" not in error
