#!/bin/sh
# Fuzzes the parser of HTTP/1.1 responses and the whole I/O thread (HTTP/1.1 and HTTP/2, with and without a TLS session),
# guided by coverage (libFuzzer), under AddressSanitizer and UndefinedBehaviorSanitizer. Installs clang if it is missing
# (Debian, as root or with sudo). If that fails, the seeds are damaged without guidance.
# Usage: wire_guided.sh [SECONDS [FOLDER]]: seconds for each target, and the folder for the findings (build/fuzz).
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
seconds=${1:-30}
out=${2:-$root/build/fuzz}
mkdir -p "$out"
out=$(cd "$out" && pwd)

# Newest first. libFuzzer is in a separate package.
clang=""
find_clang() {
    for name in clang $(printf 'clang-%s ' 19 18 17 16 15 14); do
        command -v "$name" >/dev/null 2>&1 || continue
        echo 'int LLVMFuzzerTestOneInput(const unsigned char *d, unsigned long n); int LLVMFuzzerTestOneInput(const
            unsigned char *d, unsigned long n) { return d && n > 9 ? 0 : 0; }' >"$out/probe.c"
        "$name" -fsanitize=fuzzer,address "$out/probe.c" -o "$out/probe" 2>/dev/null && clang=$name && return 0
    done
    return 1
}
find_clang || {
    sudo=""
    [ "$(id -u)" = 0 ] || sudo="sudo -n"
    # shellcheck disable=SC2015 # all of them, or the fallback
    command -v apt-get >/dev/null 2>&1 && $sudo apt-get update -qq >/dev/null 2>&1 &&
        DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends clang-14 libclang-rt-14-dev \
            >/dev/null 2>&1 && find_clang || echo "wire_guided: no clang with libFuzzer, so without guidance"
}

python=$(command -v python3 || command -v python)
"$python" "$root/tests/native/wire_fuzz_seeds.py" "$out"
cd "$root/src_ext"
tests=../tests/native
common="-g -O1 -std=gnu11 -Wall -Wextra -Werror -I."
clock="-Dclock_gettime=fuzz_clock_gettime -Depoll_wait=fuzz_epoll_wait"
sanitizers="address,undefined"
if [ -n "$clang" ]; then
    cc="$clang -fsanitize=fuzzer,$sanitizers" driver=""
else
    cc="gcc -fsanitize=$sanitizers" driver="$tests/wire_fuzz_main.c"
fi
# shellcheck disable=SC2086 # lists of words
$cc -fno-sanitize-recover=all $common -DGUIDED wire_parser.c $tests/wire_parser_fuzz.c $driver -o "$out/fuzz-parser"
# shellcheck disable=SC2086 # all files but those of TLS
$cc -fno-sanitize-recover=all $common $clock wire_[!t]*.c $tests/wire_io_thread_fuzz.c $driver -lnghttp2 -pthread \
    -o "$out/fuzz-io-thread"

cd "$out"
for target in parser io-thread; do
    if [ -n "$clang" ]; then
        mkdir -p "found-$target"
        # libFuzzer writes the input that crashed to crash-….
        "./fuzz-$target" -max_total_time="$seconds" -max_len=1024 -timeout=60 -print_final_stats=1 -verbosity=0 \
            "found-$target" "$target" 2>"$target.log" || {
            tail -60 "$target.log"
            exit 1
        }
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$target.log")
        echo "ok: $target, led by coverage: $runs runs"
    else
        "./fuzz-$target" "$target" "$seconds"
    fi
done
