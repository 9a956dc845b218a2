"""`POST /signals`: a signal in, an order out."""

from http import HTTPStatus

import structlog

from app.api.answers import Answer, Header, json_answer
from app.api.bodies import parse_json, read_body
from app.api.endpoint import Call
from app.api.parameters import parse_integer
from app.api.ports import ApiService
from app.api.problems import Problem
from app.domain.documents import accepted_document
from app.domain.errors import ReasonCode
from app.domain.order import Order, OrderStatus
from app.engine.ports import Accepted

_log = structlog.get_logger(__name__)


async def post_signal(call: Call) -> Answer:
    """Take a signal in: 202 once its order is committed, 200 for a repeat, 422 when refused."""
    service = call.service
    try:
        call.query()
        key = call.header("Idempotency-Key")
        body = await json_body(call)
    except Problem as problem:
        _tell_refused(service, problem)
        raise
    accepted = await service.manager.submit(body, account=call.account, idempotency_key=key)
    return _accepted(accepted)


async def json_body(call: Call) -> object:
    """Give the body's JSON document; raises Problem for what is none or is not declared as such."""
    _require_json(call)
    return parse_json(await _body(call))


async def optional_json_body(call: Call) -> object:
    """Give the body's JSON document, `{}` for an empty body; raises Problem as `json_body`."""
    body = await _body(call)
    if not body:
        return {}
    _require_json(call)
    return parse_json(body)


async def _body(call: Call) -> bytes:
    return await read_body(call.receive, parse_integer(call.header("Content-Length") or ""))


def _require_json(call: Call) -> None:
    """Demand that the body is declared as JSON.

    No type at all is refused too: any web page can have a browser send such a body.
    """
    kind, _, parameters = (call.header("Content-Type") or "").lower().partition(";")
    charset = parameters.replace(" ", "").replace('"', "")
    coding = (call.header("Content-Encoding") or "identity").lower()
    known = charset in ("", "charset=utf-8")
    if kind.strip() != "application/json" or not known or coding != "identity":
        what = "the body is not declared as plain JSON; send Content-Type: application/json"
        raise Problem(ReasonCode.UNSUPPORTED_MEDIA_TYPE, what)


def _tell_refused(service: ApiService, problem: Problem) -> None:
    service.telemetry.signal("refused", problem.code.value)
    _log.info("signal refused", reason_code=problem.code.value, field=problem.field)


def _accepted(accepted: Accepted) -> Answer:
    order = accepted.order
    headers: tuple[Header, ...] = ((b"location", f"/orders/{order.order_id}".encode()),)
    if accepted.replayed:
        headers = (*headers, (b"idempotency-replayed", b"true"))
    if order.status is OrderStatus.REJECTED:
        raise _rejected(order, headers)
    status = HTTPStatus.OK if accepted.replayed else HTTPStatus.ACCEPTED
    return json_answer(accepted_document(order), status, headers)


def _rejected(order: Order, headers: tuple[Header, ...]) -> Problem:
    code = order.reason_code or ReasonCode.INTERNAL_ERROR
    reason = order.reason or "the signal was rejected"
    return Problem(code, reason, order_id=order.order_id, headers=headers)
