"""The interface behind a real server, as plain clients see it."""

import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.live import served

SIGNAL = b'{"action":"SELL","market":"SOL-USDC","size":0.01,"price":180.0,"confidence":0.8}'
JSON = {"Content-Type": "application/json"}
TEN_MB = 10_000_000


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Host and port of a running service whose orders are filled at once."""
    with served(tmp_path) as url:
        yield url.removeprefix("http://")


def ask(address: str, method: str, path: str, body: bytes | None = None) -> tuple[int, str]:
    """Send one request as http.client does: everything, and only then read."""
    connection = http.client.HTTPConnection(address, timeout=20)
    connection.request(method, path, body, JSON)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def test_a_plain_client_sees_the_refusal_of_ten_megabytes(address: str) -> None:
    """It sends all of it before it reads, and still gets the answer instead of a broken pipe."""
    body = b'{"action":"' + b"x" * TEN_MB + b'"}'
    status, text = ask(address, "POST", "/signals", body)
    assert (status, json.loads(text)["code"]) == (413, "BODY_TOO_LARGE")


def test_a_chunked_body_has_the_same_bound(address: str) -> None:
    """Without a declared length, too."""
    connection = http.client.HTTPConnection(address, timeout=20)
    chunks = iter([b"x" * 65_536] * 160)
    connection.request("POST", "/signals", chunks, JSON, encode_chunked=True)
    answer = connection.getresponse()
    assert (answer.status, answer.getheader("connection")) == (413, "close")
    connection.close()


def test_a_declared_length_beyond_any_sense_is_refused_unread(address: str) -> None:
    """Nobody has to send 100 GB to learn that it is too much."""
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        head = "POST /signals HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        connection.sendall(f"{head}Content-Length: 100000000000\r\n\r\n{{".encode())
        assert connection.recv(65_536).startswith(b"HTTP/1.1 413 ")


def test_a_signal_is_filled_while_its_sender_waits(address: str) -> None:
    """POST, then one GET that answers at the end."""
    status, text = ask(address, "POST", "/signals", SIGNAL)
    assert status == 202
    status, text = ask(address, "GET", f"/orders/{json.loads(text)['order_id']}?wait=30")
    assert (status, json.loads(text)["status"]) == (200, "filled")


def test_one_connection_serves_many_requests(address: str) -> None:
    """HEAD, errors and empty answers leave it in step."""
    connection = http.client.HTTPConnection(address, timeout=20)
    socket_before = None
    for method, path, status in [
        ("HEAD", "/orders", 200),
        ("GET", "/nothing", 404),
        ("HEAD", "/nothing", 404),
        ("OPTIONS", "/signals", 204),
        ("DELETE", "/orders", 405),
        ("POST", "/orders/cancel", 200),
        ("GET", "/docs/swagger-ui.css", 200),
        ("GET", "/healthz", 200),
    ]:
        connection.request(method, path)
        assert socket_before in (None, connection.sock)
        socket_before = connection.sock
        answer = connection.getresponse()
        assert answer.status == status
        answer.read()
    connection.close()


def test_a_stream_reaches_its_reader_as_things_happen(address: str) -> None:
    """Line by line, over HTTP; the service goes on when the reader is gone."""
    connection = http.client.HTTPConnection(address, timeout=20)
    connection.request("GET", "/events", headers={"Accept": "text/event-stream"})
    answer = connection.getresponse()
    assert answer.readline() == b": open\n"
    ask(address, "POST", "/signals", SIGNAL)
    lines = iter(answer.readline, b"")
    ids = (line for line in lines if line.startswith(b"id: "))
    assert [next(ids) for _ in range(6)] == [b"id: %d\n" % position for position in range(1, 7)]
    connection.close()
    assert ask(address, "GET", "/healthz")[0] == 200
