"""A process with the real methods: their gates, limiters and statuses, on wires that lead to a network."""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final, Literal

from solders.compute_budget import set_compute_unit_limit, set_compute_unit_price
from solders.hash import Hash
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.system_program import TransferParams, transfer
from solders.transaction import VersionedTransaction

from app.domain.attempt import Blockhash, Signed, StoredAttempt
from app.domain.memo import Memo, client_hash
from app.domain.order import Order
from app.domain.outcome import Reply
from app.domain.signal import SignalRules
from app.engine.method_admin import MethodAdmin
from app.engine.ports import Draft, Executor, Hindrance, Privacy, Quoted, TipNeeds
from app.executors.block_engine import derived_tip_accounts, jito_tips
from app.executors.bundle import bundle
from app.executors.bundle_statuses import BundleStatuses
from app.executors.gate import Gate
from app.executors.jito import jito
from app.executors.limiter import Limiter, loop_time
from app.executors.method import Target
from app.executors.quicknode import LilJit, quicknode
from app.executors.registry import MethodContext
from app.executors.rpc import rpc
from app.executors.sender import build_sender
from tests.chain_oracle import MEMO
from tests.domain.makers import RULES, signed
from tests.engine.fakes import FakeTrading
from tests.engine.rig import Knobs, Rig, World
from tests.methods.bodies import Dialect
from tests.methods.journal import PUSH, Push
from tests.methods.network import Network, Wire
from tests.methods.table import METHODS

WALLET: Final = Keypair.from_seed(sha256(b"a trader with every method").digest())
TIP_ACCOUNTS: Final = derived_tip_accounts("mainnet")
UNITS: Final = 200_000
ENGINE_PACE: Final = 3
"""Requests a second of a block engine's region, as raised for who asks: some are left for statuses."""
FRANKFURT, NEW_YORK = "https://frankfurt.jito.example", "https://ny.jito.example"

Work = Callable[[], Coroutine[object, object, None]]


@dataclass(frozen=True)
class Deployment:
    """What is configured; the same for every process of a world."""

    bundle_only: bool = True
    lil_jit: bool = True
    encoding: Literal["base58", "base64"] = "base64"
    order: Sequence[str] = METHODS

    def private(self) -> set[str]:
        """Name the methods that keep bytes to themselves."""
        kept = {"bundle": True, "jito": self.bundle_only, "quicknode": self.lil_jit}
        return {name for name in self.order if kept.get(name)}


class RealTrading(FakeTrading):
    """Signs real transactions, with the memo, the tips and the fees that the plan's methods want."""

    def __init__(self, on_signed: Callable[[str, str], None]) -> None:
        super().__init__()
        self._on_signed = on_signed
        self._needs: dict[object, Sequence[TipNeeds]] = {}

    async def draft(
        self,
        order: Order,
        number: int,
        quoted: Quoted,
        needs: Sequence[TipNeeds],
        earlier: Sequence[StoredAttempt],
    ) -> Draft:
        draft = await super().draft(order, number, quoted, needs, earlier)
        self._needs[draft.context] = needs
        return draft

    def _sign(self, draft: Draft, blockhash: Blockhash) -> Signed:
        order_id, number = str(draft.context).split("/")
        memo = Memo(order_id, int(number), client_hash("default", order_id)).text()
        raw = transaction(memo, self._needs[draft.context], blockhash.blockhash)
        signature = str(VersionedTransaction.from_bytes(raw).signatures[0])
        self._on_signed(order_id, signature)
        return replace(signed(), raw=raw, signature=signature, blockhash=blockhash)


def transaction(memo: str, needs: Sequence[TipNeeds], blockhash: str) -> bytes:
    """Sign a transaction that does nothing but pay, and say whose it is."""
    fee = max((each.priority_fee_lamports_min for each in needs), default=0)
    floors = [each.unit_price_min for each in needs]
    price = max([-(-fee * 1_000_000 // UNITS), *floors])
    tips = {each.payees[0]: each.tip_lamports for each in needs if each.payees}
    message = MessageV0.try_compile(
        WALLET.pubkey(),
        [
            set_compute_unit_limit(UNITS),
            set_compute_unit_price(price),
            *(_pay(payee, lamports) for payee, lamports in tips.items()),
            Instruction(Pubkey.from_string(MEMO), memo.encode(), []),
        ],
        [],
        Hash(sha256(blockhash.encode()).digest()),
    )
    return bytes(VersionedTransaction(message, [WALLET]))


def _pay(payee: str, lamports: int) -> Instruction:
    params = TransferParams(
        from_pubkey=WALLET.pubkey(), to_pubkey=Pubkey.from_string(payee), lamports=lamports
    )
    return transfer(params)


class Observed:
    """A real method, watched at its door: nothing is added to what it does."""

    def __init__(
        self,
        method: Executor,
        begin: Callable[[Executor, StoredAttempt], Push],
        answered: Callable[[Push, Reply], None],
    ) -> None:
        self._method = method
        self._begin = begin
        self._answered = answered
        self.name = method.name
        self.privacy: Privacy = method.privacy

    @property
    def needs(self) -> TipNeeds:
        return self._method.needs

    def hindrance(self, *, again: bool = False) -> Hindrance | None:
        return self._method.hindrance(again=again)

    def state(self) -> Mapping[str, object]:
        return self._method.state()

    def reset(self) -> None:
        self._method.reset()

    def claim(self, signature: str) -> str | None:
        return self._method.claim(signature)

    async def submit(
        self, attempt: StoredAttempt, deadline: float, may: Callable[[], bool]
    ) -> Reply:
        push = self._begin(self._method, attempt)
        token = PUSH.set(push)
        try:
            reply = await self._method.submit(attempt, deadline, may)
        finally:
            PUSH.reset(token)
        self._answered(push, reply)
        return reply


class MethodsRig(Rig):
    """One process with all the methods."""

    rules = SignalRules(markets=RULES.markets, methods=METHODS)

    def __init__(
        self,
        knobs: Knobs,
        *,
        world: World,
        process: str,
        network: Network,
        deployment: Deployment,
        watched: Callable[[Executor], Executor],
        on_signed: Callable[[str, str], None],
        on_breaker: Callable[[str], None],
    ) -> None:
        self._network = network
        self._deployment = deployment
        self._watched = watched
        self._on_signed = on_signed
        self._on_breaker = on_breaker
        self._limiters: dict[str, Limiter] = {}
        self.background: dict[str, Work] = {}
        super().__init__(knobs, world=world, methods=(), process=process)
        self.admin = MethodAdmin(self.store, self.executor, self.clock)

    async def start(self) -> None:
        """Start as the service does: what operators switched first, then the work beside, then the engine."""
        await self.admin.load()
        for name, work in {**self.background, "methods": self.admin.run}.items():
            self.supervisor.start(name, work())
        await super().start()

    def _trading(self) -> FakeTrading:
        return RealTrading(self._on_signed)

    def _executors(self) -> Mapping[str, Executor]:
        regions = [Wire(url, self._network) for url in (FRANKFURT, NEW_YORK)]
        engine = [Target(client, self._limiter(client.endpoint, ENGINE_PACE)) for client in regions]
        said = BundleStatuses(engine)
        self.background["block-engine-statuses"] = said.run
        tips = jito_tips(TIP_ACCOUNTS, lambda: 10_000)
        methods: list[Executor] = [
            bundle(engine, self._gate("bundle"), tips=tips, statuses=said),
            jito(
                [Target(each.client, each.limiter) for each in engine],
                self._gate("jito"),
                bundle_only=self._deployment.bundle_only,
                tips=tips,
                statuses=said,
            ),
            self._quicknode(tips),
            rpc(
                [self._node(url) for url in ("https://a.example", "https://b.example")],
                self._gate("rpc"),
            ),
            self._helius(),
        ]
        watched = {method.name: self._watched(method) for method in methods}
        return {name: watched[name] for name in self._deployment.order}

    def _quicknode(self, tips: Callable[[], TipNeeds]) -> Executor:
        if not self._deployment.lil_jit:
            wire = Wire("https://x.quiknode.example", self._network, Dialect.QUICKNODE)
            target = Target(wire, self._limiter(wire.endpoint, 10))
            return quicknode(target, self._gate("quicknode"))
        wire = Wire("https://x.quiknode.example", self._network, Dialect.LIL_JIT)
        target = Target(wire, self._limiter(wire.endpoint, 10))
        said = BundleStatuses([target], path="")
        self.background["quicknode-statuses"] = said.run
        bundles = LilJit(self._deployment.encoding, None, said)
        return quicknode(target, self._gate("quicknode"), tips=tips, bundles=bundles)

    def _helius(self) -> Executor:
        context = MethodContext(
            name="helius",
            options={"preset": "helius", "regions": ["fra", "ewr"]},
            gate=self._gate("helius"),
            rpc_clients=(),
            connect=lambda url, _headers: Wire(url, self._network, Dialect.HELIUS),
            limiter=self._limiter,
            background=self.background.__setitem__,
        )
        return build_sender(context)

    def _node(self, url: str) -> Wire:
        return Wire(url, self._network, Dialect.NODE)

    def _gate(self, name: str) -> Gate:
        return Gate(name, on_change=self._on_breaker, monotonic=loop_time)

    def _limiter(self, key: str, per_second: float) -> Limiter:
        return self._limiters.setdefault(key, Limiter(per_second))
