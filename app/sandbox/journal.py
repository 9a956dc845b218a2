"""What the node was asked, newest kept, for tests and for the curious."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from app.sandbox.render import Json

ENTRIES_MAX = 100_000


@dataclass(slots=True)
class Entry:
    """One call; `sent` names the transactions of a send, `faults` is what was done to it.

    `http` is the status it was answered with; None when it was not.
    """

    n: int
    unix_ms: int
    endpoint: str
    port: int
    path: str
    rpc_method: str
    sent: dict[str, object] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    http: int | None = None

    def document(self) -> Json:
        """Show the entry."""
        return {
            "n": self.n,
            "time": self.unix_ms / 1_000,
            "endpoint": self.endpoint,
            "port": self.port,
            "path": self.path,
            "rpc_method": self.rpc_method,
            "sha256": self.sent.get("sha256"),
            "signature": self.sent.get("signature"),
            "signatures": self.sent.get("signatures", []),
            "bundle_id": self.sent.get("bundle_id"),
            "bundle_only": self.sent.get("bundle_only", False),
            "http": self.http,
            "faults": self.faults,
        }


class Journal:
    """The last calls, numbered from 1 without gaps."""

    def __init__(self, now: Callable[[], float], entries_max: int = ENTRIES_MAX) -> None:
        self._now = now
        self._entries: deque[Entry] = deque(maxlen=entries_max)
        self._count = 0

    def note(self, endpoint: str, port: int, path: str, rpc_method: str) -> Entry:
        """Begin an entry."""
        self._count += 1
        entry = Entry(self._count, int(self._now() * 1_000), endpoint, port, path, rpc_method)
        self._entries.append(entry)
        return entry

    def after(self, number: int) -> list[Json]:
        """Show the entries with a greater number, oldest first."""
        oldest = self._count - len(self._entries)
        skip = max(0, number - oldest)
        return [each.document() for each in list(self._entries)[skip:]]
