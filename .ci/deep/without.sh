#!/bin/sh
# Builds the package without a dependency, installs it into a separate folder, and uploads with it.
# Usage: without.sh PYTHON nghttp2|compiler. Builds in build/without-….
set -eu
python=$1
missing=$2
root=$(cd "$(dirname "$0")/../.." && pwd)
copy=$root/build/without-$missing

unset COSXFER_BUILD_ALL
export COSXFER_CFLAGS=-O1 # takes half the time
rm -rf "$copy"
mkdir -p "$copy/source"
cp -a "$root/cosxfer" "$root/src_ext" "$root/setup.py" "$root/pyproject.toml" "$root/README.md" "$root/LICENSE" "$copy/source/"
find "$copy/source/cosxfer" -name '*.so' -delete
case $missing in
nghttp2)
    # pkg-config finds nothing at all.
    export PKG_CONFIG_LIBDIR="$copy/nowhere"
    unset PKG_CONFIG_PATH
    ;;
compiler)
    export CC="$copy/nowhere/cc"
    ;;
*)
    echo "usage: without.sh PYTHON nghttp2|compiler" >&2
    exit 2
    ;;
esac
"$python" -m pip install -v --disable-pip-version-check --no-index --no-build-isolation --no-deps \
    --target "$copy/site" "$copy/source" >"$copy/log" 2>&1 || {
    tail -40 "$copy/log"
    exit 1
}
grep -o 'cosxfer: .* will be slower' "$copy/log" | sort -u
unset PKG_CONFIG_LIBDIR CC
exec env PYTHONPATH="$copy/site" "$python" -P "$root/tests/native/upload_without.py" "$missing"
