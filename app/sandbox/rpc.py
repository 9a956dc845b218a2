"""JSON-RPC 2.0 over the node's methods: one request in, one response out, never an exception."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from app.sandbox.account_methods import ACCOUNT_METHODS
from app.sandbox.call import HEALTHY, Call, Method, View
from app.sandbox.chain_methods import CHAIN_METHODS
from app.sandbox.errors import (
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    PARSE_ERROR,
    RpcError,
)
from app.sandbox.history_methods import HISTORY_METHODS
from app.sandbox.node import Node
from app.sandbox.params import Params
from app.sandbox.render import Json
from app.sandbox.sending import SEND_METHODS

METHODS: Mapping[str, Method] = MappingProxyType(
    {**CHAIN_METHODS, **ACCOUNT_METHODS, **HISTORY_METHODS, **SEND_METHODS}
)
BY_NAME = frozenset({"qn_estimatePriorityFees"})


@dataclass(slots=True)
class Asked:
    """One call of a request; `sent` names the transactions of a send.

    `bundle_only` is what the URL said of it: land it as a bundle of its own or not at all.
    """

    rpc_method: str
    document: object
    sent: dict[str, object] = field(default_factory=dict)
    bundle_only: bool = False

    @property
    def call_id(self) -> object:
        """Give the id that its answer bears."""
        return self.document.get("id") if isinstance(self.document, dict) else None


def parse_request(body: bytes, *, bundle_only: bool = False) -> list[Asked] | Json:
    """Split a body into its calls (one, or a batch); gives an error response when it cannot."""
    try:
        document = json.loads(body)
    except ValueError:
        return failure(None, RpcError(PARSE_ERROR, "Parse error"))
    calls = document if isinstance(document, list) else [document]
    if not calls:
        return failure(None, RpcError(INVALID_REQUEST, "Invalid request"))
    return [Asked(_name(call), call, bundle_only=bundle_only) for call in calls]


def answer(
    node: Node,
    asked: Asked,
    view: View = HEALTHY,
    methods: Mapping[str, Method] = METHODS,
) -> Json:
    """Answer one call."""
    document = asked.document
    if not isinstance(document, dict) or document.get("jsonrpc") != "2.0" or not asked.rpc_method:
        return failure(None, RpcError(INVALID_REQUEST, "Invalid request"))
    call_id = document.get("id")
    method = methods.get(asked.rpc_method)
    if method is None:
        return failure(call_id, RpcError(METHOD_NOT_FOUND, "Method not found"))
    try:
        params = Params(_listed(asked.rpc_method, document.get("params")))
        call = Call(node, params, view, asked.sent, asked.bundle_only)
        return {"jsonrpc": "2.0", "result": method(call), "id": call_id}
    except RpcError as error:
        return failure(call_id, error)


def _listed(rpc_method: str, params: object) -> object:
    """Give parameters as a list: one method takes them by name."""
    return [params] if rpc_method in BY_NAME and isinstance(params, dict) else params


def failure(call_id: object, error: RpcError) -> Json:
    """Give an error response."""
    return {"jsonrpc": "2.0", "error": error.document(), "id": call_id}


def _name(call: object) -> str:
    name = call.get("method") if isinstance(call, dict) else None
    return name if isinstance(name, str) else ""
