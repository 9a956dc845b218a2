"""Real signed transactions, and senders of the tests at real servers."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

from solders.address_lookup_table_account import AddressLookupTableAccount
from solders.compute_budget import set_compute_unit_limit, set_compute_unit_price
from solders.hash import Hash
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.message import Message, MessageV0
from solders.pubkey import Pubkey
from solders.system_program import TransferParams, transfer
from solders.transaction import VersionedTransaction

from app.domain.attempt import StoredAttempt
from app.domain.outcome import Reply
from app.executors.gate import Gate
from app.executors.limiter import Limiter
from app.executors.registry import MethodContext
from app.executors.sender import Sender, build_sender
from app.executors.tip_accounts import TIP_ACCOUNTS
from app.solana.json_rpc import JsonRpcClient
from tests.domain.makers import attempt, signed
from tests.solana.server import Observer, Server, Step, serving

WALLET = Keypair.from_seed(sha256(b"a trader with senders").digest())
ELSEWHERE = str(Pubkey.from_bytes(sha256(b"somebody else").digest()))
BLOCKHASH = Hash(sha256(b"a recent block").digest())
KEY = "k3y-0f/the+trader="
SECONDS = 5.0

Work = Callable[[], Coroutine[object, object, None]]


def pay(payee: str, lamports: int) -> Instruction:
    """Transfer lamports."""
    params = TransferParams(
        from_pubkey=WALLET.pubkey(), to_pubkey=Pubkey.from_string(payee), lamports=lamports
    )
    return transfer(params)


def sign(
    instructions: Sequence[Instruction],
    *,
    tables: Sequence[AddressLookupTableAccount] = (),
    legacy: bool = False,
) -> bytes:
    """Sign these instructions; gives the bytes."""
    if legacy:
        old = Message.new_with_blockhash(instructions, WALLET.pubkey(), BLOCKHASH)
        return bytes(VersionedTransaction(old, [WALLET]))
    message = MessageV0.try_compile(WALLET.pubkey(), instructions, tables, BLOCKHASH)
    return bytes(VersionedTransaction(message, [WALLET]))


def transaction(
    tip: tuple[str, int] | None = None, *, units: int = 100_000, price: int = 1_000_000
) -> bytes:
    """Sign a transaction with a compute budget, something done, and a tip."""
    work = [set_compute_unit_limit(units), set_compute_unit_price(price), pay(ELSEWHERE, 5)]
    return sign([*work, *([pay(*tip)] if tip else [])])


def stored(raw: bytes) -> StoredAttempt:
    """Make a stored attempt of signed bytes."""
    signature = str(VersionedTransaction.from_bytes(raw).signatures[0])
    return attempt(signed=replace(signed(), raw=raw, signature=signature))


def tipping(vendor: str, lamports: int = 1_000_000, **given: int) -> StoredAttempt:
    """Make a stored attempt that tips a vendor's first account."""
    accounts = TIP_ACCOUNTS.get(vendor)
    return stored(transaction((accounts[0], lamports) if accounts else None, **given))


@dataclass
class Surroundings:
    """What a method is given, and what it asked for."""

    stack: AsyncExitStack
    observer: Observer = field(default_factory=Observer)
    limiters: dict[str, Limiter] = field(default_factory=dict)
    background: dict[str, Work] = field(default_factory=dict)

    def context(self, name: str, options: Mapping[str, object]) -> MethodContext:
        """Make what a method is made of."""
        gate = Gate(name, reset_seconds=60)
        return MethodContext(
            name, options, gate, (), self._connect, self._limiter, self.background.__setitem__
        )

    def _connect(self, url: str, headers: Mapping[str, str]) -> JsonRpcClient:
        client = JsonRpcClient(
            url, timeout_seconds=SECONDS, observer=self.observer, headers=headers
        )
        self.stack.push_async_callback(client.close)
        return client

    def _limiter(self, key: str, per_second: float) -> Limiter:
        return self.limiters.setdefault(key, Limiter(per_second))


@asynccontextmanager
async def sending(
    *steps: Step, preset: str | None = None, api_key: str | None = KEY, **given: Any
) -> AsyncIterator[tuple[Sender, list[Server], Surroundings]]:
    """Open a sender over servers, each of which always does one thing."""
    async with AsyncExitStack() as stack:
        servers = [
            await stack.enter_async_context(serving(lambda _request, step=step: step))  # type: ignore[misc]
            for step in steps
        ]
        around = Surroundings(stack)
        section = {"preset": preset, "api_key": api_key, **given}
        urls = [f"http://127.0.0.1:{server.port}" for server in servers]
        yield build_sender(around.context("mine", {"urls": urls, **section})), servers, around


async def push(sender: Sender, what: StoredAttempt, seconds: float = SECONDS) -> Reply:
    """Push once."""
    deadline = asyncio.get_running_loop().time() + seconds
    return await sender.submit(what, deadline, lambda: True)
