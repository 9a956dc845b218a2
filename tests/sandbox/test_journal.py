"""The journal: by which way each send came, and what it was made of."""

import pytest

from app.sandbox.http import Dropped
from app.sandbox.transactions import bundle_id_of
from tests.sandbox.kit import BASE64, Client, Desk, encoded, texts
from tests.sandbox.ways import BUNDLES, WAYS, Send, by_quicknode, every_way


async def test_the_journal_tells_by_which_way_a_send_came(client: Client) -> None:
    """Endpoint, port, path, method, hash and signature; for bundles their id and all signatures."""
    desk = Desk(client.node)
    trades = [desk.tipping(1_000_000 + each) for each in range(5)]
    for (send, _), trade in zip(WAYS, trades, strict=False):
        await send(client, trade)
    await client.send(trades[4].parsed, skipPreflight=True)
    shown = [
        (each["endpoint"], each["port"], each["path"], each["rpc_method"], each["http"])
        for each in await client.journal()
    ]
    assert shown == [
        ("jito", 8_900, "/api/v1/bundles", "sendBundle", 200),
        ("jito", 8_900, "/frankfurt/api/v1/transactions", "sendTransaction", 200),
        ("quicknode", 8_901, "/", "sendTransaction", 200),
        ("quicknode", 8_901, "/", "sendBundle", 200),
        ("rpc", 8_899, "/", "sendTransaction", 200),
    ]
    for entry, trade in zip(await client.journal(), trades, strict=True):
        assert entry["sha256"] == trade.digest
        assert entry["signature"] == trade.signature
        assert entry["signatures"] == [trade.signature]
    names = [entry["bundle_id"] for entry in await client.journal()]
    ids = [bundle_id_of([each.signature]) for each in trades]
    assert names == [ids[0], ids[1], None, ids[3], None]


async def test_a_bundle_stands_in_the_journal_under_its_first_transaction(client: Client) -> None:
    """Also when it was refused, and when the answer was another."""
    desk = Desk(client.node)
    bundle = [desk.payment(1_000_000), desk.payment(2_000_000)]
    await client.jito.post(BUNDLES, "sendBundle", texts(*bundle), BASE64)
    (entry,) = await client.journal()
    assert entry["http"] == 400
    assert entry["sha256"] == bundle[0].digest
    assert entry["signatures"] == [each.signature for each in bundle]
    assert entry["bundle_id"] == bundle_id_of(entry["signatures"])


@pytest.mark.parametrize("kind", ["http_429", "http_5xx", "answer", "drop"])
@every_way
async def test_a_send_that_came_to_nothing_stands_in_the_journal(
    client: Client, send: Send, endpoint: str, kind: str
) -> None:
    """With what it was made of, though nobody did anything with it."""
    await client.script(kind, endpoint=endpoint, body="x")
    trade = Desk(client.node).tipping()
    if kind == "drop":
        with pytest.raises(Dropped):
            await send(client, trade)
    else:
        await send(client, trade)
    (entry,) = await client.journal()
    assert (entry["sha256"], entry["signature"]) == (trade.digest, trade.signature)
    assert entry["faults"] == [kind]
    assert (entry["bundle_id"] is None) is (send is by_quicknode)


@pytest.mark.parametrize("params", [None, [], [[]], ["frog"], [["frog"], {"encoding": "rot13"}]])
async def test_what_is_no_send_has_no_names(client: Client, params: object) -> None:
    """Nonsense that meets trouble is noted as what it is."""
    await client.script("http_5xx")
    call = {"jsonrpc": "2.0", "id": 1, "method": "sendBundle", "params": params}
    await client.jito.http.post(BUNDLES, json=call)
    (entry,) = await client.journal()
    assert (entry["sha256"], entry["signatures"], entry["bundle_id"]) == (None, [], None)


async def test_the_journal_tells_what_was_allowed_as_a_bundle_only(client: Client) -> None:
    """As the URL said; it does not show the URL's query, where keys may be."""
    trade = Desk(client.node).tipping()
    path = "/api/v1/transactions?bundleOnly=true&uuid=secret"
    await client.jito.result(path, "sendTransaction", encoded(trade.parsed), BASE64)
    (entry,) = await client.journal()
    assert (entry["path"], entry["bundle_only"]) == ("/api/v1/transactions", True)
