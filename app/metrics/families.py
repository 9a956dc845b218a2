"""Makes metric families of one registry, all of them with the service's prefix."""

from collections.abc import Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

NAMESPACE: Final = "synergy7"


class Families:
    """A registry of its own: nothing is counted globally."""

    def __init__(self) -> None:
        """Begin without a family."""
        self.registry = CollectorRegistry()

    def counter(self, name: str, words: str, *labels: str) -> Counter:
        """Make a counter; its name is shown with `_total`."""
        return Counter(name, words, labels, namespace=NAMESPACE, registry=self.registry)

    def gauge(self, name: str, words: str, *labels: str) -> Gauge:
        """Make a gauge."""
        return Gauge(name, words, labels, namespace=NAMESPACE, registry=self.registry)

    def histogram(self, name: str, words: str, buckets: Sequence[float], *labels: str) -> Histogram:
        """Make a histogram."""
        return Histogram(
            name, words, labels, namespace=NAMESPACE, registry=self.registry, buckets=buckets
        )
