"""Labels stay few, whatever is put into them."""

from prometheus_client import CollectorRegistry, Counter

from app.metrics.labels import OTHER, Children, first, only


def test_only_known_values_are_kept() -> None:
    """A value from outside the list counts as other."""
    fold = only(["rpc"])
    assert [fold("rpc"), fold("smoke"), fold("")] == ["rpc", OTHER, OTHER]


def test_the_first_values_are_kept_and_stay() -> None:
    """Once full, a new value counts as other and the old ones still as themselves."""
    fold = first(2)
    assert [fold(value) for value in "abcab"] == ["a", "b", OTHER, "a", "b"]


def test_a_child_is_bound_once() -> None:
    """The same values give the same child, unknown ones share one."""
    counter = Counter("name", "words", ["method"], registry=CollectorRegistry())
    children = Children(counter, [only(["rpc"])], [("rpc",)])
    assert children.of("rpc") is children.of("rpc")
    assert children.of("what") is children.of("ever")
    assert children.of("rpc") is not children.of("what")
