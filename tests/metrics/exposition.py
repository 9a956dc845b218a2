"""Reading an exposition as Prometheus does."""

from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from app.metrics.prometheus import PrometheusTelemetry


def telemetry(*methods: str) -> PrometheusTelemetry:
    """Make the figures of a service with these methods, `rpc` and `jito` unless given."""
    return PrometheusTelemetry(
        version="1.2.3", network="sandbox", methods=methods or ("rpc", "jito")
    )


def families(figures: PrometheusTelemetry) -> list[Metric]:
    """Scrape in text format."""
    body, _ = figures.render(None)
    return list(text_string_to_metric_families(body.decode()))


def ours(figures: PrometheusTelemetry) -> Iterator[Metric]:
    """Scrape, and leave out what every process has."""
    return (family for family in families(figures) if family.name.startswith("synergy7_"))


def value(figures: PrometheusTelemetry, sample: str, **labels: str) -> float | None:
    """Scrape one sample; None when it is not there."""
    found = [
        each.value
        for family in families(figures)
        for each in family.samples
        if each.name == f"synergy7_{sample}" and each.labels == labels
    ]
    assert len(found) <= 1, "no series is told twice"
    return found[0] if found else None


def series(figures: PrometheusTelemetry, sample: str) -> list[dict[str, str]]:
    """Scrape the label sets of a sample."""
    return [
        dict(each.labels)
        for family in families(figures)
        for each in family.samples
        if each.name == f"synergy7_{sample}"
    ]
