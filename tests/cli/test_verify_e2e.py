"""`synergy7 verify` on a database that a real service filled, against the chain it traded on."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.cli.commands import run
from tests.harness import Service, free_port, run_cli, wait_until

pytestmark = pytest.mark.e2e
ENV = {"SYNERGY7_SANDBOX__SLOT_MS": "50"}
FILLED = 5


@dataclass
class Place:
    """A service that was killed, its folder, and the orders that it filled; its chain lives on."""

    service: Service
    database: Path
    filled: list[str]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Fill orders both ways, let one fail, cancel one; verify beside the service, then kill it."""
    home = tmp_path_factory.mktemp("verify")
    with Service(home, ENV) as service:
        actions = ("SELL", "BUY") * FILLED
        ids = [
            service.submit({"action": action, "market": "SOL-USDC", "size": f"0.{1 + number}"})
            for number, action in zip(range(FILLED), actions, strict=False)
        ]
        service.submit({"action": "SELL", "market": "SOL-USDC", "size": 1, "price": 10**6})
        for order_id in ids:
            assert service.finished(order_id)["status"] == "filled"

        def finalized() -> bool:
            return all(o["finalized_at"] for o in map(service.order, ids))

        wait_until("every fill is final", finalized, 30)
        beside = run_cli("verify", "--strict", cwd=home, env=ENV)
        assert beside.returncode == 0, beside.stdout + beside.stderr
        assert beside.stdout.splitlines()[-1].endswith(" differences=0 unknown=0")
        service.kill()
        yield Place(service, home / "output" / "production_orders.db", ids)


@pytest.fixture
def shell(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in the service's folder; gives a copy of its database, which the settings name."""
    for name, value in ENV.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(place.service.folder)
    copy = tmp_path / "orders.db"
    with closing(sqlite3.connect(place.database)) as kept, closing(sqlite3.connect(copy)) as conn:
        kept.backup(conn)
    monkeypatch.setenv("SYNERGY7_ORDER_MANAGEMENT__DB_PATH", str(copy))
    return copy


def change(database: Path, *statements: str) -> None:
    """Change a database behind the service's back."""
    with closing(sqlite3.connect(database)) as conn, conn:
        for statement in statements:
            assert conn.execute(statement).rowcount > 0, statement


@pytest.mark.usefixtures("shell")
def test_what_a_service_left_behind_agrees_with_the_chain(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit 0, and a last line with the counts."""
    assert run(["verify"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"orders={FILLED + 1} events=")
    assert line.endswith(" differences=0 unknown=0")


def test_a_changed_amount_is_found(
    place: Place, shell: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the trail and by the chain; exit 1, and JSON names order and figure."""
    order_id = place.filled[0]
    change(
        shell,
        "UPDATE orders SET fill_quote_amount = fill_quote_amount + 1"
        f" WHERE order_id = '{order_id}'",
    )
    assert run(["verify", "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["differences"] == 2
    assert {each["place"] for each in document["differing"]} == {order_id}
    assert all("quote_amount" in each["what"] for each in document["differing"])


def test_a_forgotten_order_is_found_on_the_chain(
    place: Place, shell: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Row, attempts and events are gone, as in a database that lost commits; the wallet's history knows."""
    order_id = place.filled[-1]
    with closing(sqlite3.connect(shell)) as conn, conn:
        conn.execute("PRAGMA foreign_keys = ON")
        conn.execute("DELETE FROM orders WHERE order_id = ?", [order_id])
        conn.execute("DELETE FROM events WHERE order_id = ?", [order_id])
    assert run(["verify", "--json"]) == 1
    differing = json.loads(capsys.readouterr().out)["differing"]
    assert any(f"executed {order_id}/1" in each["what"] for each in differing)


@pytest.mark.usefixtures("shell")
def test_without_the_chain_everything_on_it_is_unknown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The endpoint is away: no difference, and nothing called fine; `--strict` exits 1 for that."""
    monkeypatch.setenv("SYNERGY7_SOLANA__RPC_URLS", f"http://127.0.0.1:{free_port()}")
    assert run(["verify"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.endswith(f" differences=0 unknown={FILLED + 1}")
    assert run(["verify", "--strict"]) == 1


@pytest.mark.usefixtures("shell")
def test_what_cannot_be_verified_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """No database: exit 2."""
    monkeypatch.setenv("SYNERGY7_ORDER_MANAGEMENT__DB_PATH", str(tmp_path / "none.db"))
    assert run(["verify"]) == 2
    assert capsys.readouterr().err.startswith("DATABASE_UNREACHABLE: ")


def test_another_chain_is_refused(shell: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The orders' genesis hash is not that of the endpoints: exit 2, nothing is called a difference."""
    change(shell, "UPDATE meta SET value = 'another' WHERE name = 'genesis_hash'")
    assert run(["verify"]) == 2
    assert capsys.readouterr().err.startswith("DATABASE_OTHER_CHAIN: ")
