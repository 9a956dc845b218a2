"""The shim itself: it sees what SQLite does, fails what it is told to, and moves only one clock."""

import errno
import os
import random
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.shim import Calls, Control, built, environment
from tests.shim.disk import Disk, Kind, Record, put_back, read_journal

FOLDER = "data"
OPEN = """
import os, sqlite3, sys, time, threading, errno
conn = sqlite3.connect("data/x.db", isolation_level=None)
conn.execute("PRAGMA journal_mode=WAL"); conn.execute("PRAGMA synchronous=FULL")
conn.execute("CREATE TABLE IF NOT EXISTS t (n INTEGER PRIMARY KEY, x BLOB)")
"""


@pytest.fixture
def control(tmp_path: Path) -> Control:
    """A control that changes nothing yet, and the folder that is watched."""
    (tmp_path / FOLDER).mkdir()
    return Control.create(tmp_path / "control")


def run(folder: Path, control: Control, program: str) -> subprocess.CompletedProcess[str]:
    """Run a Python program under the shim to its end."""
    watched = environment(built(), control, f"{folder / FOLDER}/", folder / "journal")
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        cwd=folder,
        env={**os.environ, **watched},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def journal(folder: Path) -> list[Record]:
    """Read what was recorded."""
    return list(read_journal(folder / "journal"))


def put(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Write files as they are after a power loss into a new folder; gives the database's path."""
    target = folder / "after"
    target.mkdir(exist_ok=True)
    put_back(files, target)
    return target / "x.db"


def test_it_records_what_sqlite_does(tmp_path: Path, control: Control) -> None:
    """Creations, writes, syncs of files and of the folder, truncations and removals."""
    program = OPEN + 'conn.execute("INSERT INTO t VALUES (1, zeroblob(9000))"); conn.close()'
    done = run(tmp_path, control, program)
    assert done.returncode == 0, done.stderr
    kinds = Counter((each.kind, Path(each.path).name) for each in journal(tmp_path))
    assert kinds[Kind.CREATE, "x.db"] == 1
    assert kinds[Kind.WRITE, "x.db-wal"] > 4
    assert kinds[Kind.SYNC, "x.db-wal"] >= 2
    assert kinds[Kind.SYNC_DIRECTORY, FOLDER] >= 1
    assert kinds[Kind.UNLINK, "x.db-wal"] == 1


def test_a_disk_that_lost_nothing_is_the_folder(tmp_path: Path, control: Control) -> None:
    """Everything recorded, played again, gives the very files that the process left."""
    program = (
        OPEN
        + """
    with open("data/notes", "w") as file: file.write("abc"); file.flush(); file.write("def")
    os.rename("data/notes", "data/other")
    for n in range(50): conn.execute("INSERT INTO t (x) VALUES (zeroblob(3000))")
    os._exit(0)
    """.replace("\n    ", "\n")
    )
    assert run(tmp_path, control, program).returncode == 0
    disk = Disk({})
    disk.play(read_journal(tmp_path / "journal"))
    folder = (tmp_path / FOLDER).resolve()
    end = [Record(Kind.SYNC, str(each), 0, b"") for each in folder.iterdir()]
    disk.play(iter([*end, Record(Kind.SYNC_DIRECTORY, str(folder), 0, b"")]))
    left = {path: each for path, each in disk.after_power_loss().items() if path[-4:] != "-shm"}
    there = {str(each): each.read_bytes() for each in folder.iterdir() if each.suffix != ".db-shm"}
    assert left == there
    assert left[str(folder / "other")] == b"abcdef"


@pytest.mark.parametrize("dice", [None, random.Random(3), random.Random(4)])
def test_what_was_committed_outlives_the_power(
    tmp_path: Path, control: Control, dice: random.Random | None
) -> None:
    """SQLite with synchronous=FULL: every committed row is there, whatever else is lost."""
    program = (
        OPEN
        + """
    for n in range(1, 41): conn.execute("INSERT INTO t VALUES (?, zeroblob(2000))", (n,))
    conn.execute("BEGIN IMMEDIATE"); conn.execute("INSERT INTO t VALUES (99, zeroblob(9000))")
    os._exit(0)
    """.replace("\n    ", "\n")
    )
    assert run(tmp_path, control, program).returncode == 0
    disk = Disk({})
    disk.play(read_journal(tmp_path / "journal"))
    conn = sqlite3.connect(put(tmp_path, disk.after_power_loss(dice)))
    assert [n for (n,) in conn.execute("SELECT n FROM t")] == list(range(1, 41))
    conn.close()


def test_what_was_not_synced_is_lost(tmp_path: Path, control: Control) -> None:
    """The check can fail: with synchronous=OFF the rows are gone."""
    program = (
        OPEN
        + """
    conn.execute("PRAGMA synchronous=OFF"); conn.execute("INSERT INTO t VALUES (7, 'x')")
    os._exit(0)
    """.replace("\n    ", "\n")
    )
    assert run(tmp_path, control, program).returncode == 0
    disk = Disk({})
    disk.play(read_journal(tmp_path / "journal"))
    conn = sqlite3.connect(put(tmp_path, disk.after_power_loss()))
    assert conn.execute("SELECT count(*) FROM t").fetchone() == (0,)
    conn.close()


@pytest.mark.parametrize(
    ("number", "calls", "words"),
    [
        (errno.ENOSPC, Calls.ALL, "database or disk is full"),
        (errno.EIO, Calls.WRITE, "disk I/O error"),
        (errno.EIO, Calls.SYNC, "disk I/O error"),
    ],
)
def test_it_fails_what_it_is_told_to(
    tmp_path: Path, control: Control, number: int, calls: Calls, words: str
) -> None:
    """A write or a sync fails as often as wanted, is counted, and works again afterwards."""
    assert run(tmp_path, control, OPEN).returncode == 0
    program = f"""
    import sqlite3, sys
    sys.path.insert(0, {str(Path.cwd())!r})
    from pathlib import Path
    from tests.shim import Calls, Control
    control = Control(Path("control"))
    conn = sqlite3.connect("data/x.db", isolation_level=None)
    conn.execute("PRAGMA synchronous=FULL")
    control.set_errno({number}, Calls({int(calls)}), times=1)
    try:
        conn.execute("INSERT INTO t VALUES (1, 'x')")
    except sqlite3.OperationalError as error:
        print(error)
    conn.execute("INSERT INTO t VALUES (2, 'x')")
    print(conn.execute("SELECT max(n) FROM t").fetchone()[0])
    """
    done = run(tmp_path, control, program)
    assert done.stdout.splitlines() == [words, "2"], done.stderr
    assert control.failed() == 1


def test_files_beside_the_prefix_are_left_alone(tmp_path: Path, control: Control) -> None:
    """Only what lies under the prefix fails, and only that is recorded."""
    control.set_errno(errno.ENOSPC)
    program = """
    open("elsewhere", "w").write("fine")
    try:
        with open("data/here", "w") as file: file.write("full")
    except OSError as error: print(error.errno)
    """
    done = run(tmp_path, control, program)
    assert done.stdout.split() == [str(errno.ENOSPC)], done.stderr
    assert (tmp_path / "elsewhere").read_text() == "fine"
    assert {Path(each.path).name for each in journal(tmp_path)} == {"here"}


@pytest.mark.parametrize("seconds", [-3_600.5, 0, 86_400.25])
def test_it_moves_the_wall_clock_alone(tmp_path: Path, control: Control, seconds: float) -> None:
    """Python's and SQLite's times move; the monotonic clock, by which waits are made, does not."""
    control.set_clock_offset(round(seconds * 1_000_000))
    program = """
    import datetime, sqlite3, time
    ask = "SELECT (julianday('now') - 2440587.5) * 86400"
    print(time.time(), datetime.datetime.now(datetime.UTC).timestamp(), time.monotonic())
    print(sqlite3.connect(":memory:").execute(ask).fetchone()[0])
    """
    monotonic = time.monotonic()
    printed = run(tmp_path, control, program).stdout.split()
    wall, date, steady, sql = (float(each) for each in printed)
    for each in (wall, date, sql):
        assert abs(each - time.time() - seconds) < 10
    assert abs(steady - monotonic) < 10


def test_threads_and_forks_share_it(tmp_path: Path, control: Control) -> None:
    """Eight threads and two processes write files at once: each write is recorded whole."""
    program = """
    import os, threading
    def work(name):
        for n in range(50):
            with open(f"data/{name}", "ab") as file: file.write(b"%04d" % n); file.flush(); os.fsync(file)
    child = os.fork()
    threads = [threading.Thread(target=work, args=(f"{child == 0}{n}",)) for n in range(8)]
    [each.start() for each in threads]; [each.join() for each in threads]
    if child: os._exit(os.waitpid(child, 0)[1])
    """
    done = run(tmp_path, control, program)
    assert done.returncode == 0, done.stderr
    disk = Disk({})
    disk.play(read_journal(tmp_path / "journal"))
    folder = str((tmp_path / FOLDER).resolve())
    disk.play(iter([Record(Kind.SYNC_DIRECTORY, folder, 0, b"")]))
    wanted = b"".join(b"%04d" % n for n in range(50))
    assert list(disk.after_power_loss().values()) == [wanted] * 16


def test_a_failed_sync_loses_what_it_was_to_save() -> None:
    """A second sync that succeeds proves nothing for the writes before the failed one."""
    disk = Disk({"/d/f": b""})
    disk.play(
        iter(
            [
                Record(Kind.WRITE, "/d/f", 0, b"lost"),
                Record(Kind.SYNC_FAILED, "/d/f", 0, b""),
                Record(Kind.WRITE, "/d/f", 4, b"kept"),
                Record(Kind.SYNC, "/d/f", 0, b""),
            ]
        )
    )
    assert disk.after_power_loss() == {"/d/f": b"\0\0\0\0kept"}


def test_a_write_is_torn_at_sectors() -> None:
    """What was not synced may be there in part, each sector old or new as a whole."""
    disk = Disk({"/d/f": b"a" * 2_048})
    disk.play(iter([Record(Kind.WRITE, "/d/f", 256, b"b" * 1_536)]))
    seen = {disk.after_power_loss(random.Random(seed))["/d/f"] for seed in range(50)}
    assert len(seen) > 4
    for content in seen:
        for start, stop in ((256, 512), (512, 1_024), (1_024, 1_536), (1_536, 1_792)):
            assert len(set(content[start:stop])) == 1
        assert content[:256] + content[1_792:] == b"a" * 512


def test_the_control_is_seen_at_once(tmp_path: Path, control: Control) -> None:
    """A fault set while the process runs hits its next call."""
    watched = environment(built(), control, f"{tmp_path / FOLDER}/")
    program = 'import os\nfd = os.open("data/f", os.O_CREAT | os.O_WRONLY)\n' + textwrap.dedent("""
    for line in iter(input, "end"):
        try: print(os.write(fd, b"x"), flush=True)
        except OSError as error: print(-error.errno, flush=True)
    """)
    with subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, **watched},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def ask() -> int:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("go\n")
            process.stdin.flush()
            return int(process.stdout.readline())

        assert ask() == 1
        control.set_errno(errno.ENOSPC)
        assert ask() == -errno.ENOSPC
        control.set_errno(0)
        assert ask() == 1
        process.stdin.write("end\n")
        process.stdin.flush()
    assert control.failed() == 1
