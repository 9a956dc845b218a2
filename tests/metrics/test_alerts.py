"""The shipped alert rules: well-formed, on metrics and labels that are really exposed, and explained."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families as read

from app.domain.errors import ReasonCode
from app.domain.order import OrderStatus
from app.domain.outcome import Dispute
from app.metrics.prometheus import PrometheusTelemetry

ROOT = Path(__file__).parents[2]
OPERATION = (ROOT / "docs/operation.md").read_text()
DURATION = re.compile(r"[0-9]+[smhd]")


def rules() -> list[dict[str, Any]]:
    """Read the rules."""
    document = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())
    assert list(document) == ["groups"]
    return [rule for group in document["groups"] for rule in group["rules"]]


def exposed() -> dict[str, list[dict[str, str]]]:
    """Give the labels of each series of a process that has done nothing yet."""
    telemetry = PrometheusTelemetry(version="1", network="sandbox", methods=["rpc"])
    body, _ = telemetry.render(None)
    series: dict[str, list[dict[str, str]]] = {}
    for family in read(body.decode()):
        for sample in family.samples:
            series.setdefault(sample.name, []).append(dict(sample.labels))
    return series


def anchors(markdown: str) -> set[str]:
    """Give the anchors of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", markdown, re.MULTILINE)
    return {re.sub(r"[^a-z0-9 -]", "", each.lower()).replace(" ", "-") for each in headings}


@pytest.mark.parametrize("rule", rules(), ids=[rule["alert"] for rule in rules()])
def test_a_rule_stands_on_series_that_are_there_from_the_first_scrape(rule: dict[str, Any]) -> None:
    """A name or a label that nobody exports would never fire."""
    assert set(rule) - {"for"} == {"alert", "expr", "labels", "annotations"}
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert DURATION.fullmatch(rule.get("for", "1m"))
    assert rule["expr"].count("(") == rule["expr"].count(")")
    series = exposed()
    selectors = re.findall(r"(synergy7_\w+)(?:\{([^}]*)\})?", rule["expr"])
    assert selectors
    for name, matchers in selectors:
        wanted = dict(re.findall(r'(\w+)="([^"]*)"', matchers))
        assert any(wanted.items() <= labels.items() for labels in series[name]), (name, wanted)


@pytest.mark.parametrize("rule", rules(), ids=[rule["alert"] for rule in rules()])
def test_a_rule_is_explained(rule: dict[str, Any]) -> None:
    """The page that it names has the place, and names the rule."""
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert page == "docs/operation.md"
    assert anchor in anchors(OPERATION)
    assert f"`{rule['alert']}`" in OPERATION


def test_what_must_wake_a_person_does() -> None:
    """Orders in doubt, an old doubt, a disagreement, an undone fill, a service that does not execute."""
    expressions = {rule["expr"]: rule for rule in rules()}
    wanted = {
        "synergy7_orders_in_doubt": ("1m", "warning"),
        "synergy7_in_doubt_oldest_seconds": (None, "critical"),
        "synergy7_evidence_disagreements_total": (None, "critical"),
        ReasonCode.FILL_REVERTED: (None, "critical"),
        "synergy7_ready": ("2m", "warning"),
    }
    for part, (held, severity) in wanted.items():
        (rule,) = [rule for expression, rule in expressions.items() if part in expression]
        assert (rule.get("for"), rule["labels"]["severity"]) == (held, severity)
    assert {labels["dispute"] for labels in exposed()["synergy7_evidence_disagreements_total"]} == {
        *Dispute
    }
    assert OrderStatus.FAILED.value in next(e for e in expressions if "FILL_REVERTED" in e)
