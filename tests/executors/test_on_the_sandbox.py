"""The methods against a sandbox: what each pushes lands, seen on the chain and in the journal."""

import dataclasses
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from app.domain.attempt import StoredAttempt
from app.domain.outcome import Reply, ReplyOutcome
from app.executors.block_engine import jito_tips, tip_accounts
from app.executors.bundle import bundle, bundle_id
from app.executors.bundle_statuses import BundleStatuses
from app.executors.gate import Gate
from app.executors.jito import jito
from app.executors.limiter import Limiter
from app.executors.method import Method, Target
from app.executors.quicknode import LilJit, auth_headers, quicknode
from app.executors.rpc import rpc
from app.executors.tip_floor import TipBounds, TipFloor, TipSource
from app.solana.json_rpc import JsonRpcClient
from tests.domain.makers import attempt
from tests.executors.kit import Clock, push
from tests.sandbox.kit import pay, sign
from tests.sandbox.test_process import Running, sandbox
from tests.solana.server import Observer

pytestmark = pytest.mark.anyio

TIPS = jito_tips(tip_accounts("sandbox", []), lambda: 5_000)
ACCEPTED = Reply(ReplyOutcome.ACCEPTED, "ok")
BASE58, BASE64 = LilJit(region="frankfurt"), LilJit("base64", "ny")
Make = Callable[[Mapping[str, Target]], Method]
MAKERS: dict[str, Make] = {
    "rpc": lambda at: rpc([at["rpc"].client], Gate("rpc")),
    "quicknode": lambda at: quicknode(at["quicknode"], Gate("quicknode")),
    "base58 bundles": lambda at: quicknode(at["quicknode"], Gate("q"), tips=TIPS, bundles=BASE58),
    "base64 bundles": lambda at: quicknode(at["quicknode"], Gate("q"), tips=TIPS, bundles=BASE64),
    "bundle": lambda at: bundle([at["jito"]], Gate("bundle"), tips=TIPS),
    "jito": lambda at: jito([at["jito"]], Gate("jito"), bundle_only=False, tips=TIPS),
    "bundle only": lambda at: jito([at["jito"]], Gate("jito"), bundle_only=True, tips=TIPS),
}

CALLS = {
    "rpc": ("rpc", "sendTransaction"),
    "quicknode": ("quicknode", "sendTransaction"),
    "base58 bundles": ("quicknode", "sendBundle"),
    "base64 bundles": ("quicknode", "sendBundle"),
    "bundle": ("jito", "sendBundle"),
    "jito": ("jito", "sendTransaction"),
    "bundle only": ("jito", "sendTransaction"),
}


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Run a sandbox whose time stands until it is stepped, and whose engine sets no limit."""
    options = ("--clock", "manual", "--skipped-permille", "0", "--jito-requests-per-second", "0")
    with sandbox(tmp_path_factory.mktemp("sandbox"), *options) as running:
        yield running


@asynccontextmanager
async def targets(chain: Running) -> AsyncIterator[dict[str, Target]]:
    """Open clients of the three endpoints."""
    headers = {"quicknode": auth_headers(chain.found["quicknode_token"])}
    async with AsyncExitStack() as stack:
        opened = {}
        for name in ("rpc", "jito", "quicknode"):
            client = JsonRpcClient(
                chain.found[f"{name}_url"],
                timeout_seconds=10,
                observer=Observer(),
                headers=headers.get(name),
            )
            stack.push_async_callback(client.close)
            opened[name] = Target(client, Limiter(monotonic=Clock()))
        yield opened


def signed(chain: Running, lamports: int, *, tip: int = 5_000) -> StoredAttempt:
    """Sign a payment with a tip; the lamports tell it from others."""
    wallet = Keypair.from_bytes(bytes(json.loads(Path(chain.found["wallet_file"]).read_text())))
    latest = chain.ask("getLatestBlockhash", {"commitment": "processed"})
    payments = [pay(lamports, payer=wallet)]
    if tip:
        payments.append(pay(tip, Pubkey.from_string(TIPS().payees[0]), wallet))
    transaction = sign(latest["value"]["blockhash"], *payments, payer=wallet)
    made = attempt()
    blockhash = dataclasses.replace(made.signed.blockhash, slot=latest["context"]["slot"])
    bytes_ = dataclasses.replace(
        made.signed,
        raw=bytes(transaction),
        signature=str(transaction.signatures[0]),
        blockhash=blockhash,
    )
    return dataclasses.replace(made, signed=bytes_)


def status(chain: Running, made: StoredAttempt) -> object:
    """Give how the chain has it."""
    (found,) = chain.ask("getSignatureStatuses", [made.signature])["value"]
    return found and (found["confirmationStatus"], found["err"])


def journal(chain: Running, made: StoredAttempt) -> list[Any]:
    """List the calls that brought a transaction."""
    entries = httpx.get(f"{chain.found['rpc_url']}/sandbox/journal").json()["entries"]
    return [each for each in entries if made.signature in each["signatures"]]


def step(chain: Running) -> None:
    """Let time pass until what came is confirmed."""
    chain.control("step", {"slots": 4})


@pytest.mark.parametrize("name", MAKERS)
async def test_what_it_pushes_lands(name: str, chain: Running) -> None:
    """By itself, once, and the journal names the call that brought it."""
    made = signed(chain, 1_000_000 + list(MAKERS).index(name))
    async with targets(chain) as at:
        method = MAKERS[name](at)
        assert await push(method, attempt_=made) == ACCEPTED
        (call,) = journal(chain, made)
        assert (call["endpoint"], call["rpc_method"]) == CALLS[name]
        assert call["bundle_only"] is (name == "bundle only")
        step(chain)
        assert status(chain, made) == ("confirmed", None)
        again = await push(method, attempt_=made)
        assert again.outcome in (ReplyOutcome.ACCEPTED, ReplyOutcome.ALREADY)


@pytest.mark.parametrize("name", ["base58 bundles", "base64 bundles", "bundle", "jito"])
async def test_without_a_tip_it_is_refused(name: str, chain: Running) -> None:
    """By the endpoint, in its words."""
    made = signed(chain, 2_000_000 + list(MAKERS).index(name), tip=0)
    async with targets(chain) as at:
        reply = await push(MAKERS[name](at), attempt_=made)
    assert reply == Reply(ReplyOutcome.REJECTED, "tip")


async def test_a_token_that_is_not_shown_is_missed(chain: Running) -> None:
    """A fault of the configuration's, said so."""
    client = JsonRpcClient(chain.found["quicknode_url"], timeout_seconds=10, observer=Observer())
    method = quicknode(Target(client, Limiter()), Gate("quicknode"))
    made = signed(chain, 3_000_000)
    assert await push(method, attempt_=made) == Reply(ReplyOutcome.REJECTED, "auth_or_config")
    await client.close()


async def test_the_engine_says_what_became_of_a_bundle(chain: Running) -> None:
    """First that it waits, then that it has landed; and then it is asked no more."""
    clock, told = Clock(), list[str]()
    async with targets(chain) as at:
        statuses = BundleStatuses([at["jito"]], on_status=told.append, monotonic=clock)
        method = bundle([at["jito"]], Gate("bundle"), tips=TIPS, statuses=statuses)
        made = signed(chain, 4_000_000)
        assert await push(method, attempt_=made) == ACCEPTED
        clock.now += 5
        await statuses.poll()
        step(chain)
        await statuses.poll()
        await statuses.poll()
    assert told == ["Pending", "Landed"]
    assert method.claim(made.signature) is None
    (call,) = journal(chain, made)
    assert call["bundle_id"] == bundle_id([made.signature])


async def test_the_going_rate_is_read_from_it(chain: Running) -> None:
    """At the engine's own address, in SOL."""
    url = f"{chain.found['jito_url']}/api/v1/bundles/tip_floor"
    client = JsonRpcClient(url, timeout_seconds=10, observer=Observer())
    floor = TipFloor(TipSource(client, "75"), TipBounds(1_000, 100_000_000, default=1))
    await floor.poll()
    await client.close()
    assert floor.lamports() == 30_000
