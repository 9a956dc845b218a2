"""The websocket interface: signatureSubscribe and slotSubscribe, with Agave's shapes."""

import asyncio
import json
from dataclasses import dataclass
from itertools import count

from app.sandbox.blocks import Closing, Commitment, Landed
from app.sandbox.call import Call, in_context
from app.sandbox.errors import INVALID_REQUEST, METHOD_NOT_FOUND, RpcError, invalid
from app.sandbox.faults import SILENT, Faults
from app.sandbox.http import Dropped, Receive, Response, Scope, Send, server_port
from app.sandbox.journal import Journal
from app.sandbox.node import Node
from app.sandbox.params import Params, as_signature
from app.sandbox.render import Json
from app.sandbox.rpc import failure
from app.sandbox.rules import Rule

ENDPOINT = "rpc"  # the one that has a websocket
OUTBOX_MAX = 4_096  # a client that reads no faster is closed
MESSAGE_BYTES_MAX = 64 * 1_024
CLOSE_CODE = 1001  # going away


@dataclass(frozen=True, slots=True)
class Subscription:
    """One wish of one connection; a silent one is never told anything."""

    id: int
    connection: "Connection"
    signature: str | None = None
    commitment: Commitment = "finalized"
    silent: bool = False


class Connection:
    """One client: what goes out waits in a bounded outbox."""

    def __init__(self, hub: "Hub", scope: Scope) -> None:
        self._hub = hub
        self.path = str(scope["path"])
        self.port = server_port(scope)
        self._outbox: asyncio.Queue[str | None] = asyncio.Queue(OUTBOX_MAX)
        self.subscriptions: dict[int, Subscription] = {}

    def push(self, document: Json) -> None:
        """Queue a message; a full outbox ends the connection."""
        try:
            self._outbox.put_nowait(json.dumps(document, separators=(",", ":")))
        except asyncio.QueueFull:
            self.close()

    def close(self) -> None:
        """End the connection, whatever still waits to go out."""
        while not self._outbox.empty():
            self._outbox.get_nowait()
        self._outbox.put_nowait(None)

    async def run(self, receive: Receive, send: Send) -> None:
        """Serve the client until one side ends it."""
        await send({"type": "websocket.accept"})
        writer = asyncio.create_task(self._write(send))
        reader = asyncio.create_task(self._read(receive))
        try:
            await asyncio.wait({writer, reader}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (writer, reader):
                task.cancel()
            await asyncio.gather(writer, reader, return_exceptions=True)

    async def _read(self, receive: Receive) -> None:
        while (message := await receive())["type"] == "websocket.receive":
            try:
                await self._hub.hear(self, message.get("text") or "")
            except Dropped:
                self.close()

    async def _write(self, send: Send) -> None:
        while (text := await self._outbox.get()) is not None:
            await send({"type": "websocket.send", "text": text})
        await send({"type": "websocket.close", "code": CLOSE_CODE})


class Hub:
    """All subscriptions; listens to the node."""

    def __init__(self, node: Node, faults: Faults, journal: Journal) -> None:
        self._node = node
        self._faults = faults
        self._journal = journal
        self._ids = count(1)
        self._by_signature: dict[str, dict[int, Subscription]] = {}
        self._slots: dict[int, Subscription] = {}
        self.connections: set[Connection] = set()
        node.listeners.append(self)
        faults.close_websockets = self.close_all

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection to its end."""
        connection = Connection(self, scope)
        self.connections.add(connection)
        try:
            await receive()  # websocket.connect
            await connection.run(receive, send)
        finally:
            self.connections.discard(connection)
            for subscription_id in list(connection.subscriptions):
                self._unsubscribe(connection, subscription_id)

    def close_all(self) -> int:
        """End every connection; gives how many."""
        for connection in self.connections:
            connection.close()
        return len(self.connections)

    async def hear(self, connection: Connection, text: str) -> None:
        """Answer one message. Raises Dropped for a fault that ends the connection."""
        try:
            document = json.loads(text)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            connection.push(failure(None, RpcError(INVALID_REQUEST, "Invalid request")))
            return
        name = str(document.get("method"))
        hits = self._faults.strike(ENDPOINT, name, connection.path)
        entry = self._journal.note(ENDPOINT, connection.port, connection.path, name)
        entry.faults += [rule.kind for rule in hits]
        if await self._faults.before(hits, _no_answer) is not None:
            raise Dropped
        silent = any(rule.kind == SILENT for rule in hits)
        connection.push(self._answer(connection, document, silent=silent))

    def _answer(self, connection: Connection, document: Json, *, silent: bool) -> Json:
        call_id = document.get("id")
        try:
            params = Params(document.get("params"))
            result = self._do(connection, str(document.get("method")), params, silent=silent)
        except RpcError as error:
            return failure(call_id, error)
        return {"jsonrpc": "2.0", "result": result, "id": call_id}

    def on_landed(self, landed: Landed) -> None:
        """Tell those who want to know at once."""
        self._tell(landed, "processed")

    def on_closed(self, closing: Closing) -> None:
        """Tell of what is confirmed now, of what is final now, and of the new slot."""
        for landed in closing.confirmed.landed:
            self._tell(landed, "confirmed")
        for landed in closing.final.landed if closing.final else ():
            self._tell(landed, "finalized")
        chain = self._node.chain
        opened: Json = {
            "slot": chain.open.slot,
            "parent": closing.confirmed.slot,
            "root": chain.bank("finalized").slot,
        }
        for subscription in list(self._slots.values()):
            if not subscription.silent:
                _push(subscription, "slotNotification", opened)

    def _do(self, connection: Connection, name: str, params: Params, *, silent: bool) -> object:
        if name == "signatureSubscribe":
            return self._subscribe_signature(connection, params, silent=silent)
        if name == "slotSubscribe":
            subscription = Subscription(next(self._ids), connection, silent=silent)
            connection.subscriptions[subscription.id] = subscription
            self._slots[subscription.id] = subscription
            return subscription.id
        if name in ("signatureUnsubscribe", "slotUnsubscribe"):
            if not self._unsubscribe(connection, params.number(0)):
                raise invalid("Invalid subscription id.")
            return True
        raise RpcError(METHOD_NOT_FOUND, "Method not found")

    def _subscribe_signature(self, connection: Connection, params: Params, *, silent: bool) -> int:
        signature, config = as_signature(params.text(0)), params.config(1)
        commitment = config.commitment()
        subscription = Subscription(next(self._ids), connection, signature, commitment, silent)
        connection.subscriptions[subscription.id] = subscription
        self._by_signature.setdefault(signature, {})[subscription.id] = subscription
        landed = self._node.chain.landed.get(signature)
        if landed is not None and self._reached(landed, commitment):
            # it happened before it was asked for: told after the answer has gone out
            asyncio.get_running_loop().call_soon(self._notify, subscription, landed)
        return subscription.id

    def _unsubscribe(self, connection: Connection, subscription_id: int) -> bool:
        subscription = connection.subscriptions.pop(subscription_id, None)
        if subscription is None:
            return False
        self._slots.pop(subscription_id, None)
        others = self._by_signature.get(subscription.signature or "", {})
        others.pop(subscription_id, None)
        if not others and subscription.signature is not None:
            del self._by_signature[subscription.signature]
        return True

    def _tell(self, landed: Landed, commitment: Commitment) -> None:
        for subscription in list(self._by_signature.get(landed.signature, {}).values()):
            if subscription.commitment == commitment:
                self._notify(subscription, landed)

    def _notify(self, subscription: Subscription, landed: Landed) -> None:
        if subscription.silent or not self._unsubscribe(subscription.connection, subscription.id):
            return
        bank = self._node.chain.bank(subscription.commitment)
        _push(subscription, "signatureNotification", in_context(bank, {"err": landed.err}))

    def _reached(self, landed: Landed, commitment: Commitment) -> bool:
        return Call(self._node, Params([])).horizon().sees(landed, commitment)


def _no_answer(_rule: Rule) -> Response:
    raise Dropped  # a status has no place in a message


def _push(subscription: Subscription, method: str, result: Json) -> None:
    params: Json = {"result": result, "subscription": subscription.id}
    subscription.connection.push({"jsonrpc": "2.0", "method": method, "params": params})
