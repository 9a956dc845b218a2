"""Status, metrics, health, and the edges that every path has."""

import asyncio
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send

from app.api.app import PATHS, build_api
from app.api.openapi import openapi_document
from app.api.openapi.__main__ import committed_text
from tests.api.kit import MARKETS, SIGNAL, Running

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.anyio
async def test_the_status_and_the_metrics_are_the_reports(api: Running) -> None:
    """Passed on as they are."""
    assert await api.get("/status") == api.report.status()
    metrics = await api.client.get("/metrics")
    assert metrics.text == "synergy7_up 1\n"
    assert metrics.headers["content-type"] == "text/plain; version=1.0.0; charset=utf-8"


@pytest.mark.anyio
async def test_readiness_gives_its_reasons(api: Running) -> None:
    """200 when ready; else 503, retryable, with everything that stands in the way."""
    assert await api.get("/readyz") == {"ready": True}
    api.report.reasons = ("no recent blockhash could be read", "method rpc: breaker open")
    answer = await api.client.get("/readyz")
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (503, "NOT_READY")
    assert problem["reasons"] == list(api.report.reasons)
    assert int(answer.headers["retry-after"]) > 0


@pytest.mark.anyio
async def test_before_and_after_its_life_the_service_is_alive_and_not_ready(api: Running) -> None:
    """Every call that needs it is 503; the process answers all the same."""
    api.service = None
    assert await api.get("/healthz") == {"alive": True}
    for method, path in [("GET", "/readyz"), ("GET", "/orders"), ("POST", "/signals")]:
        answer = await api.client.request(method, path, json=SIGNAL)
        assert (answer.status_code, answer.json()["code"]) == (503, "SHUTTING_DOWN")


@pytest.mark.anyio
async def test_a_defect_is_told_as_500_and_logged(
    api: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    """The client learns nothing of it, the log everything."""
    structlog.reset_defaults()  # whatever a test before has set the log to
    api.report.broken = True
    answer = await api.client.get("/status")
    assert (answer.status_code, answer.json()["code"]) == (500, "INTERNAL")
    assert "a defect" not in answer.text
    assert "a defect" in capsys.readouterr().out


@pytest.mark.anyio
async def test_a_defect_outside_the_endpoints_is_a_problem_too(api: Running) -> None:
    """Whatever is put around the application."""

    class Broken:
        def __init__(self, app: object) -> None: ...

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            raise RuntimeError("a defect")

    app = build_api(lambda: api.service, version="1")
    app.add_middleware(Broken)
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        answer = await client.get("/status")
    assert (answer.status_code, answer.json()["code"]) == (500, "INTERNAL")


@pytest.mark.anyio
async def test_what_the_framework_refuses_is_a_problem_too(api: Running) -> None:
    """Whatever status it has for it, the shape is ours."""

    async def refuse() -> None:
        raise HTTPException(status_code=418)

    api.app.add_api_route("/teapot", refuse)
    answer = await api.client.get("/teapot")
    assert (answer.status_code, answer.json()["code"]) == (400, "BAD_REQUEST")


@pytest.mark.anyio
@pytest.mark.parametrize(
    "path", ["/", "/signal", "/signals/", "/orders//events", "/docs/x", "/%00"]
)
async def test_a_path_with_nothing_at_it_is_not_found(api: Running, path: str) -> None:
    """A problem as any other."""
    answer = await api.client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.anyio
@pytest.mark.parametrize("path", PATHS)
async def test_a_path_names_the_methods_it_takes(api: Running, path: str) -> None:
    """405 with Allow for the others, the same list for OPTIONS."""
    taken = set(PATHS[path]) | {"OPTIONS"} | ({"HEAD"} if "GET" in PATHS[path] else set())
    options = await api.client.options(path)
    assert (options.status_code, options.content) == (204, b"")
    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "QUERY"):
        answer = await api.client.request(method, path, content=b"{}")
        if method in taken:
            assert answer.status_code != 405
            continue
        assert answer.status_code == 405
        assert set(answer.headers["allow"].split(", ")) == taken
        assert answer.headers["allow"] == options.headers["allow"]
        assert method == "HEAD" or answer.json()["code"] == "METHOD_NOT_ALLOWED"


@pytest.mark.anyio
async def test_head_is_get_without_the_body(api: Running) -> None:
    """Same status, same headers."""
    for path in ("/orders", "/healthz", "/nothing", "/orders?limit=0"):
        get, head = await api.client.get(path), await api.client.head(path)
        assert head.content == b"" or path == "/nothing"
        assert (head.status_code, head.headers) == (get.status_code, get.headers)


@pytest.mark.anyio
async def test_the_page_shows_the_document_without_another_host(api: Running) -> None:
    """Everything it loads is served from here, and is what was published."""
    page = await api.client.get("/docs")
    loaded = re.findall(r'(?:href|src)="([^"]+)"', page.text)
    assert loaded == ["docs/swagger-ui.css", "docs/swagger-ui-bundle.js", "docs/start.js"]
    notice = (ROOT / "app/api/static/NOTICE").read_text()
    for name in loaded:
        for coding in ("gzip", "identity"):
            answer = await api.client.get(f"/{name}", headers={"accept-encoding": coding})
            assert answer.status_code == 200
            sha256 = hashlib.sha256(answer.content).hexdigest()
            assert name.endswith("start.js") or f"{sha256}  {name.removeprefix('docs/')}" in notice
    start = await api.client.get("/docs/start.js")
    assert 'url: "openapi.json"' in start.text
    assert "default-src 'self'" in page.headers["content-security-policy"]


@pytest.mark.anyio
async def test_the_document_names_the_configured_markets_and_methods(api: Running) -> None:
    """So that a client built from it knows them."""
    document = await api.get("/openapi.json")
    signal = document["components"]["schemas"]["SignalBySize"]["properties"]
    assert signal["market"]["enum"] == sorted(MARKETS)
    assert signal["methods"]["items"]["enum"] == ["jito", "rpc"]
    assert api.app.openapi() == openapi_document()


def test_the_committed_document_is_the_one_the_code_gives() -> None:
    """Write it anew by `python -m app.api.openapi > docs/openapi.json`."""
    assert (ROOT / "docs/openapi.json").read_text() == committed_text()


def test_the_document_describes_every_path_and_method() -> None:
    """And nothing that is not there; only the description itself is not described."""
    described = {
        path: {method.upper() for method in operations}
        for path, operations in openapi_document()["paths"].items()
    }
    undescribed = ("/openapi.json", "/docs", "/docs/{name}")
    assert described == {p: set(h) for p, h in PATHS.items() if p not in undescribed}


def test_every_reference_of_the_document_leads_somewhere() -> None:
    """And every schema is referred to."""
    document = openapi_document(["SOL-USDC"], ["rpc"])
    references = set(re.findall(r'"\$ref": "#/components/([^"]+)"', json.dumps(document)))
    known = {f"{kind}/{name}" for kind, named in document["components"].items() for name in named}
    assert references == known


@pytest.mark.anyio
async def test_a_websocket_finds_nothing_here(api: Running) -> None:
    """It is turned away, not failed."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        await asyncio.sleep(0)
        sent.append(message)

    scope = {"type": "websocket", "path": "/nothing", "headers": [], "query_string": b""}
    await api.app(scope, receive, send)
    assert sent[0]["type"] == "websocket.close"
