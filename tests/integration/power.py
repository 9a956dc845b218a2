"""A service under the disk shim, whose power fails: what its disk had not synced is gone."""

import errno
import random
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import httpx

from tests.harness import Service
from tests.integration.chain import Chain
from tests.shim import Calls, Control, built, environment
from tests.shim.disk import Disk, put_back, read_journal

MARKETS = (("SOL-USDC", "0.05"), ("BONK-USDC", "50000"), ("RAY-SOL", "5"))


class Powered:
    """A service on a chain of the test's, its databases in a folder that the shim watches."""

    def __init__(self, folder: Path, chain: Chain) -> None:
        self.data = folder / "data"
        self.data.mkdir(parents=True)
        self.control = Control.create(folder / "control")
        self._journal = folder / "journal"
        self._before: dict[str, bytes] = {}
        watched = environment(built(), self.control, f"{self.data}/", self._journal)
        self.service = Service(folder, {**_settings(self.data, chain), **watched})
        self.accepted: dict[str, str] = {}
        """Order ids answered 202, by client order id."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            print(self.service.output()[-6000:])  # noqa: T201 - pytest shows it with the failure
        self.service.close()

    def start(self) -> None:
        """Start on the files as they are."""
        self.service.start()

    def post_until_killed(
        self, seconds: float, names: list[str], *, failed_sync: bool = False
    ) -> None:
        """Post signals one after another, and kill the service after so many seconds.

        With `failed_sync` one sync on the way fails, and saves nothing.
        """
        timer = threading.Timer(seconds, self.service.process.kill)
        timer.start()
        failing = threading.Timer(seconds / 2, self.control.set_errno, [errno.EIO, Calls.SYNC, 1])
        if failed_sync:
            failing.start()
        for number, name in enumerate(names):
            try:
                answer = self.service.post_signal(signal_number(number, name))
            except httpx.TransportError:
                break
            if answer.status_code == httpx.codes.ACCEPTED:
                self.accepted[name] = answer.json()["order_id"]
            time.sleep(0.005)
        timer.join()
        failing.cancel()
        self.service.kill()
        self.control.set_errno(0)

    def lose_power(self, dice: random.Random | None) -> None:
        """Put the files back as the disk has them; with `dice` some of the rest was written too."""
        disk = Disk(self._before)
        disk.play(read_journal(self._journal))
        put_back(disk.after_power_loss(dice), self.data)
        self._before = {str(each.resolve()): each.read_bytes() for each in self.data.iterdir()}
        self._journal.unlink()


def _settings(data: Path, chain: Chain) -> Mapping[str, str]:
    return {
        "SYNERGY7_ORDER_MANAGEMENT__DB_PATH": str(data / "orders.db"),
        "SYNERGY7_METRICS__METRICS_DB_PATH": str(data / "metrics.db"),
        "SYNERGY7_LOG__PATH": str(data / "execution.log"),
        "SYNERGY7_SANDBOX__LEDGER": str(chain.ledger),
        "SYNERGY7_SANDBOX__FILE": str(chain.file),
        "SYNERGY7_SANDBOX__SLOT_MS": str(chain.slot_ms),
        "SYNERGY7_EXECUTION__STATUS_INTERVAL": "0.05",
        "SYNERGY7_EXECUTION__MAX_CONCURRENT_EXECUTIONS": "5",
        "SYNERGY7_SOLANA__POLL_INTERVAL": "0.05",
    }


def signal_number(number: int, name: str) -> dict[str, object]:
    """Give one of many different signals."""
    market, size = MARKETS[number % len(MARKETS)]
    action = "SELL" if number % 2 else "BUY"
    return {"action": action, "market": market, "size": size, "client_order_id": name}
