#!/bin/sh
# npm_folder.sh FOLDER : installs what FOLDER/package.json names into FOLDER/node_modules, and checks it
# against FOLDER/SHA256SUMS. Node 18 or newer. Nothing is done when it is there already.
set -eu
folder=$1
cd "$(dirname "$0")/$folder"

failed() {
    echo "tools/$folder NOT INSTALLED: $*" >&2
    exit 1
}
intact() { sha256sum --check --status SHA256SUMS 2>/dev/null; }

intact && exit 0
command -v npm >/dev/null 2>&1 || failed "npm is missing; install Node.js 18 or newer"
npm install --no-package-lock --no-audit --no-fund --ignore-scripts --loglevel=error </dev/null
intact || failed "the download does not match tools/$folder/SHA256SUMS"
