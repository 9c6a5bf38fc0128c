#!/bin/sh
# Runs the tests of the native transport against scripted servers, and those that drive its I/O thread, built with
# AddressSanitizer and UndefinedBehaviorSanitizer. Usage: wire_sanitize.sh PYTHON. Builds in build/sanitized-wire/.
set -eu
python=$1
root=$(cd "$(dirname "$0")/../.." && pwd)
copy=$root/build/sanitized-wire

# A copy of the package, without the hashing kernels: compiling them takes minutes, and they have their own tests.
rm -rf "$copy"
mkdir -p "$copy/tests/functional" "$copy/tests/native" "$copy/src_ext"
cp -r "$root/cosxfer" "$root/setup.py" "$root/pyproject.toml" "$root/LICENSE" "$copy/"
cp "$root"/src_ext/wire* "$root"/src_ext/gcm_vaes.* "$root"/src_ext/slicing.pyx "$root"/src_ext/guard.* "$root"/src_ext/small_file.* \
    "$root"/src_ext/new_file.* "$root"/src_ext/crc64_table.c "$root"/src_ext/kernels.h "$root"/src_ext/digest.h "$copy/src_ext/"
cp "$root/tests/__init__.py" "$copy/tests/"
for name in closing ends exit files handover http1 http2 noise slow tls; do
    cp "$root/tests/functional/test_peers_$name.py" "$copy/tests/functional/"
done
cp "$root/tests/functional/peer_raw.py" "$root/tests/functional/peer_tls.py" \
    "$root/tests/functional/preload.py" "$root/tests/functional/openssl_at_exit.c" "$copy/tests/functional/"
cp "$root"/tests/native/__init__.py "$root"/tests/native/wire_memory.py "$root"/tests/native/wire_play.py \
    "$root"/tests/native/test_wire_io_thread.py "$root"/tests/native/test_wire_tls.py \
    "$root"/tests/native/test_wire_tls_seal.py "$root"/tests/native/tls_play.py "$copy/tests/native/"
find "$copy/cosxfer" -name '*.so' -delete
touch "$copy/README.md"

cd "$copy"
flags="-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -g -O1"
CFLAGS="$flags" LDFLAGS="$flags" COSXFER_CFLAGS="$flags" "$python" setup.py -q build_ext --inplace --force
test -n "$(ls cosxfer/_native/wire*.so)"

# Python itself leaks at exit.
export ASAN_OPTIONS=detect_leaks=0:handle_sigbus=0:allocator_may_return_null=1
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)"
export LD_PRELOAD PYTHONMALLOC=malloc COSXFER_NOISE=600
exec "$python" -m pytest -q -p no:cacheprovider -p no:faulthandler --timeout 600 -m "not deep" tests
