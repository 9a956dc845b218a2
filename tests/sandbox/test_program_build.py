"""The program in the repository is the one its source makes."""

import shutil
import subprocess
from pathlib import Path

from app.sandbox.genesis import own_program
from tests.needs import skip_or_fail
from tests.sandbox.bench import Bench, Terms

FOLDER = Path(__file__).parents[2] / "app" / "sandbox" / "program"
HOME = "bookworm"  # the Debian release whose compiler made the committed bytes


def release() -> str:
    """Name this machine's Debian release, or nothing."""
    path = Path("/etc/os-release")
    lines = path.read_text().splitlines() if path.exists() else []
    fields = dict(line.split("=", 1) for line in lines if "=" in line)
    return fields.get("VERSION_CODENAME", "")


def test_the_committed_program_is_what_the_source_builds(tmp_path: Path) -> None:
    """A fresh build swaps; on the release it comes from it also equals the committed bytes."""
    if shutil.which("bpf-gcc") is None:
        skip_or_fail("no bpf-gcc: install Debian's gcc-bpf to rebuild the market program")
    out = tmp_path / "cpmm.so"
    subprocess.run([FOLDER / "build.sh", out], check=True, timeout=60)
    built = out.read_bytes()
    bench = Bench(built)
    swap = bench.swap(*bench.put_pool(Terms(vaults=(10**12, 10**12))), 0, 10**9)
    assert bench.send(swap.exact_in(10**6, 0)).event()["amount_out"] == 997_499
    if release() == HOME:
        assert built == own_program()


def test_the_program_has_no_more_than_two_segments() -> None:
    """The file is an SBPFv3 one: machine 247, version 3, constants and code."""
    program = own_program()
    assert program[:4] == b"\x7fELF"
    assert int.from_bytes(program[18:20], "little") == 247
    assert int.from_bytes(program[48:52], "little") == 3
    assert int.from_bytes(program[56:58], "little") == 2
