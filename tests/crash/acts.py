"""The acts: each a short life of the service that comes by points which the others do not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from solders.keypair import Keypair

from tests.crash.run import Documents, Run, Step
from tests.crash.service import Json
from tests.harness import FINAL
from tests.integration.chain import Chain
from tests.integration.market import buy_bonk

METHODS = ("bundle", "jito", "quicknode", "rpc")
SENDS = ("sendTransaction", "sendBundle")
LIFE_BLOCKS = 150
UNDONE_BLOCKS = 4
FINALITY_BLOCKS = 8
HELD_SECONDS = 30
"""Longer than it takes to do something about a push on its way, on any machine."""
AIRDROP_LAMPORTS = 1_000 * 10**9
REFUSED = {"jsonrpc": "2.0", "id": 1, "error": {"code": -32602, "message": "bundle exceeds it"}}
STILL_VALID = {"jsonrpc": "2.0", "id": 1, "result": {"context": {"slot": 10**9}, "value": True}}
SELL: Mapping[str, object] = {"action": "SELL", "market": "SOL-USDC", "size": "0.05"}
BUY: Mapping[str, object] = {"action": "BUY", "market": "BONK-USDC", "size": "50000"}
RAY: Mapping[str, object] = {"action": "BUY", "market": "RAY-SOL", "quote_size": "0.2"}


@dataclass(frozen=True, eq=False)
class Act:
    """Steps in their order, on a service with these settings beside the usual ones."""

    name: str
    steps: Sequence[Step]
    env: Mapping[str, str] = field(default_factory=dict)
    own_wallet: bool = False
    """Whether its wallet is new, and so has no history but its own."""
    adopts: bool = False
    """Whether the service takes over the sandbox's process, instead of being told its address."""


def settings(act: Act, chain: Chain, folder: Path) -> dict[str, str]:
    """Give the settings of a service in an act: short pauses, long lives, no pace."""
    told = {
        "SYNERGY7_SOLANA__RPC_URLS": chain.rpc_url,
        "SYNERGY7_SOLANA__WS_URL": chain.ws_url,
        "SYNERGY7_WALLET__KEYPAIR_FILE": str(
            _new_wallet(chain, folder) if act.own_wallet else chain.wallet_file
        ),
    }
    adopted = {
        "SYNERGY7_SANDBOX__LEDGER": str(chain.ledger),
        "SYNERGY7_SANDBOX__FILE": str(chain.file),
    }
    return {
        "SYNERGY7_SOLANA__POLL_INTERVAL": "0.05",
        "SYNERGY7_EXECUTION__RETRY_DELAY": "0.02",
        "SYNERGY7_EXECUTION__REBROADCAST_INTERVAL": "0.1",
        "SYNERGY7_EXECUTION__STATUS_INTERVAL": "0.02",
        "SYNERGY7_EXECUTION__TRANSACTION_TIMEOUT": "300",
        "SYNERGY7_EXECUTION__DRAIN_TIMEOUT": "0.4",
        "SYNERGY7_EXECUTION__PATIENCE": "0.3",
        "SYNERGY7_METHODS__BLOCK_ENGINE__REQUESTS_PER_SECOND": "0",
        "SYNERGY7_ORDER_MANAGEMENT__BACKUP_PATH": str(folder / "backups"),
        **(adopted if act.adopts else told),
        **act.env,
    }


def _new_wallet(chain: Chain, folder: Path) -> Path:
    """Make a wallet with nothing but SOL."""
    key = Keypair()
    chain.rpc("requestAirdrop", str(key.pubkey()), AIRDROP_LAMPORTS)
    chain.step(1)
    file = folder / "wallet.json"
    file.write_text(key.to_json())
    file.chmod(0o600)
    return file


def address_in(env: Mapping[str, str], chain: Chain) -> str:
    """Give the address of the wallet that these settings name."""
    file = env.get("SYNERGY7_WALLET__KEYPAIR_FILE")
    return chain.wallet if file is None else str(Keypair.from_json(Path(file).read_text()).pubkey())


# ------------------------------------------------------------------------------ steps


def post(name: str, signal: Mapping[str, object], **more: object) -> Step:
    """Post a signal."""
    return lambda run: run.post(name, {**signal, **more})


def command(path: str, document: object = None) -> Step:
    """Post to a path; `{name}` stands for the id of the order of that name."""
    return lambda run: run.command(path.format(**run.accepted), document)


def wait(name: str, what: str) -> Step:
    """Let time pass until an order shows this, or has ended without it."""
    return lambda run: run.until(f"{name} {what}", lambda orders: _shows(orders, name, what))


def wait_still(name: str, what: str) -> Step:
    """Wait for this while the chain stands still."""
    return lambda run: run.until(
        f"{name} {what}", lambda orders: _shows(orders, name, what), slots=0
    )


def _shows(orders: Documents, name: str, what: str) -> bool:
    order = orders.get(name)
    if order is None:
        return False
    if what == "pushed":
        shown = any(_was_pushed(attempt) for attempt in order["attempts"])
    else:
        shown = bool(order[what])
    return shown or order["status"] in FINAL


def _was_pushed(attempt: Json) -> bool:
    return any(each["outcome"] in ("accepted", "already") for each in attempt["submissions"])


def settle(run: Run) -> None:
    """Wait until every order has ended for good."""
    run.settle()


def slots(number: int) -> Step:
    """Let slots pass at once."""
    return lambda run: run.chain.step(number)


def fault(kind: str, rpc_method: str | None = None, **fields: object) -> Step:
    """Script trouble until it is cleared."""
    return lambda run: run.chain.fault(kind, rpc_method, **fields)


def drop_sends(run: Run) -> None:
    """Have every push accepted and none arrive."""
    for name in SENDS:
        run.chain.fault("accept_then_drop", name)


def clear(run: Run) -> None:
    """End all trouble."""
    run.chain.clear()


def outrun(name: str) -> Step:
    """Move the price while a push of an order is on its way, then let it arrive."""

    def step(run: Run) -> None:
        run.until("a push is on its way", lambda orders: _held(run, orders, name), slots=0)
        if run.chain.hits():
            buy_bonk(run.chain, 10_000)
        run.chain.clear()

    return step


def _held(run: Run, orders: Documents, name: str) -> bool:
    return run.chain.hits() > 0 or (name in orders and orders[name]["status"] in FINAL)


def fork(run: Run) -> None:
    """Undo the last blocks."""
    run.chain.fork(UNDONE_BLOCKS)


def end(run: Run) -> None:
    """Ask for an orderly end; the next step starts anew."""
    run.restart()


def keep(run: Run) -> None:
    """Ask for an orderly end and copy the orders; the next step starts anew."""
    run.restart()
    run.databases.keep()


def switch(verb: str) -> list[Step]:
    """Switch every method."""
    return [command(f"/methods/{name}/{verb}") for name in METHODS]


# ------------------------------------------------------------------------------ acts

TRADE = Act(
    "trade",
    [
        post("sell", SELL),
        post("buy", BUY),
        post("ray", RAY),
        post("limit", SELL, price="1000000"),
        command("/methods/rpc/reset"),
        settle,
    ],
    {
        "SYNERGY7_ORDER_MANAGEMENT__RETENTION_DAYS": "1",
        "SYNERGY7_ORDER_MANAGEMENT__CLEANUP_INTERVAL": "0.2",
    },
)
RESTART = Act(
    "restart",
    [
        post("done", BUY),
        wait("done", "filled_at"),
        post("flying", SELL),
        post("other", RAY),
        wait_still("flying", "pushed"),
        wait_still("other", "pushed"),
        end,
        settle,
    ],
    adopts=True,
)
FALLBACK = Act(
    "fallback",
    [
        fault("http_5xx", "sendBundle", endpoint="jito"),
        fault("answer", "sendTransaction", endpoint="jito", status=400, body=REFUSED),
        fault("http_429", "sendTransaction", endpoint="quicknode", retry_after=1),
        post("sell", SELL),
        settle,
        clear,
    ],
    {"SYNERGY7_FEES__PRIORITY__SOURCE": "quicknode"},
)
CANCEL = Act(
    "cancel",
    [
        *switch("disable"),
        post("early", SELL),
        command("/orders/{early}/cancel"),
        end,
        post("many", BUY),
        command("/orders/cancel?market=BONK-USDC"),
        *switch("enable"),
        command("/trading/halt"),
        command("/trading/resume"),
        drop_sends,
        post("late", SELL),
        wait_still("late", "pushed"),
        command("/orders/{late}/cancel"),
        clear,
        slots(LIFE_BLOCKS * 5 // 4),
        settle,
    ],
)
FAIL = Act(
    "fail",
    [
        fault("delay", "sendTransaction", count=1, seconds=HELD_SECONDS),
        post("late", BUY, max_slippage_bps=10, methods=["rpc"]),
        outrun("late"),
        settle,
    ],
)
EXPIRE = Act(
    "expire",
    [
        drop_sends,
        post("sell", SELL),
        wait_still("sell", "pushed"),
        fault("answer", "isBlockhashValid", status=200, body=STILL_VALID),
        slots(LIFE_BLOCKS * 5 // 4),
        wait("sell", "in_doubt_since"),
        clear,
        settle,
    ],
)
RESOLVE = Act(
    "resolve",
    [
        drop_sends,
        post("sell", SELL),
        wait_still("sell", "pushed"),
        slots(FINALITY_BLOCKS * 4),
        fault("pruned"),
        slots(LIFE_BLOCKS),
        wait("sell", "in_doubt_since"),
        command("/orders/{sell}/resolve", {"as": "expired", "evidence": "looked at it"}),
        clear,
        settle,
    ],
)
REVERT = Act(
    "revert",
    [
        post("sell", SELL),
        wait("sell", "filled_at"),
        fork,
        slots(LIFE_BLOCKS * 5 // 4),
        settle,
    ],
)
RECONCILE = Act(
    "reconcile",
    [
        post("old", SELL, size="1"),
        settle,
        *switch("disable"),
        post("waiting", RAY),
        keep,
        *switch("enable"),
        settle,
        fault("delay", "sendTransaction", count=1, seconds=HELD_SECONDS),
        post("lost", BUY, max_slippage_bps=10, methods=["rpc"]),
        outrun("lost"),
        settle,
        Run.lose,
        slots(LIFE_BLOCKS + FINALITY_BLOCKS * 2),
        lambda run: run.insist("/trading/resume"),
        *switch("enable"),
        post("lost", BUY, max_slippage_bps=10, methods=["rpc"]),
        settle,
    ],
    own_wallet=True,
)
ACTS = (TRADE, RESTART, FALLBACK, REVERT, FAIL, EXPIRE, RESOLVE, CANCEL, RECONCILE)
