"""Trading as a whole: halted and resumed by operators."""

from collections.abc import Mapping
from http import HTTPStatus

from app.api.answers import Answer, json_answer
from app.api.endpoint import Call
from app.api.problems import Problem
from app.api.routes.signals import optional_json_body
from app.domain.errors import IntakeError, ReasonCode
from app.domain.signal import TEXT_LENGTH_MAX, is_key_text


async def halt_trading(call: Call) -> Answer:
    """Sign nothing any more; an optional JSON object gives a `reason`."""
    call.query()
    await call.service.trading.halt(_reason(await optional_json_body(call)))
    return json_answer(call.service.trading.document())


async def resume_trading(call: Call) -> Answer:
    """Sign again: 200, or 409 while the database is being reconciled."""
    call.query()
    try:
        await call.service.trading.resume()
    except IntakeError as error:
        if error.code is not ReasonCode.RECONCILING:
            raise
        raise Problem(error.code, error.what, status=HTTPStatus.CONFLICT) from error
    return json_answer(call.service.trading.document())


def _reason(body: object) -> str | None:
    if not isinstance(body, Mapping):
        raise Problem(ReasonCode.BODY_NOT_OBJECT, "the body is not a JSON object")
    if any(name != "reason" for name in body):
        raise Problem(ReasonCode.UNKNOWN_FIELD, "the body has a field besides reason")
    reason = body.get("reason")
    if reason is None:
        return None
    if not isinstance(reason, str) or not is_key_text(reason):
        what = f"reason is no text of 1 to {TEXT_LENGTH_MAX} printable characters"
        raise Problem(ReasonCode.INVALID_FIELD, what, field="reason")
    return reason
