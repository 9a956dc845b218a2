"""The example of a method in a package of another: installed, known, used; and the page that explains it."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app.domain.errors import StartupError
from app.domain.outcome import Reply, ReplyOutcome
from app.executors.gate import Gate
from app.executors.limiter import Limiter
from app.executors.registry import MethodContext
from app.solana.json_rpc import JsonRpcClient
from examples.method_package.synergy7_relay import build
from tests.domain.makers import attempt
from tests.harness import ROOT, SEED_SIGNAL, Service, environment, free_port
from tests.relay import Json, Relay, relaying
from tests.solana.server import CLOSE, HANG, Observer, Step, http, scripted
from tests.verifier import verify

PACKAGE = ROOT / "examples" / "method_package"
PAGE = (ROOT / "docs" / "adding-a-method.md").read_text()
ATTEMPT = attempt()
TAKEN = http(200, json.dumps({"signature": ATTEMPT.signature}))
KNOWN = """
import sys
from app.executors.gate import Gate
from app.executors.limiter import Limiter
from app.executors.registry import MethodContext, build_registry
from app.solana.json_rpc import JsonRpcClient

class Nobody:
    def rpc(self, *told):
        pass

def connect(url, headers):
    return JsonRpcClient(url, timeout_seconds=1, observer=Nobody(), headers=headers)

def context(name):
    options = {"url": sys.argv[2]}
    pace = lambda key, per_second: Limiter(per_second, monotonic=lambda: 0.0)
    return MethodContext(name, options, Gate(name), (), connect, pace, lambda name, work: None)

(method,) = build_registry([sys.argv[1]], {}, context)
print(method.name, method.state()["endpoints"])
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install a copy of the package, without a network; gives the folder it is in."""
    folder = tmp_path_factory.mktemp("method_package")
    shutil.copytree(PACKAGE, folder / "source")
    pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--quiet"]
    alone = ["--no-index", "--no-deps", "--no-build-isolation", "--target"]
    subprocess.run([*pip, *alone, folder / "site", folder / "source"], check=True, timeout=120)
    return folder / "site"


def beside(site: Path) -> str:
    """Give an import path that has the service and the installed package."""
    return os.pathsep.join([str(ROOT), str(site)])


def known(name: str, path: str) -> subprocess.CompletedProcess[str]:
    """Ask the registry of a process with this import path for a method."""
    return subprocess.run(
        [sys.executable, "-c", KNOWN, name, "https://relay.example/secret"],
        env=environment({"PYTHONPATH": path}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_an_installed_package_adds_its_method(site: Path) -> None:
    """Found by its entry point: nothing of the service knows its name."""
    made = known("relay", beside(site))
    assert made.stdout == "relay ['relay.example']\n", made.stderr
    assert "METHOD_UNKNOWN: the method 'relay' is not known" in known("relay", str(ROOT)).stderr
    assert "install its package" in known("relais", beside(site)).stderr


def test_a_method_without_its_options_is_a_start_that_fails(site: Path, tmp_path: Path) -> None:
    """In one line, which says the key."""
    result = subprocess.run(
        [sys.executable, "-m", "app.cli", "serve"],
        cwd=tmp_path,
        env=environment(
            {
                "PYTHONPATH": beside(site),
                "SYNERGY7_METHODS__ORDER": "relay",
                "SYNERGY7_SERVER__PORT": str(free_port()),
            }
        ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    line = "METHOD_NOT_CONFIGURED: methods.options.relay.url is not set; say where the relay is"
    assert result.returncode == 2
    assert line in result.stdout + result.stderr


# ----------------------------------------------------------------------------- what it makes of answers


def context(options: dict[str, object], clients: list[JsonRpcClient]) -> MethodContext:
    """Make what the method is made of; keeps the clients it asks for."""

    def connect(url: str, headers: Any) -> JsonRpcClient:
        clients.append(JsonRpcClient(url, timeout_seconds=5, observer=Observer(), headers=headers))
        return clients[-1]

    return MethodContext(
        "relay",
        options,
        Gate("relay"),
        (),
        connect,
        lambda _key, per_second: Limiter(per_second),
        lambda _name, _work: None,
    )


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("step", "outcome", "reason"),
    [
        (TAKEN, ReplyOutcome.ACCEPTED, "ok"),
        (http(200, '{"signature": "another"}'), ReplyOutcome.UNKNOWN, "server_error"),
        (http(200, "ok"), ReplyOutcome.UNKNOWN, "server_error"),
        (http(200, "[]"), ReplyOutcome.UNKNOWN, "server_error"),
        (http(307, TAKEN, "location: /submit"), ReplyOutcome.UNKNOWN, "server_error"),
        (http(400, ""), ReplyOutcome.REJECTED, "invalid"),
        (http(401, ""), ReplyOutcome.REJECTED, "auth_or_config"),
        (http(409, ""), ReplyOutcome.ALREADY, "already_processed"),
        (http(429, ""), ReplyOutcome.REJECTED, "rate_limited"),
        (http(500, TAKEN), ReplyOutcome.UNKNOWN, "server_error"),
        (HANG, ReplyOutcome.UNKNOWN, "timeout"),
        (CLOSE, ReplyOutcome.UNKNOWN, "no_reply"),
        (None, ReplyOutcome.NOT_SENT, "transport"),
    ],
)
async def test_an_answer_of_the_relay_is_one_reply(
    step: Step | None, outcome: ReplyOutcome, reason: str
) -> None:
    """Accepted for our signature alone; without a connection surely not sent; else unknown."""
    clients: list[JsonRpcClient] = []
    async with scripted(*([step] if step else [])) as server:
        method = build(
            context({"url": f"http://127.0.0.1:{server.port}/at", "key": "secret"}, clients)
        )
        if step is None:
            await clients[0].close()
        deadline = asyncio.get_running_loop().time() + 0.5
        assert await method.submit(ATTEMPT, deadline, lambda: True) == Reply(outcome, reason)
        await clients[0].close()
        if step is not None:
            assert server.targets == ["POST /at/submit"]
            assert b"x-relay-key: secret" in server.headers[0].lower()
            assert server.requests == [{"transaction": "AQ=="}]


def test_the_key_is_not_needed_and_the_address_is() -> None:
    """What is missing is named."""
    with pytest.raises(StartupError, match=r"methods\.options\.relay\.url is not set"):
        build(context({}, []))


# ----------------------------------------------------------------------------- in the service


def says(relay: Relay, target: str, document: Json) -> tuple[int, Json]:
    """Take a transaction as the example's relay does."""
    assert target == "/submit"
    return 200, {"signature": relay.hand_over(document["transaction"])}


@pytest.mark.e2e
def test_an_order_lands_through_the_package(site: Path, tmp_path: Path) -> None:
    """The service itself pushes through nothing else, and the chain has the order once."""
    with relaying(says) as relay:
        env = {
            "PYTHONPATH": beside(site),
            "SYNERGY7_METHODS__ORDER": "relay",
            "SYNERGY7_METHODS__OPTIONS__RELAY__URL": relay.url,
        }
        with Service(tmp_path, env) as service:
            sandbox = service.sandbox()
            relay.node_url = sandbox.rpc_url
            order = service.finished(service.submit(SEED_SIGNAL))
            (attempted,) = order["attempts"]
            pushed = {(each["method"], each["outcome"]) for each in attempted["submissions"]}
            assert pushed == {("relay", "accepted")}
            assert relay.asked
            assert verify(sandbox.rpc_url, order, sandbox.wallet) == []
            (state,) = service.get("/status")["methods"]
            assert (state["name"], state["breaker"]) == ("relay", "closed")


# ----------------------------------------------------------------------------- the page


def test_every_snippet_of_the_page_stands_in_the_package() -> None:
    """Word for word, in one file: what is read there is what runs here."""
    snippets = re.findall(r"```\w+\n(.*?)```", PAGE, re.DOTALL)
    files = [
        path.read_text() for path in PACKAGE.rglob("*") if path.suffix in {".py", ".toml", ".md"}
    ]
    assert len(snippets) >= 5
    assert [text for text in snippets if not any(text in file for file in files)] == []


def test_the_page_shows_the_whole_method() -> None:
    """Every function of the package is on the page."""
    source = (PACKAGE / "synergy7_relay" / "__init__.py").read_text()
    functions = re.findall(r"^(?:async )?def \w+", source, re.MULTILINE)
    assert len(functions) == 4
    assert [each for each in functions if each not in PAGE] == []
