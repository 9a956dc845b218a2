"""The sandbox on HTTP: paths to handlers, JSON-RPC at `/`, control under `/sandbox/`.

An endpoint of another kind is one more entry in the routes.
"""

import asyncio
import json
from collections.abc import Callable
from typing import Protocol
from urllib.parse import parse_qs

from app.sandbox.faults import BadRule, Faults, Rule
from app.sandbox.http import (
    BodyTooLarge,
    Dropped,
    Handler,
    Receive,
    Request,
    Response,
    Scope,
    Send,
    json_response,
    read_request,
    send_response,
)
from app.sandbox.journal import Journal
from app.sandbox.ledger import LedgerBroken
from app.sandbox.node import Node
from app.sandbox.render import Json
from app.sandbox.rpc import Asked, answer, parse_request
from app.sandbox.websocket import Hub

STEP_SLOTS_MAX = 10_000


class Connections(Protocol):
    """Can end the connection a request came in on."""

    def abort(self, client: tuple[str, int]) -> None: ...


class SandboxApp:
    """The ASGI application. `now` is the wall clock in seconds."""

    def __init__(self, node: Node, now: Callable[[], float]) -> None:
        self.node = node
        self.journal = Journal(now)
        self.faults = Faults(node)
        self.hub = Hub(node, self.faults, self.journal)
        self.requests = 0
        self.failed = asyncio.Event()
        self.failure: LedgerBroken | None = None
        self.connections: Connections | None = None
        self.routes: dict[tuple[str, str], Handler] = {
            ("POST", "/"): self._rpc,
            ("GET", "/health"): self._health,
            ("GET", "/sandbox/info"): self._info,
            ("GET", "/sandbox/journal"): self._journal,
            ("POST", "/sandbox/step"): self._step,
            ("POST", "/sandbox/fault"): self._add_faults,
            ("POST", "/sandbox/faults"): self._add_faults,
            ("GET", "/sandbox/faults"): self._show_faults,
            ("DELETE", "/sandbox/faults"): self._clear_faults,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self.hub.serve(scope, receive, send)
        elif scope["type"] == "http":
            self.requests += 1
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            request = await read_request(scope, receive)
            response = await self._respond(request)
        except BodyTooLarge:
            response = Response(413, b"body too large", ())
        except (Dropped, LedgerBroken) as error:
            if isinstance(error, LedgerBroken):
                self.failure = error
                self.failed.set()
            if self.connections is None:
                raise
            self.connections.abort(scope["client"])
            await _gone(receive)
            return
        await send_response(send, response)

    async def _respond(self, request: Request) -> Response:
        handler = self.routes.get((request.method, request.path))
        if handler is not None:
            return await handler(request)
        known = any(path == request.path for _, path in self.routes)
        return json_response({"error": "no such call"}, 405 if known else 404)

    async def _rpc(self, request: Request) -> Response:
        asked = parse_request(request.body)
        if isinstance(asked, dict):
            self.journal.note(request.port, request.path, "")
            return json_response(asked)
        hits = [self._strike(request, each) for each in asked]
        rules = [rule for each in hits for rule in each]
        instead = await self.faults.before(rules)
        if instead is not None:
            return instead
        views = [self.faults.view(each) for each in hits]
        answers = [answer(self.node, *pair) for pair in zip(asked, views, strict=True)]
        single = request.body.lstrip()[:1] != b"["
        response = json_response(answers[0] if single else answers)
        return await self.faults.after(rules, response)

    def _strike(self, request: Request, asked: Asked) -> list[Rule]:
        """Note a call in the journal and find the trouble it runs into."""
        entry = self.journal.note(request.port, request.path, asked.rpc_method)
        entry.sent = asked.sent
        hits = self.faults.strike(asked.rpc_method, request.path)
        entry.faults += [rule.kind for rule in hits]
        return hits

    async def _health(self, request: Request) -> Response:
        return Response(200, b"ok", ((b"content-type", b"text/plain"),))

    async def _info(self, request: Request) -> Response:
        return json_response(node_info(self.node))

    async def _journal(self, request: Request) -> Response:
        after = parse_qs(request.query).get("after", ["0"])[0]
        if not after.isdecimal():
            return json_response({"error": "after is a number"}, 400)
        return json_response({"entries": self.journal.after(int(after))})

    async def _step(self, request: Request) -> Response:
        document = _document(request)
        slots = document.get("slots", 1) if isinstance(document, dict) else None
        if (
            isinstance(slots, bool)
            or not isinstance(slots, int)
            or not 1 <= slots <= STEP_SLOTS_MAX
        ):
            return json_response({"error": f"slots is 1 to {STEP_SLOTS_MAX}"}, 400)
        self.node.step(slots)
        return json_response(_position(self.node))

    async def _add_faults(self, request: Request) -> Response:
        try:
            added = self.faults.add(_document(request))
        except BadRule as error:
            return json_response({"error": str(error)}, 400)
        return json_response({"faults": added})

    async def _show_faults(self, request: Request) -> Response:
        return json_response({"faults": self.faults.documents()})

    async def _clear_faults(self, request: Request) -> Response:
        self.faults.clear()
        return json_response({"faults": []})


async def _gone(receive: Receive) -> None:
    """Wait for a cut connection to be gone: the server would answer for us before."""
    while (await receive())["type"] != "http.disconnect":
        continue


def node_info(node: Node) -> Json:
    """Describe the chain: where it stands, its markets and its wallets."""
    return {
        **_position(node),
        "genesis_hash": node.chain.genesis_hash,
        "slot_ms": node.options.slot_ms,
        "transactions": node.chain.transaction_count,
        "markets": [
            {
                "name": market.name,
                "base_mint": str(market.base_mint),
                "quote_mint": str(market.quote_mint),
                "base_decimals": market.base_decimals,
                "quote_decimals": market.quote_decimals,
                "pool": str(market.pool),
            }
            for market in node.genesis.markets
        ],
        "wallets": {name: str(key.pubkey()) for name, key in node.genesis.wallets.items()},
    }


def _position(node: Node) -> Json:
    confirmed = node.chain.bank("confirmed")
    return {
        "slot": node.chain.open.slot,
        "block_height": node.chain.open.height,
        "confirmed_slot": confirmed.slot,
        "confirmed_block_height": confirmed.height,
        "finalized_slot": node.chain.bank("finalized").slot,
        "unix_time": node.chain.open.unix_time,
    }


def _document(request: Request) -> object:
    """Read a control call's body; an empty one is an empty object, a broken one is None."""
    try:
        document: object = json.loads(request.body or b"{}")
    except ValueError:
        return None
    return document
