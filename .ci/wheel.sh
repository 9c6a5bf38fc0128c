#!/bin/sh
# Builds dist/: a source distribution, and a wheel that contains libnghttp2, so that it needs no compiler, no headers and
# no system library. `make wheel` runs this after `make setup`.
set -eu
cd "$(dirname "$0")/.."

python=${PYTHON:-$PWD/.venv/bin/python}
work=$PWD/build/wheel
dist=$PWD/dist
fail() { printf 'wheel: %s\n' "$*" >&2; exit 1; }
pkg-config --exists libnghttp2 2>/dev/null || fail "libnghttp2 is missing; install libnghttp2-dev and pkg-config"

# A copy of the files in git, so that no module built in this tree gets into the wheel.
rm -rf "$work" dist
mkdir -p "$work/source" dist
git ls-files -z | xargs -0 cp --parents -t "$work/source"
cd "$work/source"
COSXFER_BUILD_ALL=1 "$python" -c '
import sys
from setuptools import build_meta
dist, work = sys.argv[1:]  # setuptools sets sys.argv anew
build_meta.build_sdist(dist)
build_meta.build_wheel(work)
' "$dist" "$work" >"$work/log" 2>&1 || { tail -30 "$work/log" >&2; fail "the build failed"; }
# auditwheel copies libnghttp2 into the wheel, tags the wheel with the required glibc, and fails if it would need another
# system library.
PATH="$(dirname "$python"):$PATH" "$python" -m auditwheel repair --wheel-dir "$dist" "$work"/*.whl \
    >>"$work/log" 2>&1 || { tail -30 "$work/log" >&2; fail "the wheel could not be made portable"; }
ls -1 "$dist"
