"""The proof after the run: each accepted order executed exactly once, counted on the chain by memo."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Audit:
    """What was found over some orders; every list but `accepted` should be empty."""

    accepted: int
    unfilled: tuple[str, ...] = ()
    """Accepted, yet the service does not say filled."""
    lost: tuple[str, ...] = ()
    """Accepted, yet nothing executed."""
    doubled: tuple[str, ...] = ()
    """Executed more than once."""
    strange: tuple[str, ...] = ()
    """Executed, though nobody was told of its acceptance."""

    @property
    def clean(self) -> bool:
        """Tell whether every accepted order was filled by exactly one execution."""
        return not (self.unfilled or self.lost or self.doubled or self.strange)

    def __add__(self, other: "Audit") -> "Audit":
        """Give what was found over both."""
        return Audit(
            self.accepted + other.accepted,
            self.unfilled + other.unfilled,
            self.lost + other.lost,
            self.doubled + other.doubled,
            self.strange + other.strange,
        )

    def lines(self) -> Iterable[str]:
        """Say it."""
        verdict = "each executed exactly once" if self.clean else "NOT EACH EXECUTED EXACTLY ONCE"
        yield f"{self.accepted} orders accepted, {verdict} (counted on the chain by memo)"
        for name in ("unfilled", "lost", "doubled", "strange"):
            found = getattr(self, name)
            if found:
                yield f"  {name}: {len(found)}, e.g. {', '.join(found[:3])}"

    def document(self) -> Mapping[str, Any]:
        """Give it for a file."""
        return {
            "accepted": self.accepted,
            "unfilled": self.unfilled,
            "lost": self.lost,
            "doubled": self.doubled,
            "strange": self.strange,
        }


def audit(
    accepted: Collection[str], statuses: Mapping[str, str], executions: Mapping[str, int]
) -> Audit:
    """Hold the accepted order ids against what the service says and what the chain counts.

    `statuses` by order id; `executions` are the successful transactions that name an order.
    """
    return Audit(
        len(accepted),
        unfilled=tuple(each for each in accepted if statuses.get(each) != "filled"),
        lost=tuple(each for each in accepted if executions.get(each, 0) == 0),
        doubled=tuple(each for each, count in executions.items() if count > 1),
        strange=tuple(each for each in executions if each not in accepted),
    )
