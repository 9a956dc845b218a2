"""The command line of the sandbox: `python -m app.sandbox --ledger FOLDER`."""

import argparse
import sys
from pathlib import Path

from app.sandbox.ledger import LedgerBroken, LedgerError
from app.sandbox.process import ProcessOptions, StartError, run_process
from app.sandbox.wallet import WalletError

EXIT_BROKEN = 1
EXIT_REFUSED = 2


class _Within:
    """An argument type: an integer between two others."""

    def __init__(self, least: int, most: int) -> None:
        self._least, self._most = least, most

    def __call__(self, text: str) -> int:
        number = int(text)
        if not self._least <= number <= self._most:
            raise argparse.ArgumentTypeError(f"must be {self._least} to {self._most}")
        return number


def parse_options(arguments: list[str]) -> ProcessOptions:
    """Read the command line; ends the process with exit code 2 on a mistake."""
    parser = argparse.ArgumentParser("app.sandbox", description="A stand-in Solana node.")
    add = parser.add_argument
    add("--ledger", type=Path, required=True, help="folder of the chain; made when absent")
    add("--file", type=Path, help="where to write pid and addresses when ready (JSON)")
    add("--port", type=_Within(0, 65_535), default=0, help="loopback port; 0 takes a free one")
    add("--jito-port", type=_Within(0, 65_535), default=0, help="loopback port of the block engine")
    add("--quicknode-port", type=_Within(0, 65_535), default=0, help="loopback port of QuickNode")
    add("--quicknode-token", help="what QuickNode's callers must show; made from the chain's name")
    add(
        "--jito-requests-per-second",
        type=_Within(0, 10_000),
        default=1,
        help="for each address and region; 0: no limit",
    )
    add("--slot-ms", type=_Within(5, 60_000), default=400, help="length of a slot")
    add("--clock", choices=("auto", "manual"), default="auto", help="manual: only /sandbox/step")
    add("--seed", type=_Within(0, 2**63), default=7, help="seed of a new chain")
    add(
        "--finality-blocks",
        type=_Within(1, 150),
        default=32,
        help="depth at which blocks are final",
    )
    add("--skipped-permille", type=_Within(0, 900), default=50, help="slots without a block")
    add("--wallet-file", type=Path, help="the trader's key file; LEDGER/wallet.json by default")
    add("--program-file", type=Path, help="a market program (ELF) in place of the built-in one")
    add("--keeper-volatility-bps", type=_Within(0, 1_000), default=0, help="0: prices stand still")
    add("--idle-exit-seconds", type=_Within(1, 10**9), default=600, help="end when unused")
    given = vars(parser.parse_args(arguments))
    return ProcessOptions(automatic=given.pop("clock") == "auto", **given)


def main() -> int:
    """Run the sandbox; gives the exit code."""
    try:
        run_process(parse_options(sys.argv[1:]))
    except (LedgerError, StartError, WalletError) as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_REFUSED
    except LedgerBroken as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_BROKEN
    return 0


if __name__ == "__main__":
    sys.exit(main())
