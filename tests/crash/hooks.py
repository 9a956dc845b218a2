"""Hooks around the seams of a service: each point it reaches is told, and at one of them it dies.

They wrap the product from outside, in a process that is started for it. The product has none.
"""

import contextvars
import importlib
import inspect
import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from types import FrameType
from typing import Any

from sqlalchemy import Connection
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as websocket_connect

from app.api.endpoint import Endpoint
from app.database import groups
from app.database.engine import Database
from app.database.orders import SqlStore
from app.engine.held import Held
from app.executors.method import Method
from app.solana.json_rpc import JsonRpcClient
from app.solana.notices import LandingNotices
from tests.crash import steps
from tests.crash.points import FORWARDERS, SENDS, Point

METHOD: contextvars.ContextVar[str] = contextvars.ContextVar("METHOD", default="")
REQUEST: contextvars.ContextVar[str] = contextvars.ContextVar("REQUEST", default="")
KINDS: contextvars.ContextVar[Sequence[str]] = contextvars.ContextVar("KINDS", default=())
LABELS = "crash labels"
MIGRATE = importlib.import_module("app.database.migrate")
"""The module; the package gives its function under that name."""
Function = Callable[..., Any]


@dataclass
class Points:
    """What is reached in this process; the armed point kills it, at its nth time."""

    armed: Point | None = None
    nth: int = 1
    log: int | None = None
    dying: Callable[[], None] = lambda: None
    _times: Counter[Point] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def reach(self, place: str, label: str, when: str) -> None:
        """Come to a point; does not come back from the armed one."""
        point = Point(place, label, when)
        with self._lock:
            self._times[point] += 1
            if self.log is not None:
                os.write(self.log, json.dumps(point).encode() + b"\n")
            if point == self.armed and self._times[point] == self.nth:
                self.dying()
                os.kill(os.getpid(), signal.SIGKILL)

    @contextmanager
    def around(self, place: str, label: str) -> Iterator[None]:
        """Come to the point before something, and after it has been done."""
        self.reach(place, label, "before")
        yield
        self.reach(place, label, "after")


HERE = Points()
"""Those of this process."""


def replace(owner: Any, name: str, make: Callable[[Function], Function]) -> None:
    """Put another function in place of one; a name that is no more is an error."""
    original = getattr(owner, name)
    setattr(owner, name, wraps(original)(make(original)))


def install(points: Points) -> None:
    """Wrap every seam."""
    _commits(points)
    _requests(points)
    _websocket(points)
    _memory(points)
    _answers(points)
    steps.install(lambda label, when: points.reach("step", label, when))


# ------------------------------------------------------------------------------ databases


def _commits(points: Points) -> None:
    replace(Database, "write", _labelled)
    replace(Database, "write_at_once", _labelled)
    replace(groups, "_begin", _forgetting)
    replace(groups, "_commit", lambda original: _committing(points, original))
    replace(MIGRATE, "_upgrade", lambda original: _upgrading(points, original))


def _labelled(original: Function) -> Function:
    """Have a unit of work leave its labels with the connection that runs it."""

    def write(self: Database, unit: Function, *place: Any) -> Any:
        labels = _labels(inspect.currentframe())

        def run(conn: Connection) -> Any:
            conn.info.setdefault(LABELS, []).extend(labels)
            return unit(conn)

        return original(self, run, *place)

    return write


def _forgetting(original: Function) -> Function:
    def begin(conn: Connection) -> None:
        original(conn)
        conn.info[LABELS] = []

    return begin


def _committing(points: Points, original: Function) -> Function:
    def commit(conn: Connection) -> None:
        labels = conn.info.pop(LABELS, [])
        for label in labels:
            points.reach("commit", label, "before")
        original(conn)
        for label in labels:
            points.reach("commit", label, "after")

    return commit


def _upgrading(points: Points, original: Function) -> Function:
    def upgrade(conn: Connection, section: str) -> None:
        with points.around("migration", section):
            original(conn, section)

    return upgrade


def _labels(frame: FrameType | None) -> list[str]:
    """Name the function that writes; for the record of an order, once for each kind of change."""
    assert frame is not None
    caller = frame.f_back
    while caller is not None and caller.f_code.co_qualname in FORWARDERS:
        caller = caller.f_back
    assert caller is not None
    name = caller.f_code.co_qualname
    changes = caller.f_locals.get("changes") if name == "SqlStore.record" else None
    return [f"{name} {each.kind.value}" for each in changes] if changes else [name]


# ------------------------------------------------------------------------------ the network


def _requests(points: Points) -> None:
    def named(original: Function) -> Function:
        async def call(self: JsonRpcClient, method: str, *rest: Any, **options: Any) -> Any:
            token = REQUEST.set(method)
            try:
                return await original(self, method, *rest, **options)
            finally:
                REQUEST.reset(token)

        return call

    def send(original: Function) -> Function:
        async def send(self: JsonRpcClient, *request: Any) -> Any:
            label, method = REQUEST.get(), METHOD.get()
            with points.around("request", f"{label} via {method}" if label in SENDS else label):
                return await original(self, *request)

        return send

    def submit(original: Function) -> Function:
        async def submit(self: Method, *rest: Any) -> Any:
            token = METHOD.set(self.name)
            try:
                return await original(self, *rest)
            finally:
                METHOD.reset(token)

        return submit

    replace(JsonRpcClient, "call", named)
    replace(JsonRpcClient, "exchange", named)
    replace(JsonRpcClient, "_send", send)
    replace(Method, "submit", submit)


def _websocket(points: Points) -> None:
    def send(original: Function) -> Function:
        async def send(self: ClientConnection, message: str) -> None:
            with points.around("websocket", json.loads(message)["method"]):
                await original(self, message)

        return send

    def enter(original: Function) -> Function:
        async def enter(self: Any) -> Any:
            with points.around("websocket", "connect"):
                return await original(self)

        return enter

    def take(original: Function) -> Function:
        def take(self: LandingNotices, message: Any) -> None:
            with points.around("websocket", "message"):
                original(self, message)

        return take

    replace(ClientConnection, "send", send)
    replace(websocket_connect, "__aenter__", enter)
    replace(LandingNotices, "_take", take)


# ------------------------------------------------------------------------------ memory and answers


def _memory(points: Points) -> None:
    def noted(name: str) -> Callable[[Function], Function]:
        def make(original: Function) -> Function:
            async def write(self: SqlStore, claimed: Any, *changes: Any, **options: Any) -> Any:
                answer = await original(self, claimed, *changes, **options)
                kinds = [each.kind.value for each in changes] if name == "record" else [name]
                KINDS.set(kinds)
                return answer

            return write

        return make

    def take(original: Function) -> Function:
        def take(self: Held, result: object) -> None:
            original(self, result)
            for kind in KINDS.get():
                points.reach("memory", kind, "after")
            KINDS.set(())

        return take

    def begin(original: Function) -> Function:
        def begin(self: Held, *parts: Any) -> None:
            original(self, *parts)
            points.reach("memory", "order.executing", "after")

        return begin

    for method, name in (("record", "record"), ("reload", "reload")):
        replace(SqlStore, method, noted(name))
    replace(SqlStore, "store_attempt", noted("attempt.signed"))
    replace(Held, "_take", take)
    replace(Held, "__init__", begin)


def _answers(points: Points) -> None:
    def call(original: Function) -> Function:
        async def call(self: Endpoint, scope: Any, receive: Any, send: Any) -> None:
            await original(self, scope, receive, send)
            if scope["method"] == "POST":
                points.reach("answer", f"POST {self._path}", "after")

        return call

    def answer(original: Function) -> Function:
        async def answer(self: Endpoint, handler: Any, call: Any) -> Any:
            made = await original(self, handler, call)
            if call.scope["method"] == "POST":
                points.reach("answer", f"POST {self._path}", "before")
            return made

        return answer

    replace(Endpoint, "__call__", call)
    replace(Endpoint, "_answer", answer)
