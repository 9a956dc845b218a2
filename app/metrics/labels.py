"""Label values kept few: whatever is not known folds into one value, so that series stay bounded."""

from collections.abc import Callable, Collection, Iterable
from typing import Final, Generic, TypeVar

from prometheus_client.metrics import MetricWrapperBase

OTHER: Final = "other"
"""Stands for every value that is not known."""

Fold = Callable[[str], str]
"""Gives the label value under which a value is counted."""

Child = TypeVar("Child", bound=MetricWrapperBase)


def only(known: Iterable[str]) -> Fold:
    """Keep the known values."""
    kept = frozenset(known)
    return lambda value: value if value in kept else OTHER


def first(most: int) -> Fold:
    """Keep the first `most` different values that are seen."""
    seen: set[str] = set()

    def fold(value: str) -> str:
        if value not in seen:
            if len(seen) >= most:
                return OTHER
            seen.add(value)
        return value

    return fold


class Children(Generic[Child]):
    """The children of one metric, bound once and found by a single look-up."""

    def __init__(
        self, metric: Child, folds: Collection[Fold], zeros: Iterable[tuple[str, ...]] = ()
    ) -> None:
        """Take a fold for each label; the label values in `zeros` are shown from the first scrape."""
        self._metric = metric
        self._folds = tuple(folds)
        self._bound: dict[tuple[str, ...], Child] = {}
        for values in zeros:
            self.of(*values)

    def of(self, *values: str) -> Child:
        """Give the child of these label values."""
        child = self._bound.get(values)
        return self._bind(values) if child is None else child

    def _bind(self, values: tuple[str, ...]) -> Child:
        """Bind what the values fold to; the unknown values themselves are never kept."""
        folded = tuple(fold(value) for fold, value in zip(self._folds, values, strict=True))
        child = self._bound.get(folded)
        if child is None:
            child = self._bound[folded] = self._metric.labels(*folded)
        return child
