"""What the engine tells shows up in a scrape, bounded and well-formed."""

import math
import re
from pathlib import Path

import pytest
from prometheus_client.openmetrics import parser as openmetrics

from app.domain.errors import ReasonCode
from app.domain.order import OrderStatus
from app.domain.outcome import Reply, ReplyOutcome
from app.engine.ports import QueueFigures, Telemetry
from app.metrics.prometheus import PrometheusTelemetry
from app.solana.json_rpc import Observer
from tests.metrics.exposition import families, ours, series, telemetry, value

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"
NOW = 1_000_000_000


def figures(**given: object) -> QueueFigures:
    """Make figures of an empty queue but for what is given."""
    empty: dict[str, object] = {
        "pending": 0,
        "active": 0,
        "completed": 0,
        "in_doubt": 0,
        "by_status": {},
        "oldest_queued_us": None,
        "oldest_in_doubt_us": None,
    }
    return QueueFigures(**{**empty, **given})  # type: ignore[arg-type]


def test_it_is_what_the_engine_and_the_rpc_clients_tell() -> None:
    """The ports' type checks hold; two of them live beside each other, without a global registry."""
    engine: Telemetry = telemetry()
    observer: Observer = telemetry()
    engine.workers_busy(3)
    assert isinstance(observer, PrometheusTelemetry)
    assert value(observer, "workers_busy") == 0


# ---------------------------------------------------------------- each figure


def test_signals_are_counted_by_result_and_reason() -> None:
    """A refusal's reason code is a label."""
    told = telemetry()
    told.signal("accepted", "")
    told.signal("refused", ReasonCode.QUEUE_FULL)
    told.signal("refused", "UNKNOWN_MARKET")
    assert value(told, "signals_total", result="accepted", reason="") == 1
    assert value(told, "signals_total", result="refused", reason="QUEUE_FULL") == 1
    assert value(told, "signals_total", result="refused", reason="UNKNOWN_MARKET") == 1


def test_ended_orders_are_counted_by_status_and_reason() -> None:
    """Each final state counts under its reason."""
    told = telemetry()
    told.order_ended(OrderStatus.FILLED, "")
    told.order_ended(OrderStatus.FAILED, ReasonCode.PRICE_LIMIT)
    assert value(told, "orders_total", status="filled", reason="") == 1
    assert value(told, "orders_total", status="failed", reason="PRICE_LIMIT") == 1


def test_stages_are_measured() -> None:
    """Count, sum and buckets follow what was observed."""
    told = telemetry()
    told.stage("quote", 0.004)
    told.stage("quote", 4)
    assert value(told, "stage_seconds_count", stage="quote") == 2
    assert value(told, "stage_seconds_sum", stage="quote") == pytest.approx(4.004)
    assert value(told, "stage_seconds_bucket", stage="quote", le="0.005") == 1
    assert value(told, "stage_seconds_bucket", stage="quote", le="5.0") == 2


def test_submissions_are_counted_and_timed() -> None:
    """A push counts under its outcome, and its time under its method."""
    told = telemetry()
    told.submission("rpc", Reply(ReplyOutcome.UNKNOWN, "timeout"), 3)
    assert value(told, "submissions_total", method="rpc", outcome="unknown") == 1
    assert value(told, "submission_seconds_sum", method="rpc") == 3


def test_landings_are_credited_with_their_slots() -> None:
    """A landing that nobody claimed counts under none, and one without slots is not measured."""
    told = telemetry()
    told.landing("jito", "filled", 3)
    told.landing("none", "failed", None)
    assert value(told, "landings_total", method="jito", result="filled") == 1
    assert value(told, "landing_slots_sum", method="jito") == 3
    assert value(told, "landings_total", method="none", result="failed") == 1
    assert value(told, "landing_slots_count", method="none") == 0


@pytest.mark.parametrize(("lamports", "counted"), [(5_000, 5_000), (0, 0), (-1, 0)])
def test_fees_add_up_and_never_fall(lamports: int, counted: int) -> None:
    """Lamports are added; an impossible negative fee is left out instead of raising."""
    told = telemetry()
    told.fees("rpc", "network", lamports)
    assert value(told, "fees_lamports_total", kind="network", method="rpc") == counted


def test_resigns_and_recoveries_are_counted() -> None:
    """Reasons come in lower case, statuses as themselves."""
    told = telemetry()
    told.resigned("attempt_expired")
    told.recovered("submitted")
    assert value(told, "resigns_total", reason="attempt_expired") == 1
    assert value(told, "recovered_orders_total", to="submitted") == 1


@pytest.mark.parametrize(("state", "shown"), [("open", 2), ("half-open", 1), ("closed", 0)])
def test_a_breakers_moves_are_counted_and_its_state_shown(state: str, shown: float) -> None:
    """Each state has its number."""
    told = telemetry()
    told.breaker("rpc", state)
    assert value(told, "breaker_state", method="rpc") == shown
    assert value(told, "breaker_transitions_total", method="rpc", to=state) == 1


def test_an_unknown_state_leaves_the_breaker_as_shown() -> None:
    """It counts as other, and the state stays the last one that was understood."""
    told = telemetry()
    told.breaker("rpc", "open")
    told.breaker("rpc", "ajar")
    assert value(told, "breaker_state", method="rpc") == 2
    assert value(told, "breaker_transitions_total", method="rpc", to="other") == 1


def test_rests_are_counted_by_method() -> None:
    """Whoever imposed them: a provider, or our own pace."""
    told = telemetry()
    told.limited("jito", "frankfurt", 5.0)
    told.limited("jito", "amsterdam", 1.0)
    assert value(told, "method_limited_total", method="jito") == 2
    assert value(told, "method_limited_total", method="rpc") == 0


def test_methods_are_shown_as_they_are_at_the_scrape() -> None:
    """Asked each time; a method that only an operator can bring back waits for ever."""
    told = telemetry()
    assert value(told, "method_enabled", method="rpc") == 1
    states: list[dict[str, object]] = [
        {"name": "rpc", "enabled": False, "wait_seconds": None},
        {"name": "jito", "enabled": True, "wait_seconds": 2.5},
    ]
    told.methods = lambda: states
    assert value(told, "method_enabled", method="rpc") == 0
    assert value(told, "method_wait_seconds", method="rpc") == math.inf
    assert value(told, "method_enabled", method="jito") == 1
    assert value(told, "method_wait_seconds", method="jito") == 2.5
    states[0] |= {"enabled": True, "wait_seconds": 0}
    assert value(told, "method_enabled", method="rpc") == 1
    assert value(told, "method_wait_seconds", method="rpc") == 0


def test_what_is_said_of_bundles_is_counted() -> None:
    """In the block engine's own words; strange ones count together."""
    told = telemetry()
    for status in ("Pending", "Pending", "Failed", "Eaten by a bear"):
        told.bundle_status(status)
    assert value(told, "bundle_statuses_total", status="Pending") == 2
    assert value(told, "bundle_statuses_total", status="Failed") == 1
    assert value(told, "bundle_statuses_total", status="other") == 1
    assert value(told, "bundle_statuses_total", status="Landed") == 0


def test_landings_against_a_methods_word_are_counted() -> None:
    """By method and by what it had said; shown at zero before the first."""
    told = telemetry()
    assert value(told, "landed_against_claims_total", method="jito", claim="Invalid") == 0
    told.landed_against("jito", "Failed")
    assert value(told, "landed_against_claims_total", method="jito", claim="Failed") == 1


def test_tips_and_hedged_reads_are_shown() -> None:
    """A tip is what is offered now; a hedged read counts under its RPC method."""
    told = telemetry()
    told.tip("floor", 1_000)
    told.tip("floor", 7_000)
    told.hedged("getSlot")
    assert value(told, "tip_lamports", source="floor") == 7_000
    assert value(told, "hedged_reads_total", rpc_method="getSlot") == 1


def test_rpc_requests_are_counted_and_timed() -> None:
    """Endpoint, method and outcome are labels; the time is by endpoint and method."""
    told = telemetry()
    told.rpc("127.0.0.1:8899", "getSlot", "ok", 0.002)
    labels = {"endpoint": "127.0.0.1:8899", "rpc_method": "getSlot"}
    assert value(told, "rpc_requests_total", **labels, outcome="ok") == 1
    assert value(told, "rpc_seconds_count", **labels) == 1


def test_the_queues_figures_are_shown_with_ages() -> None:
    """Counts are shown as they are, ages as of now, and what was counted before is forgotten."""
    told = telemetry()
    by_status = {OrderStatus.QUEUED: 4, OrderStatus.FILLED: 2}
    counted = figures(
        pending=4,
        in_doubt=1,
        by_status=by_status,
        oldest_queued_us=NOW - 2_500_000,
        oldest_in_doubt_us=NOW - 60_000_000,
    )
    told.set_figures(counted, NOW)
    assert value(told, "queue_depth") == 4
    assert value(told, "queue_oldest_seconds") == 2.5
    assert value(told, "orders_in_doubt") == 1
    assert value(told, "in_doubt_oldest_seconds") == 60
    assert value(told, "orders_by_status", status="queued") == 4
    told.set_figures(figures(oldest_queued_us=NOW + 1), NOW)
    assert value(told, "orders_by_status", status="queued") == 0
    assert value(told, "queue_oldest_seconds") == 0
    assert value(told, "in_doubt_oldest_seconds") == 0


def test_the_build_is_named() -> None:
    """Version, network and Python are labels of one series."""
    (labels,) = series(telemetry(), "build_info")
    assert labels["version"] == "1.2.3"
    assert labels["network"] == "sandbox"
    assert re.fullmatch(r"3\.\d+\.\d+\S*", labels["python"])


# ---------------------------------------------------------------- bounds


def test_what_is_configured_is_there_from_the_first_scrape() -> None:
    """Statuses, stages and methods stand at zero before anything has happened."""
    told = telemetry("rpc")
    assert value(told, "signals_total", result="accepted", reason="") == 0
    assert value(told, "orders_total", status="expired", reason="ORDER_TIMEOUT") == 0
    assert value(told, "stage_seconds_count", stage="land") == 0
    assert value(told, "breaker_state", method="rpc") == 0
    assert value(told, "fees_lamports_total", kind="tip", method="none") == 0
    assert len(series(told, "orders_by_status")) == len(OrderStatus)
    assert len(series(told, "submissions_total")) == len(ReplyOutcome)


def test_labels_stay_bounded_whatever_is_told() -> None:
    """A flood of made-up values adds a few series called other, and no more the second time."""
    told = telemetry()

    def flood(names: range) -> int:
        for name in map(str, names):
            told.signal(name, name)
            told.order_ended(OrderStatus.QUEUED, name)
            told.stage(name, 1)
            told.submission(name, Reply(ReplyOutcome.ALREADY, name), 1)
            told.landing(name, name, 1)
            told.fees(name, name, 1)
            told.resigned(name)
            told.recovered(name)
            told.rpc(name, name, name, 1)
            told.breaker(name, name)
            told.limited(name, name, 1)
            told.bundle_status(name)
            told.landed_against(name, name)
            told.tip(name, 1)
            told.hedged(name)
        return sum(len(family.samples) for family in families(told))

    first = flood(range(200))
    assert flood(range(200, 400)) == first
    assert value(told, "stage_seconds_count", stage="other") == 400
    assert value(told, "orders_total", status="other", reason="other") == 400


# ---------------------------------------------------------------- the exposition


def test_an_exposition_keeps_prometheus_own_rules() -> None:
    """What its linter would find fault with: helps, names, units, suffixes."""
    for family in ours(telemetry()):
        assert family.documentation.endswith("."), family.name
        assert re.fullmatch(r"synergy7(_[a-z0-9]+)+", family.name)
        assert not re.search(r"_(ms|us|minutes|percent)(_|$)", family.name)
        if family.type == "counter":
            assert all(s.name.endswith("_total") for s in family.samples), family.name
        else:
            assert not family.name.endswith("_total")
        labels = {label for sample in family.samples for label in sample.labels}
        assert not labels & {"wallet", "signature", "order_id", "account"}


def test_the_docs_name_every_metric_and_no_other() -> None:
    """Each metric's row has its name, its type and its labels, as they are exposed."""
    told = telemetry()
    told.rpc("host", "getSlot", "ok", 1)
    told.tip("floor", 1)
    told.hedged("getSlot")
    exposed = {_shown_name(f.name, f.type): (f.type, _labels(f.samples)) for f in ours(told)}
    rows = re.findall(r"^\| `(synergy7_\w+)` \| (\w+) \|([^|]*)\|", DOCS.read_text(), re.MULTILINE)
    documented = {name: (kind, set(re.findall(r"`(\w+)`", row))) for name, kind, row in rows}
    assert documented == exposed
    mentioned = set(re.findall(r"synergy7_[a-z0-9_]*[a-z0-9]", DOCS.read_text()))
    assert mentioned == set(exposed)


def _shown_name(name: str, kind: str) -> str:
    return f"{name}_total" if kind == "counter" else name


def _labels(samples: object) -> set[str]:
    assert isinstance(samples, list)
    return {label for sample in samples for label in sample.labels} - {"le"}


@pytest.mark.parametrize(
    "accept", [None, "", "*/*", "text/plain; version=x", "garbage;;;,,", "text/html, */*;q=0.1"]
)
def test_text_is_the_answer_to_whoever_asks_for_nothing_else(accept: str | None) -> None:
    """Whatever the Accept header, hostile or none, there is an answer, without series of creation."""
    body, content_type = telemetry().render(accept)
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert b"synergy7_signals_total{" in body
    assert b"_created" not in body


@pytest.mark.parametrize(
    "accept",
    [
        "application/openmetrics-text",
        "application/openmetrics-text; version=abc",
        "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3",
    ],
)
def test_openmetrics_is_the_answer_to_whoever_asks_for_it(accept: str) -> None:
    """A strict parser reads it; when each series began is told."""
    body, content_type = telemetry().render(accept)
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    read = openmetrics.text_string_to_metric_families(body.decode())  # type: ignore[no-untyped-call]
    names = {sample.name for family in read for sample in family.samples}
    assert {"synergy7_signals_total", "synergy7_signals_created"} <= names


def test_the_process_is_measured() -> None:
    """The garbage collector's figures stand beside ours on every platform."""
    assert any(family.name == "python_gc_collections" for family in families(telemetry()))
