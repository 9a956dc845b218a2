#!/bin/sh
# Installs Orca's whirlpools-core beside this script, into node_modules/, and checks it against its hash.
# It runs on node 18 or newer. Nothing is done when it is there already.
set -eu
cd "$(dirname "$0")"

intact() { sha256sum --check --status SHA256SUMS 2>/dev/null; }

intact && exit 0
command -v npm >/dev/null 2>&1 || {
    echo "WHIRLPOOLS-CORE NOT INSTALLED: npm is missing; install Node.js 18 or newer" >&2
    exit 1
}
npm install --no-package-lock --no-audit --no-fund --ignore-scripts --loglevel=error </dev/null
intact || {
    echo "WHIRLPOOLS-CORE NOT INSTALLED: the download does not match tools/whirlpools-core/SHA256SUMS" >&2
    exit 1
}
