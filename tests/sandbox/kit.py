"""A sandbox node in the test's own process: its clock stands until it is stepped."""

import json
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
from solders.compute_budget import set_compute_unit_price
from solders.hash import Hash
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.message import Message, MessageV0
from solders.pubkey import Pubkey
from solders.system_program import TransferParams, transfer
from solders.transaction import VersionedTransaction

from app.sandbox.chain import ChainRules
from app.sandbox.front import Front
from app.sandbox.genesis import pool_address
from app.sandbox.layouts import (
    BONK_MINT,
    USDC_MINT,
    PoolState,
    Swap,
    associated_token_address,
)
from app.sandbox.node import Node, NodeOptions
from app.sandbox.server import EndpointOptions, SandboxApp
from app.sandbox.tips import derive_tip_accounts
from app.sandbox.transactions import SignedTransaction, parse_transaction

WALLET = Keypair.from_seed(sha256(b"a trader in the tests").digest())
STRANGER = Pubkey.from_bytes(sha256(b"a stranger in the tests").digest())
POOR = Keypair.from_seed(sha256(b"somebody without money").digest())
UNIX_TIME = 1_800_000_000
MEMO_PROGRAM = Pubkey.from_string("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr")
RULES = ChainRules()
UNLIMITED = EndpointOptions(jito_requests_per_second=0)
TIP_ACCOUNT = derive_tip_accounts()[0]
BASE64 = {"encoding": "base64"}

Json = dict[str, Any]


def make_node(folder: Path, rules: ChainRules = RULES, **options: Any) -> Node:
    """Open the node of a folder, new or as it was left."""
    folder.mkdir(parents=True, exist_ok=True)
    return Node(folder, NodeOptions(WALLET, UNIX_TIME, rules, **options))


def memo(text: str | bytes) -> Instruction:
    """Make a memo."""
    data = text.encode() if isinstance(text, str) else text
    return Instruction(MEMO_PROGRAM, data, [])


def pay(lamports: int, to: Pubkey = STRANGER, payer: Keypair = WALLET) -> Instruction:
    """Make a transfer of lamports."""
    return transfer(TransferParams(from_pubkey=payer.pubkey(), to_pubkey=to, lamports=lamports))


def sign(
    blockhash: str, *instructions: Instruction, payer: Keypair = WALLET, legacy: bool = False
) -> VersionedTransaction:
    """Sign a transaction of one signer."""
    recent = Hash.from_string(blockhash)
    if legacy:
        old = Message.new_with_blockhash(list(instructions), payer.pubkey(), recent)
        return VersionedTransaction(old, [payer])
    new = MessageV0.try_compile(payer.pubkey(), list(instructions), [], recent)
    return VersionedTransaction(new, [payer])


def encoded(transaction: VersionedTransaction) -> str:
    """Write a transaction the way clients send it."""
    return b64encode(bytes(transaction)).decode()


def texts(*transactions: SignedTransaction) -> list[str]:
    """Write transactions the way clients send them."""
    return [encoded(each.parsed) for each in transactions]


class Desk:
    """Shorthands over a node: new transactions on the newest blockhash."""

    def __init__(self, node: Node) -> None:
        self.node = node

    def signed(self, *instructions: Instruction, payer: Keypair = WALLET) -> SignedTransaction:
        """Sign on the newest blockhash."""
        blockhash = self.node.chain.bank("processed").blockhash
        return parse_transaction(bytes(sign(blockhash, *instructions, payer=payer)))

    def payment(self, lamports: int = 1_000_000, price: int = 0) -> SignedTransaction:
        """Sign a payment to the stranger, at a compute price in micro-lamports."""
        extra = [set_compute_unit_price(price)] if price else []
        return self.signed(*extra, pay(lamports))

    def tipping(
        self, lamports: int = 1_000_000, tip: int = 1_000, payer: Keypair = WALLET
    ) -> SignedTransaction:
        """Sign a payment to the stranger and a tip."""
        return self.signed(pay(lamports, payer=payer), pay(tip, TIP_ACCOUNT, payer), payer=payer)

    def swap(self, amount_in: int, minimum_out: int = 0) -> SignedTransaction:
        """Sign a purchase of BONK for USDC, in base units."""
        return self.signed(self.swap_instruction(amount_in, minimum_out))

    def sale(self, amount_in: int) -> SignedTransaction:
        """Sign a sale of BONK for USDC, in base units."""
        return self.signed(self._swap(BONK_MINT, USDC_MINT).exact_in(amount_in, 0))

    def swap_instruction(self, amount_in: int, minimum_out: int = 0) -> Instruction:
        """Make a purchase of BONK for USDC, in base units."""
        return self._swap(USDC_MINT, BONK_MINT).exact_in(amount_in, minimum_out)

    def _swap(self, paid: Pubkey, got: Pubkey) -> Swap:
        address = pool_address(BONK_MINT, USDC_MINT)
        account = self.node.chain.machine.read(address)
        assert account is not None
        pool = PoolState.decode(account.data)
        return Swap(
            pool_address=address,
            pool=pool,
            side=pool.mints.index(paid),
            payer=WALLET.pubkey(),
            source=associated_token_address(WALLET.pubkey(), paid),
            destination=associated_token_address(WALLET.pubkey(), got),
        )

    def lamports(self, address: Pubkey = STRANGER) -> int:
        """Read a balance as it stands."""
        account = self.node.chain.machine.read(address)
        return account.lamports if account else 0


class Timer:
    """A clock that goes on when a test says so."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


class Caller:
    """Calls an endpoint that is not the node itself."""

    def __init__(self, front: Front, port: int, headers: dict[str, str] | None = None) -> None:
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(front),
            base_url=f"http://127.0.0.1:{port}",
            headers=headers,
        )

    async def post(self, path: str, method: str, *params: object) -> httpx.Response:
        """Call a method; give the whole HTTP response."""
        document = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
        return await self.http.post(path, json=document)

    async def result(self, path: str, method: str, *params: object) -> Any:
        """Call a method; give its result."""
        response = (await self.post(path, method, *params)).json()
        assert "error" not in response, response
        return response["result"]

    async def error(self, path: str, method: str, *params: object) -> Json:
        """Call a method; give its error."""
        response = (await self.post(path, method, *params)).json()
        assert "result" not in response, response
        error: Json = response["error"]
        return error


class Client:
    """Asks a node over HTTP, within the process."""

    def __init__(self, node: Node, options: EndpointOptions = UNLIMITED) -> None:
        self.node = node
        self.timer = Timer()
        self.app = SandboxApp(node, lambda: float(UNIX_TIME), options, self.timer)
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app.rpc), base_url="http://127.0.0.1:8899"
        )
        self.jito = Caller(self.app.jito, 8_900)
        self.quicknode = Caller(self.app.quicknode, 8_901, {"x-token": self.app.token})

    async def script(self, kind: str, **fields: object) -> Json:
        """Script trouble, or do it at once; gives what the sandbox says of it."""
        (done,) = (await self.control("faults", [{"kind": kind, **fields}]))["faults"]
        said: Json = done
        return said

    async def journal(self) -> list[Json]:
        """List what was asked."""
        entries: list[Json] = (await self.control("journal", method="GET"))["entries"]
        return entries

    async def ask(self, method: str, *params: object) -> Json:
        """Call a method; give the whole response."""
        document = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
        response = await self.http.post("/", json=document)
        answered: Json = json.loads(response.content)
        return answered

    async def result(self, method: str, *params: object) -> Any:
        """Call a method; give its result."""
        response = await self.ask(method, *params)
        assert "error" not in response, response
        return response["result"]

    async def value(self, method: str, *params: object) -> Any:
        """Call a method; give the value in its result."""
        return (await self.result(method, *params))["value"]

    async def error(self, method: str, *params: object) -> Json:
        """Call a method; give its error."""
        response = await self.ask(method, *params)
        assert "result" not in response, response
        error: Json = response["error"]
        return error

    async def control(self, path: str, document: object = None, method: str = "POST") -> Json:
        """Call under /sandbox."""
        response = await self.http.request(method, f"/sandbox/{path}", json=document)
        assert response.status_code == httpx.codes.OK, response.text
        answered: Json = response.json()
        return answered

    async def step(self, slots: int = 1) -> Json:
        """Step the clock."""
        return await self.control("step", {"slots": slots})

    async def blockhash(self, commitment: str = "confirmed") -> str:
        """Read the newest blockhash."""
        value = await self.value("getLatestBlockhash", {"commitment": commitment})
        return str(value["blockhash"])

    async def send(self, transaction: VersionedTransaction, **config: object) -> Json:
        """Send a transaction; give the whole response."""
        options = {"encoding": "base64", "preflightCommitment": "confirmed", **config}
        return await self.ask("sendTransaction", encoded(transaction), options)

    async def status(self, transaction: VersionedTransaction, **config: object) -> Any:
        """Read what became of a transaction, in all history."""
        config = {"searchTransactionHistory": True, **config}
        signature = str(transaction.signatures[0])
        return (await self.value("getSignatureStatuses", [signature], config))[0]
