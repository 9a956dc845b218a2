"""The audit trail in pages, and as a stream."""

import asyncio

import pytest

from app.api.endpoint import Call
from app.api.streams import EventStream
from app.api.waits import Long
from app.domain.events import GENESIS_HASH, Event, EventKind, verify_chain
from app.domain.signal import parse_time
from tests.api.kit import NOBODY, Json, Reader, Running, events_of

FILLED = [
    "order.accepted",
    "order.executing",
    "attempt.signed",
    "attempt.submitted",
    "order.filled",
    "order.finalized",
]


def kinds(events: list[Json]) -> list[str]:
    """Give what happened."""
    return [event["kind"] for event in events]


@pytest.mark.anyio
async def test_the_trail_is_read_in_pages_and_its_chain_can_be_verified(api: Running) -> None:
    """From the documents alone the hashes are recomputed, from the first event on."""
    await api.new_order()
    await api.fill(1)
    await api.new_order()
    await api.fill(2)
    events: list[Json] = []
    after = 0
    while True:
        page = await api.get("/events", after=after, limit=5)
        if not page["events"]:
            break
        events += page["events"]
        after = page["next_after"]
    assert [event["position"] for event in events] == list(range(1, len(events) + 1))
    assert page["next_after"] == after == len(events)
    assert kinds(events) == FILLED * 2
    assert verify_chain([_event(event) for event in events], GENESIS_HASH) is None


def _event(document: Json) -> Event:
    at_us = parse_time(document["at"])
    assert at_us is not None
    return Event(
        order_id=document["order_id"],
        seq=document["seq"],
        at_us=at_us,
        kind=EventKind(document["kind"]),
        data=document["data"],
        position=document["position"],
        hash=document["hash"],
    )


@pytest.mark.anyio
async def test_the_trail_of_one_order_holds_only_that_order(api: Running) -> None:
    """In the order in which it happened."""
    first, _ = await api.new_order(), await api.new_order()
    await api.fill(1)
    await api.fill(2)
    page = await api.get(f"/orders/{first}/events")
    assert kinds(page["events"]) == FILLED
    assert {event["order_id"] for event in page["events"]} == {first}
    assert [event["seq"] for event in page["events"]] == [1, 2, 3, 4, 5, 6]


@pytest.mark.anyio
@pytest.mark.parametrize("query", ["after=-1", "after=x", "limit=0", "limit=1001", "afer=1"])
async def test_a_page_refuses_what_it_does_not_understand(api: Running, query: str) -> None:
    """As every list does."""
    answer = await api.client.get(f"/events?{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, "INVALID_PARAMETER")


@pytest.mark.anyio
async def test_a_stream_tells_what_was_and_then_what_happens(api: Running) -> None:
    """First the past, then each event as it is sealed; the id is its position."""
    await api.new_order()
    await api.seal()
    reader = Reader(api.app, "/events").open()
    assert await reader.started() == 200
    assert await reader.text() == ": open\n\n"
    text = await reader.text()
    assert text.startswith("id: 1\nevent: order.accepted\ndata: {")
    assert text.endswith("\n\n")
    await api.fill()
    told = events_of(await reader.text())
    assert kinds(told) == FILLED[1:]
    await reader.gone()


@pytest.mark.anyio
async def test_a_reader_that_comes_back_goes_on_where_it_was(api: Running) -> None:
    """Last-Event-ID counts more than `after`, and nothing is told twice."""
    order_id = await api.new_order()
    await api.fill()
    reader = Reader(api.app, f"/orders/{order_id}/events?after=1", last_event_id="4").open()
    assert await reader.started() == 200
    await reader.text()
    assert kinds(events_of(await reader.text())) == FILLED[4:]
    await reader.gone()


@pytest.mark.anyio
async def test_a_stream_of_one_order_stays_silent_about_others(api: Running) -> None:
    """And does not read the database without end while others' events pass by."""
    order_id = await api.new_order()
    await api.seal()
    reader = Reader(api.app, f"/orders/{order_id}/events").open()
    assert await reader.started() == 200
    await reader.text()
    assert kinds(events_of(await reader.text())) == FILLED[:1]
    await api.new_order()
    await api.seal()
    await api.client.post(f"/orders/{order_id}/cancel")
    await api.seal()
    (told,) = events_of(await reader.text())
    assert told["order_id"] == order_id
    await reader.gone()


@pytest.mark.anyio
async def test_a_stream_asks_for_a_known_order_and_a_sensible_id(api: Running) -> None:
    """Refused before the stream begins."""
    for path, header, status in [
        (f"/orders/{NOBODY}/events", "1", 404),
        ("/events", "x", 422),
        ("/events", "-1", 422),
        ("/events?limit=0", "1", 422),
    ]:
        reader = Reader(api.app, path, last_event_id=header).open()
        assert await reader.started() == status
        await reader.ended()


@pytest.mark.anyio
async def test_streams_are_counted_and_their_places_given_back(api: Running) -> None:
    """The third of two is refused with 503; when one goes, another may come."""
    readers = [Reader(api.app, "/events").open() for _ in range(2)]
    assert [await reader.started() for reader in readers] == [200, 200]
    refused = Reader(api.app, "/events").open()
    assert await refused.started() == 503
    assert "TOO_MANY_STREAMS" in await refused.text()
    await readers.pop().gone()
    readers.append(Reader(api.app, "/events").open())
    assert await readers[-1].started() == 200
    for reader in readers:
        await reader.gone()


@pytest.mark.anyio
async def test_a_stopping_service_ends_its_streams_and_begins_none(api: Running) -> None:
    """Ended properly: the reader sees the end, not a broken connection."""
    reader = Reader(api.app, "/events").open()
    assert await reader.started() == 200
    await reader.text()
    api.long_answers.close()
    await reader.ended()
    assert reader.left()[-1] == {"type": "http.response.body", "body": b""}
    late = Reader(api.app, "/events").open()
    assert await late.started() == 503
    assert "SHUTTING_DOWN" in await late.text()


@pytest.mark.anyio
async def test_head_of_a_stream_is_its_head(api: Running) -> None:
    """No stream is opened for it."""
    answer = await api.client.head("/events", headers={"accept": "text/event-stream"})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")


def stream(api: Running, reader: Reader) -> EventStream:
    """Make a stream of no patience."""
    call = Call(reader.scope, reader.receive, lambda: api.service, api.long_answers)
    return EventStream(call, None, 0, keep_alive_seconds=0.01, slow_seconds=0.05, pace_seconds=0.01)


@pytest.mark.anyio
async def test_silence_is_broken_by_comments(api: Running) -> None:
    """So that proxies and readers know that the stream is alive."""
    reader = Reader(api.app)
    running = asyncio.create_task(stream(api, reader).send(reader.send, head=False))
    await reader.started()
    assert [await reader.text() for _ in range(3)] == [": open\n\n", ": alive\n\n", ": alive\n\n"]
    reader.go()
    await running


@pytest.mark.anyio
async def test_a_slow_reader_is_closed(api: Running) -> None:
    """It holds no place for ever: left unfinished, the connection is closed by the server."""
    reader = Reader(api.app)
    running = asyncio.create_task(stream(api, reader).send(reader.send, head=False))
    await reader.started()
    reader.takes.clear()
    async with asyncio.timeout(10):
        await running
    assert {"type": "http.response.body", "body": b""} not in reader.left()
    assert api.long_answers.count(Long.STREAM) == 0


@pytest.mark.anyio
async def test_a_stream_ends_when_the_database_does(api: Running) -> None:
    """The reader comes back later; nothing is told in its place."""
    reader = Reader(api.app)
    unopened = stream(api, reader)
    api.service = None
    await unopened.send(reader.send, head=False)
    assert await reader.started() == 200
    assert await reader.text() == ""
