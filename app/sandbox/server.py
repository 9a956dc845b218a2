"""The sandbox on HTTP: a Solana node with control under `/sandbox/`, a block engine, and QuickNode.

The three answer on ports of their own; one chain, one journal and one script of faults serve all.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from urllib.parse import parse_qs

from app.sandbox.block_engine import BlockEngine
from app.sandbox.bundles import Bundles
from app.sandbox.call import View
from app.sandbox.exchange import Exchange, TooManyCalls, retry_after
from app.sandbox.faults import Faults
from app.sandbox.front import Front, Pulse
from app.sandbox.http import JSON_TYPE, TEXT_TYPE, Handler, Request, Response, json_response
from app.sandbox.journal import Journal
from app.sandbox.limit import RateLimit
from app.sandbox.node import Node
from app.sandbox.quicknode import QuickNode, quicknode_token
from app.sandbox.render import Json
from app.sandbox.rpc import answer, parse_request
from app.sandbox.rules import BadRule, Rule
from app.sandbox.websocket import Hub

STEP_SLOTS_MAX = 10_000


@dataclass(frozen=True, slots=True)
class EndpointOptions:
    """How the endpoints behave. Rates are for each client address and region; 0 is no limit."""

    jito_requests_per_second: float = 1
    quicknode_token: str | None = None


DEFAULTS = EndpointOptions()


class SandboxApp:
    """The three endpoints of one chain.

    `now` is the wall clock in seconds, `timer` a clock that never goes back.
    """

    def __init__(
        self,
        node: Node,
        now: Callable[[], float],
        options: EndpointOptions = DEFAULTS,
        timer: Callable[[], float] = monotonic,
    ) -> None:
        self.node = node
        self.journal = Journal(now)
        self.faults = Faults(node)
        self.hub = Hub(node, self.faults, self.journal)
        self.pulse = Pulse()
        self.token = options.quicknode_token or quicknode_token(node.chain.genesis_hash)
        self.endpoints: Json = {}  # where they can be found: known once there are ports
        bundles = Bundles(node)
        limit = RateLimit(options.jito_requests_per_second, timer)
        engine = BlockEngine(node, bundles, self._exchange, limit, now)
        quicknode = QuickNode(node, bundles, self._exchange, self.token, now)
        self._calls = self._exchange("rpc", too_many)
        self.rpc = Front(self.pulse, self._respond, self.hub.serve)
        self.jito = Front(self.pulse, engine.respond)
        self.quicknode = Front(self.pulse, quicknode.respond)
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

    @property
    def fronts(self) -> dict[str, Front]:
        """Give the endpoints by name."""
        return {"rpc": self.rpc, "jito": self.jito, "quicknode": self.quicknode}

    def _exchange(self, endpoint: str, refusal: TooManyCalls) -> Exchange:
        return Exchange(endpoint, self.journal, self.faults, refusal)

    async def _respond(self, request: Request) -> Response:
        handler = self.routes.get((request.method, request.path))
        if handler is not None:
            return await handler(request)
        known = any(path == request.path for _, path in self.routes)
        return json_response({"error": "no such call"}, 405 if known else 404)

    async def _rpc(self, request: Request) -> Response:
        asked = parse_request(request.body)
        if isinstance(asked, dict):
            self.journal.note("rpc", request.port, request.path, "").http = 200
            return json_response(asked)
        single = request.body.lstrip()[:1] != b"["

        def work(views: Sequence[View]) -> Response:
            answers = [answer(self.node, *pair) for pair in zip(asked, views, strict=True)]
            return json_response(answers[0] if single else answers)

        return await self._calls.run(request, asked, work)

    async def _health(self, request: Request) -> Response:
        return Response(200, b"ok", (TEXT_TYPE,))

    async def _info(self, request: Request) -> Response:
        return json_response({**node_info(self.node), "endpoints": self.endpoints})

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
            added = await self.faults.add(_document(request))
        except BadRule as error:
            return json_response({"error": str(error)}, 400)
        return json_response({"faults": added})

    async def _show_faults(self, request: Request) -> Response:
        shut = self.faults.doors.shut_names()
        return json_response({"faults": self.faults.documents(), "down": shut})

    async def _clear_faults(self, request: Request) -> Response:
        self.faults.clear()
        await self.faults.doors.open_all()
        return json_response({"faults": []})


def too_many(rule: Rule, _call_id: object) -> Response:
    """Say as a public node does that it is asked too often."""
    body = b'{"jsonrpc":"2.0","error":{"code":429,"message":"Too many requests"},"id":null}'
    return Response(429, body, (JSON_TYPE, *retry_after(rule)))


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
