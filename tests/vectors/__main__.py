"""`python -m tests.vectors DIR`: hold the venues against a folder of recorded cases; 1 on any wrong."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.vectors.check import FILES, check_folder, lines


def main(arguments: Sequence[str]) -> int:
    """Check the folder and report; 2 when there are none."""
    parser = argparse.ArgumentParser(prog="python -m tests.vectors", description=__doc__)
    parser.add_argument("folder", metavar="DIR", type=Path)
    folder: Path = parser.parse_args(arguments).folder
    if not folder.is_dir():
        sys.stderr.write(f"{folder} is no folder; name the one with the recorded cases\n")
        return 2
    result = check_folder(folder)
    sys.stdout.writelines(f"{line}\n" for line in lines(result))
    if not result.checked and not result.skipped:
        sys.stderr.write(f"{folder} holds no cases; name the folder that has {FILES[0]}\n")
        return 2
    return 1 if result.wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
