#!/bin/sh
# Runs the wire, with its I/O thread and a caller, under ThreadSanitizer: the fuzzer's target on damaged seeds.
# Usage: wire_threads.sh [SECONDS]. Builds in build/threads/.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
out=$root/build/threads
rm -rf "$out"
mkdir -p "$out"
"$(command -v python3 || command -v python)" "$root/tests/native/wire_fuzz_seeds.py" "$out"
cd "$root/src_ext"
tests=../tests/native
gcc -fsanitize=thread -g -O1 -std=gnu11 -Wall -Wextra -Werror -I. -Dclock_gettime=fuzz_clock_gettime \
    -Depoll_wait=fuzz_epoll_wait wire_[!t]*.c $tests/wire_io_thread_fuzz.c $tests/wire_fuzz_main.c -lnghttp2 -pthread \
    -o "$out/wire-threads" # all files but those of TLS
cd "$out"
export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1
# ThreadSanitizer refuses to start with too much address randomization. If that cannot be turned off, try anyway.
if setarch -R true 2>/dev/null; then
    exec setarch -R ./wire-threads io-thread "${1:-40}"
fi
exec ./wire-threads io-thread "${1:-40}"
