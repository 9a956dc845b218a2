"""Orders in the watch: how a test puts them there, and what it looks at."""

from app.domain.attempt import StoredAttempt
from app.domain.events import EventKind
from tests.engine.rig import Rig


def nothing_lands(rig: Rig) -> None:
    """Let all bytes be lost on the way."""
    rig.chain.fate = lambda _attempt: None


async def submitted(rig: Rig) -> str:
    """Post an order and wait until its first push is recorded."""
    order_id = await rig.post()
    await rig.until(lambda: EventKind.SUBMITTED in rig.database.kinds(order_id))
    return order_id


def only(rig: Rig, order_id: str) -> StoredAttempt:
    """Give an order's only attempt."""
    (attempt,) = rig.database.attempts(order_id)
    return attempt


def taken_over(rig: Rig, order_id: str) -> None:
    """Let another process, which lives on, hold an order."""
    rig.database.processes["other"] = float("inf")
    rig.database.rows[order_id].process = "other"
