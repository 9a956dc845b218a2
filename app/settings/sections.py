"""The sections of the settings tree: each a frozen table of checked values with its defaults."""

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr
from pydantic_settings import NoDecode


def _listed(value: object) -> object:
    """Read a list as the environment has it: JSON, or names with commas between."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return json.loads(value)
    return [part.strip() for part in value.split(",") if part.strip()]


def _credential(secret: SecretStr) -> SecretStr:
    """Refuse what no header carries as it is: blanks and line ends come with a careless copy."""
    if re.fullmatch(r"[!-~]+", secret.get_secret_value()) is None:
        raise ValueError("it is empty, or has blanks, line ends or letters that no header carries")
    return secret


Credential = Annotated[SecretStr, AfterValidator(_credential)]
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Pace = Annotated[float, Field(ge=0, le=10_000, allow_inf_nan=False)]
"""Requests a second; 0: no pace of our own."""
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)]
Urls = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_listed)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Execution(_Section):
    """How orders are executed."""

    max_concurrent_executions: Annotated[int, Field(ge=1, le=4_096)] = 3
    execution_timeout: Seconds = 30
    transaction_timeout: Seconds = 30
    retry_delay: Annotated[float, Field(gt=0, le=3_600, allow_inf_nan=False)] = 2
    max_retries: Annotated[int, Field(ge=0, le=100)] = 3
    proof_endpoints: Annotated[int, Field(ge=1, le=16)] = 1
    max_slippage_bps: Annotated[int, Field(ge=0, le=9_999)] = 50
    allow_public_fallback: bool = True
    max_queue: Count = 100_000
    strategy: Literal["fallback", "race"] = "fallback"
    """How the methods of an order get its bytes: one after the other, or all at once."""
    patience: Seconds = 3
    """How long a method may hold bytes unlanded before the next one gets them too."""
    rebroadcast_interval: Seconds = 1
    push_timeout: Seconds = 3
    status_interval: Annotated[float, Field(ge=0.02, le=60, allow_inf_nan=False)] = 0.4
    drain_timeout: Seconds = 10
    """Bound on an orderly end; attempts still in flight are taken up at the next start."""


class OrderManagement(_Section):
    """Where orders are kept, and for how long."""

    order_timeout: Seconds = 300
    db_path: Path = Path("output/production_orders.db")
    database_url: SecretStr | None = None
    max_history_size: Annotated[int, Field(ge=0)] = 10_000
    cleanup_interval: Seconds = 3_600
    retention_days: Annotated[int, Field(ge=0)] = 0
    migrate_at_start: bool = True
    backup_path: Path = Path("output/backups")


class Metrics(_Section):
    """Where execution metrics are kept, and for how long."""

    metrics_db_path: Path = Path("output/production_metrics.db")
    database_url: SecretStr | None = None
    metrics_retention_days: Count = 30
    cleanup_interval: Seconds = 3_600


class BlockEngine(_Section):
    """Jito's block engine, for the methods `bundle` and `jito`."""

    urls: Urls = ()
    """Base URLs, one for each region; on the sandbox it is known by itself."""
    regions: Names = ()
    """Regions by name instead of URLs."""
    uuid: Credential | None = None
    requests_per_second: Pace = 1
    """For each region, all methods together; 0: no pace of our own."""
    tip_accounts: Names = ()
    """Some of the eight; empty: all."""
    bundle_statuses: bool = True
    """Ask what the block engine says of bundles; never a proof, only told."""


class Jito(_Section):
    """The method `jito`."""

    bundle_only: bool = False
    """Sent as a bundle of one transaction only: private, and not included when it fails."""


class LilJit(_Section):
    """QuickNode's add-on for Jito bundles."""

    enabled: bool = False
    encoding: Literal["base58", "base64"] = "base58"
    region: str | None = None


class Fastlane(_Section):
    """QuickNode's add-on Transaction Fastlane; its tip accounts stand in QuickNode's dashboard only."""

    enabled: bool = False
    tip_accounts: Names = ()
    min_tip_lamports: Annotated[int, Field(ge=0, le=100_000_000)] = 1_000_000
    min_unit_price_micro_lamports: Annotated[int, Field(ge=0, le=50_000_000)] = 5_000_000


class QuickNode(_Section):
    """The method `quicknode`: an endpoint with its token."""

    url: SecretStr | None = None
    token: Credential | None = None
    """Sent as the header x-token."""
    requests_per_second: Pace = 0
    jito_tip: bool = False
    """Pay Jito's tip: an add-on of the endpoint hands ordinary sends to Jito."""
    lil_jit: LilJit = LilJit()
    fastlane: Fastlane = Fastlane()


class Rpc(_Section):
    """The method `rpc`."""

    urls: Urls = ()
    """Nodes that transactions are sent to; empty: those of `solana.rpc_urls`."""


class Methods(_Section):
    """Submission methods: their order, and a section each."""

    order: Names = ("rpc",)
    patience: Mapping[str, Seconds] = {}
    """`execution.patience` by method."""
    block_engine: BlockEngine = BlockEngine()
    jito: Jito = Jito()
    quicknode: QuickNode = QuickNode()
    rpc: Rpc = Rpc()
    senders: Mapping[
        Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")], Mapping[str, Any]
    ] = Field(default={}, repr=False)
    """Further methods by name, each a preset or a service of its own: docs/senders.md."""
    options: Mapping[str, Mapping[str, Any]] = Field(default={}, repr=False)
    """What methods of other packages are told, by name."""


class PriorityFee(_Section):
    """The price of a compute unit."""

    source: Literal["fixed", "recent", "quicknode"] = "fixed"
    """`recent`: what others paid for the same accounts; `quicknode`: its add-on at `methods.quicknode`."""
    percentile: Annotated[int, Field(ge=0, le=100)] = 75
    cap_micro_lamports: Annotated[int, Field(ge=0, le=50_000_000)] = 1_000_000


class Tip(_Section):
    """What Jito is tipped."""

    percentile: Annotated[Literal["25", "50", "75", "95", "99", "ema50"], BeforeValidator(str)] = (
        "50"
    )
    floor_lamports: Annotated[int, Field(ge=1_000, le=100_000_000)] = 1_000
    cap_lamports: Annotated[int, Field(ge=1_000, le=100_000_000)] = 100_000
    default_lamports: Annotated[int, Field(ge=1_000, le=100_000_000)] = 10_000
    """While the tip-floor service does not answer."""
    url: SecretStr | None = None
    """The tip-floor service; empty: Jito's own, or the sandbox's."""


class Fees(_Section):
    """What is paid for landing."""

    unit_price_micro_lamports: Annotated[int, Field(ge=0, le=50_000_000)] = 10_000
    """The fixed price of a compute unit, and the floor of a measured one."""
    priority: PriorityFee = PriorityFee()
    tip: Tip = Tip()
    max_order_lamports: Annotated[int, Field(ge=5_000)] | None = 10_000_000
    """Never more for fees and tips of one order, all its attempts together."""
    max_order_bps: Annotated[int, Field(ge=0, le=10_000)] = 0
    """As above, in basis points of the order's value; 0: no such limit."""


class Wallet(_Section):
    """The signer."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,32}$")] = "main"
    keypair_file: Path | None = None
    secret_key: SecretStr | None = None
    reserve_sol: Annotated[Decimal, Field(ge=0, le=1_000_000)] = Decimal("0.05")


class Solana(_Section):
    """The endpoints that the chain is read from; on the sandbox they are known by themselves."""

    rpc_urls: Urls = ()
    ws_url: SecretStr | None = None
    request_timeout: Seconds = 3
    poll_interval: Annotated[float, Field(ge=0.02, le=10, allow_inf_nan=False)] = 0.8


class Server(_Section):
    """Where HTTP listens."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8000


class Log(_Section):
    """The log file and the console."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    path: Path = Path("logs/production_execution.log")
    max_bytes: Annotated[int, Field(ge=10_000)] = 20_000_000
    backups: Annotated[int, Field(ge=0, le=1_000)] = 5


class TokenEntry(_Section):
    """A mint by its symbol."""

    mint: str
    decimals: Annotated[int, Field(ge=0, le=18)]


class PoolEntry(_Section):
    """A pool of a market."""

    venue: str
    address: str


class StrategySection(_Section):
    """How the orders of one strategy are treated; strategies need no entry."""

    in_sequence: bool = False
    """Opposite orders of one wallet and market are executed in the order of their acceptance."""


class MarketEntry(_Section):
    """A market: its pools and the smallest sizes worth a transaction, in whole tokens."""

    pools: Annotated[tuple[PoolEntry, ...], Field(min_length=1)]
    min_size: Annotated[Decimal, Field(ge=0)] = Decimal(0)
    min_quote_size: Annotated[Decimal, Field(ge=0)] = Decimal(0)
    max_price_impact_bps: Annotated[int, Field(ge=0, le=10_000)] = 500
    """How far a swap may move the price of its pool; 0: as far as it goes."""
    max_mid_gap_bps: Annotated[int, Field(ge=0, le=10_000)] = 300
    """How far the chosen pool's price may be from the nearest other pool's; 0: not checked."""


class Sandbox(_Section):
    """The chain on this machine."""

    ledger: Path = Path("output/sandbox")
    file: Path = Path("output/sandbox.json")
    slot_ms: Annotated[int, Field(ge=5, le=10_000)] = 400
    seed: int = 7
    program_file: Path | None = None
    """The real Raydium CPMM program, to be run instead of the shipped one."""
    keeper_volatility_bps: Annotated[int, Field(ge=0, le=1_000)] = 0
