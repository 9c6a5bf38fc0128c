"""Ranges, conditions, digests and numbers, apart from any request."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosxfer.server import checks
from cosxfer.server.http import CosError, decode_path, decode_query


@given(data=st.binary(min_size=1, max_size=20), first=st.integers(0, 25), last=st.integers(0, 25))
def test_a_range_selects_what_slicing_does(data: bytes, first: int, last: int) -> None:
    headers = {"range": f"bytes={first}-{last}"}
    if last < first:
        assert checks.byte_range(headers, len(data)) is None
    elif first >= len(data):
        with pytest.raises(CosError, match="InvalidRange"):
            checks.byte_range(headers, len(data))
    else:
        start, end = checks.byte_range(headers, len(data)) or (-1, -1)
        assert data[start:end] == data[first : last + 1]


@given(data=st.binary(min_size=1, max_size=20), count=st.integers(1, 25))
def test_a_suffix_selects_the_end(data: bytes, count: int) -> None:
    start, end = checks.byte_range({"range": f"bytes=-{count}"}, len(data)) or (-1, -1)
    assert data[start:end] == data[-count:]


def test_an_empty_suffix_and_an_empty_object_have_no_range() -> None:
    for value, size in (("bytes=-0", 10), ("bytes=0-", 0), ("bytes=-5", 0)):
        with pytest.raises(CosError, match="InvalidRange"):
            checks.byte_range({"range": value}, size)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"if-match": "*"}, 200),
        ({"if-match": '"a", "etag"'}, 200),
        ({"if-match": "etag"}, 200),
        ({"if-none-match": 'W/"etag"'}, 304),
        # If both are given, the ETag decides.
        ({"if-match": '"etag"', "if-unmodified-since": "Thu, 01 Jan 1970 00:00:00 GMT"}, 200),
        ({"if-none-match": '"other"', "if-modified-since": "Thu, 01 Jan 2099 00:00:00 GMT"}, 200),
        ({"if-modified-since": "no date"}, 200),
        ({"if-modified-since": "Thu, 01 Jan 1970 00:16:40 GMT"}, 304),
    ],
)
def test_conditions(headers: dict[str, str], status: int) -> None:
    assert checks.precondition_status(headers, etag="etag", modified=1000.5) == status


def test_content_md5_is_16_bytes_in_base64() -> None:
    assert checks.content_md5({}) is None
    assert checks.content_md5({"content-md5": base64.b64encode(bytes(16)).decode()}) == bytes(16)
    for wrong in ("", "x", "é", base64.b64encode(bytes(15)).decode(), "AAAA AAAA"):
        with pytest.raises(CosError, match="InvalidDigest"):
            checks.content_md5({"content-md5": wrong})


def test_pages_have_at_most_a_thousand_entries() -> None:
    assert checks.page_size({}, "max-keys") == 1000
    assert checks.page_size({"max-keys": "5000"}, "max-keys") == 1000
    assert checks.page_size({"max-keys": "0"}, "max-keys") == 0
    for wrong in ("-1", "x", "1.5", "٣", "9" * 30):
        with pytest.raises(CosError, match="InvalidArgument"):
            checks.page_size({"max-keys": wrong}, "max-keys")


@given(st.text())
def test_any_path_is_decoded(text: str) -> None:
    encoded = "".join(f"%{byte:02x}" for byte in text.encode("utf-8", "surrogatepass"))
    try:
        text.encode()
    except UnicodeEncodeError:
        with pytest.raises(CosError, match="InvalidURI"):
            decode_path(encoded.encode())
    else:
        assert decode_path(encoded.encode()) == text


def test_queries_are_decoded() -> None:
    assert decode_query(b"uploads&prefix=a+b%2B&x=") == {"uploads": "", "prefix": "a b+", "x": ""}
