"""Scripted trouble: each kind does what it says, as often as it says, and nothing else."""

import asyncio
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from app.sandbox.http import Dropped
from app.sandbox.ledger import LedgerBroken
from tests.sandbox.kit import STRANGER, Client, Desk, Json, encoded, make_node

CONFIRMED = {"commitment": "confirmed"}
BLIND = {"encoding": "base64", "skipPreflight": True}
GET_HEALTH = {"jsonrpc": "2.0", "id": 1, "method": "getHealth"}


async def script(client: Client, **rule: object) -> Json:
    """Add one rule."""
    added: Json = (await client.control("faults", rule))["faults"][0]
    return added


async def hits(client: Client) -> list[int]:
    """Count what each rule has hit."""
    return [each["hits"] for each in (await client.control("faults", method="GET"))["faults"]]


async def clear(client: Client) -> None:
    """Delete all rules."""
    await client.control("faults", method="DELETE")


async def until_hit(client: Client) -> None:
    """Let the others run until the first rule has hit once."""
    with anyio.fail_after(5):
        while await hits(client) == [0]:
            await checkpoint()


def lamports(client: Client) -> int:
    """Read what the stranger was paid."""
    return Desk(client.node).lamports()


# -------------------------------------------------------------------------- before the answer


async def test_a_dropped_call_is_not_done(client: Client) -> None:
    """The connection ends without an answer, and nothing was sent."""
    await script(client, kind="drop", rpc_method="sendTransaction")
    payment = Desk(client.node).payment()
    with pytest.raises(Dropped):
        await client.send(payment.parsed)
    assert payment.signature not in client.node.chain.landed
    assert "result" in await client.send(payment.parsed)


@pytest.mark.parametrize(("kind", "answered"), [("delay", True), ("hang", False)])
async def test_a_waiting_call_is_let_go_when_the_rules_are_cleared(
    client: Client, kind: str, answered: bool
) -> None:
    """A delayed call is answered late, a hung one never."""
    await script(client, kind=kind, seconds=3_600)
    waiting = asyncio.create_task(client.ask("getHealth"))
    await until_hit(client)
    assert not waiting.done()
    await clear(client)
    if answered:
        assert (await waiting)["result"] == "ok"
    else:
        with pytest.raises(Dropped):
            await waiting


@pytest.mark.parametrize("kind", ["delay", "hang", "land_then_timeout"])
async def test_a_wait_ends_by_itself(client: Client, kind: str) -> None:
    """After as many seconds as the rule says."""
    await script(client, kind=kind, seconds=0.001)
    if kind == "delay":
        assert (await client.ask("getHealth"))["result"] == "ok"
    else:
        with pytest.raises(Dropped):
            await client.ask("getHealth")


@pytest.mark.parametrize("seconds", [None, 7])
async def test_too_many_requests_are_429(client: Client, seconds: int | None) -> None:
    """With Retry-After when the rule has one; the call is not done."""
    await script(client, kind="http_429", retry_after=seconds)
    payment = Desk(client.node).payment()
    body = {"jsonrpc": "2.0", "id": 1, "method": "sendTransaction"}
    response = await client.http.post(
        "/", json={**body, "params": [encoded(payment.parsed), BLIND]}
    )
    assert response.status_code == 429
    assert response.headers.get("retry-after") == (None if seconds is None else "7")
    assert payment.signature not in client.node.chain.landed


@pytest.mark.parametrize(("kind", "landed"), [("http_5xx", False), ("http_5xx_after", True)])
async def test_a_server_error_says_nothing_about_a_send(
    client: Client, kind: str, landed: bool
) -> None:
    """Before forwarding nothing lands, after it everything does; the answer is the same."""
    await script(client, kind=kind, status=502)
    payment = Desk(client.node).payment()
    body = {"jsonrpc": "2.0", "id": 1, "method": "sendTransaction"}
    response = await client.http.post(
        "/", json={**body, "params": [encoded(payment.parsed), BLIND]}
    )
    assert response.status_code == 502
    assert (payment.signature in client.node.chain.landed) is landed


# --------------------------------------------------------------------------- after the answer


async def test_a_transaction_lands_and_nobody_is_told(client: Client) -> None:
    """The classic ambiguity: executed, never answered."""
    await script(client, kind="land_then_timeout", rpc_method="sendTransaction")
    payment = Desk(client.node).payment()
    waiting = asyncio.create_task(client.send(payment.parsed))
    await until_hit(client)
    assert payment.signature in client.node.chain.landed
    assert not waiting.done()
    await clear(client)
    with pytest.raises(Dropped):
        await waiting


async def test_a_garbled_answer_is_no_json(client: Client) -> None:
    """Half an answer and something else, though the call was done."""
    await script(client, kind="garbled")
    response = await client.http.post("/", json=GET_HEALTH)
    with pytest.raises(ValueError, match=r"."):
        response.json()


# ---------------------------------------------------------------------------- another picture


async def test_accepted_and_dropped(client: Client) -> None:
    """The signature is the answer and nothing ever lands, until it is sent again."""
    await script(client, kind="accept_then_drop")
    payment = Desk(client.node).payment()
    assert (await client.send(payment.parsed))["result"] == payment.signature
    await client.step(3)
    assert await client.status(payment.parsed) is None
    await client.send(payment.parsed)
    assert await client.status(payment.parsed) is not None


async def test_duplicated_bytes_execute_once(client: Client) -> None:
    """Handed to the leader twice, paid once."""
    await script(client, kind="duplicate")
    payment = Desk(client.node).payment(1_000_000)
    assert (await client.send(payment.parsed))["result"] == payment.signature
    assert lamports(client) == 1_000_000


async def test_a_wrong_signature_comes_back(client: Client) -> None:
    """A well-formed one, of something else; the transaction lands all the same."""
    await script(client, kind="wrong_signature")
    payment = Desk(client.node).payment()
    answered = (await client.send(payment.parsed))["result"]
    assert answered != payment.signature
    assert (await client.value("getSignatureStatuses", [answered])) == [None]
    assert payment.signature in client.node.chain.landed


async def test_a_lagging_node_answers_from_earlier(client: Client) -> None:
    """Heights, slots, statuses and history are old; it is not healthy and forwards no preflight."""
    payment = Desk(client.node).payment()
    await client.send(payment.parsed)
    await client.step(2)
    height = await client.result("getBlockHeight", CONFIRMED)
    await script(client, kind="lag", slots=5, count=None)
    assert await client.result("getBlockHeight", CONFIRMED) == height - 5
    assert await client.status(payment.parsed) is None
    assert await client.result("getSignaturesForAddress", str(STRANGER), CONFIRMED) == []
    health = await client.error("getHealth")
    assert (health["code"], health["data"]) == (-32005, {"numSlotsBehind": 5})
    other = Desk(client.node).payment(2_000_000)
    refused = (await client.send(other.parsed))["error"]
    assert refused["code"] == -32005
    await clear(client)
    assert await client.status(payment.parsed) is not None


async def test_a_lagging_node_judges_a_blockhash_as_of_then(client: Client) -> None:
    """One it has not come to is not valid, one that has just expired still is; its slot tells why."""
    blockhash = await client.blockhash()
    await client.step(151)
    assert await client.value("isBlockhashValid", blockhash, CONFIRMED) is False
    await script(client, kind="lag", slots=1, count=1)
    assert await client.value("isBlockhashValid", blockhash, CONFIRMED) is True
    newest = await client.blockhash()
    slot = await client.result("getSlot", CONFIRMED)
    await script(client, kind="lag", slots=1, count=2)
    answer = await client.result("isBlockhashValid", newest, CONFIRMED)
    assert answer["value"] is False
    assert answer["context"]["slot"] < slot
    fenced = {**CONFIRMED, "minContextSlot": slot}
    assert (await client.error("isBlockhashValid", newest, fenced))["code"] == -32016
    assert await client.value("isBlockhashValid", newest, fenced) is True


async def test_a_blockhash_is_not_valid_in_the_first_final_block_above_its_last_height(
    client: Client,
) -> None:
    """At finalized the answer turns with the height: what an expiry proof compares the two for."""
    last = (await client.result("getLatestBlockhash", CONFIRMED))["value"]
    final = {"commitment": "finalized"}
    for height in range(last["lastValidBlockHeight"] - 1, last["lastValidBlockHeight"] + 3):
        while await client.result("getBlockHeight", final) < height:
            await client.step()
        valid = await client.value("isBlockhashValid", last["blockhash"], final)
        assert valid is (height <= last["lastValidBlockHeight"])


async def test_a_landed_signature_may_be_null(client: Client) -> None:
    """As from a node that has lost it: status and transaction are null."""
    payment = Desk(client.node).payment()
    await client.send(payment.parsed)
    await client.step()
    await script(client, kind="null_status", count=2)
    assert await client.status(payment.parsed) is None
    assert await client.result("getTransaction", payment.signature, CONFIRMED) is None
    assert await client.status(payment.parsed) is not None


async def test_pruned_history_is_said_and_gone(client: Client) -> None:
    """The first known slot is raised; what landed before it is null."""
    payment = Desk(client.node).payment()
    await client.send(payment.parsed)
    await client.step(40)
    first = await client.result("minimumLedgerSlot")
    assert await client.result("getFirstAvailableBlock") == 0
    await script(client, kind="pruned", count=None)
    kept = await client.result("minimumLedgerSlot")
    assert kept > first
    assert await client.result("getFirstAvailableBlock") == kept
    assert await client.status(payment.parsed) is None
    await clear(client)
    landed = await client.status(payment.parsed)
    await script(client, kind="pruned", count=None, slot=landed["slot"])
    assert await client.status(payment.parsed) == landed


# -------------------------------------------------------------------------- events at once


async def test_a_fork_is_scripted(client: Client) -> None:
    """It happens at once and tells what vanished; too deep a one is refused."""
    payment = Desk(client.node).payment()
    await client.send(payment.parsed)
    await client.step()
    done = (await client.control("fault", {"kind": "fork", "blocks": 1}))["faults"]
    assert done == [{"kind": "fork", "undone": [payment.signature]}]
    assert await client.status(payment.parsed) is None
    assert lamports(client) == 0
    refused = await client.http.post("/sandbox/fault", json={"kind": "fork", "blocks": 99})
    assert refused.status_code == 400
    assert await hits(client) == []


async def test_skipped_blocks_are_scripted(client: Client) -> None:
    """The slots pass and the height stands."""
    height = client.node.chain.open.height
    await client.control("fault", {"kind": "skipped_block", "slots": 2})
    await client.step(2)
    assert client.node.chain.open.height == height


# ----------------------------------------------------------------------------- rules as such


async def test_a_rule_hits_its_method_as_often_as_it_says(client: Client) -> None:
    """Other methods pass, and after its count it is spent; the journal tells."""
    await script(client, kind="http_429", rpc_method="getSlot", count=2)
    seen = []
    for method in ("getHealth", "getSlot", "getSlot", "getSlot"):
        response = await client.http.post("/", json={**GET_HEALTH, "method": method})
        seen.append(response.status_code)
    assert seen == [200, 429, 429, 200]
    assert await hits(client) == [2]
    journal = (await client.control("journal", method="GET"))["entries"]
    assert [each["faults"] for each in journal] == [[], ["http_429"], ["http_429"], []]


async def test_a_rule_of_another_path_does_not_hit(client: Client) -> None:
    """Rules can be meant for one endpoint."""
    await script(client, kind="drop", path="/elsewhere")
    assert (await client.ask("getHealth"))["result"] == "ok"
    await script(client, kind="drop", path="/")
    with pytest.raises(Dropped):
        await client.ask("getHealth")


async def test_probability_is_seeded(client: Client) -> None:
    """The same seed gives the same luck, and about as much of it as was asked for."""

    async def luck() -> list[int]:
        await clear(client)
        await script(client, kind="http_429", probability=0.5, seed=3, count=None)
        answers = [await client.http.post("/", json=GET_HEALTH) for _ in range(40)]
        return [each.status_code for each in answers]

    first = await luck()
    assert first == await luck()
    assert 10 < first.count(429) < 30


async def test_several_rules_are_added_at_once_or_none(client: Client) -> None:
    """A list with one bad rule changes nothing."""
    rules: list[Any] = [{"kind": "drop"}, {"kind": "delay", "seconds": 0}]
    bad = await client.http.post("/sandbox/faults", json=[*rules, {"kind": "frog"}])
    assert bad.status_code == 400
    assert await hits(client) == []
    assert len((await client.control("faults", rules))["faults"]) == 2


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        (7, "a rule is an object"),
        ({"kind": "frog"}, "unknown kind"),
        ({"kind": "drop", "frog": 1}, "unknown field"),
        ({"kind": "drop", "count": -1}, "count is a number"),
        ({"kind": "drop", "count": "1"}, "count is a number"),
        ({"kind": "drop", "count": True}, "count is a number"),
        ({"kind": "drop", "rpc_method": 7}, "rpc_method is a text"),
        ({"kind": "drop", "seconds": "x"}, "seconds is a number"),
        ({"kind": "skipped_block", "slots": "x"}, "slots is a number"),
    ],
)
async def test_a_rule_that_means_nothing_is_refused(
    client: Client, rule: object, says: str
) -> None:
    """By name, with what is known."""
    response = await client.http.post("/sandbox/faults", json=rule)
    assert response.status_code == 400
    assert says in response.json()["error"]


async def test_a_batch_is_hit_when_one_of_its_calls_is(client: Client) -> None:
    """Trouble of the connection is trouble for all that travels on it."""
    await script(client, kind="http_429", rpc_method="getSlot")
    batch = [GET_HEALTH, {**GET_HEALTH, "method": "getSlot"}]
    assert (await client.http.post("/", json=batch)).status_code == 429


# ------------------------------------------------------------------------------ no script


async def test_a_ledger_that_cannot_be_written_ends_the_sandbox(tmp_path: Path) -> None:
    """No answer goes out for what is not kept, and the process learns that it is over."""
    node = make_node(tmp_path)
    client = Client(node)
    payment = Desk(node).payment()
    node.close()  # from here on the file takes nothing
    with pytest.raises(LedgerBroken):
        await client.send(payment.parsed)
    assert client.app.pulse.failed.is_set()
    assert isinstance(client.app.pulse.failure, LedgerBroken)
    await client.http.aclose()


async def test_a_client_that_leaves_early_is_no_error(client: Client) -> None:
    """A body that never comes whole is given up."""
    sent: list[object] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/", "client": ("127.0.0.1", 1)}
    cutter = Cutter()
    client.app.rpc.connections = cutter
    await client.app.rpc(scope, receive, send)
    assert sent == []
    assert cutter.cut == [("127.0.0.1", 1)]


class Cutter:
    """Remembers whose connection was cut."""

    def __init__(self) -> None:
        self.cut: list[object] = []

    def abort(self, client: tuple[str, int]) -> None:
        self.cut.append(client)
