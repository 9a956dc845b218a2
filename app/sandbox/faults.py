"""Scripted trouble: rules that spoil the next answers, and events that hit the chain itself.

A rule is JSON: `kind`, and optionally `rpc_method`, `path`, `count` (1; null = until deleted),
`seconds`, `retry_after`, `status`, `slots`, `slot`, `probability` (1) with `seed`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from random import Random
from types import MappingProxyType

from app.sandbox.call import HEALTHY, View
from app.sandbox.chain import CannotUndo
from app.sandbox.http import JSON_TYPE, Dropped, Response
from app.sandbox.node import Node
from app.sandbox.render import Json

HANG_SECONDS = 3_600.0  # longer than any client waits
SECONDS_MAX = 86_400
COUNT_MAX = 1_000_000


class BadRule(Exception):
    """A rule that means nothing; the text says why."""


@dataclass(slots=True)
class Rule:
    """Trouble to come. `remaining` is None for as long as nobody deletes it."""

    id: int
    kind: str
    rpc_method: str | None
    path: str | None
    remaining: int | None
    seconds: float | None
    retry_after: int | None
    status: int
    slots: int
    slot: int | None
    probability: float
    random: Random
    hits: int = 0

    def strikes(self, rpc_method: str, path: str) -> bool:
        """Decide whether this call is hit, and count it."""
        if self.remaining == 0 or self.rpc_method not in (None, rpc_method):
            return False
        if self.path not in (None, path) or self.random.random() >= self.probability:
            return False
        self.hits += 1
        if self.remaining is not None:
            self.remaining -= 1
        return True

    def document(self) -> Json:
        """Show the rule with what it has done."""
        hidden = ("random",)
        names = [name for name in self.__slots__ if name not in hidden]
        return {name: getattr(self, name) for name in names}


class Faults:
    """The rules in force."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.close_websockets: Callable[[], int] = int
        self._rules: list[Rule] = []
        self._released = asyncio.Event()
        self._count = 0

    def add(self, documents: object) -> list[Json]:
        """Add rules, or do to the chain what they say; raises BadRule and then adds none."""
        wanted = documents if isinstance(documents, list) else [documents]
        checked = [_checked(document) for document in wanted]
        return [self._add(document) for document in checked]

    def clear(self) -> None:
        """Forget all rules and let go of what hangs."""
        self._rules.clear()
        self._released.set()
        self._released = asyncio.Event()

    def documents(self) -> list[Json]:
        """Show all rules, those used up too."""
        return [rule.document() for rule in self._rules]

    def strike(self, rpc_method: str, path: str) -> list[Rule]:
        """Give the rules that hit a call."""
        return [rule for rule in self._rules if rule.strikes(rpc_method, path)]

    def view(self, rules: Iterable[Rule]) -> View:
        """Say how the chain looks through these rules."""
        view = HEALTHY
        for rule in rules:
            change = VIEWS.get(rule.kind)
            if change is not None:
                view = change(self.node, view, rule)
        return view

    async def before(self, rules: Iterable[Rule]) -> Response | None:
        """Do what comes before the answer; gives an answer in its place. Raises Dropped."""
        for rule in rules:
            if rule.kind in BEFORE:
                response = await BEFORE[rule.kind](self, rule)
                if response is not None:
                    return response
        return None

    async def after(self, rules: Iterable[Rule], response: Response) -> Response:
        """Do what comes after the work was done; gives what is answered. Raises Dropped."""
        for rule in rules:
            if rule.kind in AFTER:
                response = await AFTER[rule.kind](self, rule, response)
        return response

    async def pause(self, seconds: float) -> None:
        """Wait, but no longer than until the rules are cleared."""
        try:
            async with asyncio.timeout(seconds):
                await self._released.wait()
        except TimeoutError:
            return

    def _add(self, document: Json) -> Json:
        event = EVENTS.get(str(document["kind"]))
        if event is not None:
            return event(self, document)
        self._count += 1
        rule = _rule(self._count, document)
        self._rules.append(rule)
        return rule.document()


# ------------------------------------------------------------------------- before the answer


async def _drop(_faults: Faults, _rule: Rule) -> Response | None:
    raise Dropped


async def _delay(faults: Faults, rule: Rule) -> Response | None:
    await faults.pause(1.0 if rule.seconds is None else rule.seconds)
    return None


async def _hang(faults: Faults, rule: Rule) -> Response | None:
    await faults.pause(HANG_SECONDS if rule.seconds is None else rule.seconds)
    raise Dropped


async def _too_many(_faults: Faults, rule: Rule) -> Response | None:
    headers = [JSON_TYPE]
    if rule.retry_after is not None:
        headers.append((b"retry-after", str(rule.retry_after).encode()))
    body = b'{"jsonrpc":"2.0","error":{"code":429,"message":"Too many requests"},"id":null}'
    return Response(429, body, tuple(headers))


async def _server_error(_faults: Faults, rule: Rule) -> Response | None:
    return Response(rule.status, b"upstream error", ((b"content-type", b"text/plain"),))


Before = Callable[[Faults, Rule], Awaitable[Response | None]]

BEFORE: Mapping[str, Before] = MappingProxyType(
    {
        "drop": _drop,
        "delay": _delay,
        "hang": _hang,
        "http_429": _too_many,
        "http_5xx": _server_error,
    }
)


# -------------------------------------------------------------------------- after the answer


async def _never_answer(faults: Faults, rule: Rule, _done: Response) -> Response:
    await faults.pause(HANG_SECONDS if rule.seconds is None else rule.seconds)
    raise Dropped


async def _late_error(_faults: Faults, rule: Rule, _done: Response) -> Response:
    return Response(rule.status, b"upstream error", ((b"content-type", b"text/plain"),))


async def _garble(_faults: Faults, _rule: Rule, response: Response) -> Response:
    return replace(response, body=response.body[: len(response.body) // 2] + b"\xff<html>")


After = Callable[[Faults, Rule, Response], Awaitable[Response]]

AFTER: Mapping[str, After] = MappingProxyType(
    {
        "land_then_timeout": _never_answer,
        "http_5xx_after": _late_error,
        "garbled": _garble,
    }
)


# ---------------------------------------------------------------------------- another picture


def _pruned(node: Node, view: View, rule: Rule) -> View:
    slot = node.chain.bank("finalized").slot if rule.slot is None else rule.slot
    return replace(view, pruned_below=slot)


VIEWS: Mapping[str, Callable[[Node, View, Rule], View]] = MappingProxyType(
    {
        "accept_then_drop": lambda _, view, __: replace(view, drops_sends=True),
        "duplicate": lambda _, view, __: replace(view, sends_twice=True),
        "wrong_signature": lambda _, view, __: replace(view, mangles_signatures=True),
        "lag": lambda _, view, rule: replace(view, behind=rule.slots),
        "null_status": lambda _, view, __: replace(view, hides_statuses=True),
        "pruned": _pruned,
    }
)


# --------------------------------------------------------------------------- events at once


def _fork(faults: Faults, document: Json) -> Json:
    blocks = _number(document, "blocks", 1)
    try:
        vanished = faults.node.fork(int(blocks))
    except CannotUndo as error:
        raise BadRule(str(error)) from error
    return {"kind": "fork", "undone": [each.signature for each in vanished]}


def _skip(faults: Faults, document: Json) -> Json:
    slots = int(_number(document, "slots", 1))
    faults.node.skip(slots)
    return {"kind": "skipped_block", "slots": slots}


def _close_websockets(faults: Faults, _document: Json) -> Json:
    return {"kind": "ws_close", "closed": faults.close_websockets()}


EVENTS: Mapping[str, Callable[[Faults, Json], Json]] = MappingProxyType(
    {"fork": _fork, "skipped_block": _skip, "ws_close": _close_websockets}
)


# -------------------------------------------------------------------------------- rules read

SILENT = "ws_silent"  # a subscription is accepted, and its notice never comes
KINDS = frozenset({*BEFORE, *AFTER, *VIEWS, *EVENTS, SILENT})
FIELDS = frozenset(
    {
        "kind",
        "rpc_method",
        "path",
        "count",
        "seconds",
        "retry_after",
        "status",
        "slots",
        "slot",
        "blocks",
        "probability",
        "seed",
    }
)


def _checked(document: object) -> Json:
    if not isinstance(document, dict):
        raise BadRule("a rule is an object")
    if document.get("kind") not in KINDS:
        raise BadRule(f"unknown kind; known are {', '.join(sorted(KINDS))}")
    unknown = sorted(document.keys() - FIELDS)
    if unknown:
        raise BadRule(f"unknown field; known are {', '.join(sorted(FIELDS))}")
    return document


def _rule(number: int, document: Json) -> Rule:
    endless = "count" in document and document["count"] is None
    return Rule(
        id=number,
        kind=str(document["kind"]),
        rpc_method=_text(document, "rpc_method"),
        path=_text(document, "path"),
        remaining=None if endless else int(_number(document, "count", 1)),
        seconds=_optional(document, "seconds"),
        retry_after=_whole(_optional(document, "retry_after")),
        status=int(_number(document, "status", 503)),
        slots=int(_number(document, "slots", 1)),
        slot=_whole(_optional(document, "slot")),
        probability=_number(document, "probability", 1),
        random=Random(int(_number(document, "seed", 0))),  # noqa: S311 - repeatable on purpose
    )


def _text(document: Json, key: str) -> str | None:
    value = document.get(key)
    if value is not None and not isinstance(value, str):
        raise BadRule(f"{key} is a text")
    return value


def _number(document: Json, key: str, default: float) -> float:
    value = document.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise BadRule(f"{key} is a number, not below 0")
    return value


def _optional(document: Json, key: str) -> float | None:
    return None if document.get(key) is None else _number(document, key, 0)


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
