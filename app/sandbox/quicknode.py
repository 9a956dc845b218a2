"""A QuickNode endpoint: the node behind a token, with the add-ons for fees and for bundles."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from types import MappingProxyType

from app.sandbox.block_engine import NewExchange, says_bundle_only
from app.sandbox.bundle_checks import NO_TIP_LOCK_HERE
from app.sandbox.bundle_methods import BundleMethods
from app.sandbox.bundle_simulation import simulate_bundle
from app.sandbox.bundles import Bundles
from app.sandbox.call import Call, Method, View
from app.sandbox.errors import METHOD_NOT_FOUND, RpcError, invalid
from app.sandbox.exchange import retry_after
from app.sandbox.http import Request, Response, json_response, text_response
from app.sandbox.node import Node
from app.sandbox.params import Config
from app.sandbox.priority_fees import estimate_priority_fees
from app.sandbox.rpc import METHODS, answer, parse_request
from app.sandbox.rules import Rule
from app.sandbox.sending import read_transaction, send_transaction
from app.sandbox.tips import tip_floor

TOKEN_LETTERS = 40
TIP_LOCK_MISSING = -32_004  # Agave's code for a block that is not available
REGIONS = ("mainnet", "amsterdam", "frankfurt", "ny", "tokyo", "slc", "london")


def quicknode_token(genesis_hash: str) -> str:
    """Make the token of a chain, the same at every start."""
    return sha256(f"sandbox quicknode token {genesis_hash}".encode()).hexdigest()[:TOKEN_LETTERS]


class QuickNode:
    """Answers what comes to QuickNode's port."""

    def __init__(
        self,
        node: Node,
        bundles: Bundles,
        exchange: NewExchange,
        token: str,
        now: Callable[[], float],
    ) -> None:
        self._node = node
        self._calls = exchange("quicknode", too_many)
        self._token = token
        self._now = now
        self._bundles = BundleMethods(bundles)
        addons = {name: _addon(method) for name, method in self._addons().items()}
        self._methods: Mapping[str, Method] = MappingProxyType(
            {**METHODS, **addons, "sendTransaction": self._send_transaction}
        )

    async def respond(self, request: Request) -> Response:
        """Answer a request. Raises Dropped for a rule that ends the connection."""
        request, authorized = self._authorized(request)
        if not authorized:
            return text_response("Unauthorized", 401)
        if request.path != "/":
            return text_response("Not Found", 404)
        if request.method != "POST":
            return text_response("Bad Request", 400)
        calls = parse_request(request.body, bundle_only=says_bundle_only(request))
        if isinstance(calls, dict):
            return json_response(calls)
        single = request.body.lstrip()[:1] != b"["

        def work(views: Sequence[View]) -> Response:
            pairs = zip(calls, views, strict=True)
            answers = [answer(self._node, *pair, self._methods) for pair in pairs]
            return json_response(answers[0] if single else answers)

        return await self._calls.run(request, calls, work)

    def _authorized(self, request: Request) -> tuple[Request, bool]:
        """Look for the token in header or path; in the path it is cut off: no journal shows it."""
        first, _, rest = request.path.lstrip("/").partition("/")
        if first == self._token:
            return replace(request, path=f"/{rest}"), True
        return request, request.headers.get("x-token") == self._token

    def _addons(self) -> dict[str, Method]:
        return {
            "qn_estimatePriorityFees": estimate_priority_fees,
            "sendBundle": self._send_bundle,
            "simulateBundle": simulate_bundle,
            "getBundleStatuses": self._bundles.get_bundle_statuses,
            "getInflightBundleStatuses": self._bundles.get_inflight_bundle_statuses,
            "getTipAccounts": self._bundles.get_tip_accounts,
            "getRegions": _get_regions,
            "getTipFloor": self._get_tip_floor,
        }

    def _send_bundle(self, call: Call) -> object:
        """Take `[transactions]`, followed by a region, or options, or both."""
        config = Config({})
        for index in range(1, len(call.params)):
            if isinstance(call.params.raw(index), str):
                _check_region(call.params.text(index))
            else:
                config = call.params.config(index)
        region = config.text("region")
        if region is not None:
            _check_region(region)
        return self._bundles.take_bundle(call, call.params.texts(0), config)

    def _send_transaction(self, call: Call) -> object:
        """Send as any node does; one whose sends are hijacked hands them to the block engine."""
        if not call.view.hijacks_sends:
            return send_transaction(call)
        transaction = read_transaction(call)
        tips = self._bundles.bundles.tips
        if not tips.locks_one(transaction):
            raise RpcError(TIP_LOCK_MISSING, NO_TIP_LOCK_HERE)
        return self._bundles.send_transaction(call)

    def _get_tip_floor(self, call: Call) -> object:
        return tip_floor(self._now(), call.view.fees_times)


def too_many(rule: Rule, call_id: object) -> Response:
    """Say that the plan allows no more."""
    error = {
        "code": 429,
        "message": "The requests per second (RPS) of your requests are higher than your plan allows.",
    }
    return json_response({"jsonrpc": "2.0", "error": error, "id": call_id}, 429, retry_after(rule))


def _addon(method: Method) -> Method:
    """Make a method that is not there when its add-on is not."""

    def asked(call: Call) -> object:
        if call.view.lacks_addons:
            raise RpcError(METHOD_NOT_FOUND, "Method not found")
        return method(call)

    return asked


def _get_regions(_call: Call) -> object:
    return list(REGIONS)


def _check_region(region: str) -> None:
    if region not in REGIONS:
        raise invalid(f"unknown region; known are {', '.join(REGIONS)}")
