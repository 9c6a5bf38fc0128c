#!/bin/sh
# Runs the tests of the native core against extensions built with AddressSanitizer and UndefinedBehaviorSanitizer.
# Usage: sanitize.sh PYTHON. Builds in build/sanitized/.
set -eu
python=$1
root=$(cd "$(dirname "$0")/../.." && pwd)
copy=$root/build/sanitized
asan=$(gcc -print-file-name=libasan.so)
ubsan=$(gcc -print-file-name=libubsan.so)

# A copy of the package, so that the sanitized modules do not replace the real ones.
rm -rf "$copy/cosxfer" "$copy/tests"
mkdir -p "$copy/tests"
cp -r "$root/cosxfer" "$root/src_ext" "$root/setup.py" "$root/pyproject.toml" "$root/LICENSE" "$copy/"
cp -r "$root/tests/__init__.py" "$root/tests/waiting.py" "$root/tests/native" "$copy/tests/"
find "$copy/cosxfer" -name '*.so' -delete
touch "$copy/README.md"

cd "$copy"
# The disabled checks would add minutes to the compilation of the unrolled kernels. AddressSanitizer finds the same faults.
flags="-fsanitize=address,undefined -fno-sanitize=null,alignment,object-size,pointer-overflow"
flags="$flags -fno-sanitize-recover=undefined -fno-omit-frame-pointer -g -O1"
CFLAGS="$flags" LDFLAGS="$flags" COSXFER_CFLAGS="$flags" "$python" setup.py -q build_ext --inplace --force -j 2
test -n "$(ls cosxfer/_native/hashing*.so)" -a -n "$(ls cosxfer/_native/slicing*.so)" -a -n "$(ls cosxfer/_native/files*.so)"

# handle_sigbus=0: the tests need the guard's own handler. Python itself leaks at exit. No verify_asan_link_order: preloaded.
export ASAN_OPTIONS=detect_leaks=0:handle_sigbus=0:handle_segv=1:allocator_may_return_null=1
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
export LD_PRELOAD="$asan $ubsan"
export PYTHONMALLOC=malloc COSXFER_SANITIZED=1
# A sanitized build has no FORTIFY, so it calls no checked functions.
exec "$python" -m pytest -q -p no:cacheprovider -p no:faulthandler -m 'not deep' tests/native -k 'not release_keeps and not checked_forms'
