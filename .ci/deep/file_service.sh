#!/bin/sh
# Runs tests/native/file_service_test.c under sanitizers. Usage: file_service.sh thread|address,undefined [ROUNDS].
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
out=$root/build/file-service-${1%%,*}
mkdir -p "$root/build"
cd "$root/src_ext"
gcc "-fsanitize=$1" -fno-sanitize-recover=all -g -O1 -std=gnu11 -pthread -Wall -Wextra -Werror -I. small_file.c new_file.c \
    file_service.c ../tests/native/file_service_test.c -o "$out"
export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1
# ThreadSanitizer refuses to start if the kernel randomizes more address bits than it supports.
if setarch -R true 2>/dev/null; then
    exec setarch -R "$out" "${2:-400}"
fi
exec "$out" "${2:-400}"
