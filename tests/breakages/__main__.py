"""Tries breakages by hand: `python -m tests.breakages [WORD ...]` tries those whose names have a word."""

import sys
import tempfile
import time
from pathlib import Path

from tests.breakages import of_engine, of_recovery, of_store
from tests.breakages.breakage import OutdatedError
from tests.breakages.workshop import opened


def main(words: list[str]) -> int:
    """Tell of each breakage and each of its tests how that ended; 1 fails, as it must."""
    unseen = 0
    with tempfile.TemporaryDirectory() as folder, opened(Path(folder)) as workshop:
        for breakage in (*of_engine.BREAKAGES, *of_store.BREAKAGES, *of_recovery.BREAKAGES):
            if words and not any(word in breakage.name for word in words):
                continue
            try:
                with workshop.broken(breakage):
                    for test in breakage.tests:
                        started = time.monotonic()
                        run = workshop.run([test])
                        seconds = time.monotonic() - started
                        unseen += run.code != 1
                        sys.stdout.write(f"{run.code} {seconds:5.1f} s  {breakage.name}: {test}\n")
                        if run.code != 1 or words:
                            sys.stdout.write(run.said)
            except OutdatedError as error:
                unseen += 1
                sys.stdout.write(f"{error}\n")
    return 1 if unseen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
