"""The websocket interface: one notice for a signature, slots as they open."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio import wait_all_tasks_blocked

from app.sandbox.websocket import OUTBOX_MAX
from tests.sandbox.kit import Client, Desk, Json

SCOPE = {"type": "websocket", "path": "/", "server": ("127.0.0.1", 8900)}


class Socket:
    """A client's end of a connection."""

    def __init__(self) -> None:
        self._to_node: asyncio.Queue[Json] = asyncio.Queue()
        self._from_node: asyncio.Queue[Json] = asyncio.Queue()
        self.reads = asyncio.Event()
        self.reads.set()

    async def receive(self) -> Json:
        return await self._to_node.get()

    async def send(self, message: Any) -> None:
        await self.reads.wait()
        await self._from_node.put(dict(message))

    def put(self, message: Json) -> None:
        self._to_node.put_nowait(message)

    async def event(self) -> Json:
        """Wait for what the node does next."""
        with anyio.fail_after(5):
            return await self._from_node.get()

    async def read(self) -> Any:
        """Wait for the next message."""
        event = await self.event()
        assert event["type"] == "websocket.send", event
        return json.loads(event["text"])

    def say(self, text: str) -> None:
        self.put({"type": "websocket.receive", "text": text})

    async def ask(self, method: str, *params: object) -> Any:
        """Call a method; give the whole answer."""
        call = {"jsonrpc": "2.0", "id": 7, "method": method, "params": list(params)}
        self.say(json.dumps(call))
        return await self.read()

    async def nothing_comes(self) -> None:
        """Check that the node has nothing to say."""
        await wait_all_tasks_blocked()
        assert self._from_node.empty()


@asynccontextmanager
async def connected(client: Client) -> AsyncIterator[Socket]:
    """Open a connection, and close it at the end."""
    socket = Socket()
    socket.put({"type": "websocket.connect"})
    serving = asyncio.create_task(client.app.rpc(dict(SCOPE), socket.receive, socket.send))
    assert (await socket.event())["type"] == "websocket.accept"
    yield socket
    socket.put({"type": "websocket.disconnect"})
    with anyio.fail_after(5):
        await serving


@pytest.fixture
async def socket(client: Client) -> AsyncIterator[Socket]:
    """Give an open connection to that node."""
    async with connected(client) as socket:
        yield socket


@pytest.mark.parametrize(
    ("config", "steps"),
    [
        ([{"commitment": "processed"}], 0),
        ([{"commitment": "confirmed"}], 1),
        ([{"commitment": "finalized"}], 33),
        ([], 33),
    ],
)
async def test_a_signature_is_told_once_when_it_gets_there(
    client: Client, socket: Socket, config: list[Json], steps: int
) -> None:
    """Not before, and never again: the subscription is over with its notice."""
    payment = Desk(client.node).payment()
    subscription = (await socket.ask("signatureSubscribe", payment.signature, *config))["result"]
    client.node.land(payment)
    if steps:
        client.node.step(steps - 1)
        await socket.nothing_comes()
        client.node.step(1)
    notice = await socket.read()
    assert notice["method"] == "signatureNotification"
    assert notice["params"]["subscription"] == subscription
    assert notice["params"]["result"]["value"] == {"err": None}
    assert (
        notice["params"]["result"]["context"]["slot"]
        == client.node.chain.bank(config[0]["commitment"] if config else "finalized").slot
    )
    client.node.step(40)
    await socket.nothing_comes()
    assert (await socket.ask("signatureUnsubscribe", subscription))["error"]["code"] == -32602


async def test_a_signature_that_landed_before_is_told_at_once(
    client: Client, socket: Socket
) -> None:
    """After the answer, so that the client knows what it is about."""
    swap = Desk(client.node).swap(1_000, minimum_out=2**60)
    client.node.land(swap)
    client.node.step(1)
    confirmed = {"commitment": "confirmed"}
    answer = await socket.ask("signatureSubscribe", swap.signature, confirmed)
    notice = await socket.read()
    assert notice["params"]["subscription"] == answer["result"]
    assert notice["params"]["result"]["value"]["err"] == {"InstructionError": [0, {"Custom": 6005}]}


async def test_an_unsubscribed_signature_is_not_told(client: Client, socket: Socket) -> None:
    """Of two subscriptions to one signature the other is still told."""
    payment = Desk(client.node).payment()
    processed = {"commitment": "processed"}
    first = (await socket.ask("signatureSubscribe", payment.signature, processed))["result"]
    second = (await socket.ask("signatureSubscribe", payment.signature, processed))["result"]
    assert (await socket.ask("signatureUnsubscribe", first))["result"] is True
    client.node.land(payment)
    assert (await socket.read())["params"]["subscription"] == second
    await socket.nothing_comes()


async def test_slots_are_told_as_they_open(client: Client, socket: Socket) -> None:
    """With parent and root, until unsubscribed."""
    subscription = (await socket.ask("slotSubscribe"))["result"]
    parent = client.node.chain.open.slot
    client.node.step(1)
    notice = await socket.read()
    assert notice["method"] == "slotNotification"
    assert notice["params"]["result"] == {
        "slot": client.node.chain.open.slot,
        "parent": parent,
        "root": client.node.chain.bank("finalized").slot,
    }
    assert (await socket.ask("slotUnsubscribe", subscription))["result"] is True
    client.node.step(1)
    await socket.nothing_comes()


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{", -32600),
        ("[]", -32600),
        ('{"jsonrpc":"2.0","id":1,"method":"logsSubscribe"}', -32601),
        ('{"jsonrpc":"2.0","id":1,"method":"signatureSubscribe"}', -32602),
        ('{"jsonrpc":"2.0","id":1,"method":"signatureSubscribe","params":["frog"]}', -32602),
        ('{"jsonrpc":"2.0","id":1,"method":"slotUnsubscribe","params":[99]}', -32602),
    ],
)
async def test_what_is_no_call_gets_its_error(socket: Socket, text: str, code: int) -> None:
    """And the connection lives on."""
    socket.say(text)
    assert (await socket.read())["error"]["code"] == code
    assert "result" in await socket.ask("slotSubscribe")


async def test_a_client_that_is_gone_is_forgotten(client: Client) -> None:
    """Its subscriptions go with it."""
    async with connected(client) as socket:
        await socket.ask("slotSubscribe")
        await socket.ask("signatureSubscribe", Desk(client.node).payment().signature)
        assert len(client.app.hub.connections) == 1
    assert client.app.hub.connections == set()
    client.node.land(Desk(client.node).payment())
    client.node.step(1)


async def test_a_client_that_does_not_read_is_closed(client: Client) -> None:
    """What waits for it is bounded, and the others go on."""
    async with connected(client) as slow, connected(client) as quick:
        await slow.ask("slotSubscribe")
        slow.reads.clear()
        client.node.step(OUTBOX_MAX + 10)
        slow.reads.set()
        assert (await slow.event())["type"] == "websocket.close"
        assert "result" in await quick.ask("slotSubscribe")


async def test_trouble_can_be_scripted_for_subscriptions(client: Client) -> None:
    """A silent one is accepted and never told; a dropped one ends the connection."""
    await client.control("faults", {"kind": "ws_silent", "count": 2})
    async with connected(client) as socket:
        payment = Desk(client.node).payment()
        processed = {"commitment": "processed"}
        assert "result" in await socket.ask("signatureSubscribe", payment.signature, processed)
        assert "result" in await socket.ask("slotSubscribe")
        client.node.land(payment)
        client.node.step(1)
        await socket.nothing_comes()
        journal = (await client.control("journal", method="GET"))["entries"]
        assert [each["rpc_method"] for each in journal] == ["signatureSubscribe", "slotSubscribe"]
        assert (journal[0]["port"], journal[0]["faults"]) == (8900, ["ws_silent"])
    await client.control("faults", {"kind": "drop", "rpc_method": "slotSubscribe"})
    async with connected(client) as socket:
        socket.say('{"jsonrpc":"2.0","id":1,"method":"slotSubscribe"}')
        assert (await socket.event())["type"] == "websocket.close"
    await client.control("faults", {"kind": "http_429"})
    async with connected(client) as socket:
        socket.say('{"jsonrpc":"2.0","id":1,"method":"slotSubscribe"}')
        assert (await socket.event())["type"] == "websocket.close"


async def test_all_connections_can_be_closed_at_once(client: Client) -> None:
    """As by a node that restarts."""
    async with connected(client) as one, connected(client) as other:
        done = await client.control("fault", {"kind": "ws_close"})
        assert done["faults"] == [{"kind": "ws_close", "closed": 2}]
        assert (await one.event())["type"] == "websocket.close"
        assert (await other.event())["type"] == "websocket.close"
