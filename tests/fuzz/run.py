"""Fuzzes one parser, or all, by hand: ``python -m tests.fuzz.run [TARGET…] [--seconds N]``.

With atheris (``pip install atheris``) the parsers are instrumented; without it, the corpus is mutated at random. An
input that fails is written to the corpus, where the tests find it.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

LONGEST = 4_000


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("targets", nargs="*")
    parser.add_argument("--seconds", type=int, default=60, help="for each parser")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    instrumented = importlib.util.find_spec("atheris") is not None
    if instrumented and len(options.targets) == 1:
        with_atheris(options.targets[0], options.seconds, options.seed)
        return
    from tests.fuzz.targets import TARGETS

    for name in options.targets or TARGETS:
        if instrumented:  # it ends the process
            command = [sys.executable, "-m", "tests.fuzz.run", name, "--seconds", str(options.seconds)]
            subprocess.run([*command, "--seed", str(options.seed)], check=True)
        else:
            at_random(name, options.seconds, options.seed)


def with_atheris(name: str, seconds: int, seed: int) -> None:
    import atheris  # type: ignore[import-not-found]

    with atheris.instrument_imports(include=["cosxfer.cos", "cosxfer.journal_rows", "cosxfer.ops", "cosxfer.server"]):
        from tests.fuzz.targets import CORPUS, TARGETS
    found = tempfile.mkdtemp(prefix=f"fuzz-{name}-")  # what it learns on its way is many files
    limits = [f"-max_total_time={seconds}", f"-seed={seed}", f"-max_len={LONGEST}"]
    corpus = CORPUS / name
    atheris.Setup([sys.argv[0], *limits, f"-artifact_prefix={corpus}{os.sep}", found, str(corpus)], TARGETS[name])
    atheris.Fuzz()


def at_random(name: str, seconds: int, seed: int) -> None:
    from tests.fuzz.targets import CORPUS, TARGETS, seeds

    rng, corpus = random.Random(f"{name} {seed}"), seeds(name)
    end, count = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        data = mutated(rng, corpus)
        count += 1
        try:
            TARGETS[name](data)
        except BaseException:
            (CORPUS / name / f"crash-{hashlib.sha256(data).hexdigest()[:16]}").write_bytes(data)
            raise
    print(f"{name}: {count:,} inputs")


def mutated(rng: random.Random, corpus: list[bytes]) -> bytes:
    """Return a seed with a few changes."""
    data = bytearray(rng.choice(corpus))
    for _ in range(rng.randrange(1, 8)):
        first = rng.randrange(len(data) + 1)
        last = min(len(data), first + rng.choice((1, 1, 2, 8, 40)))
        rng.choice(CHANGES)(rng, data, first, last, rng.choice(corpus))
    return bytes(data[:LONGEST])


def _flip(rng: random.Random, data: bytearray, first: int, last: int, _: bytes) -> None:
    for index in range(first, last):
        data[index] ^= 1 << rng.randrange(8)


def _insert(rng: random.Random, data: bytearray, first: int, last: int, _: bytes) -> None:
    data[first:first] = rng.choice(PIECES) * rng.choice((1, 1, 3, 200))


def _cut(rng: random.Random, data: bytearray, first: int, last: int, _: bytes) -> None:
    del data[first:last]


def _splice(rng: random.Random, data: bytearray, first: int, last: int, other: bytes) -> None:
    data[first:last] = other[rng.randrange(len(other) + 1) :][: rng.randrange(60)]


Change = Callable[[random.Random, bytearray, int, int, bytes], Any]
CHANGES: tuple[Change, ...] = (_flip, _insert, _cut, _splice)
PIECES = (
    *(b"\0", b"\xff", b"\n", b"\r\n", b":", b";", b'"', b"-", b"<", b">", b"&", b"]]>", b"{", b"[", b"}", b"]", b","),
    *(
        b"null",
        b"true",
        b"1e999",
        b"-1",
        b"9" * 30,
        b"NaN",
        b"\xed\xa0\x80",
        b"\xf0\x9f\x98\x80",
        b"\\u0000",
        b"\\ud800",
    ),
)


if __name__ == "__main__":
    main()
