"""The whole system inside the test's process, on a chain of the test's own."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import httpx
import yaml

from app.bootstrap import ExecutionSystem
from app.domain.events import Event, EventKind
from app.engine.order_manager import DEFAULT_ACCOUNT
from app.main import create_app
from app.settings import SHIPPED_CONFIG, Settings, load_settings
from tests.harness import FINAL
from tests.integration.chain import Chain

SELL: Mapping[str, object] = {"action": "SELL", "market": "SOL-USDC", "size": "0.01"}
BUY_BONK: Mapping[str, object] = {"action": "BUY", "market": "BONK-USDC", "size": "1000000"}
WAIT_SECONDS = 15.0
POLL_SECONDS = 0.02
PACE_SECONDS_MAX = 0.2

FAST: Mapping[str, object] = {
    "execution.retry_delay": 0.05,
    "execution.rebroadcast_interval": 0.1,
    "execution.status_interval": 0.05,
    "execution.drain_timeout": 3,
    "solana.poll_interval": 0.05,
}
"""Waits cut to the chain's fast slots."""
ONE_NODE: Mapping[str, object] = {"methods.order": ["rpc"]}
"""The plainest method alone, for tests that script what becomes of the sends to a node."""

Json = Mapping[str, Any]


def configure(folder: Path, chain: Chain | None, changes: Mapping[str, object]) -> Settings:
    """Write the shipped config.yaml with changes (`section.key`: value, however deep), and load it.

    Databases and log lie in `folder`; with a chain the settings name it, to be adopted.
    """
    document = yaml.safe_load(SHIPPED_CONFIG.read_text())
    places: dict[str, object] = {
        "order_management.db_path": str(folder / "orders.db"),
        "order_management.backup_path": str(folder / "backups"),
        "metrics.metrics_db_path": str(folder / "metrics.db"),
        "log.path": str(folder / "execution.log"),
    }
    if chain is not None:
        places |= {
            "sandbox.ledger": str(chain.ledger),
            "sandbox.file": str(chain.file),
            "sandbox.slot_ms": chain.slot_ms,
        }
    for path, value in {**places, **FAST, **changes}.items():
        *sections, key = path.split(".")
        here = document
        for section in sections:
            here = here.setdefault(section, {})
        here[key] = value
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(document))
    return load_settings(file)


def endpoint(chain: Chain) -> dict[str, object]:
    """Give the settings of a service that was told the chain's address, as any other cluster's."""
    return {
        "solana.rpc_urls": [chain.rpc_url],
        "solana.ws_url": chain.ws_url,
        "wallet.keypair_file": str(chain.wallet_file),
    }


@asynccontextmanager
async def running(
    folder: Path, chain: Chain | None, changes: Mapping[str, object] | None = None
) -> AsyncIterator[ExecutionSystem]:
    """Run the whole system once it knows the chain's pace; a task that died meanwhile fails the test."""
    async with ExecutionSystem(configure(folder, chain, changes or {})) as system:
        await until("the chain's pace is measured", lambda: knows_the_pace(system))
        yield system
        assert system.failure is None


@asynccontextmanager
async def served(
    folder: Path, chain: Chain, changes: Mapping[str, object] | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    """Serve the application within the test; its lifespan opens and closes the system."""
    app = create_app(configure(folder, chain, changes or {}))
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://service") as client,
    ):
        yield client
        assert app.state.system.failure is None


async def answer(client: httpx.AsyncClient, path: str) -> tuple[int, Json]:
    """Ask for a document; gives status and document."""
    response = await client.get(path)
    return response.status_code, response.json()


async def ready(client: httpx.AsyncClient) -> bool:
    """Ask whether it is ready."""
    return (await client.get("/readyz")).status_code == httpx.codes.OK


def knows_the_pace(system: ExecutionSystem) -> bool:
    """Tell whether lives are computed from measured blocks: assumed ones are far slower here."""
    return bool(status(system)["chain"]["block_seconds"] < PACE_SECONDS_MAX)


def status(system: ExecutionSystem) -> Json:
    """Read the document of `GET /status`."""
    return cast("Json", system.get_system_status())


async def until(
    what: str, holds: Callable[[], bool | Awaitable[bool]], seconds: float = WAIT_SECONDS
) -> None:
    """Look until `holds()`, else fail naming `what`."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while not await _truth(holds()):
        assert loop.time() < end, f"not within {seconds} s: {what}"
        await asyncio.sleep(POLL_SECONDS)


async def _truth(value: bool | Awaitable[bool]) -> bool:
    return value if isinstance(value, bool) else await value


async def document(system: ExecutionSystem, order_id: str) -> Json:
    """Read an order that must be there."""
    found = await system.get_order_status(order_id)
    assert found is not None, f"no order {order_id}"
    return found


async def ended(system: ExecutionSystem, order_id: str, seconds: float = WAIT_SECONDS) -> Json:
    """Wait for an order's end; gives its document."""
    await system.wait_for_order(order_id, seconds)
    found = await document(system, order_id)
    assert found["status"] in FINAL, f"not final within {seconds} s: {found}"
    return found


async def comes_to(
    system: ExecutionSystem, order_id: str, what: str, holds: Callable[[Json], object]
) -> Json:
    """Wait until an order's document is as wanted; gives it."""

    async def looks_so() -> bool:
        return bool(holds(await document(system, order_id)))

    await until(what, looks_so)
    return await document(system, order_id)


async def submitted(system: ExecutionSystem, order_id: str) -> Json:
    """Wait until an attempt of the order has been pushed."""
    return await comes_to(
        system,
        order_id,
        "an attempt was pushed",
        lambda seen: any(attempt["submissions"] for attempt in seen["attempts"]),
    )


async def trail(system: ExecutionSystem, order_id: str | None = None) -> list[Event]:
    """Read the sealed audit trail, of one order or of all."""
    events: list[Event] = []
    while page := await system.parts.manager.events(
        account=DEFAULT_ACCOUNT,
        order_id=order_id,
        after=events[-1].position or 0 if events else 0,
        limit=500,
    ):
        events += page
    return events


async def sealed(system: ExecutionSystem, order_id: str, kind: EventKind) -> list[Event]:
    """Wait until an order's trail tells of `kind`; gives the trail."""

    async def tells() -> bool:
        return kind in [event.kind for event in await trail(system, order_id)]

    await until(f"{kind} is sealed", tells)
    return await trail(system, order_id)
