"""The log: one JSON line for each event, nothing secret, nothing lost, bounded on disk."""

import errno
import io
import json
import logging
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from app.logs import set_up_logs


@pytest.fixture(autouse=True)
def logging_restored() -> Iterator[None]:
    """Give logging back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def write(path: Path, *, max_bytes: int = 1_000_000, backups: int = 2) -> None:
    """Log one of each kind, ours and another library's, to the end."""
    system = set_up_logs(
        level="INFO", path=path, max_bytes=max_bytes, backups=backups, network="sandbox"
    )
    ours, other = structlog.get_logger("app.engine"), logging.getLogger("elsewhere")
    secret = "never-shown"  # noqa: F841 - a local variable, as code that fails has them
    ours.info("order filled", order_id="o1", attempt=2, reason_code=None)
    ours.debug("not shown")
    other.warning("%s of %s", 1, 2)
    try:
        int(f"no {'number'}")
    except ValueError:
        ours.exception("ours failed")
        other.exception("theirs failed")
    system.close()


def lines(path: Path) -> list[dict[str, Any]]:
    """Read the file's lines, times left out."""
    read = [json.loads(line) for line in path.read_text().splitlines()]
    assert all(each.pop("timestamp").endswith("Z") for each in read)
    return read


def test_each_event_is_one_json_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ours keep their fields, empty ones left out; other libraries' lines are written alike."""
    path = tmp_path / "logs" / "x.log"
    write(path)
    read = lines(path)
    assert read[0] == {
        "event": "order filled",
        "order_id": "o1",
        "attempt": 2,
        "network": "sandbox",
        "level": "info",
        "logger": "app.engine",
    }
    assert read[1] == {"event": "1 of 2", "level": "warning", "logger": "elsewhere"}
    assert [each["event"] for each in read[2:]] == ["ours failed", "theirs failed"]
    shown = capsys.readouterr().err
    assert "order filled" in shown
    assert "1 of 2" in shown


def test_a_failure_shows_its_trace_and_no_variables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A local variable may be a key: neither the file nor the console shows any."""
    path = tmp_path / "x.log"
    write(path)
    for each in lines(path)[2:]:
        assert each["exception"].endswith("invalid literal for int() with base 10: 'no number'")
        assert each["exception"].startswith("Traceback")
    shown = capsys.readouterr().err
    assert shown.count("invalid literal for int() with base 10: 'no number'") == 2
    assert "never-shown" not in shown
    assert "never-shown" not in path.read_text()


def test_the_file_is_bounded(tmp_path: Path) -> None:
    """A file that has reached its size is put aside, and only so many are kept."""
    path = tmp_path / "x.log"
    for _ in range(6):
        write(path, max_bytes=1_000)
    kept = sorted(each.name for each in tmp_path.iterdir())
    assert kept == ["x.log", "x.log.1", "x.log.2"]
    assert all(len(each.read_bytes().splitlines()) > 0 for each in tmp_path.iterdir())
    assert max(each.stat().st_size for each in tmp_path.iterdir()) < 2_500


def test_a_folder_that_cannot_be_written_is_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The console goes on alone, and says why."""
    (tmp_path / "file").write_text("in the way")
    write(tmp_path / "file" / "x.log")
    shown = capsys.readouterr().err
    assert "the log file cannot be written" in shown
    assert "order filled" in shown


def test_a_line_that_cannot_be_written_harms_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The log goes on behind it, and the console tells of it."""
    system = set_up_logs(
        level="INFO", path=tmp_path / "x.log", max_bytes=10_000, backups=1, network="sandbox"
    )
    logging.getLogger("elsewhere").warning("%d is no number", "this")
    logging.getLogger("elsewhere").warning("and on")
    system.close()
    assert [each["event"] for each in lines(tmp_path / "x.log")] == ["and on"]
    assert "Logging error" in capsys.readouterr().err


def test_lines_come_in_order_however_fast(tmp_path: Path) -> None:
    """Many more than are written at one go: none is lost, none overtakes."""
    system = set_up_logs(
        level="INFO", path=tmp_path / "x.log", max_bytes=10**6, backups=1, network="sandbox"
    )
    log = structlog.get_logger("app.engine")
    for number in range(1_000):
        log.info("event", number=number)
    system.close()
    assert [each["number"] for each in lines(tmp_path / "x.log")] == list(range(1_000))


def test_a_file_without_old_ones_begins_anew(tmp_path: Path) -> None:
    """`backups` 0 bounds the log to one file, whose beginning is lost."""
    path = tmp_path / "x.log"
    for _ in range(6):
        write(path, max_bytes=1_000, backups=0)
    assert [each.name for each in tmp_path.iterdir()] == ["x.log"]
    assert 0 < path.stat().st_size < 2_500
    assert lines(path)[-1]["event"] == "theirs failed"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_said_once_and_stops_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The console keeps every line, and its end is an orderly one."""
    path = tmp_path / "x.log"
    path.symlink_to("/dev/full")
    write(path)
    write(path)
    shown = capsys.readouterr().err
    assert shown.count("cannot be written: No space left on device") == 2
    assert shown.count("order filled") == 2
    assert "Logging error" not in shown


class Terminal(io.StringIO):
    """A console that is a file on a disk, full or not."""

    def __init__(self) -> None:
        super().__init__()
        self.full = True
        self.tried = threading.Event()

    def write(self, text: str) -> int:
        """Write, or fail as a full disk does."""
        if self.full:
            if "cannot be written" in text:  # the file's turn came
                self.tried.set()
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(text)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_console_on_the_full_disk_too_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines are lost, the log lives on, and goes on when there is room again."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    path = tmp_path / "x.log"
    path.symlink_to("/dev/full")
    system = set_up_logs(level="INFO", path=path, max_bytes=10_000, backups=1, network="sandbox")
    log = structlog.get_logger("test")
    log.info("lost")
    assert terminal.tried.wait(5)
    terminal.full = False
    log.info("there is room again")
    system.close()
    assert "there is room again" in terminal.getvalue()
    assert "lost" not in terminal.getvalue()


def test_logging_is_given_back(tmp_path: Path) -> None:
    """Who uses the system from Python has logging as it was, once the system is closed."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    system = set_up_logs(
        level="DEBUG", path=tmp_path / "x.log", max_bytes=10_000, backups=1, network="sandbox"
    )
    assert (root.handlers, root.level) != before
    system.close()
    assert (root.handlers, root.level) == before
