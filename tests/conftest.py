"""What every test shares: the event loop they run on and how hard hypothesis searches."""

import os

import pytest
from hypothesis import HealthCheck, settings

# On a developer's machine: few examples, another seed each time.
settings.register_profile("dev", max_examples=50, deadline=None)
# In CI: a thorough search that is the same each time; a slow machine is no finding.
settings.register_profile(
    "ci",
    max_examples=200,
    deadline=None,
    derandomize=True,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "dev")


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, object]]:
    """Run async tests on asyncio's own loop, which warns about more than uvloop does."""
    return "asyncio", {"use_uvloop": False}


LONG = ("slow", "e2e", "surfpool")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest: at the end nothing is left to do beside them."""
    long = {each.path for each in items if any(map(each.get_closest_marker, LONG))}
    items.sort(key=lambda item: item.path not in long)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what tests have to print, in whatever process they ran: `record_property("printed", text)`."""
    for report in (*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")):
        for name, text in getattr(report, "user_properties", ()):
            if name == "printed":
                terminalreporter.section(report.nodeid)
                terminalreporter.write_line(str(text))
