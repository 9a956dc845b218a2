#!/usr/bin/env bash
# Every test: most with branch coverage, the long proofs without, the soak by itself; then the coverage
# gates. With arguments, which go to pytest, only the tests that they choose.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
bin=.venv/bin
mkdir -p .pytest_cache && rm -f .pytest_cache/last-*.txt

failed() {
    echo "TESTS FAILED: $*"
    exit 1
}

phase() { # phase NAME COMMAND... : runs pytest, keeping what it says in the end
    local log=.pytest_cache/last-$1.txt
    shift
    "$@" 2>&1 | tee "$log"
    [ "${PIPESTATUS[0]}" = 0 ] || failed "$(tail -n 1 "$log")"
}

# Many tests wait for processes and clocks rather than compute: one process more than there are cores.
processes=${TEST_PROCESSES:-$(($(nproc 2>/dev/null || echo 2) + 1))}
spread=(--numprocesses "$processes" --dist loadfile --no-loadscope-reorder --durations 20)

$bin/coverage erase
if [ $# -gt 0 ]; then
    phase chosen $bin/coverage run -m pytest "${spread[@]}" "$@"
else
    phase most $bin/coverage run -m pytest "${spread[@]}" -m "not proof and not soak"
    phase proofs $bin/python -m pytest "${spread[@]}" -o faulthandler_timeout=900 -m proof
    phase soak $bin/python -m pytest -o faulthandler_timeout=900 -m soak
fi

$bin/coverage combine --quiet && $bin/coverage json --quiet || failed "no coverage was measured"
$bin/coverage report --skip-covered
$bin/python tools/coverage_gates.py || failed "coverage"

tail -qn 1 .pytest_cache/last-*.txt
