#!/bin/sh
# Installs the clients that bench/peers.py compares, each into an environment of its own below build/clients.
# A client that cannot be installed is left out, and the benchmark reports it as missing.
set -u
cd "$(dirname "$0")/../.."
here=bench/clients
for list in "$here"/*.txt; do
    name=$(basename "$list" .txt)
    home="build/clients/$name"
    cmp -s "$list" "$home/.installed" && continue
    echo "clients: installing $name" >&2
    rm -rf "$home"
    if .venv/bin/python -m venv "$home" && "$home/bin/pip" install -q --disable-pip-version-check -r "$list"; then
        cp "$list" "$home/.installed"
    else
        rm -rf "$home"
        echo "clients: $name could not be installed" >&2
    fi
done
list="$here/cos-nodejs-sdk-v5/package.json"
home=build/clients/cos-nodejs-sdk-v5
if ! cmp -s "$list" "$home/package.json" || ! [ -e "$home/.installed" ]; then
    rm -rf "$home"
    if command -v npm >/dev/null; then
        echo "clients: installing cos-nodejs-sdk-v5" >&2
        mkdir -p "$home"
        cp "$list" "$home/"
        (cd "$home" && npm install --no-audit --no-fund --ignore-scripts --silent && touch .installed) ||
            { rm -rf "$home"; echo "clients: cos-nodejs-sdk-v5 could not be installed" >&2; }
    fi
fi
list="$here/coscli.go-module"
home=build/clients/coscli
if ! cmp -s "$list" "$home/.installed"; then
    rm -rf "$home"
    if command -v go >/dev/null; then
        echo "clients: installing coscli" >&2
        mkdir -p "$home/bin"
        if GOBIN="$PWD/$home/bin" GOFLAGS=-modcacherw go install "$(cat "$list")"; then
            cp "$list" "$home/.installed"
        else
            rm -rf "$home"
            echo "clients: coscli could not be installed" >&2
        fi
    fi
fi
