"""The one closed list of reason codes, and the errors that carry them."""

from enum import StrEnum


class ReasonCode(StrEnum):
    """Why a request was refused, an order ended, or an attempt died; stable, used everywhere."""

    # the request is no valid signal or query: nothing is stored
    MALFORMED_JSON = "MALFORMED_JSON"
    BODY_NOT_OBJECT = "BODY_NOT_OBJECT"
    BODY_TOO_LARGE = "BODY_TOO_LARGE"
    UNSUPPORTED_MEDIA_TYPE = "UNSUPPORTED_MEDIA_TYPE"
    NOT_FOUND = "NOT_FOUND"
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    BAD_REQUEST = "BAD_REQUEST"
    UNKNOWN_FIELD = "UNKNOWN_FIELD"
    MISSING_FIELD = "MISSING_FIELD"
    INVALID_FIELD = "INVALID_FIELD"
    INVALID_PARAMETER = "INVALID_PARAMETER"
    INVALID_CURSOR = "INVALID_CURSOR"
    INVALID_NUMBER = "INVALID_NUMBER"
    UNKNOWN_ACTION = "UNKNOWN_ACTION"
    UNKNOWN_MARKET = "UNKNOWN_MARKET"
    UNKNOWN_METHOD = "UNKNOWN_METHOD"
    SIZE_CONFLICT = "SIZE_CONFLICT"
    SIZE_NOT_POSITIVE = "SIZE_NOT_POSITIVE"
    SIZE_TOO_SMALL = "SIZE_TOO_SMALL"
    SIZE_TOO_LARGE = "SIZE_TOO_LARGE"
    SIZE_TOO_PRECISE = "SIZE_TOO_PRECISE"
    PRICE_INVALID = "PRICE_INVALID"
    SIGNAL_TIME_AHEAD = "SIGNAL_TIME_AHEAD"
    # intake
    IDEMPOTENCY_MISMATCH = "IDEMPOTENCY_MISMATCH"
    KEY_CONFLICT = "KEY_CONFLICT"
    ORDER_NOT_FOUND = "ORDER_NOT_FOUND"
    ORDER_FINAL = "ORDER_FINAL"
    ORDER_NOT_IN_DOUBT = "ORDER_NOT_IN_DOUBT"
    RESOLUTION_CONTRADICTED = "RESOLUTION_CONTRADICTED"
    RESOLUTION_TOO_EARLY = "RESOLUTION_TOO_EARLY"
    METHOD_NOT_FOUND = "METHOD_NOT_FOUND"
    QUEUE_FULL = "QUEUE_FULL"
    DATABASE_BUSY = "DATABASE_BUSY"
    STORAGE_UNAVAILABLE = "STORAGE_UNAVAILABLE"
    SHUTTING_DOWN = "SHUTTING_DOWN"
    TRADING_HALTED = "TRADING_HALTED"
    RECONCILING = "RECONCILING"
    NOT_READY = "NOT_READY"
    TOO_MANY_STREAMS = "TOO_MANY_STREAMS"
    INTERNAL = "INTERNAL"
    # an order ended, waits, or an attempt died
    PRICE_LIMIT = "PRICE_LIMIT"
    PRICE_IMPACT = "PRICE_IMPACT"
    MID_PRICE_GAP = "MID_PRICE_GAP"
    SLIPPAGE_EXCEEDED = "SLIPPAGE_EXCEEDED"
    INSUFFICIENT_FUNDS = "INSUFFICIENT_FUNDS"
    INSUFFICIENT_LIQUIDITY = "INSUFFICIENT_LIQUIDITY"
    FUNDS_RESERVED = "FUNDS_RESERVED"
    MARKET_CLOSED = "MARKET_CLOSED"
    POOL_INVALID = "POOL_INVALID"
    PROGRAM_ERROR = "PROGRAM_ERROR"
    SIMULATION_MISMATCH = "SIMULATION_MISMATCH"
    FEE_CAP_EXCEEDED = "FEE_CAP_EXCEEDED"
    TIPS_TOO_MANY = "TIPS_TOO_MANY"
    SIGNAL_STALE = "SIGNAL_STALE"
    ORDER_TIMEOUT = "ORDER_TIMEOUT"
    RETRIES_EXHAUSTED = "RETRIES_EXHAUSTED"
    ATTEMPT_EXPIRED = "ATTEMPT_EXPIRED"
    CANCEL_REQUESTED = "CANCEL_REQUESTED"
    FILL_REVERTED = "FILL_REVERTED"
    RESOLVED_BY_OPERATOR = "RESOLVED_BY_OPERATOR"
    ALREADY_EXECUTED = "ALREADY_EXECUTED"
    # passing troubles: the order backs off and goes on
    CHAIN_UNAVAILABLE = "CHAIN_UNAVAILABLE"
    METHODS_UNAVAILABLE = "METHODS_UNAVAILABLE"
    IN_SEQUENCE = "IN_SEQUENCE"
    PASS_TIMED_OUT = "PASS_TIMED_OUT"  # noqa: S105 - a reason, no password
    INTERNAL_ERROR = "INTERNAL_ERROR"


class Synergy7Error(Exception):
    """Base of every error of ours: a stable code, what was wrong, what to do."""

    def __init__(
        self, code: ReasonCode, what: str, *, todo: str = "", field: str | None = None
    ) -> None:
        """Keep the parts; `field` names the offending input field, never its value."""
        super().__init__(f"{code}: {what}" + (f"; {todo}" if todo else ""))
        self.code = code
        self.what = what
        self.todo = todo
        self.field = field


class SignalError(Synergy7Error):
    """The input is no valid signal; nothing is stored."""


class IntakeError(Synergy7Error):
    """A valid signal was not taken in (keys, full queue, storage); `retryable`: later may help."""

    def __init__(
        self, code: ReasonCode, what: str, *, todo: str = "", retryable: bool = False
    ) -> None:
        """Keep the parts."""
        super().__init__(code, what, todo=todo)
        self.retryable = retryable


class NotFoundError(Synergy7Error):
    """What was asked for is not there."""


class ResolutionError(Synergy7Error):
    """An order in doubt is not resolved as an operator asked; nothing was changed."""


class RefusedError(Synergy7Error):
    """The order cannot be executed and trying again would not change that: it ends `failed`."""


class TransientError(Synergy7Error):
    """Something passing stands in the way of signing: the order backs off until its deadline."""


class IllegalMoveError(Exception):
    """A status move that the transition table does not know: a defect, never an input."""


class StartupError(Exception):
    """The service cannot start as it is configured; one line says why and what to do."""

    def __init__(self, code: str, what: str, todo: str) -> None:
        """Keep the parts; `str()` is `CODE: what; what to do`."""
        super().__init__(f"{code}: {what}; {todo}")
        self.code = code
        self.what = what
        self.todo = todo
