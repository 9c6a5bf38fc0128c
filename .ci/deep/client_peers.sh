#!/bin/sh
# Installs the other clients of tests/functional/test_peer_clients.py into environments of their own, below build/peers.
set -eu
cd "$(dirname "$0")/../.."
for name in tools s3fs; do
    list=".ci/deep/peers_$name.txt"
    home="build/peers/$name"
    cmp -s "$list" "$home/.installed" && continue
    echo "peers: installing $name" >&2
    rm -rf "$home"
    .venv/bin/python -m venv "$home"
    "$home/bin/pip" install -q --disable-pip-version-check -r "$list"
    cp "$list" "$home/.installed"
done
