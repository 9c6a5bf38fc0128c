#!/bin/sh
# Fuzzes the HTTP/1.1 parser under AddressSanitizer and UndefinedBehaviorSanitizer. Usage: wire_fuzz.sh [ROUNDS [SEED]]
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "$root/build/sanitized"
cd "$root/src_ext"
gcc -fsanitize=address,undefined -fno-sanitize-recover=all -g -O1 -std=gnu11 -Wall -Wextra -Werror -I. \
    wire_parser.c ../tests/native/wire_parser_fuzz.c -o "$root/build/sanitized/wire_parser_fuzz"
exec "$root/build/sanitized/wire_parser_fuzz" "${1:-2000000}" "${2:-1}"
