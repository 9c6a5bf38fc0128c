"""Header values and metadata that HTTP and COS accept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosxfer.cos.header_values import check_header_value, metadata_headers
from cosxfer.errors import UsageError
from cosxfer.limits import MAX_METADATA_BYTES


def test_metadata_may_be_2_kilobytes_and_no_more() -> None:
    room = MAX_METADATA_BYTES - len("x-cos-meta-a")
    assert metadata_headers({"a": "x" * room}) == {"x-cos-meta-a": "x" * room}
    for value in ("x" * (room + 1), "ä" * (room // 2) + "xx"):
        with pytest.raises(UsageError, match=f"COS allows {MAX_METADATA_BYTES}"):
            metadata_headers({"a": value})


@given(st.text(max_size=20))
def test_a_header_value_never_breaks_out_of_its_line(value: str) -> None:
    try:
        check_header_value("x-a", value)
    except UsageError:
        return
    assert not set(value.encode()) & {*range(9), *range(10, 32), 127}
    assert value == value.strip(" \t")
