"""Problems (RFC 9457): one table from reason code to status, title and whether trying again may help."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from typing import Final

from app.api.answers import Answer, Header, to_json
from app.domain.errors import ReasonCode, Synergy7Error

PROBLEM_TYPE: Final = b"application/problem+json"


@dataclass(frozen=True, slots=True)
class Rule:
    """How a code is answered; `retry_after_seconds` goes out as Retry-After and means: retryable."""

    status: HTTPStatus
    title: str
    retry_after_seconds: int | None = None

    @property
    def retryable(self) -> bool:
        """Tell whether the same request may succeed later."""
        return self.retry_after_seconds is not None


def _invalid(title: str) -> Rule:
    return Rule(HTTPStatus.UNPROCESSABLE_ENTITY, title)


def _later(title: str, seconds: int) -> Rule:
    return Rule(HTTPStatus.SERVICE_UNAVAILABLE, title, seconds)


_C = ReasonCode

RULES: Final[Mapping[ReasonCode, Rule]] = MappingProxyType(
    {
        # the request cannot be read
        _C.MALFORMED_JSON: Rule(HTTPStatus.BAD_REQUEST, "The body is not well-formed JSON"),
        _C.BAD_REQUEST: Rule(HTTPStatus.BAD_REQUEST, "The request cannot be read"),
        _C.NOT_FOUND: Rule(HTTPStatus.NOT_FOUND, "There is nothing at this path"),
        _C.METHOD_NOT_ALLOWED: Rule(HTTPStatus.METHOD_NOT_ALLOWED, "The method is not allowed"),
        _C.BODY_TOO_LARGE: Rule(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The body is too large"),
        _C.UNSUPPORTED_MEDIA_TYPE: Rule(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "The body's type is not supported"
        ),
        # the request is no valid signal or query
        _C.BODY_NOT_OBJECT: _invalid("The body is not a JSON object"),
        _C.UNKNOWN_FIELD: _invalid("A field is not known"),
        _C.MISSING_FIELD: _invalid("A field is missing"),
        _C.INVALID_FIELD: _invalid("A field is not valid"),
        _C.INVALID_PARAMETER: _invalid("A parameter is not valid"),
        _C.INVALID_CURSOR: _invalid("The cursor is not valid"),
        _C.INVALID_NUMBER: _invalid("A number is not valid"),
        _C.UNKNOWN_ACTION: _invalid("The action is not known"),
        _C.UNKNOWN_MARKET: _invalid("The market is not configured"),
        _C.UNKNOWN_METHOD: _invalid("A submission method is not configured"),
        _C.SIZE_CONFLICT: _invalid("Not exactly one size is given"),
        _C.SIZE_NOT_POSITIVE: _invalid("The size is not above zero"),
        _C.SIZE_TOO_SMALL: _invalid("The size is below the market's minimum"),
        _C.SIZE_TOO_LARGE: _invalid("The size is too large"),
        _C.SIZE_TOO_PRECISE: _invalid("The size has more decimals than the token"),
        _C.PRICE_INVALID: _invalid("The price is not valid"),
        _C.SIGNAL_TIME_AHEAD: _invalid("The signal's time lies ahead"),
        # intake
        _C.IDEMPOTENCY_MISMATCH: _invalid("The key was used with another signal"),
        _C.KEY_CONFLICT: Rule(HTTPStatus.CONFLICT, "Two keys name different orders"),
        _C.ORDER_NOT_FOUND: Rule(HTTPStatus.NOT_FOUND, "There is no such order"),
        _C.ORDER_FINAL: Rule(HTTPStatus.CONFLICT, "The order has ended"),
        _C.ORDER_NOT_IN_DOUBT: Rule(HTTPStatus.CONFLICT, "The order is not in doubt"),
        _C.RESOLUTION_CONTRADICTED: Rule(HTTPStatus.CONFLICT, "The chain says otherwise"),
        _C.RESOLUTION_TOO_EARLY: Rule(HTTPStatus.CONFLICT, "The order may still be executed"),
        _C.METHOD_NOT_FOUND: Rule(HTTPStatus.NOT_FOUND, "There is no such submission method"),
        _C.QUEUE_FULL: _later("The queue is full", 5),
        _C.DATABASE_BUSY: _later("The database is busy", 1),
        _C.STORAGE_UNAVAILABLE: _later("The database is not available", 5),
        _C.SHUTTING_DOWN: _later("The service is starting or stopping", 5),
        _C.TRADING_HALTED: _later("Trading is halted", 10),
        _C.RECONCILING: _later("The database is being reconciled with the chain", 10),
        _C.NOT_READY: _later("The service is not ready", 5),
        _C.TOO_MANY_STREAMS: _later("Too many streams are open", 10),
        _C.INTERNAL: Rule(HTTPStatus.INTERNAL_SERVER_ERROR, "Something failed inside"),
        # why an order was rejected or ended: as an answer, the signal was refused for it
        _C.PRICE_LIMIT: _invalid("The market is outside the price limit"),
        _C.PRICE_IMPACT: _invalid("The swap would move the price too far"),
        _C.MID_PRICE_GAP: _later("The market's pools disagree on the price", 1),
        _C.SLIPPAGE_EXCEEDED: _invalid("The price moved beyond the slippage limit"),
        _C.INSUFFICIENT_FUNDS: _invalid("The wallet's funds are insufficient"),
        _C.INSUFFICIENT_LIQUIDITY: _invalid("The market's liquidity is insufficient"),
        _C.FUNDS_RESERVED: _invalid("The wallet's funds are reserved"),
        _C.MARKET_CLOSED: _invalid("The market is closed"),
        _C.POOL_INVALID: _invalid("The market's pool is not valid"),
        _C.PROGRAM_ERROR: _invalid("The program on chain refused"),
        _C.SIMULATION_MISMATCH: _invalid("The simulation differs from the quote"),
        _C.FEE_CAP_EXCEEDED: _invalid("Fees and tips exceed their cap"),
        _C.TIPS_TOO_MANY: _invalid("The methods demand too many tips"),
        _C.SIGNAL_STALE: _invalid("The signal is stale"),
        _C.ORDER_TIMEOUT: _invalid("The order's time ran out"),
        _C.RETRIES_EXHAUSTED: _invalid("All attempts are used up"),
        _C.ATTEMPT_EXPIRED: _invalid("The attempt expired"),
        _C.CANCEL_REQUESTED: _invalid("The order was canceled"),
        _C.FILL_REVERTED: _invalid("The fill was undone by a fork"),
        _C.RESOLVED_BY_OPERATOR: _invalid("An operator resolved the order"),
        _C.ALREADY_EXECUTED: _invalid("The chain shows that the order's key was executed before"),
        # passing troubles
        _C.CHAIN_UNAVAILABLE: _later("The chain cannot be reached", 5),
        _C.METHODS_UNAVAILABLE: _later("No submission method is available", 5),
        _C.IN_SEQUENCE: _later("An earlier opposite order is open", 5),
        _C.PASS_TIMED_OUT: _later("The execution took too long", 5),
        _C.INTERNAL_ERROR: Rule(HTTPStatus.INTERNAL_SERVER_ERROR, "Something failed inside"),
    }
)


class Problem(Exception):
    """A request that is answered with a problem. `detail` never holds what was sent."""

    def __init__(
        self,
        code: ReasonCode,
        detail: str,
        *,
        field: str | None = None,
        order_id: str | None = None,
        headers: tuple[Header, ...] = (),
        reasons: tuple[str, ...] = (),
        status: HTTPStatus | None = None,
    ) -> None:
        """`field` names the offending field, header or parameter; `reasons` lists what stands in the way.

        `status`: another one than the code's, where an operator's call is refused rather than a signal.
        """
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.field = field
        self.order_id = order_id
        self.headers = headers
        self.reasons = reasons
        self.status = status

    def answer(self) -> Answer:
        """Give the answer that tells the problem."""
        rule = RULES[self.code]
        status = int(self.status or rule.status)
        document: dict[str, object] = {
            "type": problem_type(self.code),
            "title": rule.title,
            "status": status,
            "code": self.code.value,
            "detail": self.detail,
            "retryable": rule.retryable,
        }
        extra = {"field": self.field, "order_id": self.order_id, "reasons": self.reasons}
        document |= {name: value for name, value in extra.items() if value}
        headers = self.headers
        if rule.retry_after_seconds is not None:
            headers = (*headers, (b"retry-after", str(rule.retry_after_seconds).encode()))
        return Answer(status, to_json(document), PROBLEM_TYPE, headers)


def problem_type(code: ReasonCode) -> str:
    """Give the URI that identifies the kind of problem: `urn:synergy7:problem:queue-full`."""
    return "urn:synergy7:problem:" + code.value.lower().replace("_", "-")


def problem_of(error: Synergy7Error) -> Problem:
    """Tell an error of ours to the client."""
    detail = f"{error.what}; {error.todo}" if error.todo else error.what
    return Problem(error.code, detail, field=error.field)
