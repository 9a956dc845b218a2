#!/usr/bin/env bash
# Every test with branch coverage, then the coverage gates. Arguments go to pytest.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
bin=.venv/bin
log=.pytest_cache/last-run.txt
mkdir -p .pytest_cache

failed() {
    echo "TESTS FAILED: $*"
    exit 1
}

$bin/coverage erase
$bin/coverage run -m pytest --numprocesses "${TEST_PROCESSES:-auto}" --dist loadfile "$@" 2>&1 | tee "$log"
tests=${PIPESTATUS[0]}
[ "$tests" = 0 ] || failed "$(tail -n 1 "$log")"

$bin/coverage combine --quiet && $bin/coverage json --quiet || failed "no coverage was measured"
$bin/coverage report --skip-covered
$bin/python tools/coverage_gates.py || failed "coverage"

tail -n 1 "$log"
