"""Reads a Solana node with nothing but the standard library: bytes, balances, logs as they are.

Nothing of `app` and no Solana library is used, so that what the service says about a transaction
can be held against what the chain says.
"""

import base64
import hashlib
import json
import struct
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

SYSTEM = "11111111111111111111111111111111"
COMPUTE_BUDGET = "ComputeBudget111111111111111111111111111111"
MEMO = "MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr"
CPMM = "CPMMoo8L3F4NbTegBCKVNunggL7H1ZpdTHKxQB5qKP1C"
WRAPPED_SOL = "So11111111111111111111111111111111111111112"
SIGNATURE_LAMPORTS = 5_000
PAGE = 1_000
ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def base58(data: bytes) -> str:
    """Write bytes in Bitcoin's base 58."""
    number = int.from_bytes(data)
    digits = ""
    while number:
        number, digit = divmod(number, 58)
        digits = ALPHABET[digit] + digits
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + digits


def discriminator(kind: str, name: str) -> bytes:
    """Give Anchor's eight bytes for an instruction (`global`) or an event (`event`)."""
    return hashlib.sha256(f"{kind}:{name}".encode()).digest()[:8]


def rpc(url: str, method: str, *params: object) -> Any:
    """Call a JSON-RPC method; an error answer raises ValueError."""
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=10) as answer:
        document = json.load(answer)
    if "error" in document:
        raise ValueError(f"{method}: {document['error']}")
    return document["result"]


@dataclass(frozen=True)
class Instruction:
    """A top-level instruction with its accounts named."""

    program: str
    accounts: tuple[str, ...]
    data: bytes


class _Reader:
    """Walks over the bytes of a transaction."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, size: int) -> bytes:
        part = self.data[self.at : self.at + size]
        assert len(part) == size, "the transaction ends early"
        self.at += size
        return part

    def byte(self) -> int:
        return self.take(1)[0]

    def compact(self) -> int:
        """Read a length: seven bits a byte, the low ones first."""
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7


@dataclass(frozen=True)
class Bytes:
    """What the bytes of a transaction without lookup tables say."""

    signatures: tuple[str, ...]
    keys: tuple[str, ...]
    instructions: tuple[Instruction, ...]

    def of(self, program: str) -> list[Instruction]:
        """Give the top-level instructions for a program."""
        return [each for each in self.instructions if each.program == program]


def parse_transaction(data: bytes) -> Bytes:
    """Read a legacy or version 0 transaction."""
    reader = _Reader(data)
    signatures = tuple(base58(reader.take(64)) for _ in range(reader.compact()))
    versioned = bool(reader.data[reader.at] & 0x80)
    if versioned:
        assert reader.byte() == 0x80, "an unknown version"
    reader.take(3)  # how many keys sign and how many are read-only
    keys = tuple(base58(reader.take(32)) for _ in range(reader.compact()))
    reader.take(32)  # the blockhash
    raw = [
        (reader.byte(), reader.take(reader.compact()), reader.take(reader.compact()))
        for _ in range(reader.compact())
    ]
    if versioned:
        assert reader.compact() == 0, "lookup tables are not read here"
    assert reader.at == len(data), "the transaction goes on after its end"
    instructions = tuple(
        Instruction(keys[program], tuple(keys[index] for index in accounts), payload)
        for program, accounts, payload in raw
    )
    return Bytes(signatures, keys, instructions)


@dataclass(frozen=True)
class Holding:
    """A token account's balance before and after, in base units; absent counts as nothing."""

    mint: str
    decimals: int
    before: int
    after: int

    @property
    def change(self) -> int:
        return self.after - self.before


@dataclass(frozen=True)
class Landed:
    """A transaction as the chain has it: its bytes, and what it did to every account."""

    slot: int
    error: object
    fee: int
    content: Bytes
    lamports: dict[str, tuple[int, int]]
    tokens: dict[str, Holding]
    logs: tuple[str, ...]

    def lamport_change(self, account: str) -> int:
        before, after = self.lamports[account]
        return after - before

    def events(self) -> list[bytes]:
        """Give the data that programs logged."""
        prefix = "Program data: "
        return [
            base64.b64decode(line.removeprefix(prefix))
            for line in self.logs
            if line.startswith(prefix)
        ]


def landed(url: str, signature: str) -> Landed | None:
    """Read a confirmed transaction; None when the chain has none of this signature."""
    options = {
        "encoding": "base64",
        "commitment": "confirmed",
        "maxSupportedTransactionVersion": 0,
    }
    found = rpc(url, "getTransaction", signature, options)
    if found is None:
        return None
    meta = found["meta"]
    parsed = parse_transaction(base64.b64decode(found["transaction"][0]))
    balances = zip(meta["preBalances"], meta["postBalances"], strict=True)
    return Landed(
        slot=found["slot"],
        error=meta["err"],
        fee=meta["fee"],
        content=parsed,
        lamports=dict(zip(parsed.keys, balances, strict=True)),
        tokens=_holdings(parsed.keys, meta),
        logs=tuple(meta["logMessages"]),
    )


def _holdings(keys: tuple[str, ...], meta: dict[str, Any]) -> dict[str, Holding]:
    before = {each["accountIndex"]: each for each in meta["preTokenBalances"]}
    after = {each["accountIndex"]: each for each in meta["postTokenBalances"]}

    def amount(balances: dict[int, Any], index: int) -> int:
        return int(balances[index]["uiTokenAmount"]["amount"]) if index in balances else 0

    return {
        keys[index]: Holding(
            mint=known["mint"],
            decimals=known["uiTokenAmount"]["decimals"],
            before=amount(before, index),
            after=amount(after, index),
        )
        for index, known in {**before, **after}.items()
    }


@dataclass(frozen=True)
class SwapEvent:
    """What the pool's program logged of a swap; reserves: before it, without fees owed."""

    pool: str
    reserve_in: int
    reserve_out: int
    amount_in: int
    amount_out: int
    exact_in: bool


def swap_events(transaction: Landed) -> list[SwapEvent]:
    """Read the swap events of a transaction's log."""
    kind = discriminator("event", "SwapEvent")
    return [_swap_event(data) for data in transaction.events() if data[:8] == kind]


def _swap_event(data: bytes) -> SwapEvent:
    reserve_in, reserve_out, amount_in, amount_out = struct.unpack_from("<4Q", data, 40)
    return SwapEvent(
        pool=base58(data[8:40]),
        reserve_in=reserve_in,
        reserve_out=reserve_out,
        amount_in=amount_in,
        amount_out=amount_out,
        exact_in=bool(data[88]),
    )


def trade_fee_rate(url: str, config: str) -> int:
    """Read a pool's trading fee (millionths) from its configuration account."""
    options = {"encoding": "base64", "commitment": "confirmed"}
    value = rpc(url, "getAccountInfo", config, options)["value"]
    assert value["owner"] == CPMM, "the fee configuration belongs to another program"
    return int(struct.unpack_from("<Q", base64.b64decode(value["data"][0]), 12)[0])


def signatures_of(url: str, wallet: str) -> Iterator[dict[str, Any]]:
    """List a wallet's transactions, newest first, page by page."""
    options: dict[str, object] = {"limit": PAGE, "commitment": "confirmed"}
    while page := rpc(url, "getSignaturesForAddress", wallet, options):
        yield from page
        options["before"] = page[-1]["signature"]


def executions_by_order(url: str, wallet: str) -> Counter[str]:
    """Count each order's successful transactions by memo, over the wallet's whole history."""
    counted: Counter[str] = Counter()
    for found in signatures_of(url, wallet):
        if found["err"] is None:
            counted.update(orders_in_memo(found["memo"] or ""))
    return counted


@dataclass(frozen=True)
class Execution:
    """A successful transaction of ours: the attempt of an order that it is, and whose key it names."""

    order_id: str
    number: int
    client_hash: str
    signature: str


def executions_of(url: str, wallet: str) -> list[Execution]:
    """List every successful transaction that bears our memo, over the wallet's whole history."""
    executed = []
    for found in signatures_of(url, wallet):
        for text in texts_in_memo(found["memo"] or "") if found["err"] is None else ():
            order_id, number, client_hash = text.removeprefix("synergy7:").split("/")
            each = Execution(order_id, int(number), client_hash, found["signature"])
            executed.append(each)
    return executed


def texts_in_memo(memo: str) -> list[str]:
    """Give our texts in a memo as nodes show it: `[length] text; [length] text`."""
    texts = (part.partition("] ")[2] for part in memo.split("; "))
    return [text for text in texts if text.startswith("synergy7:")]


def orders_in_memo(memo: str) -> list[str]:
    """Give the order ids in a memo as nodes show it: `[length] text; [length] text`."""
    return [text.split(":")[1].split("/")[0] for text in texts_in_memo(memo)]
