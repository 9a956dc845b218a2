"""What an order's document says of times and pushes."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

Json = dict[str, Any]

NOT_SENT = "not_sent"
HAVE_IT = ("accepted", "already")
"""Outcomes after which a method has the bytes, or says that they have landed."""


def unix_seconds(text: str) -> float:
    """Read a document's time."""
    return datetime.fromisoformat(text).timestamp()


def pushes(document: Json) -> Iterator[Json]:
    """Give every submission of every attempt."""
    for attempt in document["attempts"]:
        yield from attempt["submissions"]


def first_byte_ms(document: Json) -> float:
    """Give the time from acceptance to the first push, by the service's own clock."""
    return _since_accepted_ms(document, min(_first_sent(document).values()))


def all_sent_ms(document: Json) -> float:
    """Give the time from acceptance until the bytes had left through every method that got them."""
    return _since_accepted_ms(document, max(_first_sent(document).values()))


def filled_ms(document: Json) -> float:
    """Give the time from acceptance to the fill."""
    return _since_accepted_ms(document, unix_seconds(document["filled_at"]))


def holders(document: Json) -> int:
    """Count the methods that took an order's bytes, or said that they had landed already."""
    return len({push["method"] for push in pushes(document) if push["outcome"] in HAVE_IT})


def accepted_by(document: Json, method: str) -> bool:
    """Tell whether a method has taken the bytes."""
    return any(
        push["method"] == method and push["outcome"] == "accepted" for push in pushes(document)
    )


def _since_accepted_ms(document: Json, at: float) -> float:
    return 1_000 * (at - unix_seconds(document["accepted_at"]))


def _first_sent(document: Json) -> dict[str, float]:
    """Give by method when the bytes left through it first, in Unix seconds; what sent nothing counts not."""
    first: dict[str, float] = {}
    for push in pushes(document):
        if push["outcome"] != NOT_SENT:
            sent_at = unix_seconds(push["sent_at"])
            first[push["method"]] = min(first.get(push["method"], sent_at), sent_at)
    return first
