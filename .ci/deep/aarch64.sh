#!/bin/sh
# Builds the C kernels for aarch64 and runs tests/native/kernels_test.c under emulation: NEON and PMULL.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
out=$root/build/aarch64
if ! command -v aarch64-linux-gnu-gcc >/dev/null || ! command -v qemu-aarch64 >/dev/null; then
    apt-get install -y -q gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user || {
        echo "aarch64.sh: needs gcc-aarch64-linux-gnu and qemu-user" >&2
        exit 77
    }
fi
mkdir -p "$out"
cd "$root/src_ext"
sources="md5_*.c crc64_*.c dispatch.c lanes.c threads.c"
# shellcheck disable=SC2086  # a list of names
aarch64-linux-gnu-gcc -static -O2 -std=gnu11 -pthread -Wall -Wextra -Werror -I. $sources \
    ../tests/native/kernels_test.c -lm -o "$out/kernels_test"
qemu-aarch64 "$out/kernels_test" | tee "$out/log"
grep -q '^ok: neon' "$out/log"
# Without the crypto extension: the table instead of PMULL.
qemu-aarch64 -cpu cortex-a72,aes=off "$out/kernels_test" 2>/dev/null || echo "aarch64.sh: this emulator has no processor without PMULL"
