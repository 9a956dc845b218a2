#!/bin/sh
# Build the market program: build.sh OUT
#
# Needs Debian's gcc-bpf (apt-get install --no-install-recommends gcc-bpf). On one release of Debian
# the bytes come out the same every time; cpmm.so was built on bookworm.
set -eu
out=${1:?usage: build.sh OUT}
here=$(cd "$(dirname "$0")" && pwd)
object=$(mktemp)
trap 'rm -f "$object"' EXIT
# v2 has no 32-bit arithmetic: the machine sign-extends where compilers take zeros for granted.
bpf-gcc -mcpu=v2 -Os -ffreestanding -fno-strict-aliasing -Wall -Wextra -Werror \
    -c "$here/cpmm.c" -o "$object"
bpf-ld -T "$here/sbpf.ld" -n -z max-page-size=8 -s "$object" -o "$out"
printf '\003' | dd of="$out" bs=1 seek=48 conv=notrunc status=none # e_flags: SBPFv3
