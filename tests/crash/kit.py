"""What the tests of the matrix claim together."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from tests.crash.databases import Maker
from tests.crash.matrix import Case, Discovery, Report, discover, line, places, run_cases

WORKERS = 2
SEED = 7

Choose = Callable[[Discovery], Sequence[Case]]


def run_matrix(kind: str, make: Maker, choose: Choose, workers: int = WORKERS) -> Report:
    """Perform every act, then the chosen cases."""
    with places(workers) as where, ThreadPoolExecutor(workers) as pool:
        discovery = discover(kind, where, make, pool)
        results = run_cases(choose(discovery), where, make, pool)
    return Report(kind, discovery, results)


def claim_all_is_well(report: Report, told: Callable[[str, object], None]) -> None:
    """Claim that every point was come by, killed at, and did no harm; prints the figures."""
    told("printed", f"{report.kind}: {line([report])}")
    troubles = [*report.troubles()]
    assert not troubles, "\n".join(troubles)
