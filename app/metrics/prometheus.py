"""What this process counts and measures for Prometheus.

Names begin with `synergy7_`, units are seconds, slots and lamports, and every label is bounded: never a
wallet, a signature, an order's id or free text.
"""

import platform
from collections.abc import Collection, Iterator, Sequence
from itertools import product
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    Info,
    Metric,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as TEXT
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from app.domain.errors import ReasonCode
from app.domain.order import FINAL_STATUSES, OrderStatus
from app.domain.outcome import Dispute, Reply, ReplyOutcome
from app.domain.signal import US
from app.engine.ports import QueueFigures
from app.metrics.families import NAMESPACE, Families
from app.metrics.labels import Children, first, only
from app.metrics.method_figures import RPC_METHODS_MAX, MethodFigures

OPENMETRICS: Final = "application/openmetrics-text"
NO_METHOD: Final = "none"
"""The method of a landing that no method claimed to have accepted."""

STAGES: Final = ("queue", "quote", "build", "simulate", "sign", "store", "submit", "land", "total")
ENDPOINTS_MAX: Final = 16

STAGE_SECONDS: Final = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300,
)  # fmt: skip
"""From a read of memory to the default life of an order."""
NETWORK_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
LANDING_SLOTS: Final = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 150)
"""Up to the life of a blockhash."""

_REASONS: Final = frozenset({"", *ReasonCode})
_SIGNALS: Final = ("accepted", "replayed", "rejected", "refused")
_SIGNAL_ZEROS: Final = (
    ("accepted", ""),
    ("replayed", ""),
    ("rejected", ReasonCode.SIGNAL_STALE),
    ("refused", ReasonCode.QUEUE_FULL),
    ("refused", ReasonCode.DATABASE_BUSY),
    ("refused", ReasonCode.STORAGE_UNAVAILABLE),
)
_FAILURES: Final = (
    ReasonCode.PRICE_LIMIT,
    ReasonCode.SLIPPAGE_EXCEEDED,
    ReasonCode.INSUFFICIENT_FUNDS,
    ReasonCode.INSUFFICIENT_LIQUIDITY,
    ReasonCode.MARKET_CLOSED,
    ReasonCode.POOL_INVALID,
    ReasonCode.PROGRAM_ERROR,
    ReasonCode.RETRIES_EXHAUSTED,
    ReasonCode.FILL_REVERTED,
)
_ORDER_ZEROS: Final = (
    (OrderStatus.FILLED, ""),
    *((OrderStatus.FAILED, reason) for reason in _FAILURES),
    (OrderStatus.EXPIRED, ReasonCode.ORDER_TIMEOUT),
    (OrderStatus.EXPIRED, ReasonCode.SIGNAL_STALE),
    (OrderStatus.CANCELED, ReasonCode.CANCEL_REQUESTED),
    (OrderStatus.REJECTED, ReasonCode.SIGNAL_STALE),
)
_RESIGNS: Final = frozenset({"unknown", *(code.value.lower() for code in ReasonCode)})
_RESIGN_ZEROS: Final = (("attempt_expired",), ("slippage_exceeded",))
_LANDINGS: Final = ("filled", "failed")
_FEES: Final = ("network", "priority", "tip", "failed")
_RPC_OUTCOMES: Final = ("ok", "error", "garbled", "not_sent", "no_reply")


class PrometheusTelemetry(MethodFigures):
    """The engine's `Telemetry` and the JSON-RPC clients' `Observer`, on a registry of its own."""

    def __init__(self, *, version: str, network: str, methods: Sequence[str]) -> None:
        """Show the given methods, and every status and stage, at zero from the first scrape."""
        self._families = families = Families()
        self._registry = families.registry
        super().__init__(families, methods)
        self._orders()
        self._queue()
        self._flow()
        self._pushes(methods)
        self._landed([*methods, NO_METHOD])
        self._rpc()
        self._process(version, network)

    # ------------------------------------------------------------ the metrics

    def _orders(self) -> None:
        self._signals = Children(
            self._families.counter(
                "signals", "Signals by what became of them.", "result", "reason"
            ),
            [only(_SIGNALS), only(_REASONS)],
            _SIGNAL_ZEROS,
        )
        self._ended = Children(
            self._families.counter(
                "orders", "Orders that reached a final state.", "status", "reason"
            ),
            [only(FINAL_STATUSES), only(_REASONS)],
            _ORDER_ZEROS,
        )
        self._by_status = Children(
            self._families.gauge("orders_by_status", "Orders in the database.", "status"),
            [only(OrderStatus)],
            product(OrderStatus),
        )

    def _queue(self) -> None:
        self._in_doubt = self._families.gauge(
            "orders_in_doubt", "Orders that may have landed unseen."
        )
        self._in_doubt_oldest = self._families.gauge(
            "in_doubt_oldest_seconds", "Time since the oldest order in doubt came into doubt."
        )
        self._disputes = Children(
            self._families.counter(
                "evidence_disagreements", "Attempts that endpoints disagree on.", "dispute"
            ),
            [only(Dispute)],
            product(Dispute),
        )
        self._queued = self._families.gauge("queue_depth", "Orders that wait to be executed.")
        self._queued_oldest = self._families.gauge(
            "queue_oldest_seconds", "Time since the oldest waiting order was accepted."
        )
        self._workers = self._families.gauge("workers_busy", "Slots of execution that are taken.")

    def _flow(self) -> None:
        self._stages = Children(
            self._families.histogram("stage_seconds", "Time a stage took.", STAGE_SECONDS, "stage"),
            [only(STAGES)],
            product(STAGES),
        )
        self._resigns = Children(
            self._families.counter("resigns", "Further attempts signed, by why.", "reason"),
            [only(_RESIGNS)],
            _RESIGN_ZEROS,
        )
        self._recovered = Children(
            self._families.counter("recovered_orders", "Orders taken up from another run.", "to"),
            [only(OrderStatus)],
            product((OrderStatus.SUBMITTED, OrderStatus.FILLED)),
        )

    def _pushes(self, methods: Sequence[str]) -> None:
        method = only(methods)
        self._submissions = Children(
            self._families.counter("submissions", "Pushes by their outcome.", "method", "outcome"),
            [method, only(ReplyOutcome)],
            product(methods, ReplyOutcome),
        )
        self._submission_seconds = Children(
            self._families.histogram(
                "submission_seconds", "Time a push took.", NETWORK_SECONDS, "method"
            ),
            [method],
            product(methods),
        )

    def _landed(self, credited: Sequence[str]) -> None:
        method = only(credited)
        self._landings = Children(
            self._families.counter("landings", "Attempts that landed.", "method", "result"),
            [method, only(_LANDINGS)],
            product(credited, _LANDINGS),
        )
        self._landing_slots = Children(
            self._families.histogram(
                "landing_slots", "Slots from blockhash to landing.", LANDING_SLOTS, "method"
            ),
            [method],
            product(credited),
        )
        self._fees = Children(
            self._families.counter(
                "fees_lamports", "Fees paid by landed attempts.", "kind", "method"
            ),
            [only(_FEES), method],
            product(_FEES, credited),
        )

    def _rpc(self) -> None:
        endpoint, method = first(ENDPOINTS_MAX), first(RPC_METHODS_MAX)
        self._requests = Children(
            self._families.counter(
                "rpc_requests", "JSON-RPC requests.", "endpoint", "rpc_method", "outcome"
            ),
            [endpoint, method, only(_RPC_OUTCOMES)],
        )
        self._request_seconds = Children(
            self._families.histogram(
                "rpc_seconds",
                "Time a JSON-RPC request took.",
                NETWORK_SECONDS,
                "endpoint",
                "rpc_method",
            ),
            [endpoint, method],
        )

    def _process(self, version: str, network: str) -> None:
        self._ready = self._families.gauge("ready", "1 while orders are executed, else 0.")
        build = Info("build", "What is running.", namespace=NAMESPACE, registry=self._registry)
        python = platform.python_version()
        build.info({"version": version, "network": network, "python": python})
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    # ------------------------------------------------------------ told by the engine

    def signal(self, result: str, reason: str) -> None:
        """See the port."""
        self._signals.of(result, reason).inc()

    def order_ended(self, status: OrderStatus, reason: str) -> None:
        """See the port."""
        self._ended.of(status, reason).inc()

    def stage(self, stage: str, seconds: float) -> None:
        """See the port."""
        self._stages.of(stage).observe(seconds)

    def submission(self, method: str, reply: Reply, seconds: float) -> None:
        """See the port."""
        self._submissions.of(method, reply.outcome).inc()
        self._submission_seconds.of(method).observe(seconds)

    def landing(self, method: str, result: str, slots: int | None) -> None:
        """See the port."""
        self._landings.of(method, result).inc()
        if slots is not None:
            self._landing_slots.of(method).observe(slots)

    def disputed(self, dispute: str) -> None:
        """See the port."""
        self._disputes.of(dispute).inc()

    def fees(self, method: str, kind: str, lamports: int) -> None:
        """See the port; a counter cannot go back, so what is below zero is not counted."""
        if lamports > 0:
            self._fees.of(kind, method).inc(lamports)

    def resigned(self, reason: str) -> None:
        """See the port."""
        self._resigns.of(reason).inc()

    def recovered(self, to: str) -> None:
        """See the port."""
        self._recovered.of(to).inc()

    def workers_busy(self, busy: int) -> None:
        """See the port."""
        self._workers.set(busy)

    def rpc(self, endpoint: str, rpc_method: str, outcome: str, seconds: float) -> None:
        """Count a JSON-RPC request that ended."""
        self._requests.of(endpoint, rpc_method, outcome).inc()
        self._request_seconds.of(endpoint, rpc_method).observe(seconds)

    def set_figures(self, figures: QueueFigures, now_us: int) -> None:
        """Show the queue as it was counted; ages as of `now_us` (UTC microseconds)."""
        for status in OrderStatus:
            self._by_status.of(status).set(figures.by_status.get(status, 0))
        self._in_doubt.set(figures.in_doubt)
        self._in_doubt_oldest.set(_age(figures.oldest_in_doubt_us, now_us))
        self._queued.set(figures.pending)
        self._queued_oldest.set(_age(figures.oldest_queued_us, now_us))

    def set_ready(self, *, ready: bool) -> None:
        """Show what `GET /readyz` says."""
        self._ready.set(int(ready))

    # ------------------------------------------------------------ told to Prometheus

    def render(self, accept: str | None) -> tuple[bytes, str]:
        """Give the exposition and its content type: OpenMetrics when `accept` names it, else text."""
        self._look_at_methods()
        if OPENMETRICS in media_types(accept):
            body: bytes = openmetrics.generate_latest(self._registry)  # type: ignore[no-untyped-call]
            return body, openmetrics.CONTENT_TYPE_LATEST
        return generate_latest(_Plain(self._registry)), TEXT


def _age(since_us: int | None, now_us: int) -> float:
    return 0.0 if since_us is None else max(now_us - since_us, 0) / US


def media_types(accept: str | None) -> Collection[str]:
    """Give the media types that an Accept header names, without their parameters, in lower case."""
    parts = (accept or "").split(",")
    return {part.partition(";")[0].strip().lower() for part in parts}


class _Plain(Collector):
    """Leaves out when each series began: the text format has no place for it but a series more."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        for metric in self._registry.collect():
            metric.samples = [s for s in metric.samples if not s.name.endswith("_created")]
            yield metric
