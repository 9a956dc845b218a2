"""`synergy7 migrate`."""

from pathlib import Path

import pytest

from app.cli.commands import run
from app.cli.migrate import told
from app.database.migrate import Migrated


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a fresh folder with the shipped settings."""
    monkeypatch.chdir(tmp_path)


def test_it_makes_both_databases_and_then_finds_them(capsys: pytest.CaptureFixture[str]) -> None:
    """The first run creates, the second finds nothing to do."""
    assert run(["migrate"]) == 0
    created = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in created] == ["orders", "metrics"]
    assert all(" was created at " in line for line in created)
    assert Path("output/production_orders.db").exists()
    assert run(["migrate"]) == 0
    assert all(line.endswith(" already") for line in capsys.readouterr().out.splitlines())


def test_a_database_of_another_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that is no database is refused in one line, and not touched."""
    Path("mine.db").write_text("not a database, and long enough to look at" * 30)
    before = Path("mine.db").read_bytes()
    monkeypatch.setenv("SYNERGY7_ORDER_MANAGEMENT__DATABASE_URL", "sqlite:///mine.db")
    assert run(["migrate"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("DATABASE_CORRUPT: mine.db")
    assert Path("mine.db").read_bytes() == before


def test_a_migration_names_its_copy() -> None:
    """What was there before is said, and where its copy is."""
    copy = Path("output/backups/orders.db")
    moved = "went from a to b, copied to output/backups/orders.db before"
    assert told(Migrated("a", "b", copy)) == moved
    assert told(Migrated("a", "b", None)) == "went from a to b"
