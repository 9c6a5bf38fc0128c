#!/bin/sh
# Installs Debian's Chromium, for the tests of the upload page (`make test-deep`), if it is missing.
set -eu
command -v chromium >/dev/null 2>&1 && exit 0
if ! command -v apt-get >/dev/null 2>&1; then
    echo "browser: no apt-get here; install Chromium yourself to run the tests of the upload page" >&2
    exit 0
fi
if [ "$(id -u)" = 0 ]; then sudo=""
elif command -v sudo >/dev/null 2>&1; then sudo="sudo"
else echo "browser: become root, or: apt-get install chromium" >&2; exit 1
fi
echo "browser: installing chromium" >&2
$sudo apt-get update -qq
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends chromium >/dev/null
