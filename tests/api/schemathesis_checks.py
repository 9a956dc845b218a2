"""What Schemathesis checks besides its own: a well-formed signal is refused only by a rule."""

from typing import Any

import schemathesis
from schemathesis import Case, CheckContext, Response

RULES = frozenset(
    {
        "IDEMPOTENCY_MISMATCH",
        "KEY_CONFLICT",
        "SIGNAL_STALE",
        "SIGNAL_TIME_AHEAD",
        "SIZE_TOO_LARGE",
        "SIZE_TOO_PRECISE",
        "SIZE_TOO_SMALL",
        # digits are not counted by schemas
        "INVALID_NUMBER",
    }
)
# Metadata's size and depth are no schema's, nor is which day a month has.
FIELDS = frozenset({"metadata", "signal_time"})


@schemathesis.check
def refused_only_by_rules(_context: CheckContext, response: Response, case: Case[Any]) -> None:
    """A signal that the schema allows is refused for nothing that the schema could have said."""
    meta = case.meta
    if case.operation.label != "POST /signals" or response.status_code != 422 or meta is None:
        return
    if meta.generation.mode.is_positive:
        problem = response.json()
        allowed = problem["code"] in RULES or problem.get("field") in FIELDS
        assert allowed, f"a well-formed signal was refused: {problem}"
