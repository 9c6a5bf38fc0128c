"""The token of an unfinished upload: what is read equals what was written, and nothing else is read at all."""

from __future__ import annotations

import base64
import json
import os
import struct
from dataclasses import replace
from typing import Any

import pytest
import xxhash
from hypothesis import example, given
from hypothesis import strategies as st

from cosxfer import resume_token
from cosxfer.errors import UsageError
from cosxfer.limits import GIB, MIB
from cosxfer.planning import Plan
from cosxfer.resume_token import ResumeToken, TokenPart, decode, encode

MD5 = bytes(range(16))
ETAG = f'"{MD5.hex()}"'
TOKEN = ResumeToken(
    endpoint="https://{bucket}.cos.{region}.myqcloud.com",
    region="ap-guangzhou",
    bucket="examplebucket-1250000000",
    key="docs/ä.bin",
    path="/data/ä\udcff.bin",
    upload_id="1234567890abcdef",
    plan=Plan(size=10 * MIB + 1, part_size_bytes=MIB),
    headers=bytes(16),
    parameters={"content-type": "text/plain", "x-cos-meta-a": "b"},
    add_md5=False,
    parts={1: TokenPart(md5=MD5, etag=ETAG), 11: TokenPart(md5=MD5, etag='"opaque"')},
)


def written(values: object, rows: bytes = b"", *, length: int | None = None) -> str:
    """A token with a right fingerprint, as an attacker could write it."""
    document = values if isinstance(values, bytes) else json.dumps(values).encode()
    data = struct.pack("<I", len(document) if length is None else length) + document + rows
    data += struct.pack("<Q", xxhash.xxh3_64_intdigest(data))
    return "cosxfer-upload-1." + base64.urlsafe_b64encode(data).decode().rstrip("=")


def read(text: str) -> ResumeToken | UsageError:
    try:
        return decode(text)
    except UsageError as error:
        return error


def values() -> dict[str, Any]:
    text = encode(TOKEN).partition(".")[2]
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    (length,) = struct.unpack_from("<I", data)
    found: dict[str, Any] = json.loads(data[4 : 4 + length])
    return found


def test_a_token_is_read_as_it_was_written() -> None:
    assert decode(encode(TOKEN)) == TOKEN


def test_a_token_may_be_broken_into_lines() -> None:
    text = encode(TOKEN)
    assert decode("\n ".join(text[begin : begin + 60] for begin in range(0, len(text), 60)) + "\r\n") == TOKEN


def test_a_token_of_ten_thousand_parts_is_compact() -> None:
    parts = {number: TokenPart(md5=MD5, etag=ETAG) for number in range(1, 10_001)}
    text = encode(replace(TOKEN, plan=Plan(size=10_000 * MIB, part_size_bytes=MIB), parts=parts))
    assert len(text) < 10_000 * 24 + 1000
    assert len(decode(text).parts) == 10_000


@given(size=st.integers(1, 40 * GIB), part_size=st.integers(8 * MIB, GIB), data=st.data())
def test_every_token_survives_the_way(size: int, part_size: int, data: st.DataObject) -> None:
    plan = Plan(size=size, part_size_bytes=part_size)
    numbers = sorted(data.draw(st.sets(st.integers(1, plan.count), max_size=20)))
    etags = st.one_of(st.just(ETAG), st.text(max_size=50))
    parts = {number: TokenPart(md5=MD5, etag=data.draw(etags)) for number in numbers}
    path = data.draw(st.text(min_size=1).filter(lambda text: "\0" not in text))
    metadata = data.draw(st.dictionaries(st.text(), st.text(), max_size=4))
    token = replace(TOKEN, plan=plan, parts=parts, path=path, parameters=metadata, add_md5=data.draw(st.booleans()))
    assert decode(encode(token)) == token


@given(st.text())
@example("")
@example("cosxfer-upload-1.")
@example("cosxfer-upload-1.====")
@example("cosxfer-upload-1.A")
@example("cosxfer-upload-" + "9" * 10_000 + ".AAAA")
@example("cosxfer-upload-1." + "A" * 5_000_000)
def test_any_text_is_refused_by_name(text: str) -> None:
    for each in (text, f"cosxfer-upload-1.{text}"):
        with pytest.raises(UsageError, match="the token") as caught:
            decode(each)
        assert caught.value.name == "token"


@given(st.data())
def test_each_damage_is_found(data: st.DataObject) -> None:
    text = encode(TOKEN)
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from("ABCabc019-_.=").filter(lambda letter: letter != text[place]))
    cut = data.draw(st.integers(0, len(text) - 1))
    for damaged in (text[:place] + other + text[place + 1 :], text[:cut], text[cut:] + text[:cut]):
        found = read(damaged)
        # The unused bits of the last letter say nothing.
        assert found == TOKEN or (isinstance(found, UsageError) and found.name == "token")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)


@given(st.sampled_from(sorted(values())), JSON, st.binary(max_size=60))
@example("size", 10**4000, b"")
@example("size", 2**63, b"")
@example("size", -1, b"")
@example("size", True, b"")
@example("size", 0, b"")
@example("part_size", 1, b"")
@example("part_size", 2**80, b"")
@example("part_size", 1e308, b"")
@example("headers", "00" * 10**6, b"")
@example("etags", {"1": "x" * 10**6}, b"\x01\0" + MD5)
@example("upload_id", "", b"")
@example("key", "../..", b"")
@example("key", "", b"")
@example("bucket", "evil.example/x-1", b"")
@example("region", "evil.example#", b"")
@example("path", "", b"")
@example("path", "a\0b", b"")
@example("path", "/\ud800", b"")
def test_a_hostile_value_is_refused_or_legal(name: str, value: object, rows: bytes) -> None:
    text = written({**values(), name: value}, rows)
    token = read(text)
    if isinstance(token, UsageError):
        assert token.name == "token"
        assert len(str(token)) < 600
        return
    assert 1 <= token.plan.count <= 10_000
    assert token.plan.size > 0
    os.fsencode(token.path)
    assert list(token.parts) == sorted(number for number in token.parts if 1 <= number <= token.plan.count)
    assert all(len(part.md5) == 16 for part in token.parts.values())


@pytest.mark.parametrize(
    "rows",
    [
        b"\0\0" + MD5,  # part 0
        b"\x0c\0" + MD5,  # beyond the plan
        b"\x02\0" + MD5 + b"\x01\0" + MD5,  # not in order
        (b"\x01\0" + MD5) * 2,
        b"\x01\0" + MD5[:-1],
        b"".join(struct.pack("<H", number) + MD5 for number in range(1, 13)),
    ],
)
def test_parts_that_the_plan_does_not_have_are_refused(rows: bytes) -> None:
    with pytest.raises(UsageError, match="parts"):
        decode(written(values(), rows))


@pytest.mark.parametrize(
    "text",
    [
        written(b"[" * 100_000),
        written(b"1" * 5000),
        written(b"\xff"),
        written([]),
        written("text"),
        written({}),
        written(values(), length=2**32 - 1),
        written({name: value for name, value in values().items() if name != "plan" and name != "size"}),
    ],
)
def test_a_token_that_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="the token"):
        decode(text)


def test_another_version_is_named() -> None:
    with pytest.raises(UsageError, match="version 2, and this version of cosxfer reads version 1"):
        decode(encode(TOKEN).replace("upload-1.", "upload-2."))


@pytest.mark.parametrize("value", [None, b"cosxfer-upload-1.", 1, ["x"]])
def test_a_token_is_text(value: object) -> None:
    with pytest.raises(UsageError, match="token is"):
        decode(value)


def test_the_longest_token_is_within_the_limit() -> None:
    parts = {number: TokenPart(md5=MD5, etag="x" * 256) for number in range(1, 10_001)}
    text = encode(replace(TOKEN, plan=Plan(size=10_000 * MIB, part_size_bytes=MIB), parts=parts, path="/x" * 2000))
    assert len(text) <= resume_token.MAX_CHARACTERS
    assert len(decode(text).parts) == 10_000
