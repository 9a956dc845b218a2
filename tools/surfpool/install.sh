#!/bin/sh
# Installs Surfpool beside this script, into node_modules/, and checks it against its hash.
# Linux on x86-64 with node 18 or newer. Nothing is done when it is there already.
set -eu
cd "$(dirname "$0")"

intact() { sha256sum --check --status SHA256SUMS 2>/dev/null; }

intact && exit 0
command -v npm >/dev/null 2>&1 || {
    echo "SURFPOOL NOT INSTALLED: npm is missing; install Node.js 18 or newer" >&2
    exit 1
}
npm install --no-package-lock --no-audit --no-fund --ignore-scripts --loglevel=error </dev/null
intact || {
    echo "SURFPOOL NOT INSTALLED: the download does not match tools/surfpool/SHA256SUMS" >&2
    exit 1
}
