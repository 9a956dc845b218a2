"""The websocket interface: signatureSubscribe and slotSubscribe, with Agave's shapes."""

import asyncio
import json
from dataclasses import dataclass
from itertools import count

from app.sandbox.call import Call, in_context
from app.sandbox.chain import Closing, Commitment, Landed
from app.sandbox.errors import INVALID_REQUEST, METHOD_NOT_FOUND, RpcError
from app.sandbox.http import Receive, Send
from app.sandbox.node import Node
from app.sandbox.params import Params, as_signature
from app.sandbox.render import Json
from app.sandbox.rpc import failure

OUTBOX_MAX = 4_096  # a client that reads no faster is closed
MESSAGE_BYTES_MAX = 64 * 1_024
POLICY_VIOLATION = 1008


@dataclass(frozen=True, slots=True)
class Subscription:
    """One wish of one connection."""

    id: int
    connection: "Connection"
    signature: str | None = None
    commitment: Commitment = "finalized"


class Connection:
    """One client: what goes out waits in a bounded outbox."""

    def __init__(self, hub: "Hub") -> None:
        self._hub = hub
        self._outbox: asyncio.Queue[str | None] = asyncio.Queue(OUTBOX_MAX)
        self.subscriptions: dict[int, Subscription] = {}

    def push(self, document: Json) -> None:
        """Queue a message; a full outbox ends the connection."""
        try:
            self._outbox.put_nowait(json.dumps(document, separators=(",", ":")))
        except asyncio.QueueFull:
            self._hub.drop(self)
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
            self._hub.drop(self)
            for task in (writer, reader):
                task.cancel()
            await asyncio.gather(writer, reader, return_exceptions=True)

    async def _read(self, receive: Receive) -> None:
        while (message := await receive())["type"] == "websocket.receive":
            self.push(self._hub.answer(self, message.get("text") or ""))
            self._hub.catch_up(self)

    async def _write(self, send: Send) -> None:
        while (text := await self._outbox.get()) is not None:
            await send({"type": "websocket.send", "text": text})
        await send({"type": "websocket.close", "code": POLICY_VIOLATION})


class Hub:
    """All subscriptions; listens to the node."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._ids = count(1)
        self._by_signature: dict[str, dict[int, Subscription]] = {}
        self._slots: dict[int, Subscription] = {}
        self._fresh: list[Subscription] = []
        self.connections = 0
        node.listeners.append(self)

    async def serve(self, receive: Receive, send: Send) -> None:
        """Serve one connection to its end."""
        self.connections += 1
        try:
            await receive()  # websocket.connect
            await Connection(self).run(receive, send)
        finally:
            self.connections -= 1

    def answer(self, connection: Connection, text: str) -> Json:
        """Answer one message."""
        try:
            document = json.loads(text)
        except ValueError:
            return failure(None, RpcError(INVALID_REQUEST, "Invalid request"))
        if not isinstance(document, dict):
            return failure(None, RpcError(INVALID_REQUEST, "Invalid request"))
        call_id, name = document.get("id"), document.get("method")
        try:
            result = self._do(connection, name, Params(document.get("params")))
        except RpcError as error:
            return failure(call_id, error)
        return {"jsonrpc": "2.0", "result": result, "id": call_id}

    def catch_up(self, connection: Connection) -> None:
        """Tell a new subscription of what it asks for when that has happened already."""
        fresh, self._fresh = self._fresh, []
        for subscription in fresh:
            landed = self._node.chain.landed.get(subscription.signature or "")
            if landed is not None and self._reached(landed, subscription.commitment):
                self._notify(subscription, landed)

    def drop(self, connection: Connection) -> None:
        """Forget a connection."""
        for subscription_id in list(connection.subscriptions):
            self._unsubscribe(connection, subscription_id)

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
            _push(subscription, "slotNotification", opened)

    def _do(self, connection: Connection, name: object, params: Params) -> object:
        if name == "signatureSubscribe":
            return self._subscribe_signature(connection, params)
        if name == "slotSubscribe":
            subscription = Subscription(next(self._ids), connection)
            connection.subscriptions[subscription.id] = subscription
            self._slots[subscription.id] = subscription
            return subscription.id
        if name in ("signatureUnsubscribe", "slotUnsubscribe"):
            if not self._unsubscribe(connection, params.number(0)):
                raise RpcError(-32602, "Invalid subscription id.")
            return True
        raise RpcError(METHOD_NOT_FOUND, "Method not found")

    def _subscribe_signature(self, connection: Connection, params: Params) -> int:
        signature, config = as_signature(params.text(0)), params.config(1)
        subscription = Subscription(next(self._ids), connection, signature, config.commitment())
        connection.subscriptions[subscription.id] = subscription
        self._by_signature.setdefault(signature, {})[subscription.id] = subscription
        self._fresh.append(subscription)
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
        self._unsubscribe(subscription.connection, subscription.id)
        bank = self._node.chain.bank(subscription.commitment)
        _push(subscription, "signatureNotification", in_context(bank, {"err": landed.err}))

    def _reached(self, landed: Landed, commitment: Commitment) -> bool:
        return Call(self._node, Params([])).horizon().sees(landed, commitment)


def _push(subscription: Subscription, method: str, result: Json) -> None:
    params: Json = {"result": result, "subscription": subscription.id}
    subscription.connection.push({"jsonrpc": "2.0", "method": method, "params": params})
