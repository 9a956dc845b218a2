"""A sync that failed: what is committed afterwards is on the disk, whatever became of that commit."""

import errno
import os
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing
from pathlib import Path

import pytest

import app
from tests.harness import environment as clean
from tests.shim import Control, built, environment
from tests.shim.disk import Disk, put_back, read_journal

PROLOGUE = """
import errno, os, sys
from pathlib import Path
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from app.database.addresses import SqliteFile
from app.database.engine import sqlite_engine
from tests.shim import Calls, Control
control = Control(Path("control"))
engine = sqlite_engine(SqliteFile(Path("data/x.db")))
def commit(value):
    with conn.begin():
        conn.execute(text("INSERT INTO t VALUES (:value, zeroblob(6000))"), {"value": value})
"""
FIRST = """
conn = engine.connect()
with conn.begin():
    conn.execute(text("CREATE TABLE t (value TEXT PRIMARY KEY, filling BLOB)"))
commit("a")
control.set_errno(errno.EIO, Calls.SYNC, times=1)
try:
    commit("b")
except DBAPIError as error:
    print(error.orig)
"""


class Machine:
    """A folder whose writes are recorded, and programs on it that are killed at their end."""

    def __init__(self, folder: Path) -> None:
        (folder / "data").mkdir()
        control = Control.create(folder / "control")
        watched = environment(built(), control, f"{folder / 'data'}/", folder / "journal")
        self._folder = folder
        # the very code that is under test, wherever it lies
        places = os.pathsep.join(
            str(each) for each in (Path(app.__file__).parents[1], Path(__file__).parents[2])
        )
        self._env = {**clean(watched), "PYTHONPATH": places}

    def run(self, program: str) -> str:
        """Run a program and give what it printed."""
        text = PROLOGUE + textwrap.dedent(program) + "\nsys.stdout.flush(); os._exit(0)"
        done = subprocess.run(
            [sys.executable, "-c", text],
            cwd=self._folder,
            env={**os.environ, **self._env},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def after_power_loss(self) -> str:
        """Give the values in the table that is left on the disk."""
        disk = Disk({})
        disk.play(read_journal(self._folder / "journal"))
        put_back(disk.after_power_loss(), self._folder / "data")
        with closing(sqlite3.connect(self._folder / "data" / "x.db")) as conn:
            return " ".join(
                value for (value,) in conn.execute("SELECT value FROM t ORDER BY value")
            )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine without a database yet."""
    return Machine(tmp_path)


def test_a_process_that_died_of_it_leaves_no_hole_in_the_log(machine: Machine) -> None:
    """The next process finds the failed commit in the kernel's memory: it saves it, or does not begin."""
    assert machine.run(FIRST) == "disk I/O error"
    program = """
    control.set_errno(errno.EIO, Calls.SYNC)
    try:
        engine.connect()
    except OSError as error:
        print(error.errno)
    control.set_errno(0)
    conn = engine.connect()
    commit("c")
    """
    assert machine.run(program) == str(errno.EIO)
    assert machine.after_power_loss() == "a b c"


OTHERS = """
others = engine.connect()
with others.begin():
    others.scalar(text("SELECT count(*) FROM t"))
"""
ANEW = """
conn.close()
conn = engine.connect()
"""


@pytest.mark.parametrize("between", ["", ANEW, OTHERS + ANEW], ids=["as-is", "anew", "with-others"])
def test_a_process_that_outlives_it_writes_anew(machine: Machine, between: str) -> None:
    """The failed commit is undone for good and the next one saved, on the same connection or another."""
    assert machine.run(FIRST + between + 'commit("c")') == "disk I/O error"
    assert machine.after_power_loss() == "a c"
