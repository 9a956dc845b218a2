"""Opens what lies outside the process: the log, the chain's endpoints, the key, the databases."""

import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from os import getpid
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from pydantic import SecretStr

from app.bootstrap.clock import SystemClock
from app.bootstrap.metrics_keeper import MetricsKeeper
from app.bootstrap.sandbox_process import (
    SandboxEndpoints,
    SandboxOptions,
    SandboxProcess,
    ask_endpoints,
)
from app.database.addresses import address_of
from app.database.metrics import MetricsDatabase, open_metrics_database
from app.database.migrate import migrate
from app.database.orders import SqlStore, open_store
from app.domain.errors import StartupError
from app.logs import set_up_logs
from app.metrics.execution_metrics import ExecutionMetrics, Pace
from app.metrics.ports import EventSource, MetricsStore
from app.settings import Settings
from app.solana.json_rpc import JsonRpcClient, Observer
from app.transactions.wallet import LocalSigner, load_keypair_file, signer_from_secret

SANDBOX_KEY_MARK: Final = "SANDBOX_KEYS_DO_NOT_FUND"
"""A file of this name beside a key says that the key is the sandbox's."""


@dataclass(frozen=True, slots=True)
class Network:
    """The way to the chain."""

    clients: tuple[JsonRpcClient, ...]
    ws_url: str | None
    rpc_name: str
    """The first endpoint as `/status` shows it: whole on the sandbox, elsewhere the host only."""
    sandbox: SandboxProcess | None
    wallet_file: Path | None
    endpoints: SandboxEndpoints | None
    """Where the sandbox stands in for Jito and QuickNode; None off the sandbox."""


def open_log(settings: Settings, stack: AsyncExitStack) -> None:
    """Start the log."""
    log = settings.log
    logs = set_up_logs(
        level=log.level,
        path=log.path,
        max_bytes=log.max_bytes,
        backups=log.backups,
        network=settings.network,
    )
    stack.callback(logs.close)


async def open_network(settings: Settings, stack: AsyncExitStack, observer: Observer) -> Network:
    """Make the clients of the configured endpoints, or of a sandbox of our own."""
    urls = [url.get_secret_value() for url in settings.solana.rpc_urls]
    ws_url = settings.solana.ws_url.get_secret_value() if settings.solana.ws_url else None
    sandbox = None
    wallet_file = None
    endpoints = None
    if settings.network == "sandbox" and not urls:
        sandbox = SandboxProcess(_sandbox_options(settings), observer)
        stack.push_async_callback(sandbox.close)
        address = await sandbox.open()
        urls, ws_url, wallet_file = [address.rpc_url], address.ws_url, address.wallet_file
        endpoints = address.endpoints
    if not urls:
        raise StartupError("NO_ENDPOINTS", "no RPC endpoint is configured", "set solana.rpc_urls")
    clients = tuple(
        connect(url, {}, settings.solana.request_timeout, observer, stack) for url in urls
    )
    if len({client.endpoint for client in clients}) < settings.execution.proof_endpoints:
        what = f"execution.proof_endpoints is {settings.execution.proof_endpoints}"
        raise StartupError("TOO_FEW_ENDPOINTS", what, "name as many hosts in solana.rpc_urls")
    if settings.network == "sandbox" and endpoints is None:
        endpoints = await _ask_in_turn(clients)
    shown = urls[0] if settings.network == "sandbox" else clients[0].endpoint
    return Network(clients, ws_url, shown, sandbox, wallet_file, endpoints)


async def _ask_in_turn(clients: Sequence[JsonRpcClient]) -> SandboxEndpoints | None:
    """Ask node after node for the sandbox's stand-ins: the first one may be away."""
    for client in clients:
        if (endpoints := await ask_endpoints(client)) is not None:
            return endpoints
    return None


def connect(
    url: str, headers: Mapping[str, str], seconds: float, observer: Observer, stack: AsyncExitStack
) -> JsonRpcClient:
    """Make a client that the stack closes; raises StartupError for what is no HTTP URL."""
    if not _is_http(url):
        todo = "mend solana.rpc_urls, or the URLs under methods and fees"
        raise StartupError("CONFIG_INVALID", "the URL of an endpoint is no http(s) URL", todo)
    client = JsonRpcClient(url, timeout_seconds=seconds, observer=observer, headers=headers)
    stack.push_async_callback(client.close)
    return client


def _is_http(url: str) -> bool:
    """Tell whether a text is an HTTP URL with a host, and a port that there can be."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _sandbox_options(settings: Settings) -> SandboxOptions:
    sandbox = settings.sandbox
    return SandboxOptions(
        ledger=sandbox.ledger,
        file=sandbox.file,
        slot_ms=sandbox.slot_ms,
        seed=sandbox.seed,
        program_file=sandbox.program_file,
        keeper_volatility_bps=sandbox.keeper_volatility_bps,
    )


def configured_signer(settings: Settings) -> LocalSigner | None:
    """Load the configured key, before anything is opened; None when none is configured."""
    wallet = settings.wallet
    if wallet.keypair_file is not None and wallet.secret_key is not None:
        what = "wallet.keypair_file and wallet.secret_key are both set"
        raise StartupError("WALLET_AMBIGUOUS", what, "set only one of them")
    if wallet.secret_key is not None:
        return signer_from_secret(wallet.secret_key.get_secret_value())
    if wallet.keypair_file is None:
        return None
    if settings.network != "sandbox" and (wallet.keypair_file.parent / SANDBOX_KEY_MARK).exists():
        what = f"the key file {wallet.keypair_file} belongs to a sandbox"
        raise StartupError("WALLET_OF_SANDBOX", what, "use a key of your own")
    return load_keypair_file(wallet.keypair_file)


def sandbox_signer(network: Network) -> LocalSigner:
    """Load the sandbox's own key; raises StartupError where there is no sandbox of ours."""
    if network.wallet_file is None:
        raise StartupError("WALLET_MISSING", "no wallet is configured", "set wallet.keypair_file")
    return load_keypair_file(network.wallet_file)


async def open_orders(settings: Settings, stack: AsyncExitStack) -> SqlStore:
    """Migrate the orders database and open it as this process."""
    orders = settings.order_management
    url = database_url(orders.database_url, orders.db_path)
    if orders.migrate_at_start:
        await migrate(url, "orders", backup_dir=orders.backup_path)
    name = f"{socket.gethostname()}:{getpid()}"
    return await stack.enter_async_context(open_store(url, process_name=name))


def keep_metrics(settings: Settings, source: EventSource) -> MetricsKeeper:
    """Make what opens the metrics database, in the background, and feeds it from sealed events.

    Only a URL that can never do is refused: StartupError(DATABASE_URL_INVALID).
    """
    url = metrics_url(settings)
    address_of(url)

    @asynccontextmanager
    async def open_database() -> AsyncIterator[MetricsDatabase]:
        if settings.order_management.migrate_at_start:
            await migrate(url, "metrics", backup_dir=settings.order_management.backup_path)
        async with open_metrics_database(url) as database:
            yield database

    return MetricsKeeper(open_database, partial(follow_trail, settings, source))


def follow_trail(
    settings: Settings, source: EventSource, store: MetricsStore, pace: Pace
) -> ExecutionMetrics:
    """Make the projector from a trail to an open metrics database, with the configured retention."""
    return ExecutionMetrics(
        source,
        store,
        clock=SystemClock(),
        retention_days=settings.metrics.metrics_retention_days,
        cleanup_seconds=settings.metrics.cleanup_interval,
        pace=pace,
    )


def metrics_url(settings: Settings) -> str:
    """Give the configured metrics database."""
    return database_url(settings.metrics.database_url, settings.metrics.metrics_db_path)


def database_url(url: SecretStr | None, path: Path) -> str:
    """Give the configured database: the URL when there is one, else the SQLite file."""
    return url.get_secret_value() if url is not None else str(path)
