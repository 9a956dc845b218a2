"""Jito's block engine over HTTP: paths by region, its limit, its error bodies."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from urllib.parse import parse_qs

from app.sandbox.bundle_methods import BundleMethods
from app.sandbox.bundles import Bundles
from app.sandbox.call import Method, View
from app.sandbox.errors import INVALID_REQUEST, RpcError
from app.sandbox.exchange import Exchange, TooManyCalls
from app.sandbox.http import Request, Response, json_response, text_response
from app.sandbox.limit import RateLimit
from app.sandbox.node import Node
from app.sandbox.rpc import Asked, answer, failure, parse_request
from app.sandbox.rules import Rule
from app.sandbox.tips import tip_floor

MAINNET = "mainnet"  # the region of a path that names none
REGIONS = frozenset(
    {
        MAINNET,
        "amsterdam",
        "dublin",
        "frankfurt",
        "london",
        "ny",
        "slc",
        "singapore",
        "tokyo",
    }
)
RATE_LIMITED = -32_097
TIP_FLOOR = "tip_floor"  # how the journal and the rules name what is no JSON-RPC method
TIP_FLOOR_PATH = "/api/v1/bundles/tip_floor"

NewExchange = Callable[[str, TooManyCalls], Exchange]


class BlockEngine:
    """Answers what comes to the engine's port. `now` is the wall clock in seconds."""

    def __init__(
        self,
        node: Node,
        bundles: Bundles,
        exchange: NewExchange,
        limit: RateLimit,
        now: Callable[[], float],
    ) -> None:
        self._node = node
        self._calls = exchange("jito", too_many)
        self._limit = limit
        self._now = now
        self._methods = _methods_by_path(BundleMethods(bundles))

    async def respond(self, request: Request) -> Response:
        """Answer a request. Raises Dropped for a rule that ends the connection."""
        region, path = split_region(request.path)
        if region not in REGIONS:
            return text_response("Not Found", 404)
        if path == TIP_FLOOR_PATH and request.method == "GET":
            return await self._calls.run(request, [Asked(TIP_FLOOR, {})], self._tip_floor)
        methods = self._methods.get(path)
        if methods is None:
            return text_response("Not Found", 404)
        if request.method != "POST":
            return text_response("Method Not Allowed", 405)
        return await self._rpc(request, region, methods)

    async def _rpc(self, request: Request, region: str, methods: Mapping[str, Method]) -> Response:
        calls = parse_request(request.body, bundle_only=says_bundle_only(request))
        # an unreadable request is one that counts, and the engine takes no batches
        one = calls[0] if isinstance(calls, list) and len(calls) == 1 else Asked("", None)
        wait_ms = self._limit.wait_ms((request.client, region))
        if wait_ms:
            return self._calls.refuse(request, [one], _over_limit(self._limit, wait_ms))

        def work(views: Sequence[View]) -> Response:
            shown = answer(self._node, one, views[0], methods)
            if isinstance(calls, dict):
                shown = calls
            elif len(calls) > 1:
                shown = failure(None, RpcError(INVALID_REQUEST, "Invalid request"))
            refused = "error" in shown
            return json_response(shown, 400 if refused else 200, () if refused else _named(one))

        return await self._calls.run(request, [one], work)

    def _tip_floor(self, views: Sequence[View]) -> Response:
        return json_response(tip_floor(self._now(), views[0].fees_times))


def split_region(path: str) -> tuple[str, str]:
    """Split `/frankfurt/api/v1/…` into region and path; no region is the global one."""
    if path.startswith("/api/"):
        return MAINNET, path
    region, _, rest = path.lstrip("/").partition("/")
    return region, f"/{rest}"


def says_bundle_only(request: Request) -> bool:
    """Whether the URL forbids anything but a bundle."""
    return parse_qs(request.query).get("bundleOnly") == ["true"]


def too_many(rule: Rule, _call_id: object) -> Response:
    """Say that a limit is reached: the client's own, if the rule says how long, else everybody's."""
    if rule.retry_after is None:
        return _rate_limited("Network congested. Endpoint is globally rate limited.")
    return _backed_off(1, int(rule.retry_after * 1_000))


def _named(asked: Asked) -> tuple[tuple[bytes, bytes], ...]:
    """Give the header that tells the bundle id of a single transaction, whose answer does not."""
    if asked.rpc_method != "sendTransaction":
        return ()
    return ((b"x-bundle-id", str(asked.sent["bundle_id"]).encode()),)


def _over_limit(limit: RateLimit, wait_ms: int) -> Response:
    return _backed_off(limit.per_second, wait_ms)


def _backed_off(per_second: float, wait_ms: int) -> Response:
    return _rate_limited(
        f"Rate limit exceeded. Limit: {per_second:g} per second for txn requests. "
        f"Back-off triggered: Retry after {wait_ms}ms"
    )


def _rate_limited(message: str) -> Response:
    error = {"code": RATE_LIMITED, "message": message, "data": None}
    return json_response({"jsonrpc": "2.0", "error": error, "id": None}, 429)


def _methods_by_path(methods: BundleMethods) -> Mapping[str, Mapping[str, Method]]:
    statuses: dict[str, Method] = {"getBundleStatuses": methods.get_bundle_statuses}
    inflight: dict[str, Method] = {
        "getInflightBundleStatuses": methods.get_inflight_bundle_statuses
    }
    tips: dict[str, Method] = {"getTipAccounts": methods.get_tip_accounts}
    return MappingProxyType(
        {
            "/api/v1/transactions": {"sendTransaction": methods.send_transaction},
            "/api/v1/bundles": {
                "sendBundle": methods.send_bundle,
                **statuses,
                **inflight,
                **tips,
            },
            "/api/v1/getBundleStatuses": statuses,
            "/api/v1/getInflightBundleStatuses": inflight,
            "/api/v1/getTipAccounts": tips,
        }
    )
