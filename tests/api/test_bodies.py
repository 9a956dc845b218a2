"""Bodies: read within bounds, decoded strictly and exactly."""

import contextlib
from collections.abc import Iterator
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message

from app.api.bodies import BODY_BYTES_MAX, DROPPED_BYTES_MAX, parse_json, read_body
from app.api.problems import Problem
from app.domain.errors import ReasonCode

GOOD: list[tuple[bytes, object]] = [
    (b'{"size":0.1}', {"size": Decimal("0.1")}),
    (b"0.1000000000000000055511151231257827", Decimal("0.1000000000000000055511151231257827")),
    (b"1e3", Decimal("1e3")),
    (b"-7", -7),
    (b" [true, null] ", [True, None]),
    (b'"\\ud83d\\ude00"', "\U0001f600"),
    ('"\u00e9"'.encode(), "\u00e9"),
]
BAD = [
    (b"", ReasonCode.MALFORMED_JSON),
    (b"{", ReasonCode.MALFORMED_JSON),
    (b"{} {}", ReasonCode.MALFORMED_JSON),
    (b"{'a':1}", ReasonCode.MALFORMED_JSON),
    (b'{"a":1,}', ReasonCode.MALFORMED_JSON),
    (b'{"a":1,"a":1}', ReasonCode.MALFORMED_JSON),
    (b'"\x01"', ReasonCode.MALFORMED_JSON),
    (b"\xff", ReasonCode.MALFORMED_JSON),
    (b'"\xed\xa0\x80"', ReasonCode.MALFORMED_JSON),
    (b"\xef\xbb\xbf{}", ReasonCode.MALFORMED_JSON),
    ("{}".encode("utf-16"), ReasonCode.MALFORMED_JSON),
    (b"[" * 500_000, ReasonCode.MALFORMED_JSON),
    (b'{"a":' * 200_000, ReasonCode.MALFORMED_JSON),
    (b"NaN", ReasonCode.INVALID_NUMBER),
    (b'{"size":-Infinity}', ReasonCode.INVALID_NUMBER),
    (b"9" * 129, ReasonCode.INVALID_NUMBER),
    (b"9" * 1_000_000, ReasonCode.INVALID_NUMBER),
    (b"0." + b"1" * 200, ReasonCode.INVALID_NUMBER),
    (b"1e999999999", ReasonCode.INVALID_NUMBER),
    (b"1e-999999999", ReasonCode.INVALID_NUMBER),
    (b"1e99999999999999999999", ReasonCode.INVALID_NUMBER),
    (b'{"metadata":{"deep":[0e129]}}', ReasonCode.INVALID_NUMBER),
]


class Upload:
    """A client that sends a body in chunks, and maybe goes away before its end."""

    def __init__(self, *chunks: bytes, complete: bool = True) -> None:
        self._messages = self._script(chunks, complete=complete)
        self.taken = 0

    @staticmethod
    def _script(chunks: tuple[bytes, ...], *, complete: bool) -> Iterator[Message]:
        last = len(chunks) - 1
        for number, chunk in enumerate(chunks):
            more = number < last or not complete
            yield {"type": "http.request", "body": chunk, "more_body": more}
        while True:
            yield {"type": "http.disconnect"}

    async def receive(self) -> Message:
        message = next(self._messages)
        self.taken += len(message.get("body", b""))
        return message


@pytest.mark.parametrize(("body", "document"), GOOD)
def test_json_is_decoded_exactly(body: bytes, document: object) -> None:
    """Numbers keep every digit; texts keep every character."""
    decoded = parse_json(body)
    assert decoded == document
    assert repr(decoded) == repr(document)


@pytest.mark.parametrize(("body", "code"), BAD, ids=lambda value: str(value)[:24])
def test_what_is_no_strict_json_is_a_problem_with_its_code(body: bytes, code: ReasonCode) -> None:
    """Each has its code, and none of it is echoed."""
    with pytest.raises(Problem) as caught:
        parse_json(body)
    assert caught.value.code is code


@given(st.binary(max_size=200))
def test_no_bytes_at_all_raise_anything_but_a_problem(body: bytes) -> None:
    """Whatever arrives is decoded or refused."""
    with contextlib.suppress(Problem):
        parse_json(body)


@pytest.mark.anyio
async def test_a_body_is_put_together_from_its_chunks() -> None:
    """Nothing is lost or doubled; one chunk is as good as three."""
    assert await read_body(Upload(b"abc").receive, 3) == b"abc"
    assert await read_body(Upload(b"a", b"", b"bc").receive, None) == b"abc"
    exactly = b"x" * BODY_BYTES_MAX
    assert await read_body(Upload(exactly).receive, None) == exactly
    assert await read_body(Upload(exactly[:-1], b"x").receive, len(exactly)) == exactly


@pytest.mark.anyio
@pytest.mark.parametrize("sent", [BODY_BYTES_MAX + 1, 10 << 20])
async def test_a_body_that_is_too_large_is_read_to_its_end_before_the_answer(sent: int) -> None:
    """A plain client, which sends everything before it reads, sees the answer."""
    chunk = b"x" * 65_536
    upload = Upload(*[chunk] * (sent // len(chunk)), b"x" * (sent % len(chunk)))
    with pytest.raises(Problem) as caught:
        await read_body(upload.receive, sent)
    assert caught.value.code is ReasonCode.BODY_TOO_LARGE
    assert upload.taken == sent
    assert dict(caught.value.headers)[b"connection"] == b"close"


@pytest.mark.anyio
async def test_one_chunk_that_is_too_large_is_refused() -> None:
    """The bound holds however the server cuts the body."""
    with pytest.raises(Problem) as caught:
        await read_body(Upload(b"x" * (BODY_BYTES_MAX + 1)).receive, None)
    assert caught.value.code is ReasonCode.BODY_TOO_LARGE


@pytest.mark.anyio
async def test_a_body_without_end_is_not_read_for_ever() -> None:
    """Reading stops past 32 MiB; what declares more than that is not read at all."""
    chunk = b"x" * (1 << 20)
    endless = Upload(*[chunk] * 64)
    with pytest.raises(Problem):
        await read_body(endless.receive, None)
    assert endless.taken == DROPPED_BYTES_MAX + len(chunk)
    declared = Upload(*[chunk] * 64)
    with pytest.raises(Problem) as caught:
        await read_body(declared.receive, DROPPED_BYTES_MAX + 1)
    assert caught.value.code is ReasonCode.BODY_TOO_LARGE
    assert declared.taken == len(chunk)


@pytest.mark.anyio
@pytest.mark.parametrize("upload", [Upload(), Upload(b"{", complete=False)])
async def test_a_client_that_goes_away_is_not_waited_for(upload: Upload) -> None:
    """Half a body is no signal."""
    with pytest.raises(Problem) as caught:
        await read_body(upload.receive, None)
    assert caught.value.code is ReasonCode.BAD_REQUEST


@pytest.mark.anyio
async def test_a_body_that_does_not_arrive_is_given_up() -> None:
    """A client that stops sending holds nothing for ever."""

    async def stalled() -> Message:
        if not stalled_before:
            stalled_before.append(True)
            return {"type": "http.request", "body": b"{", "more_body": True}
        raise TimeoutError  # what the bound on the whole body raises

    stalled_before: list[bool] = []
    with pytest.raises(Problem) as caught:
        await read_body(stalled, None)
    assert caught.value.code is ReasonCode.BAD_REQUEST
    assert dict(caught.value.headers)[b"connection"] == b"close"
