"""The page that lists the breakages: `python -m tests.breakages.page` writes it."""

import sys
from pathlib import Path
from typing import Final

from tests.breakages import of_engine, of_recovery, of_store

PAGE: Final = Path(__file__).parents[2] / "docs" / "breakages.md"
_HEAD: Final = """\
# Breakages

Each line is a deliberate breakage of the code: a small edit that breaks a promise, and the test that fails on
it. `tests/breakages` makes each edit in a copy of `app/` and demands that the test fails there and passes on
the code as it is. A breakage that no longer fits the code fails too, so this list is true. It is made from
the lists in `tests/breakages/of_*.py` by `python -m tests.breakages.page`;
`python -m tests.breakages WORD` tries those with a word in their name.

| breakage | the promise that it breaks | the test that sees it |
|---|---|---|
"""


def page() -> str:
    """Write the page."""
    rows = [
        f"| {each.name} | {each.promise} | {'<br>'.join(f'`{test}`' for test in each.tests)} |"
        for each in (*of_engine.BREAKAGES, *of_store.BREAKAGES, *of_recovery.BREAKAGES)
    ]
    return _HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
    sys.stdout.write(f"{PAGE} written\n")
