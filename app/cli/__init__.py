"""The command line, `synergy7`: what a person or a shell does with the service."""

import sys


def main() -> None:
    """Run the command that the arguments name and leave with its exit code."""
    from app.cli.commands import run

    sys.exit(run(sys.argv[1:]))
