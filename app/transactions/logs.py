"""A transaction's log: who wrote which event, and which program failed.

Lines as Agave's `stable_log` writes them. A program can put any text behind `Program log: ` and any
bytes behind `Program data: `; the frame lines (`invoke`, `success`, `failed`) are the runtime's own.
"""

import base64
import binascii
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

TRUNCATED: Final = "Log truncated"
"""What the runtime writes instead of the lines beyond its limit."""
_FRAME = re.compile(
    r"Program (?P<program>[1-9A-HJ-NP-Za-km-z]{32,44}) "
    r"(?:(?P<invoke>invoke \[\d+\])|(?P<success>success)|failed: (?P<failed>.*))",
    re.DOTALL,
)
_CUSTOM = re.compile(r"custom program error: 0x(?P<code>[0-9a-fA-F]{1,8})")


@dataclass(frozen=True, slots=True)
class Failure:
    """The innermost failure: the program, its words, and its custom code if it gave one."""

    program: str
    words: str
    code: int | None


def truncated(logs: Sequence[str]) -> bool:
    """Tell whether lines are missing."""
    return TRUNCATED in logs


def events(logs: Sequence[str], program: str, line_begins: str) -> Iterator[bytes]:
    """Yield the events that `program` itself wrote, never those of programs it called or was called by.

    `line_begins` is what its event lines begin with, before the base64.
    """
    stack: list[str] = []
    for line in logs:
        frame = _FRAME.fullmatch(line)
        if frame is not None:
            _step(stack, frame)
        elif line.startswith(line_begins) and stack and stack[-1] == program:
            yield from _payloads(line.removeprefix(line_begins))


def _step(stack: list[str], frame: re.Match[str]) -> None:
    if frame["invoke"]:
        stack.append(frame["program"])
    elif stack:
        stack.pop()


def _payloads(fields: str) -> Iterator[bytes]:
    for field in fields.split(" "):
        try:
            yield base64.b64decode(field, validate=True)
        except binascii.Error:
            continue


def failure(logs: Sequence[str]) -> Failure | None:
    """Give the innermost failure: the first that was logged, as failures pass outwards."""
    for line in logs:
        frame = _FRAME.fullmatch(line)
        if frame is not None and frame["failed"] is not None:
            custom = _CUSTOM.fullmatch(frame["failed"])
            code = None if custom is None else int(custom["code"], 16)
            return Failure(frame["program"], frame["failed"], code)
    return None
