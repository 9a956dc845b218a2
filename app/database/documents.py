"""JSON and text as the database keeps them: canonical, and always storable."""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from app.domain.money import decimal_string


def clean(text: str) -> str:
    """Give a text that both databases can hold: no NUL, no lone surrogate."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


def dump(value: object) -> str:
    """Write canonical JSON; what a program error brings along is written as well as it can be."""
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_plain
    )
    return text.encode("utf-8", "replace").decode()


def dump_optional(value: object | None) -> str | None:
    """Write canonical JSON, or NULL for None."""
    return None if value is None else dump(value)


def load(text: str) -> Any:  # noqa: ANN401 - what JSON holds, checked by whoever reads it
    """Read what `dump` wrote."""
    return json.loads(text)


def decimal_text(value: Decimal | None) -> str | None:
    """Write a decimal for the database, exactly."""
    return None if value is None else decimal_string(value)


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    return decimal_string(value) if isinstance(value, Decimal) else str(value)
