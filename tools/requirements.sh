#!/bin/sh
# Compiles requirements/*.txt from pyproject.toml: exact versions with all hashes, for Linux and
# macOS on x86-64 and ARM64, CPython 3.11 to 3.13. Arguments (--upgrade) go to uv.
set -eu
cd "$(dirname "$0")/.."

compile() { # compile OUTPUT SOURCE...
    output=$1
    shift
    .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
        --no-header --no-emit-index-url --no-emit-find-links --output-file "$output" "$@"
}

compile requirements/build.txt "$@" requirements/build.in
compile requirements/runtime.txt "$@" pyproject.toml
compile requirements/dev.txt "$@" --group dev --constraints requirements/runtime.txt pyproject.toml
