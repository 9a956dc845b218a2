"""The ways to send by an endpoint that is not the node itself."""

from collections.abc import Callable, Coroutine
from typing import Any

import httpx
import pytest

from app.sandbox.base58 import encode_base58
from app.sandbox.transactions import SignedTransaction
from tests.sandbox.kit import BASE64, Client, encoded, texts

BUNDLES = "/api/v1/bundles"
BLIND = {"encoding": "base64", "skipPreflight": True}

Send = Callable[[Client, SignedTransaction], Coroutine[Any, Any, httpx.Response]]


async def send_bundle(client: Client, *bundle: SignedTransaction) -> httpx.Response:
    """Send a bundle to Jito."""
    return await client.jito.post(BUNDLES, "sendBundle", texts(*bundle), BASE64)


async def by_bundle(client: Client, trade: SignedTransaction) -> httpx.Response:
    """Send as a bundle to Jito."""
    return await send_bundle(client, trade)


async def by_jito(client: Client, trade: SignedTransaction) -> httpx.Response:
    """Send as a transaction to Jito, in a region."""
    path = "/frankfurt/api/v1/transactions"
    return await client.jito.post(path, "sendTransaction", encoded(trade.parsed), BASE64)


async def by_quicknode(client: Client, trade: SignedTransaction) -> httpx.Response:
    """Send as a transaction to QuickNode."""
    return await client.quicknode.post("/", "sendTransaction", encoded(trade.parsed), BLIND)


async def by_lil_jit(client: Client, trade: SignedTransaction) -> httpx.Response:
    """Send as a bundle to QuickNode."""
    return await client.quicknode.post("/", "sendBundle", [encode_base58(trade.raw)])


WAYS: list[tuple[Send, str]] = [
    (by_bundle, "jito"),
    (by_jito, "jito"),
    (by_quicknode, "quicknode"),
    (by_lil_jit, "quicknode"),
]
every_way = pytest.mark.parametrize(("send", "endpoint"), WAYS)
