"""What is counted and shown of the submission methods beside their pushes: breakers, limits, tips, claims."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Final

from app.metrics.families import Families
from app.metrics.labels import Children, first, only

BREAKER_STATES: Final = ("closed", "half-open", "open")
"""In the order of the gauge's values: 0, 1, 2."""
BUNDLE_STATUSES: Final = ("Invalid", "Pending", "Failed", "Landed", "unknown")
"""What a block engine says of a bundle that is under way, in its own words; `unknown`: it said nothing."""
DENIALS: Final = ("Failed", "Invalid")
"""What is said of bytes that will not land."""
CLAIMS_MAX: Final = 8
TIP_SOURCES_MAX: Final = 8
RPC_METHODS_MAX: Final = 48

State = Mapping[str, object]


class MethodFigures:
    """Metrics of methods; `methods` is asked for their states at each scrape."""

    def __init__(self, families: Families, methods: Sequence[str]) -> None:
        """Show the given methods at zero from the first scrape."""
        self.methods: Callable[[], Sequence[State]] = list
        self._breaker_families(families, methods)
        self._admission_families(families, methods)
        self._said_families(families, methods)

    def _breaker_families(self, families: Families, methods: Sequence[str]) -> None:
        method = only(methods)
        self._breakers = Children(
            families.gauge("breaker_state", "0 closed, 1 half-open, 2 open.", "method"),
            [method],
            product(methods),
        )
        self._breaker_moves = Children(
            families.counter("breaker_transitions", "Moves of breakers.", "method", "to"),
            [method, only(BREAKER_STATES)],
            product(methods, BREAKER_STATES),
        )

    def _admission_families(self, families: Families, methods: Sequence[str]) -> None:
        method = only(methods)
        self._limited = Children(
            families.counter("method_limited", "Rests that a method was told to take.", "method"),
            [method],
            product(methods),
        )
        self._wait = Children(
            families.gauge("method_wait_seconds", "Time until a push is admitted.", "method"),
            [method],
            product(methods),
        )
        self._enabled = Children(
            families.gauge("method_enabled", "1 enabled, 0 disabled by an operator.", "method"),
            [method],
        )
        for name in methods:
            self._enabled.of(name).set(1)

    def _said_families(self, families: Families, methods: Sequence[str]) -> None:
        self._bundles = Children(
            families.counter("bundle_statuses", "What was said of bundles.", "status"),
            [only(BUNDLE_STATUSES)],
            product(BUNDLE_STATUSES),
        )
        self._against = Children(
            families.counter(
                "landed_against_claims", "Landed against a method's word.", "method", "claim"
            ),
            [only(methods), first(CLAIMS_MAX)],
            product(methods, DENIALS),
        )
        self._tips = Children(
            families.gauge("tip_lamports", "The tip that is offered now.", "source"),
            [first(TIP_SOURCES_MAX)],
        )
        self._hedged = Children(
            families.counter("hedged_reads", "Reads that a second endpoint got.", "rpc_method"),
            [first(RPC_METHODS_MAX)],
        )

    # ------------------------------------------------------------ told

    def breaker(self, method: str, to: str) -> None:
        """Note that a method's breaker moved to `closed`, `half-open` or `open`."""
        self._breaker_moves.of(method, to).inc()
        if to in BREAKER_STATES:
            self._breakers.of(method).set(BREAKER_STATES.index(to))

    def limited(self, method: str, endpoint: str, seconds: float) -> None:
        """Count a rest; at which endpoint and for how long is told by the event, not by labels."""
        self._limited.of(method).inc()

    def bundle_status(self, status: str) -> None:
        """Count what a block engine said of a bundle: `Pending`, `Landed`, `Failed`, `Invalid`."""
        self._bundles.of(status).inc()

    def landed_against(self, method: str, claim: str) -> None:
        """Count bytes that landed although a method had said that they would not."""
        self._against.of(method, claim).inc()

    def tip(self, source: str, lamports: int) -> None:
        """Show the tip that a source makes us offer now."""
        self._tips.of(source).set(lamports)

    def hedged(self, rpc_method: str) -> None:
        """Count a read that was sent to a further endpoint before the first one answered."""
        self._hedged.of(rpc_method).inc()

    # ------------------------------------------------------------ asked at each scrape

    def _look_at_methods(self) -> None:
        for state in self.methods():
            name, wait = str(state["name"]), state["wait_seconds"]
            self._enabled.of(name).set(1 if state["enabled"] else 0)
            seconds = wait if isinstance(wait, (int, float)) else math.inf
            self._wait.of(name).set(seconds)
