"""What a run says of itself: counts by kind, what was found, and one line at the end."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from tests.chaos.crowd import ORDERS as CROWD
from tests.chaos.kinds import ALL, REQUESTS
from tests.chaos.plan import Outcome

ORDERS_PER_MINUTE: Final = 500
FAULTS_PER_MINUTE: Final = 1_000
LEAST_SHARE: Final = 0.99
ORDER_TIMEOUT_SECONDS: Final = 300.0
SHOWN: Final = 20
RECOVERY_MS: Final = 5_000
"""A crowd is recovered in less."""
FULL_MINUTES: Final = 20
FULL_FAULTS: Final = 100_000
FULL_HITS: Final = {**dict.fromkeys(REQUESTS, 1_000), "sigkill_service": 200, "sigstop": 50}
"""What a run of so many minutes has at least, by kind; others in proportion."""


class Report:
    """The outcomes of one command, taken together."""

    def __init__(
        self,
        outcomes: Sequence[Outcome],
        kinds: Sequence[str] = ALL,
        *,
        together: bool = False,
        calm: Outcome | None = None,
        crowd: Outcome | None = None,
    ) -> None:
        """Take the runs in trouble; `together`: they ran at the same time, not one after the other.

        `calm` is a run of the same intents without any fault, `crowd` one in which a service was
        killed with a thousand orders in flight.
        """
        self.outcomes = outcomes
        self.kinds = kinds
        self.calm = calm
        self.crowd = crowd
        self.every = [each for each in (*outcomes, calm, crowd) if each is not None]
        self.hits: Counter[str] = sum((each.hits for each in outcomes), Counter())
        self.missed: Counter[str] = sum((each.missed for each in outcomes), Counter())
        seconds = [each.seconds for each in outcomes]
        planned = [each.plan.seconds for each in outcomes]
        self.asked_minutes = (max(planned) if together else sum(planned)) / 60
        self.minutes = (max(seconds) if together else sum(seconds)) / 60

    @property
    def orders(self) -> int:
        return sum(len(each.documents) for each in self.outcomes)

    @property
    def faults(self) -> int:
        return sum(self.hits[kind] for kind in self.kinds)

    @property
    def recovery_p99_ms(self) -> int:
        """The 99th percentile with a crowd in flight; where there was no crowd, of the other kills."""
        return p99_ms([self.crowd] if self.crowd is not None else self.outcomes)

    def count(self, name: str) -> int:
        """Count a kind of finding."""
        return sum(len(getattr(each.findings, name)) for each in self.every)

    def failures(self) -> list[str]:
        """Name everything for which the run has failed."""
        failed = [
            f"{name} is {self.count(name)}"
            for name in ("duplicates", "lost", "wrong_finals", "refused")
            if self.count(name)
        ]
        failed += [f"{kind} has no count" for kind in self.kinds if not self.hits[kind]]
        if self.orders < ORDERS_PER_MINUTE * self.minutes:
            failed.append(f"under {ORDERS_PER_MINUTE} orders a minute")
        if self.faults < FAULTS_PER_MINUTE * self.minutes:
            failed.append(f"under {FAULTS_PER_MINUTE} faults a minute")
        return failed

    def misses(self) -> list[str]:
        """Name what the run did not reach, on this machine, and is no failure of the service's promises."""
        return [*self.not_filled(), *self._not_recovered(), *self.shortfalls()]

    def not_filled(self) -> list[str]:
        """Tell of runs in which too few orders were filled in time."""
        shares = [filled_share(each, self.calm) for each in self.outcomes]
        return [f"{share:.2%} were filled in time" for share in shares if share < LEAST_SHARE]

    def _not_recovered(self) -> Iterator[str]:
        never = sum(len(each.never) for run in self.every for each in run.recoveries)
        if never:
            yield f"{never} orders of killed processes had no step of their own for a minute"
        if self.crowd is None:
            return
        least = min((each.orders for each in self.crowd.recoveries), default=0)
        if least < CROWD:
            yield f"only {least} orders were in flight when the service of a crowd was killed"
        if (took := p99_ms([self.crowd])) >= RECOVERY_MS:
            yield f"a crowd was recovered in {took} ms"

    def shortfalls(self) -> list[str]:
        """Say what a run at this pace lacks of what twenty minutes are to have."""
        share = self.asked_minutes / FULL_MINUTES
        short = [
            f"{kind}: {self.hits[kind]} of {math.ceil(least * share)}"
            for kind, least in FULL_HITS.items()
            if kind in self.kinds and self.hits[kind] < least * share
        ]
        if self.faults < FULL_FAULTS * share:
            short.append(f"faults: {self.faults} of {math.ceil(FULL_FAULTS * share)}")
        return short

    def line(self) -> str:
        """Give the one line."""
        return (
            f"orders={self.orders} faults={self.faults} duplicates={self.count('duplicates')}"
            f" lost={self.count('lost')} wrong_finals={self.count('wrong_finals')}"
            f" in_doubt={self.count('in_doubt')} recovery_p99_ms={self.recovery_p99_ms}"
        )

    def text(self) -> str:
        """Write everything else, in Markdown."""
        runs = [_run(each, self.calm) for each in self.outcomes]
        others = [f"A crowd: {_recoveries(self.crowd)}"] if self.crowd is not None else []
        parts = [*runs, *others, self._table(), self._findings()]
        if missed := self.misses():
            parts.append(
                "Missed (the counts are those of the full run, by its pace): " + "; ".join(missed)
            )
        if failed := self.failures():
            parts.append("Failed: " + "; ".join(failed))
        return "\n\n".join(parts)

    def _table(self) -> str:
        head = "| fault | hit with orders in flight | hit nobody's order |\n|---|---|---|"
        rows = [
            f"| `{kind}` | {self.hits[kind]:,} | {self.missed[kind]:,} |" for kind in self.kinds
        ]
        return "\n".join([head, *rows, f"| all | {self.faults:,} | {self.missed.total():,} |"])

    def _findings(self) -> str:
        lines = [
            f"- {name}: {text}"
            for name in ("duplicates", "lost", "wrong_finals", "in_doubt", "refused")
            for each in self.every
            for text in getattr(each.findings, name)[:SHOWN]
        ]
        return "\n".join(lines) or "Nothing was found."


def p99_ms(outcomes: Sequence[Outcome]) -> int:
    """Give the 99th percentile of their recoveries, or the worst of less than a hundred."""
    found = sorted(each.seconds for outcome in outcomes for each in outcome.recoveries)
    return round(found[math.ceil(len(found) * 0.99) - 1] * 1_000) if found else 0


def filled_share(outcome: Outcome, calm: Outcome | None) -> float:
    """Give the share of orders filled within order_timeout, of those that a calm run of the seed fills.

    Without a calm run it is of those that ask for nothing impossible.
    """
    filled = None if calm is None else {key for key, took in calm.fills.items() if took is not None}
    wanted = [took for key, took in outcome.fills.items() if filled is None or key in filled]
    in_time = sum(took is not None and took <= ORDER_TIMEOUT_SECONDS for took in wanted)
    return in_time / max(1, len(wanted))


def _run(outcome: Outcome, calm: Outcome | None) -> str:
    plan, minutes = outcome.plan, outcome.seconds / 60
    rates = f"{len(outcome.documents) / minutes:,.0f} orders, {outcome.hits.total() / minutes:,.0f}"
    slowest = sorted((took for took in outcome.fills.values() if took is not None), reverse=True)[
        :3
    ]
    lines = [
        f"## {plan.database}, seed {plan.seed}",
        "",
        f"- {minutes:.2f} minutes of trouble, settled in {outcome.settled_in:.1f} s; {outcome.wall}",
        f"- {rates} faults a minute",
        f"- orders: {dict(outcome.statuses.most_common())}",
        f"- filled within order_timeout: {filled_share(outcome, calm):.2%}; slowest {slowest} s",
        f"- {_recoveries(outcome)}",
        f"- what bots heard: {dict(outcome.heard.most_common(12))}",
        f"- ends that nobody asked for: {dict(outcome.ends)}",
        f"- requests: {dict(outcome.requests.most_common(20))}",
    ]
    return "\n".join(lines)


def _recoveries(outcome: Outcome) -> str:
    took = sorted(each.seconds for each in outcome.recoveries)
    middle = took[len(took) // 2] if took else 0
    worst = ", ".join(f"{seconds:.1f}" for seconds in took[-3:])
    return (
        f"{len(took)} recoveries of {_range(outcome)} orders in flight:"
        f" median {middle:.1f} s, the longest {worst} s"
    )


def _range(outcome: Outcome) -> str:
    orders = [each.orders for each in outcome.recoveries]
    return f"{min(orders, default=0)} to {max(orders, default=0)}"
