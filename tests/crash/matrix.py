"""The matrix: every point in an act that comes by it, a kill at it, a start, and the oracle."""

import queue
import random
import shutil
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.crash.acts import (
    ACTS,
    FINALITY_BLOCKS,
    LIFE_BLOCKS,
    METHODS,
    RESTART,
    Act,
    address_in,
    settings,
)
from tests.crash.databases import Maker, quick_folder
from tests.crash.oracle import KINDS, Findings, judge, new_executions
from tests.crash.points import Point, every_point, read_log, unreachable
from tests.crash.run import Run
from tests.crash.service import Launcher, Service
from tests.integration.chain import Chain, running_chain

BLOCKS_AT_FIRST = 50
CONSOLE_CHARS = 2_000
TIMES_MAX = 40
"""A later time of a point is one of the first so many."""


@dataclass(frozen=True)
class Case:
    """A point in an act: killed at its nth time, from the start at which it is first reached."""

    act: Act
    point: Point | None = None
    nth: int = 1
    arm_from: int = 0
    broken: str | None = None
    """The name of a deliberate breakage of the product."""

    def __str__(self) -> str:
        return f"{self.point} no. {self.nth} in {self.act.name}, start {self.arm_from}"


@dataclass(frozen=True)
class Result:
    """What became of a case."""

    case: Case
    killed: bool
    seconds: float
    findings: Findings
    reached: Sequence[Sequence[Point]] = ()
    """What each start came by, when it was asked for."""


@dataclass
class Ground:
    """A chain that one case after the other runs on."""

    chain: Chain
    executed: set[str] = field(default_factory=set)
    """Signatures of what the cases until now executed on it."""


@dataclass
class Places:
    """The chains that cases run on, one at a time on each."""

    launcher: Launcher
    grounds: "queue.SimpleQueue[Ground]" = field(default_factory=queue.SimpleQueue)

    @contextmanager
    def ground(self) -> Iterator[Ground]:
        """Take a chain for a while."""
        ground = self.grounds.get()
        try:
            ground.chain.clear()
            yield ground
        finally:
            self.grounds.put(ground)


@contextmanager
def places(number: int) -> Iterator[Places]:
    """Run so many chains, whose clocks stand until they are stepped."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=quick_folder())))
        opened = Places(stack.enter_context(Launcher()))
        for each in range(number):
            arguments = ("--clock", "manual", "--jito-requests-per-second", "0")
            chain = stack.enter_context(
                running_chain(folder / str(each), *arguments, finality_blocks=FINALITY_BLOCKS)
            )
            chain.step(BLOCKS_AT_FIRST)
            opened.grounds.put(Ground(chain))
        yield opened


# ------------------------------------------------------------------------------ one case


def perform(case: Case, where: Places, make: Maker, *, logged: bool = False) -> Result:
    """Run a case to its end and judge it."""
    started = time.monotonic()
    with where.ground() as ground, _folder() as folder:
        fresh = case.point is None or case.point.place == "migration"
        databases = make(folder, not fresh)
        env = {**settings(case.act, ground.chain, folder), **databases.env}
        service = Service(where.launcher, folder, env, broken=case.broken)
        wallet = address_in(env, ground.chain)
        run = Run(service, ground.chain, databases, wallet, case.point, case.nth, case.arm_from)
        run.earlier = ground.executed
        run.log = folder / "log" if logged else None
        try:
            findings = _judged(run, case)
        finally:
            service.close()
        reached = [read_log(folder / f"log.{start}") for start in range(service.starts)]
    return Result(case, run.kills > 0, time.monotonic() - started, findings, reached)


@contextmanager
def _folder() -> Iterator[Path]:
    """Make a folder for a while."""
    folder = tempfile.mkdtemp(prefix="synergy7-crash-", dir=quick_folder())
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _judged(run: Run, case: Case) -> Findings:
    """Perform the act and ask the oracle; an order that does not come to its end counts as lost."""
    try:
        run.perform([*case.act.steps, Run.settle])
        return judge(run)
    except Exception as error:  # noqa: BLE001 - one case's trouble is a finding, the others go on
        told = f"{type(error).__name__}: {error}"
        console = run.service.console()[-CONSOLE_CHARS:]
        _write_off(run)
        return Findings(lost=[f"the case did not end: {told}\n{console}"])


def _write_off(run: Run) -> None:
    """Leave nothing on its way that would land in the next case, and count what has landed as this one's."""
    run.service.kill()
    run.chain.clear()
    run.chain.step(LIFE_BLOCKS * 5 // 4)
    new_executions(run)


# ------------------------------------------------------------------------------ which cases


@dataclass(frozen=True)
class Discovery:
    """How often each start of each act comes by each point."""

    times: Mapping[Point, Mapping[tuple[Act, int], int]]
    findings: Sequence[Result]
    """The acts without a kill; they are judged too."""

    def missing(self, kind: str) -> list[str]:
        """Name the points that the code has and no act comes by, without a reason."""
        return [
            str(point)
            for point in every_point(METHODS)
            if point not in self.times and unreachable(point, kind) is None
        ]

    def unknown(self) -> list[str]:
        """Name what was come by, and is in no list of what there is."""
        return [str(point) for point in self.times.keys() - set(every_point(METHODS))]

    def first_cases(self) -> list[Case]:
        """Give a case for each point: its first time, in the first act that comes by it."""
        return [self._first(point) for point in sorted(self.times)]

    def _first(self, point: Point) -> Case:
        """Steps are taken from an end and a start with orders in flight, if they are in one."""
        found = self.times[point]
        if point.place == "step":
            for start in (1, 0):
                if (RESTART, start) in found:
                    return Case(RESTART, point, arm_from=start)
        act, start = min(found, key=lambda it: (it[1], ACTS.index(it[0])))
        return Case(act, point, arm_from=start)

    def later_cases(self, seed: int) -> Iterator[Case]:
        """Give another time of each point that is come by more than once in a start, by chance."""
        for point in sorted(self.times):
            chance = random.Random(f"{seed} {point}")
            often = sorted(
                (act.name, start, act, times)
                for (act, start), times in self.times[point].items()
                if times > 1
            )
            if often:
                _, start, act, times = chance.choice(often)
                nth = chance.randint(2, max(2, min(times // 2, TIMES_MAX)))
                yield Case(act, point, nth, start)


def discover(kind: str, where: Places, make: Maker, pool: ThreadPoolExecutor) -> Discovery:
    """Perform every act without a kill; once more, when something was not come by in time."""

    def results() -> list[Result]:
        return list(pool.map(lambda act: perform(Case(act), where, make, logged=True), ACTS))

    first = _discovery(results())
    return first if not first.missing(kind) else _discovery([*first.findings, *results()])


def _discovery(results: Sequence[Result]) -> Discovery:
    times: dict[Point, dict[tuple[Act, int], int]] = defaultdict(dict)
    for result in results:
        for start, points in enumerate(result.reached):
            for point, number in Counter(points).items():
                times[point][result.case.act, start] = number
    return Discovery(times, results)


def third(cases: Sequence[Case], seed: int) -> list[Case]:
    """Give a third of the cases, by chance, in their order."""
    chosen = random.Random(seed).sample(range(len(cases)), -(-len(cases) // 3))
    return [cases[index] for index in sorted(chosen)]


# ------------------------------------------------------------------------------ all of them


@dataclass(frozen=True)
class Report:
    """The results of all cases on one kind of database."""

    kind: str
    discovery: Discovery
    results: Sequence[Result]

    @property
    def points(self) -> int:
        """How many points were killed at."""
        return len({result.case.point for result in self.results if result.killed})

    def counts(self) -> dict[str, int]:
        """Count the findings by kind."""
        told = [*self.discovery.findings, *self.results]
        return {kind: sum(len(getattr(each.findings, kind)) for each in told) for kind in KINDS}

    def troubles(self) -> Iterator[str]:
        """Give all that is not well, in words: points not come by, nobody killed, findings."""
        yield from (f"no act comes by: {each}" for each in self.discovery.missing(self.kind))
        yield from (f"in no list: {each}" for each in self.discovery.unknown())
        for result in (*self.discovery.findings, *self.results):
            if result.case.point and result.case.nth == 1 and not result.killed:
                yield f"{self.kind}: nobody was killed: {result.case}"
            for text in result.findings.told():
                yield f"{self.kind}: {result.case}: {text}"


def run_cases(
    cases: Sequence[Case],
    where: Places,
    make: Maker,
    pool: ThreadPoolExecutor,
    done: Callable[[Result], None],
) -> list[Result]:
    """Perform cases; one that came by its point this time only by another way is tried again."""

    def one(case: Case) -> Result:
        result = perform(case, where, make)
        if not result.killed and case.nth == 1 and not list(result.findings.told()):
            result = perform(case, where, make)
        done(result)
        return result

    return list(pool.map(one, cases))


def line(reports: Sequence[Report]) -> str:
    """Give the last line."""
    sums: Counter[str] = Counter()
    for report in reports:
        sums.update(report.counts())
    points = len({r.case.point for report in reports for r in report.results if r.killed})
    cases = sum(len(report.results) for report in reports)
    figures = " ".join(f"{kind}={sums[kind]}" for kind in KINDS)
    return f"points={points} cases={cases} {figures}"
