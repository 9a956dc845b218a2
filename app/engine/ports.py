"""What the engine needs from the rest, as Protocols: the seams every plug-in and test stands on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from app.domain.attempt import Blockhash, Signed, StoredAttempt
from app.domain.errors import ReasonCode
from app.domain.order import Fill, Order, OrderStatus
from app.domain.outcome import (
    ChainStatus,
    FailureEvidence,
    Heights,
    NotProved,
    ProgramError,
    Proof,
    Reply,
    Unreachable,
)
from app.domain.quote import Limit, Quote
from app.domain.resolution import Hearing
from app.engine.store_port import (
    Accepted,
    Balances,
    CancelOutcome,
    Claimed,
    IntakeRefusal,
    LostLease,
    OrderFilter,
    QueueFigures,
    Shortage,
    StatisticsRow,
    Store,
)

__all__ = [
    "Accepted",
    "Account",
    "Balances",
    "CancelOutcome",
    "Chain",
    "Claimed",
    "Clock",
    "Draft",
    "Executor",
    "Explained",
    "Hindrance",
    "IntakeRefusal",
    "LandedTransaction",
    "LostLease",
    "OrderFilter",
    "Ports",
    "Privacy",
    "ProvedFailure",
    "QueueFigures",
    "Quoted",
    "Shortage",
    "Signer",
    "Simulation",
    "Snapshot",
    "StatisticsRow",
    "Store",
    "Telemetry",
    "TipNeeds",
    "Trading",
]

# ---------------------------------------------------------------- submission methods


class Privacy(StrEnum):
    """Whether bytes pushed through a method can be seen by the public before they land."""

    PRIVATE = "private"
    PUBLIC = "public"


@dataclass(frozen=True, slots=True)
class TipNeeds:
    """What a method demands of the transaction, known before building: payees and floors."""

    payees: tuple[str, ...] = ()
    """Who may be tipped, any one of them."""
    tip_lamports: int = 0
    """What the method asks for now: its floor, or the going rate within its own cap."""
    unit_price_min: int = 0
    """Compute-unit price floor in micro-lamports."""
    priority_fee_lamports_min: int = 0
    """Floor of the whole priority fee."""


@dataclass(frozen=True, slots=True)
class Hindrance:
    """Why a method would take no push now (`breaker_open`, `limited`, `disabled`), and for how long.

    `half_open` for 0 seconds: it would take a single one, to find out whether it is well again.
    """

    reason: str
    seconds: float
    """Infinite: not before somebody acts."""


class Executor(Protocol):
    """A submission method: pushes the bytes of a stored attempt and classifies the reply."""

    @property
    def name(self) -> str:
        """The method's name, as in `methods` of a signal."""

    @property
    def privacy(self) -> Privacy:
        """Whether the method keeps the bytes private."""

    @property
    def needs(self) -> TipNeeds:
        """What the transaction must carry for this method; read whenever one is built."""

    def hindrance(self, *, again: bool = False) -> Hindrance | None:
        """Say what would keep a push from being admitted now, taking no place; None: nothing.

        `again`: the push would only repeat what the method has accepted, and yields to first pushes.
        """

    def state(self) -> Mapping[str, object]:
        """Give the method's state for `/status`: `name`, `breaker` and what else it knows."""

    def reset(self) -> None:
        """Close the breaker and forget every back-off: the operator says that the method is well."""

    def claim(self, signature: str) -> str | None:
        """Give what the method last said of these bytes' fate, such as `Failed`; never a proof."""

    async def submit(
        self, attempt: StoredAttempt, deadline: float, may: Callable[[], bool]
    ) -> Reply:
        """Push the bytes once; answers before `deadline` (event-loop time). Raises only CancelledError.

        `may` is asked before every further request of the push: leave to send may end meanwhile.
        """


# ---------------------------------------------------------------- the chain


@dataclass(frozen=True, slots=True)
class Account:
    """An account as read: raw data, owner (base58) and lamports."""

    lamports: int
    owner: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Accounts read together at one slot; an address without an account maps to None."""

    slot: int
    accounts: Mapping[str, Account | None]


@dataclass(frozen=True, slots=True)
class Simulation:
    """What a simulation did: raw `err` (None: success), log lines, units consumed."""

    error: object | None
    logs: tuple[str, ...]
    units: int
    slot: int


@dataclass(frozen=True, slots=True)
class LandedTransaction:
    """A confirmed transaction as read back: raw `err`, fee in lamports, balances by account index."""

    signature: str
    slot: int
    error: object | None
    fee_lamports: int
    logs: tuple[str, ...]
    account_keys: tuple[str, ...]
    lamports_before: tuple[int, ...]
    lamports_after: tuple[int, ...]
    tokens_before: Mapping[int, int]
    tokens_after: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class ProvedFailure:
    """A transaction that failed in a finalized block, and who told so by status and transaction."""

    landed: LandedTransaction
    """As one of them shows it; its error is not None."""
    evidence: tuple[FailureEvidence, ...]


class Chain(Protocol):
    """Reads of the chain. Reads that fail raise TransientError(CHAIN_UNAVAILABLE) unless said otherwise."""

    def ready(self) -> bool:
        """Tell whether the chain was read recently enough to sign anything."""

    async def blockhash(self, life_seconds: float) -> Blockhash | None:
        """Give the recent blockhash whose remaining life is nearest at or above `life_seconds`.

        The newest when none lives that long; None when the wanted life is under the least that is
        worth signing for (20 blocks).
        """

    async def accounts(self, addresses: Sequence[str]) -> Snapshot:
        """Read accounts together at `confirmed`."""

    async def simulate(self, raw: bytes, slot_min: int) -> Simulation:
        """Run a transaction with zeroed signatures on the node, without sending anything executable."""

    async def heights(self) -> Heights | None:
        """Give the last known finalized slot and height, None while unreadable; never raises."""

    async def statuses(
        self, signatures: Sequence[str], *, history: bool = False
    ) -> Mapping[str, ChainStatus]:
        """Ask for statuses, in batches; what could not be asked is Unreachable; never raises.

        Without `history` a node looks only at what landed in the last minutes.
        """

    async def transaction(self, signature: str) -> LandedTransaction | Unreachable | None:
        """Read a transaction back at `confirmed`; None when the node does not have it; never raises."""

    async def recent_fees(self, addresses: Sequence[str]) -> Sequence[int]:
        """Give what landed lately paid at least, of those that wrote these accounts (128 at most).

        One figure for each recent slot, in micro-lamports for each compute unit; often 0.
        """

    async def prove_dead(self, attempt: StoredAttempt) -> Proof | NotProved:
        """Try to prove that the attempt can never land; never raises."""

    async def prove_failed(self, attempt: StoredAttempt) -> ProvedFailure | NotProved:
        """Try to prove that the attempt landed and failed in a finalized block; never raises.

        A status alone is one endpoint's word: as many must agree as for `prove_dead`, and none deny it.
        """

    async def testimony(self, attempt: StoredAttempt) -> Sequence[Hearing]:
        """Ask each endpoint, for an operator, what it knows of the attempt; never raises."""

    async def landing_notice(self, signature: str) -> None:
        """Ask to be woken when the signature is seen; an accelerator only; never raises."""


# ---------------------------------------------------------------- trading: order -> signed transaction


@dataclass(frozen=True, slots=True)
class Quoted:
    """A quote with the bound that will be signed."""

    quote: Quote
    limit: Limit


@dataclass(frozen=True, slots=True)
class Draft:
    """An unsigned transaction ready for simulation; `context` is the builder's own."""

    raw: bytes
    slot: int
    context: object


@dataclass(frozen=True, slots=True)
class Explained:
    """A failed transaction in words: whether a new quote may help, and under which code the order ends."""

    error: ProgramError
    code: ReasonCode
    retryable: bool


class Signer(Protocol):
    """Signs for one wallet, wherever its key is kept."""

    @property
    def address(self) -> str:
        """The wallet's address, base58."""

    async def sign(self, message: bytes) -> bytes:
        """Sign the message: 64 bytes. Raises TransientError when the key cannot be reached."""


class Trading(Protocol):
    """Prices, builds, signs and reads back swaps. Raises RefusedError or TransientError."""

    async def quote(self, order: Order) -> Quoted:
        """Quote an order on the state read in this slot, and bound it."""

    async def balances(self, wallet: str) -> Balances:
        """Give the wallet's balances as read in this slot."""

    async def draft(
        self,
        order: Order,
        number: int,
        quoted: Quoted,
        needs: Sequence[TipNeeds],
        earlier: Sequence[StoredAttempt],
    ) -> Draft:
        """Build attempt `number` of the order, unsigned and with the largest compute limit.

        `earlier`: the order's attempts so far; what they cost counts against its cap on fees.
        """

    def check(self, draft: Draft, simulation: Simulation) -> Explained | None:
        """Judge a simulation: None when it did what was quoted, within the bound."""

    async def sign(self, draft: Draft, simulation: Simulation, blockhash: Blockhash) -> Signed:
        """Set the compute limit from the simulation and sign with the order's wallet."""

    def explain(self, error: object, logs: Sequence[str]) -> Explained:
        """Decode a failure: the raw `err` value and the log lines."""

    def fill(self, order: Order, attempt: StoredAttempt, landed: LandedTransaction) -> Fill:
        """Read from a landed transaction what it traded and what it cost."""


# ---------------------------------------------------------------- time, chance and observation


class Clock(Protocol):
    """Time, so that tests can turn it."""

    def now_us(self) -> int:
        """UTC microseconds."""

    def monotonic(self) -> float:
        """Seconds that only grow, as the event loop counts them."""


class Telemetry(Protocol):
    """What the engine tells whoever measures it. Never raises, never blocks."""

    def signal(self, result: str, reason: str) -> None:
        """A signal was accepted, replayed, rejected or refused."""

    def order_ended(self, status: OrderStatus, reason: str) -> None:
        """An order reached a final state."""

    def stage(self, stage: str, seconds: float) -> None:
        """A stage of the flow took this long."""

    def submission(self, method: str, reply: Reply, seconds: float) -> None:
        """Bytes were pushed through a method."""

    def landing(self, method: str, result: str, slots: int | None) -> None:
        """An attempt landed (`filled`, `failed`), credited to a method, so many slots after its push."""

    def landed_against(self, method: str, claim: str) -> None:
        """Bytes landed of which a method had said that they would not."""

    def disputed(self, dispute: str) -> None:
        """Endpoints contradict each other about an attempt."""

    def fees(self, method: str, kind: str, lamports: int) -> None:
        """A landed transaction paid this much."""

    def resigned(self, reason: str) -> None:
        """Another attempt of an order was signed."""

    def recovered(self, to: str) -> None:
        """An order left by another run was taken up again."""

    def workers_busy(self, busy: int) -> None:
        """So many slots are taken."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Everything the engine stands on."""

    store: Store
    chain: Chain
    trading: Trading
    clock: Clock
    telemetry: Telemetry
