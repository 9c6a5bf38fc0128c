#!/bin/sh
# Installs everything that `make` needs on Debian: missing system packages (by apt, as root or with sudo), a virtual
# environment in .venv, the pinned Python packages, and the extension. It skips each step whose inputs have not changed.
set -eu
cd "$(dirname "$0")/.."

PYTHON=${PYTHON:-python3}
VENV=.venv
export COSXFER_BUILD_ALL=1 # what does not compile is an error here
say() { printf '%s\n' "setup: $*" >&2; }
fail() { say "$*"; exit 1; }

# -- system packages ------------------------------------------------------------------------------------------------
missing=""
useful=""
need() { missing="$missing $1"; }
command -v "$PYTHON" >/dev/null 2>&1 || need python3
if command -v "$PYTHON" >/dev/null 2>&1; then
    "$PYTHON" -c 'import venv, ensurepip' 2>/dev/null || need python3-venv
    "$PYTHON" -c 'import os, sysconfig; raise SystemExit(not os.path.exists(
        os.path.join(sysconfig.get_path("include"), "Python.h")))' || need python3-dev
else
    need python3-venv
    need python3-dev
fi
command -v cc >/dev/null 2>&1 || need gcc
# Without these two, the native transport is not built and httpx is used instead.
command -v pkg-config >/dev/null 2>&1 || useful="$useful pkg-config"
pkg-config --exists libnghttp2 2>/dev/null || useful="$useful libnghttp2-dev"
echo "#include <stdio.h>" | cc -E - >/dev/null 2>&1 || need libc6-dev
if [ -n "$missing$useful" ]; then
    sudo=""
    if ! command -v apt-get >/dev/null 2>&1; then why="install them with your system's package manager"
    elif [ "$(id -u)" = 0 ]; then why=""
    elif command -v sudo >/dev/null 2>&1; then why="" sudo="sudo"
    else why="become root, or: apt-get install$missing$useful"
    fi
    if [ -z "$why" ]; then
        say "installing$missing$useful"
        $sudo apt-get update -qq
        # shellcheck disable=SC2086 # a list of words
        DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $missing $useful >/dev/null
    elif [ -n "$missing" ]; then
        fail "missing:$missing; $why"
    else
        say "going on without$useful, so without the native transport; $why"
    fi
fi
"$PYTHON" -c 'import sys; raise SystemExit(sys.version_info < (3, 11))' ||
    fail "Python 3.11 or later is needed; $PYTHON is $("$PYTHON" -V 2>&1). Set PYTHON=… to another one."

sources=$(cat setup.py $(find src_ext -type f | sort) | cksum) # of the extension

# uv does not read pip's settings.
with_uv() {
    index=${PIP_INDEX_URL:-$($VENV/bin/pip config get global.index-url 2>/dev/null || true)}
    [ -z "$index" ] || export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$index}"
    certificates=${PIP_CERT:-$($VENV/bin/pip config get global.cert 2>/dev/null || true)}
    [ -z "$certificates" ] || export SSL_CERT_FILE="${SSL_CERT_FILE:-$certificates}"
    $VENV/bin/uv pip install -q --python $VENV/bin/python --link-mode copy --no-deps --no-build-isolation \
        --require-hashes -r .ci/constraints.txt
}

# -- Python packages ------------------------------------------------------------------------------------------------
deps=$(cat pyproject.toml .ci/constraints.txt .ci/build_tools.py .ci/setup.sh | cksum)
if [ ! -x $VENV/bin/python ] || [ "$(cat $VENV/.deps 2>/dev/null)" != "$deps" ]; then
    say "Python packages into $VENV"
    [ -x $VENV/bin/python ] || "$PYTHON" -m venv $VENV
    # First the build tools, to build packages without a wheel, and the extension, without isolation. pip refuses a file whose
    # hash is not in the list. Without --use-pep517, pip before 23.1 runs "setup.py install" (Debian 12 has 23.0.1).
    $VENV/bin/python .ci/build_tools.py .ci/constraints.txt setuptools cython >$VENV/build-tools.txt
    $VENV/bin/python .ci/build_tools.py .ci/constraints.txt uv >$VENV/uv.txt
    pip="$VENV/bin/pip install -q --disable-pip-version-check --no-deps --no-build-isolation --use-pep517"
    pip="$pip --no-compile" # Python compiles what it imports, and the list has much that is never imported
    $pip --require-hashes -r $VENV/build-tools.txt
    rm -f $VENV/.extension
    say "building the extension"
    # At the same time. It leaves the extension in cosxfer/_native. "compat": no finder that each start of Python imports.
    $pip --config-settings editable_mode=compat -e . &
    building=$!
    # uv needs a fifth of pip's time. If it cannot be installed, or cannot reach an index, pip takes over.
    $pip --require-hashes --only-binary :all: -r $VENV/uv.txt 2>/dev/null && with_uv 2>$VENV/uv.log ||
        $pip --require-hashes -r .ci/constraints.txt || { kill $building; exit 1; }
    wait $building
    echo "$sources" >$VENV/.extension
    $VENV/bin/pip check --disable-pip-version-check >&2
    echo "$deps" >$VENV/.deps
fi

# -- the extension --------------------------------------------------------------------------------------------------
if [ "$(cat $VENV/.extension 2>/dev/null)" != "$sources" ]; then
    say "building the extension"
    $VENV/bin/python setup.py -q build_ext --inplace
    echo "$sources" >$VENV/.extension
fi
