"""The application: HTTP around a system that its lifespan opens and closes."""

import contextlib
import socket
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import anyio
import httpx
import pytest
import uvicorn

from app.cli.serve import Server
from app.domain.errors import StartupError
from app.main import create_app
from app.settings import Settings
from tests.integration.chain import Chain
from tests.integration.conftest import chain, module_chain
from tests.integration.kit import SELL, configure, until

__all__ = ["chain", "module_chain"]
pytestmark = pytest.mark.anyio
ORDERS = 100
STOP_SECONDS = 6


@contextlib.asynccontextmanager
async def client_of(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """Serve without a socket."""
    app = create_app(settings)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://service") as client,
    ):
        yield client


async def test_before_its_lifespan_it_is_not_ready(tmp_path: Path, chain: Chain) -> None:
    """Alive, but nothing is taken in; after the end neither."""
    app = create_app(configure(tmp_path, chain, {}))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        for _ in range(2):
            answer = await client.post("/signals", json=SELL)
            assert (answer.status_code, answer.json()["retryable"]) == (503, True)
            async with app.router.lifespan_context(app):
                assert (await client.get("/status")).status_code == 200


async def test_settings_are_read_by_the_factory(
    tmp_path: Path, chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`uvicorn --factory app.main:create_app` takes those of the folder, and refuses mistakes at once."""
    configure(tmp_path, chain, {"wallet.name": "from-the-file"})
    monkeypatch.chdir(tmp_path)
    app = create_app()
    async with app.router.lifespan_context(app):
        assert app.state.system.get_system_status()["wallets"][0]["name"] == "from-the-file"
    monkeypatch.setenv("SYNERGY7_SERVR", "x")
    with pytest.raises(StartupError, match=r"^CONFIG_UNKNOWN: "):
        create_app()


async def test_why_it_cannot_open_is_raised(tmp_path: Path, chain: Chain) -> None:
    """The lifespan's error is the system's own."""
    app = create_app(configure(tmp_path, chain, {"methods.order": ["none"]}))
    with pytest.raises(StartupError, match=r"^METHOD_UNKNOWN: "):
        async with app.router.lifespan_context(app):
            pass


async def test_the_metrics_speak_of_what_was_done(tmp_path: Path, chain: Chain) -> None:
    """`/metrics` counts this process's signals, orders, requests and stages."""
    async with client_of(configure(tmp_path, chain, {})) as client:
        order_id = (await client.post("/signals", json=SELL)).json()["order_id"]
        assert (await client.get(f"/orders/{order_id}?wait=10")).json()["status"] == "filled"
        text = (await client.get("/metrics")).text
        for sample in (
            'synergy7_signals_total{reason="",result="accepted"} 1.0',
            'synergy7_orders_total{reason="",status="filled"} 1.0',
            'synergy7_landings_total{method="bundle",result="filled"} 1.0',
            'synergy7_submissions_total{method="bundle",outcome="accepted"}',
            'synergy7_stage_seconds_count{stage="total"} 1.0',
            'synergy7_breaker_state{method="rpc"} 0.0',
        ):
            assert sample in text


@contextlib.asynccontextmanager
async def listening(settings: Settings) -> AsyncIterator[int]:
    """Serve on a free port; gives it."""
    app = create_app(settings)
    config = uvicorn.Config(app, log_config=None, lifespan="off", timeout_graceful_shutdown=1)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        async with app.router.lifespan_context(app), anyio.create_task_group() as tasks:
            server = Server(config)
            tasks.start_soon(server.serve, [listener])
            try:
                yield listener.getsockname()[1]
            finally:
                app.state.long_answers.close()
                server.should_exit = True


def post_all(url: str, signal: Mapping[str, object], count: int) -> None:
    """Post many signals over one connection."""
    with httpx.Client(base_url=url, trust_env=False) as client:
        for number in range(count):
            body = {**signal, "client_order_id": f"slow-{number}", "metadata": {"x": "y" * 3_900}}
            answer = client.post("/signals", json=body)
            assert answer.status_code == 202, answer.text


async def test_a_reader_that_reads_nothing_holds_up_nothing(tmp_path: Path, chain: Chain) -> None:
    """An event stream nobody takes from fills its buffers: orders go on, and so does the end."""
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        await hold_up(slow, configure(tmp_path, chain, {}))


async def hold_up(slow: socket.socket, settings: Settings) -> None:
    """Execute orders beside a reader that reads nothing."""
    impossible = {**SELL, "price": "1000000"}
    async with listening(settings) as port:
        slow.connect(("127.0.0.1", port))
        slow.sendall(b"GET /events HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\n\r\n")
        url = f"http://127.0.0.1:{port}"
        await anyio.to_thread.run_sync(post_all, url, impossible, ORDERS)
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=20) as client:

            async def all_ended() -> bool:
                queue = (await client.get("/status")).json()["queue"]
                return bool(queue["completed"] == ORDERS)

            await until("every order has ended", all_ended, 30)
            order_id = (await client.post("/signals", json=SELL)).json()["order_id"]
            order = (await client.get(f"/orders/{order_id}?wait=10")).json()
            assert order["status"] == "filled"
        before = anyio.current_time()
    assert anyio.current_time() - before < STOP_SECONDS
