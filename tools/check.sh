#!/bin/sh
# Format, lint, types, layers and the house laws. All are run; the first that fails decides.
set -u
cd "$(dirname "$0")/.."
bin=.venv/bin
failed=

step() { # step NAME COMMAND...
    name=$1
    shift
    echo "== $name"
    "$@" || failed="$failed $name"
}

step format $bin/ruff format --quiet --check .
step lint $bin/ruff check --quiet .
step types $bin/mypy
step layers $bin/lint-imports --no-logo
step laws $bin/python tools/laws.py

if [ -n "$failed" ]; then
    echo "CHECKS FAILED:$failed"
    exit 1
fi
echo "ALL CHECKS PASSED"
