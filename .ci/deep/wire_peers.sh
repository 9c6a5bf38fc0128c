#!/bin/sh
# Installs the servers of tests/functional/test_peers_servers.py and the proxies of test_proxies_servers.py, if they are
# missing (Debian, as root or with sudo). It starts none of them.
set -eu
missing=""
have() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ]; }
have nginx || missing="$missing nginx-light"
have h2o || missing="$missing h2o"
have nghttpd || missing="$missing nghttp2-server"
have haproxy || missing="$missing haproxy"
have tinyproxy || missing="$missing tinyproxy-bin"
have microsocks || missing="$missing microsocks"
[ -n "$missing" ] || exit 0
sudo=""
[ "$(id -u)" = 0 ] || sudo="sudo"
$sudo apt-get update -qq
# This policy prevents services from starting at installation, so that no port is used.
# shellcheck disable=SC2086 # a list of words
DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 $sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null
