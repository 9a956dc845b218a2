"""A process that has the service loaded, and forks one for each start: in a fifth of a second.

It has no thread and no event loop, so that a fork of it is as good as a new process.
"""

import ctypes
import gc
import importlib
import json
import os
import signal
import socket
import sys
from collections.abc import Mapping
from typing import Any

from app.cli.commands import run
from tests.crash import breakages, haste, hooks
from tests.crash.points import Point

KILLED = b"killed at the point\n"
PIECE = 65_536
PR_SET_PDEATHSIG = 1
LOADED = (
    "app.cli.serve",
    "alembic.command",
    "aiosqlite",
    "asyncpg",
    "sqlalchemy.dialects.postgresql.asyncpg",
    "sqlalchemy.dialects.sqlite.aiosqlite",
    "uvicorn.protocols.http.httptools_impl",
    "uvicorn.lifespan.off",
    "uvloop",
)
"""What a start would import one by one."""


def main() -> None:
    """Fork a service for each request on standard input's socket, until that is closed."""
    control = socket.socket(fileno=os.dup(0))
    load()
    gc.collect()
    gc.freeze()
    control.send(b"ready")
    while True:
        request, lines, _, _ = socket.recv_fds(control, PIECE, 1)
        if not request:
            return
        if os.fork() == 0:
            control.close()
            os._exit(serve(json.loads(request), socket.socket(fileno=lines[0])))
        os.close(lines[0])
        control.send(b"forked")
        reap()


def load() -> None:
    """Import all that a service needs, and wrap its seams; nothing is armed yet."""
    for name in LOADED:
        importlib.import_module(name)
    hooks.install(hooks.HERE)
    haste.install()


def reap() -> None:
    """Take leave of the services that have ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def end_with_parent() -> None:
    """Leave no service behind when a run is cut off (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def serve(request: Mapping[str, Any], told: socket.socket) -> int:
    """Be the service."""
    end_with_parent()
    os.chdir(request["folder"])
    os.environ.update(request["env"])
    console = os.open("console.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(console, 1)
    os.dup2(console, 2)
    hooks.HERE.armed = Point(*request["armed"]) if request["armed"] else None
    hooks.HERE.nth = request["nth"]
    hooks.HERE.dying = lambda: told.sendall(KILLED)
    if request["log"]:
        hooks.HERE.log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    if request["broken"]:
        breakages.install(request["broken"], request["start"])
    told.send(f"{os.getpid()}\n".encode())
    code = run(["serve"])
    told.send(f"ended {code}\n".encode())
    sys.stdout.flush()
    return code


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    main()
