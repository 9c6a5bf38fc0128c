"""The list of parts in Complete, and the object that it creates."""

from __future__ import annotations

import hashlib

import pytest

from cosxfer._native import hashing
from cosxfer.limits import MIB
from cosxfer.server.http import CosError
from cosxfer.server.operations.multipart_complete import choose_parts, combine, parse_parts
from cosxfer.server.store import StoredPart


def part(number: int, body: bytes) -> StoredPart:
    return StoredPart(
        number=number,
        blob=f"{number}",
        size=len(body),
        etag=hashlib.md5(body).hexdigest(),
        crc64=hashing.crc64(body),
        modified=0.0,
    )


def document(*parts: tuple[int, str]) -> bytes:
    listed = "".join(f"<Part><PartNumber>{n}</PartNumber><ETag>{etag}</ETag></Part>" for n, etag in parts)
    return f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()


def test_etags_may_be_quoted_or_not_and_in_any_case() -> None:
    assert parse_parts(document((1, '"AB"'), (2, "cd"), (9, "&quot;ef&quot;"))) == [(1, "ab"), (2, "cd"), (9, "ef")]


def test_the_last_part_may_be_small() -> None:
    parts = [part(1, b"x" * MIB), part(2, b"y")]
    wanted = [(p.number, p.etag) for p in parts]
    assert choose_parts(wanted, {p.number: p for p in parts}) == parts
    with pytest.raises(CosError, match="EntityTooSmall: Part 1 is 1 bytes"):
        choose_parts([(1, parts[1].etag), (2, parts[1].etag)], {1: part(1, b"y"), 2: parts[1]})


def test_the_whole_is_the_sum_of_its_parts() -> None:
    bodies = [b"one" * 100, b"", b"three"]
    etag, crc64 = combine([part(n, body) for n, body in enumerate(bodies, start=1)])
    assert crc64 == hashing.crc64(b"".join(bodies))
    assert etag == hashlib.md5(b"".join(hashlib.md5(body).digest() for body in bodies)).hexdigest() + "-3"


def test_a_part_number_above_10000_is_an_argument() -> None:
    with pytest.raises(CosError, match="InvalidArgument"):
        parse_parts(document((10_001, "a")))
