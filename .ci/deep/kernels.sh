#!/bin/sh
# Runs tests/native/kernels_test.c on this machine's kernels under AddressSanitizer and UndefinedBehaviorSanitizer.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "$root/build/sanitized"
cd "$root/src_ext"
# The disabled checks would add minutes to the compilation of the unrolled kernels.
flags="-fsanitize=address,undefined -fno-sanitize=null,object-size,pointer-overflow -fno-sanitize-recover=all"
# shellcheck disable=SC2086  # lists of words
gcc $flags -g -O1 -std=gnu11 -pthread -Wall -Wextra -Werror -I. md5_*.c crc64_*.c dispatch.c lanes.c threads.c \
    ../tests/native/kernels_test.c -lm -o "$root/build/sanitized/kernels_test"
exec "$root/build/sanitized/kernels_test"
