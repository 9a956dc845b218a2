"""The four methods in front of a chain: the doors they knock at, and what its journal says of them."""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.harness import free_port
from tests.integration.chain import Chain
from tests.integration.kit import SELL, Json, answer, until

METHODS: Final = ("bundle", "jito", "quicknode", "rpc")
UNPACED: Final[Mapping[str, object]] = {"methods.block_engine.requests_per_second": 0}
"""For a chain without Jito's limit of one request a second."""
TRANSACTION: Final = {
    "encoding": "base64",
    "commitment": "confirmed",
    "maxSupportedTransactionVersion": 0,
}


@dataclass(frozen=True)
class Door:
    """Where a method's pushes arrive: the sandbox's endpoint, and what it is asked there."""

    endpoint: str
    rpc_method: str
    path: str


DOORS: Final[Mapping[str, Door]] = {
    "bundle": Door("jito", "sendBundle", "/api/v1/bundles"),
    "jito": Door("jito", "sendTransaction", "/api/v1/transactions"),
    "quicknode": Door("quicknode", "sendTransaction", "/"),
    "rpc": Door("rpc", "sendTransaction", "/"),
}
_METHODS: Final = {
    **{door: method for method, door in DOORS.items()},
    Door("quicknode", "sendBundle", "/"): "quicknode",
}


@dataclass(frozen=True)
class Push:
    """One push as the chain's journal has it."""

    method: str
    signature: str
    sha256: str
    port: int
    region: str
    """What stood in the path before the block engine's own; empty for its global address."""
    time: float
    http: int | None
    faults: tuple[str, ...]


def url_of(chain: Chain, method: str) -> str:
    """Give the address that a method's pushes go to."""
    urls = {"jito": chain.jito_url, "quicknode": chain.quicknode_url, "rpc": chain.rpc_url}
    return urls[DOORS[method].endpoint]


def port_of(chain: Chain, method: str) -> int:
    """Give the port that a method's pushes go to."""
    port = urlsplit(url_of(chain, method)).port
    assert port is not None
    return port


def mark(chain: Chain) -> int:
    """Give the number of the journal's newest entry."""
    entries = chain.journal()
    return int(entries[-1]["n"]) if entries else 0


def pushes(chain: Chain, after: int = 0) -> list[Push]:
    """List every push of bytes that the chain's endpoints were asked for, oldest first."""
    return list(_pushes(chain.journal(after)))


def _pushes(entries: list[dict[str, Any]]) -> Iterator[Push]:
    for entry in entries:
        if entry["rpc_method"] in ("sendTransaction", "sendBundle"):
            region, slash, path = entry["path"].partition("/api/")
            door = Door(entry["endpoint"], entry["rpc_method"], slash + path or region)
            method = _METHODS[door]
            yield Push(
                method=method,
                signature=entry["signature"],
                sha256=entry["sha256"],
                port=entry["port"],
                region=region,
                time=entry["time"],
                http=entry["http"],
                faults=tuple(entry["faults"]),
            )


def pushes_of(chain: Chain, order: Json) -> list[Push]:
    """List the pushes of an order's attempts."""
    signatures = {attempt["signature"] for attempt in order["attempts"]}
    return [push for push in pushes(chain) if push.signature in signatures]


def landed_sha256(chain: Chain, signature: str) -> str:
    """Hash the bytes that the chain has of a signature."""
    found = chain.rpc("getTransaction", signature, TRANSACTION)
    return hashlib.sha256(base64.b64decode(found["transaction"][0])).hexdigest()


def spoil(chain: Chain, method: str, kind: str, **fields: object) -> None:
    """Script trouble for the pushes of one method, until it is cleared (`count` says otherwise)."""
    door = DOORS[method]
    if kind == "down":
        chain.control("POST", "faults", {"kind": kind, "endpoint": door.endpoint, **fields})
    else:
        chain.fault(kind, door.rpc_method, endpoint=door.endpoint, **fields)


async def posted(client: httpx.AsyncClient, name: str, *methods: str, **more: object) -> str:
    """Post a signal that must be accepted, with all methods unless named; gives the order's id."""
    signal = {**SELL, "client_order_id": name, **more}
    if methods:
        signal["methods"] = methods
    response = await client.post("/signals", json=signal)
    assert response.status_code == httpx.codes.ACCEPTED, response.text
    return str(response.json()["order_id"])


async def over(client: httpx.AsyncClient, order_id: str, status: str = "filled") -> Json:
    """Wait for an order's end, which must be this one; gives its document."""
    _, order = await answer(client, f"/orders/{order_id}?wait=30")
    assert order["status"] == status, order
    return order


def executed_once(chain: Chain, order: Json) -> None:
    """Claim that an order filled with one execution, told as the chain has it, by bytes that were pushed."""
    assert order["status"] == "filled", order
    assert chain.executions(order["order_id"]) == [1]
    assert chain.differences(order) == []
    signature = order["attempts"][-1]["signature"]
    sent = {push.sha256 for push in pushes_of(chain, order) if push.signature == signature}
    assert sent == {landed_sha256(chain, signature)}


def told(order: Json) -> list[tuple[str, str, str]]:
    """Give method, outcome and reason of an order's submissions, oldest first."""
    return [
        (each["method"], each["outcome"], each["reason"])
        for attempt in order["attempts"]
        for each in attempt["submissions"]
    ]


async def figure(client: httpx.AsyncClient, sample: str, **labels: str) -> float:
    """Scrape one sample of ours."""
    text = (await client.get("/metrics")).text
    (value,) = (
        each.value
        for family in text_string_to_metric_families(text)
        for each in family.samples
        if each.name == f"synergy7_{sample}" and each.labels == labels
    )
    return float(value)


async def state(client: httpx.AsyncClient, method: str) -> Json:
    """Give a method's state as `/status` shows it."""
    _, shown = await answer(client, "/status")
    (found,) = (each for each in shown["methods"] if each["name"] == method)
    method_state: Json = found
    return method_state


async def events(client: httpx.AsyncClient, kind: str, order_id: str | None = None) -> list[Json]:
    """List the events of a kind in the audit trail, of one order or of all."""
    path = f"/orders/{order_id}/events" if order_id else "/events"
    found: list[Json] = []
    after = 0
    while True:
        _, page = await answer(client, f"{path}?limit=1000&after={after}")
        if not page["events"]:
            return found
        found += [each for each in page["events"] if each["kind"] == kind]
        after = page["next_after"]


async def has_events(
    client: httpx.AsyncClient, kind: str, count: int = 1, order_id: str | None = None
) -> list[Json]:
    """Wait until the audit trail has so many events of a kind; gives them."""

    async def enough() -> bool:
        return len(await events(client, kind, order_id)) >= count

    await until(f"{count} of {kind} are sealed", enough)
    return await events(client, kind, order_id)


class Relay:
    """A port of its own in front of a node: refuses connections except while it is opened."""

    def __init__(self, url: str) -> None:
        """`url` is where that leads which comes to the port."""
        self._to = urlsplit(url)
        self._port = free_port()
        self._writers: list[asyncio.StreamWriter] = []

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self._port}"

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Carry what comes, until every connection is cut at the end."""
        server = await asyncio.start_server(self._carry, "127.0.0.1", self._port)
        try:
            yield
        finally:
            server.close()
            for writer in self._writers:
                writer.transport.abort()
            self._writers.clear()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self._to.hostname, self._to.port)
        self._writers += [writer, back]
        await asyncio.gather(_pump(reader, back), _pump(there, writer), return_exceptions=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    writer.close()
