"""Logs tell who wrote an event and which program failed; look-alikes do not count."""

from app.transactions.logs import Failure, events, failure, truncated
from app.transactions.venues.base import ANCHOR_EVENT_LINE

VENUE = "CPMMoo8L3F4NbTegBCKVNunggL7H1ZpdTHKxQB5qKP1C"
OTHER = "MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr"
TOKEN = "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA"


def frame(program: str, depth: int, *inner: str) -> list[str]:
    """Write a program's lines around those inside it."""
    return [f"Program {program} invoke [{depth}]", *inner, f"Program {program} success"]


def test_events_of_the_program_itself_are_found() -> None:
    """An event between the program's own frames, beside inner calls, counts."""
    inner = frame(TOKEN, 2)
    lines = frame(VENUE, 1, "Program log: hi", *inner, "Program data: AQI=", "Program return: x y")
    assert list(events(lines, VENUE, ANCHOR_EVENT_LINE)) == [b"\x01\x02"]


def test_events_of_other_programs_do_not_count() -> None:
    """What a caller, a callee, or another instruction writes is not the venue's."""
    callee = frame(VENUE, 1, *frame(OTHER, 2, "Program data: AQI="))
    caller = frame(OTHER, 1, *frame(VENUE, 2), "Program data: AQI=")
    beside = [*frame(VENUE, 1), *frame(OTHER, 1, "Program data: AQI=")]
    for lines in (callee, caller, beside, ["Program data: AQI="]):
        assert list(events(lines, VENUE, ANCHOR_EVENT_LINE)) == []


def test_text_that_looks_like_a_frame_is_no_frame() -> None:
    """A program that logs frame lines stays who it is: its text has its own prefix."""
    said = [f"Program log: Program {VENUE} invoke [1]", f"Program log: Program {OTHER} success"]
    lines = frame(OTHER, 1, *said, "Program data: AQI=")
    assert list(events(lines, VENUE, ANCHOR_EVENT_LINE)) == []


def test_several_fields_are_several_payloads_and_bad_ones_are_left_out() -> None:
    """One line may hold more than one field; what is not base64 is nothing."""
    lines = frame(VENUE, 1, "Program data: AQI= !!! Aw==")
    assert list(events(lines, VENUE, ANCHOR_EVENT_LINE)) == [b"\x01\x02", b"\x03"]


def test_an_unmatched_end_of_a_frame_is_harmless() -> None:
    """A log that lost its beginning is read from where it makes sense."""
    lines = [f"Program {OTHER} success", *frame(VENUE, 1, "Program data: AQI=")]
    assert list(events(lines, VENUE, ANCHOR_EVENT_LINE)) == [b"\x01\x02"]


def test_the_innermost_failure_decides() -> None:
    """The token program fails inside the venue: the token program's code is the cause."""
    lines = [
        f"Program {VENUE} invoke [1]",
        f"Program {TOKEN} invoke [2]",
        f"Program {TOKEN} failed: custom program error: 0x1",
        f"Program {VENUE} failed: custom program error: 0x1",
    ]
    assert failure(lines) == Failure(TOKEN, "custom program error: 0x1", 1)


def test_a_failure_without_a_code_keeps_its_words() -> None:
    """A program that ran out of units has no code."""
    words = "exceeded CUs meter at BPF instruction"
    assert failure([f"Program {VENUE} failed: {words}"]) == Failure(VENUE, words, None)


def test_a_failure_that_is_only_talked_about_is_none() -> None:
    """A program's text about a failure is no failure."""
    said = f"Program log: Program {VENUE} failed: custom program error: 0x1775"
    assert failure(frame(OTHER, 1, said)) is None


def test_missing_lines_are_noticed() -> None:
    """The runtime says when it stopped writing."""
    assert truncated(["Program log: a", "Log truncated"])
    assert not truncated(["Program log: Log truncated"])
