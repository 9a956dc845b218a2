"""Scripted trouble: rules that spoil the next answers, and events that hit the chain itself.

docs/sandbox.md lists the kinds; what a rule consists of is in `rules`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Protocol

from app.sandbox.blocks import CannotUndo
from app.sandbox.call import HEALTHY, View
from app.sandbox.http import TEXT_TYPE, Dropped, Response, json_response
from app.sandbox.node import Node
from app.sandbox.render import Json
from app.sandbox.rules import (
    ENDPOINTS,
    BadRule,
    Rule,
    checked,
    endpoint_of,
    number_of,
    optional,
    read_rule,
)

HANG_SECONDS = 3_600.0  # longer than any client waits
SERVER_ERROR = 503
CONTROLLED = "rpc"  # the endpoint that faults are asked for on

TooMany = Callable[[Rule], Response]  # how a provider says that it is asked too often


class Doors(Protocol):
    """Can shut an endpoint's port, and open it again."""

    async def shut(self, endpoint: str, seconds: float | None) -> None: ...
    async def open_all(self) -> None: ...
    def shut_names(self) -> list[str]: ...


class NoDoors:
    """Stands in where no port is listened on."""

    async def shut(self, endpoint: str, seconds: float | None) -> None:
        """Refuse: there is nothing to shut."""
        raise BadRule("no port is open here")

    async def open_all(self) -> None:
        """Do nothing: all is open that ever was."""

    def shut_names(self) -> list[str]:
        """Give the names of what is shut."""
        return []


class Faults:
    """The rules in force."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.close_websockets: Callable[[], int] = int
        self.doors: Doors = NoDoors()
        self._rules: list[Rule] = []
        self._released = asyncio.Event()
        self._count = 0

    async def add(self, documents: object) -> list[Json]:
        """Add rules, or do at once what they say; raises BadRule."""
        wanted = documents if isinstance(documents, list) else [documents]
        known = [checked(document, KINDS) for document in wanted]
        rules = [self._read(document) for document in known]  # all are good, or none is added
        pairs = zip(known, rules, strict=True)
        return [await self._begin(document, rule) for document, rule in pairs]

    def clear(self) -> None:
        """Forget all rules and let go of what hangs."""
        self._rules.clear()
        self._released.set()
        self._released = asyncio.Event()

    def documents(self) -> list[Json]:
        """Show all rules, those used up too."""
        return [rule.document() for rule in self._rules]

    def strike(self, endpoint: str, rpc_method: str, path: str) -> list[Rule]:
        """Give the rules that hit a call."""
        return [rule for rule in self._rules if rule.strikes(endpoint, rpc_method, path)]

    def view(self, rules: Iterable[Rule]) -> View:
        """Say how the chain looks through these rules."""
        view = HEALTHY
        for rule in rules:
            change = VIEWS.get(rule.kind)
            if change is not None:
                view = change(self.node, view, rule)
        return view

    async def before(self, rules: Iterable[Rule], too_many: TooMany) -> Response | None:
        """Do what comes before the answer; gives an answer in its place. Raises Dropped."""
        for rule in rules:
            if rule.kind == TOO_MANY:
                return too_many(rule)
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

    def _read(self, document: Json) -> Rule | None:
        """Read a rule; None for what happens at once."""
        if document["kind"] in EVENTS:
            return None
        self._count += 1
        return read_rule(self._count, document)

    async def _begin(self, document: Json, rule: Rule | None) -> Json:
        if rule is None:
            return await EVENTS[str(document["kind"])](self, document)
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


async def _server_error(_faults: Faults, rule: Rule) -> Response | None:
    return _upstream_error(rule)


async def _answer(_faults: Faults, rule: Rule) -> Response | None:
    status = 200 if rule.status is None else rule.status
    if isinstance(rule.body, str):
        return Response(status, rule.body.encode(), (TEXT_TYPE,))
    return json_response(rule.body, status)


def _upstream_error(rule: Rule) -> Response:
    status = SERVER_ERROR if rule.status is None else rule.status
    return Response(status, b"upstream error", (TEXT_TYPE,))


TOO_MANY = "http_429"  # in each provider's own words

Before = Callable[[Faults, Rule], Awaitable[Response | None]]

BEFORE: Mapping[str, Before] = MappingProxyType(
    {
        "drop": _drop,
        "delay": _delay,
        "hang": _hang,
        "http_5xx": _server_error,
        "answer": _answer,
    }
)


# -------------------------------------------------------------------------- after the answer


async def _never_answer(faults: Faults, rule: Rule, _done: Response) -> Response:
    await faults.pause(HANG_SECONDS if rule.seconds is None else rule.seconds)
    raise Dropped


async def _late_error(_faults: Faults, rule: Rule, _done: Response) -> Response:
    return _upstream_error(rule)


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
        "bundle_failed": lambda _, view, __: replace(view, bundle_fate="failed"),
        "bundle_invalid": lambda _, view, __: replace(view, bundle_fate="invalid"),
        "failed_then_landed": lambda _, view, rule: replace(
            view, bundle_fate="failed_then_landed", late_slots=rule.slots
        ),
        "hijack": lambda _, view, __: replace(view, hijacks_sends=True),
        "no_addon": lambda _, view, __: replace(view, lacks_addons=True),
        "fee_spike": lambda _, view, rule: replace(view, fees_times=int(rule.times)),
    }
)


# --------------------------------------------------------------------------- events at once


async def _fork(faults: Faults, document: Json) -> Json:
    blocks = number_of(document, "blocks", 1)
    try:
        vanished = faults.node.fork(int(blocks))
    except CannotUndo as error:
        raise BadRule(str(error)) from error
    return {"kind": "fork", "undone": [each.signature for each in vanished]}


async def _unbundle(faults: Faults, document: Json) -> Json:
    blocks = number_of(document, "blocks", 1)
    try:
        vanished, again = faults.node.unbundle(int(blocks))
    except CannotUndo as error:
        raise BadRule(str(error)) from error
    return {
        "kind": "unbundle",
        "undone": [each.signature for each in vanished],
        "again": [each.signature for each in again],
    }


async def _skip(faults: Faults, document: Json) -> Json:
    slots = int(number_of(document, "slots", 1))
    faults.node.skip(slots)
    return {"kind": "skipped_block", "slots": slots}


async def _close_websockets(faults: Faults, _document: Json) -> Json:
    return {"kind": "ws_close", "closed": faults.close_websockets()}


async def _down(faults: Faults, document: Json) -> Json:
    endpoint, seconds = endpoint_of(document), optional(document, "seconds")
    if endpoint is None:
        raise BadRule(f"down names its endpoint: one of {', '.join(ENDPOINTS)}")
    if endpoint == CONTROLLED and seconds is None:
        raise BadRule("rpc goes down for some seconds only: nobody could ask it to come back")
    await faults.doors.shut(endpoint, seconds)
    return {"kind": "down", "endpoint": endpoint, "seconds": seconds}


Event = Callable[[Faults, Json], Awaitable[Json]]

EVENTS: Mapping[str, Event] = MappingProxyType(
    {
        "fork": _fork,
        "unbundle": _unbundle,
        "skipped_block": _skip,
        "ws_close": _close_websockets,
        "down": _down,
    }
)


# --------------------------------------------------------------------------------- the kinds

SILENT = "ws_silent"  # a subscription is accepted, and its notice never comes
KINDS = frozenset({TOO_MANY, *BEFORE, *AFTER, *VIEWS, *EVENTS, SILENT})
