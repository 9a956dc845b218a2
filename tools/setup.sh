#!/bin/sh
# Makes .venv fit for `runtime` (what the service needs) or `dev` (that and what the checks need).
#
#   tools/setup.sh runtime|dev
#
# PYTHON names another interpreter than the first fit one found. Nothing is done, in a few
# milliseconds, when .venv was made from the same requirements, in the same place.
set -eu

kind=${1:?runtime or dev}
cd "$(dirname "$0")/.."
root=$(pwd -P)
fit='import sys, ensurepip, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 14) or sys.implementation.name != "cpython")'

die() {
    echo "SETUP FAILED: $*" >&2
    exit 1
}

find_python() {
    for candidate in ${PYTHON:-python3.11 python3.12 python3.13 python3}; do
        if command -v "$candidate" >/dev/null 2>&1 && "$candidate" -c "$fit" >/dev/null 2>&1; then
            echo "$candidate"
            return
        fi
    done
    if [ -n "${PYTHON:-}" ]; then
        die "PYTHON=$PYTHON is no Python 3.11 to 3.13 with venv; name one that is, or leave PYTHON out"
    fi
    die "Python 3.11, 3.12 or 3.13 with venv is needed; install it (Debian, Ubuntu: apt-get install python3-venv; macOS: brew install python@3.13)"
}

# What .venv was made from: a moved clone, another Python or other requirements make it anew.
fingerprint() {
    {
        echo "$root"
        .venv/bin/python -c 'import sys; print(sys.version)' 2>/dev/null || echo "no python"
        cat requirements/build.txt "requirements/$1.txt" pyproject.toml
    } | cksum
}

made() { # made runtime|dev: whether .venv holds it already
    [ -f ".venv/.made-$1" ] && [ "$(cat ".venv/.made-$1")" = "$(fingerprint "$1")" ]
}

same_python() { # whether .venv is alive, fit, at home here, and of the version asked for
    [ -x .venv/bin/python ] && .venv/bin/python -c "$fit" >/dev/null 2>&1 || return 1
    [ "$(.venv/bin/python -c 'import sys; print(sys.prefix)')" = "$root/.venv" ] || return 1
    grep -qF "$root/.venv" .venv/bin/activate || return 1
    [ -n "${PYTHON:-}" ] || return 0
    version='import sys; print(sys.version)'
    [ "$(.venv/bin/python -c "$version")" = "$("$PYTHON" -c "$version" 2>/dev/null)" ]
}

if same_python; then
    if made dev || { [ "$kind" = runtime ] && made runtime; }; then
        exit 0
    fi
else
    python=$(find_python) || exit 1
    echo "making .venv with $("$python" --version)"
    rm -rf .venv
    "$python" -m venv .venv || die "$python -m venv did not work; see above"
fi

echo "installing requirements/$kind.txt"
pip() { .venv/bin/python -m pip --disable-pip-version-check --no-input "$@"; }
rm -f .venv/.made-*
pip install --quiet --quiet --require-hashes --no-deps -r requirements/build.txt -r "requirements/$kind.txt" \
    || die "the requirements could not be installed; see above"
pip install --quiet --quiet --no-deps --no-build-isolation --editable . \
    || die "the project could not be installed into .venv; see above"
fingerprint "$kind" >".venv/.made-$kind"
