"""The wire below the real methods: a provider's literal answers, and bytes that reach the chain or not.

A `Wire` is the real client with nothing but its socket replaced: requests are written, timed out and
read back by the code that does it in earnest.
"""

import asyncio
import base64
import hashlib
import json
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

from app.domain.attempt import StoredAttempt
from app.solana.json_rpc import Exchanged, JsonRpcClient, NeverSent, Raw
from tests.chain_oracle import ALPHABET, MEMO, parse_transaction
from tests.engine.fake_chain import FakeChain
from tests.engine.fake_store import FakeDatabase
from tests.methods.bodies import BODIES, Dialect, Literal, statuses
from tests.methods.faults import BEHAVIOURS, OF_BUNDLES, Back, Behaviour, Delivery, Fault
from tests.methods.journal import PUSH, Push
from tests.methods.table import Stage, Table

ENGINE: Final[Mapping[str, tuple[Dialect, bool]]] = {
    "/api/v1/bundles": (Dialect.BUNDLE, True),
    "/api/v1/transactions": (Dialect.JITO, False),
    "/api/v1/transactions?bundleOnly=true": (Dialect.JITO, True),
}
"""How a block engine answers at each path, and whether it keeps to itself what it gets there."""
STATUSES: Final = "getInflightBundleStatuses"
BUNDLED: Final = frozenset({Dialect.BUNDLE, Dialect.JITO, Dialect.LIL_JIT})
TOO_LATE_SECONDS: Final = 30.0
"""Longer than anybody waits for an answer."""
SLIPPED: Final = {"InstructionError": [2, {"Custom": 6005}]}
GRIM: Final = 0.7
"""How often something befalls pushes at the stages that an attempt reaches once at most."""
STRIDE: Final = 5
"""Half of the faults go round, and each seed begins elsewhere: so some seeds meet all of them."""
ONCE: Final = frozenset({Stage.FIRST, Stage.RESIGNED, Stage.TAKEOVER})


class Nobody:
    """Counts no requests."""

    def rpc(self, endpoint: str, rpc_method: str, outcome: str, seconds: float) -> None:
        """Drop it."""


class Wire(JsonRpcClient):
    """A client whose requests end in the network of a simulation."""

    def __init__(self, url: str, network: "Network", dialect: Dialect | None = None) -> None:
        """`dialect`: how the endpoint answers; None: a block engine, which has a path for each."""
        super().__init__(url, timeout_seconds=3.0, observer=Nobody())
        self._network = network
        self._dialect = dialect

    async def _send(
        self, http_method: str, body: bytes | None, path: str, content_type: str, bytes_max: int
    ) -> Exchanged:
        if not body:
            return await self._network.ping()
        request: dict[str, Any] = json.loads(body)
        if request["method"] == STATUSES:
            return await self._network.statuses(request["params"][0])
        dialect = self._dialect
        if dialect is None:
            dialect, private = ENGINE[path]
        else:
            private = dialect is Dialect.LIL_JIT
        raw = _bytes_of(request["params"])
        return await self._network.push(dialect, raw, private=private)


def _bytes_of(params: list[Any]) -> bytes:
    """Give the transaction of a sendTransaction, or the one of a sendBundle."""
    text: str = params[0][0] if isinstance(params[0], list) else params[0]
    said = params[-1].get("encoding") if isinstance(params[-1], dict) else None
    return base64.b64decode(text) if said == "base64" else _unbase58(text)


def _unbase58(text: str) -> bytes:
    number = 0
    for digit in text:
        number = number * 58 + ALPHABET.index(digit)
    return b"\0" * (len(text) - len(text.lstrip("1"))) + number.to_bytes(
        (number.bit_length() + 7) // 8
    )


@dataclass(frozen=True)
class Content:
    """What the bytes of a transaction say for themselves."""

    signature: str
    memo: str

    @property
    def order_id(self) -> str:
        """The order that the memo names."""
        return self.memo.split(":")[1].split("/")[0]


@dataclass
class Network:
    """Every provider's network, and what happens on it."""

    chain: FakeChain
    database: FakeDatabase
    rng: random.Random
    table: Table
    step: Callable[[str], Awaitable[None]]
    moods: dict[str, float] = field(default_factory=dict)
    """How often something befalls a push of each method."""
    all_down: bool = False
    calm: bool = False
    seed: int = 0
    landable: dict[str, str] = field(default_factory=dict)
    """The order of every signature whose bytes have left a process."""
    secret: set[str] = field(default_factory=set)
    """Signatures of bytes that were never to be public."""

    def __post_init__(self) -> None:
        self._contents: dict[bytes, Content] = {}
        self._claims: dict[str, tuple[str, str]] = {}
        self._rounds: dict[tuple[Dialect, Stage], int] = defaultdict(lambda: STRIDE * self.seed)

    # ------------------------------------------------------------ what is asked

    async def ping(self) -> Exchanged:
        """Answer a request that only keeps a connection open."""
        await self._pass(0.01)
        return NeverSent("ClientConnectorError") if self.all_down else Raw(200, {}, b"ok")

    async def statuses(self, bundle_ids: list[str]) -> Exchanged:
        """Tell what is claimed of bundles."""
        await self._pass(0.05)
        if self.all_down:
            return NeverSent("ClientConnectorError")
        if not self.calm and self.rng.random() < 0.1:
            return _raw(self.rng.choice(BODIES[Dialect.BUNDLE][Fault.LIMITED_FOR]))
        told = {bundle_id: self._status(bundle_id) for bundle_id in bundle_ids}
        return Raw(200, {}, statuses(told).encode())

    def _status(self, bundle_id: str) -> str:
        signature, claim = self._claims.get(bundle_id, ("", "Invalid"))
        if claim:
            return claim
        return "Landed" if self.chain.executed(signature) else "Pending"

    async def push(self, dialect: Dialect, raw: bytes, *, private: bool) -> Exchanged:
        """Take bytes, do with them what the fault says, and answer."""
        push = PUSH.get()
        if push is None:
            self.database.demand(False, "bytes left a process outside of a push")
            return NeverSent("nobody")
        await self.step(push.process)  # the last moment before the bytes leave
        content = self._judged(push, raw)
        secret = content.signature in self.secret
        self.database.demand(
            private or not secret, f"{push.method} got {content.memo}, which was to stay private"
        )
        fault = self._fault(push, dialect)
        self.table.count(fault, push.method, push.stage)
        behaviour = BEHAVIOURS[fault]
        if behaviour.back is Back.NO_CONNECTION:
            return NeverSent("ClientConnectorError")
        self._leave(push, content)
        self._deliver(_as_sent(push.attempt, content.signature), behaviour.delivery)
        bundle_id = hashlib.sha256(content.signature.encode()).hexdigest()
        if dialect in BUNDLED:
            self._claim(bundle_id, content.signature, behaviour)
        await self.step(push.process)  # the first moment after
        ack = bundle_id if dialect in (Dialect.BUNDLE, Dialect.LIL_JIT) else content.signature
        return await self._answer(dialect, fault, ack, bundle_id)

    # ------------------------------------------------------------ what happens

    def _fault(self, push: Push, dialect: Dialect) -> Fault:
        if self.calm:
            return Fault.NONE
        if self.all_down:
            return Fault.DOWN
        mood = self.moods.get(push.method, 0.0)
        if self.rng.random() >= (max(mood, GRIM) if push.stage in ONCE else mood):
            return Fault.NONE
        faults = [each for each in Fault if dialect in BUNDLED or each not in OF_BUNDLES][1:]
        if self.rng.random() < 0.5:
            return self.rng.choice(faults)
        self._rounds[dialect, push.stage] += 1
        return faults[self._rounds[dialect, push.stage] % len(faults)]

    def _deliver(self, attempt: StoredAttempt, delivery: Delivery) -> None:
        receive = self.chain.receive
        land, rng = self.chain.land, self.rng
        match delivery:
            case Delivery.NEVER:
                return
            case Delivery.FATE:
                receive(attempt)
            case Delivery.LATE:
                loop = asyncio.get_running_loop()
                loop.call_later(rng.uniform(0, 8), receive, attempt)
            case Delivery.PERHAPS:
                if rng.random() < 0.3:
                    receive(attempt)
            case Delivery.LANDS:
                receive(attempt, partial(land, after=rng.uniform(0.1, 2)))
            case Delivery.LANDS_LATE:
                receive(attempt, partial(land, after=rng.uniform(3, 9)))
            case Delivery.ALONE:
                error = SLIPPED if rng.random() < 0.5 else None
                receive(attempt, partial(land, after=rng.uniform(0.4, 6), error=error))

    def _claim(self, bundle_id: str, signature: str, behaviour: Behaviour) -> None:
        claim = self.rng.choice(behaviour.claims) if behaviour.claims else ""
        if claim or bundle_id not in self._claims:
            self._claims[bundle_id] = signature, claim

    async def _answer(self, dialect: Dialect, fault: Fault, ack: str, bundle_id: str) -> Exchanged:
        back = BEHAVIOURS[fault].back
        if back is Back.NOTHING:
            await asyncio.Event().wait()
        await self._pass(TOO_LATE_SECONDS if back is Back.TOO_LATE else 0.05)
        said = BODIES[dialect][fault if back is Back.SAID else Fault.NONE]
        return _raw(self.rng.choice(said).filled(ack, bundle_id))

    async def _pass(self, mean_seconds: float) -> None:
        await asyncio.sleep(mean_seconds * self.rng.uniform(0.5, 1.5))

    # ------------------------------------------------------------ judges

    def _judged(self, push: Push, raw: bytes) -> Content:
        """Hold the bytes to what the database has of them."""
        content = self._content(raw)
        attempt, demand = push.attempt, self.database.demand
        stored = {each.signature: each for each in self.database.attempts(attempt.order_id)}
        kept = stored.get(content.signature)
        same = kept is not None and kept.signed.raw == raw
        demand(same, f"{content.memo} left {push.process} before it was stored")
        named = f"synergy7:{attempt.order_id}/{attempt.number}/"
        demand(content.memo.startswith(named), f"{attempt.attempt_id} carries {content.memo}")
        return content

    def _leave(self, push: Push, content: Content) -> None:
        self.landable[content.signature] = content.order_id
        self.chain.last_heights[content.signature] = push.attempt.last_valid_block_height

    def _content(self, raw: bytes) -> Content:
        if raw not in self._contents:
            parsed = parse_transaction(raw)
            memo = parsed.of(MEMO)[0].data.decode()
            self._contents[raw] = Content(parsed.signatures[0], memo)
        return self._contents[raw]


def _as_sent(attempt: StoredAttempt, signature: str) -> StoredAttempt:
    """Give the attempt with the signature that the bytes bear, whatever is said of them."""
    return replace(attempt, signed=replace(attempt.signed, signature=signature))


def _raw(literal: Literal) -> Raw:
    return Raw(literal.http, literal.headers, literal.body.encode())
