from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cosxfer.cos.headers import decode_headers


def test_names_are_lower_case_and_repeated_ones_are_joined() -> None:
    assert decode_headers([(b"X-A", b"1"), (b"x-b", b""), (b"x-a", b"2")]) == {"x-a": "1, 2", "x-b": ""}


@given(st.text())
def test_utf8_comes_through_as_it_was(value: str) -> None:
    assert decode_headers([(b"x", value.encode())]) == {"x": value}


@given(st.binary())
def test_no_value_is_refused(value: bytes) -> None:
    decoded = decode_headers([(b"x", value)])["x"]
    assert value in (decoded.encode(), decoded.encode("latin-1", "replace"))
