"""Runs `synergy7 ARGUMENTS` in a process that stops itself (SIGSTOP) at its first STORE.

`ZOMBIE_STOPS` says whether `before` the attempt is written, or `after` it is committed: then the first
push would be next.
"""

import os
import signal
import sys
from typing import Any

from app.cli.commands import run
from app.database.orders import SqlStore

STOPS = "ZOMBIE_STOPS"


def main() -> int:
    """Put the stop in, then run the command."""
    store_attempt = SqlStore.store_attempt
    stops = [os.environ[STOPS]]

    def stop_if(now: str) -> None:
        if stops == [now]:
            stops.clear()
            os.kill(os.getpid(), signal.SIGSTOP)

    async def stopping(store: SqlStore, *arguments: Any, **named: Any) -> Any:
        stop_if("before")
        stored = await store_attempt(store, *arguments, **named)
        stop_if("after")
        return stored

    SqlStore.store_attempt = stopping  # type: ignore[method-assign,assignment]
    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
