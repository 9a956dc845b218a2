"""One case: a service that may die at any moment, driven through an act as a bot and an operator would."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar

from tests.crash.databases import Databases
from tests.crash.points import Point
from tests.crash.service import Died, Json, Service
from tests.harness import FINAL
from tests.integration.chain import Chain

SECONDS_MAX = 60.0
LOOK_SECONDS = 0.01
SETTLED_ENDS = FINAL - {"filled"}

T = TypeVar("T")
Documents = Mapping[str, Json]
"""Order documents by the name that the bot gave them."""


@dataclass
class Run:
    """What is done and what was seen in a case."""

    service: Service
    chain: Chain
    databases: Databases
    wallet: str
    armed: Point | None = None
    nth: int = 1
    arm_from: int = 0
    """The start from which the point is armed, counted from 0."""
    log: Path | None = None
    earlier: set[str] = field(default_factory=set)
    """Signatures of what earlier cases executed on this chain."""
    accepted: dict[str, str] = field(default_factory=dict)
    """Order ids by name, of every post that was answered 202 or 200."""
    posted: set[str] = field(default_factory=set)
    ends: dict[str, Json] = field(default_factory=dict)
    """The first final document seen of each order."""
    changed: list[str] = field(default_factory=list)
    """Final states that did not stay."""
    kills: int = 0

    # ------------------------------------------------------------------------------ life

    def perform(self, steps: Sequence["Step"]) -> None:
        """Do one step after the other; one that a death cut short is done again after a start."""
        for step in steps:
            self.alive(step)

    def alive(self, do: Callable[["Run"], T]) -> T:
        """Do something with a service that runs, again after each death."""
        while True:
            try:
                if self.service.has_ended():
                    self._start()
                return do(self)
            except Died:
                self._take_leave()

    def _start(self) -> None:
        begins = self.service.starts
        armed = self.armed if self.kills == 0 and begins >= self.arm_from else None
        log = self.log.with_suffix(f".{begins}") if self.log else None
        self.service.launch(armed, self.nth, log)
        self.service.wait_up()

    def _take_leave(self) -> None:
        """Go on only after a death that was meant to be."""
        assert self.service.died_at_its_point, "it ended by itself"
        self.kills += 1
        assert self.kills == 1, "it was armed once"
        self.databases.lease_runs_out()

    def restart(self) -> None:
        """Have an orderly end; the next step finds it ended."""
        self.service.end()
        self.databases.lease_runs_out()

    # ------------------------------------------------------------------------------ a bot

    def post(self, name: str, signal: Mapping[str, object]) -> None:
        """Post a signal; again, after a death, with the same id."""
        document = {**signal, "client_order_id": name}
        again = name in self.posted
        self.posted.add(name)
        answer = self.service.ask("POST", "/signals", document)
        expected = {HTTPStatus.ACCEPTED, HTTPStatus.OK} if again else {HTTPStatus.ACCEPTED}
        assert answer.status_code in expected, answer.text
        order_id = str(answer.json()["order_id"])
        self.accepted.setdefault(name, order_id)  # another id later is for the oracle to tell

    def command(self, path: str, document: object = None) -> None:
        """Have something switched, canceled or resolved, as often as a death demands."""
        answer = self.service.ask("POST", path, document)
        assert answer.is_success or answer.status_code == HTTPStatus.CONFLICT, answer.text

    def insist(self, path: str) -> None:
        """Have something done, letting slots pass until it may be."""
        end = time.monotonic() + SECONDS_MAX
        while not self.service.ask("POST", path).is_success:
            assert time.monotonic() < end, f"{path} is refused"
            self.chain.step(1)
            time.sleep(LOOK_SECONDS)

    def lose(self) -> None:
        """Have an orderly end and put older databases back: what was final is not, until it is found."""
        self.restart()
        self.databases.lose()
        self.ends.clear()

    def documents(self) -> Documents:
        """Read every order, and hold the final ones against what they were before."""
        answer = self.service.ask("GET", "/orders?limit=500")
        assert answer.status_code == HTTPStatus.OK, answer.text
        documents: list[Json] = answer.json()["orders"]
        for document in documents:
            self._hold(document)
        names = {order_id: name for name, order_id in self.accepted.items()}
        return {
            names.get(document["order_id"], str(document["client_order_id"])): document
            for document in documents
        }

    def _hold(self, document: Json) -> None:
        order_id = document["order_id"]
        before = self.ends.get(order_id)
        if before is not None and settled(before) != settled(document):
            if document["reason_code"] != "FILL_REVERTED":
                self.changed.append(f"{settled(before)} became {settled(document)}")
            self.ends[order_id] = document
        elif document["status"] in FINAL:
            self.ends[order_id] = document

    def until(self, what: str, holds: Callable[[Documents], object], slots: int = 1) -> Documents:
        """Look until it holds, letting slots pass from look to look."""
        end = time.monotonic() + SECONDS_MAX
        while not holds(documents := self.documents()):
            assert time.monotonic() < end, f"{what}: not within {SECONDS_MAX} s: {documents}"
            if slots:
                self.chain.step(slots)
            time.sleep(LOOK_SECONDS)
        return documents

    def settle(self) -> Documents:
        """Wait until every order has ended for good."""
        return self.until(
            "every order has ended",
            lambda orders: all(map(is_settled, orders.values())),
        )


Step = Callable[[Run], object]


def settled(document: Json) -> Mapping[str, Any]:
    """Give what may not change any more in a final document."""
    names = ("status", "reason_code", "reason", "fill", "filled_at")
    attempts = [
        {name: each[name] for name in ("number", "signature", "status", "landed_slot", "error")}
        for each in document["attempts"]
    ]
    return {**{name: document[name] for name in names}, "attempts": attempts}


def is_settled(document: Json) -> bool:
    """Tell whether an order has ended and needs no watching any more."""
    return document["status"] in SETTLED_ENDS or bool(document["finalized_at"])
