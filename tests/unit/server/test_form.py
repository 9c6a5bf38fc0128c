"""The parser of forms: whole forms, byte by byte, and malformed ones."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosxfer.cos import form
from cosxfer.server.form import MAX_FIELDS_BYTES, Field, FileBegin, FileData, FileEnd, FormParser, boundary_of
from cosxfer.server.http import CosError

BOUNDARY = "----b0"


def read(body: bytes, *cuts: int) -> tuple[dict[str, str], str, bytes]:
    """Return fields, file name and content of a form that arrives in pieces."""
    parser = FormParser(BOUNDARY.encode())
    ends = [*sorted(min(cut, len(body)) for cut in cuts), len(body)]
    events = [event for start, end in zip([0, *ends], ends, strict=False) for event in parser.feed(body[start:end])]
    assert parser.done
    assert isinstance(events[-1], FileEnd)
    [begin] = [event for event in events if isinstance(event, FileBegin)]
    fields = {event.name: event.value for event in events if isinstance(event, Field)}
    return fields, begin.filename, b"".join(event.data for event in events if isinstance(event, FileData))


@given(
    fields=st.dictionaries(st.text("abc-_", min_size=1), st.text(max_size=20), max_size=4),
    filename=st.text(max_size=10),
    content=st.binary(max_size=200) | st.just(b"\r\n------b") | st.just(f"\r\n--{BOUNDARY[:-1]}x".encode()),
    cuts=st.lists(st.integers(0, 900), max_size=20),
)
def test_a_form_is_read_in_pieces_of_any_size(
    fields: dict[str, str], filename: str, content: bytes, cuts: list[int]
) -> None:
    # Surrogates have no UTF-8. Browsers use these three escapes for the characters themselves.
    filename = re.sub("[\ud800-\udfff\\\\]|%22|%0D|%0A", "_", filename)
    fields = {name: re.sub("[\ud800-\udfff]", "_", value) for name, value in fields.items() if name != "file"}
    body = form.head(fields, filename=filename, boundary=BOUNDARY) + content + form.tail(BOUNDARY)
    assert read(body, *cuts) == (fields, filename, content)


def test_a_form_is_read_byte_by_byte_and_fields_after_the_file_are_ignored() -> None:
    body = form.head({"key": "a"}, filename='q"\r\n.png', boundary=BOUNDARY) + b"\r\n--" + form.tail(BOUNDARY)
    assert read(body + b"rest", *range(len(body))) == ({"key": "a"}, 'q"\r\n.png', b"\r\n--")


def test_the_file_name_may_be_encoded() -> None:
    body = (
        b"preamble\r\n------b0 \r\ncontent-disposition: form-data; name=file; "
        b"filename*=UTF-8''%C3%BC.png\r\n\r\nx\r\n------b0--"
    )
    assert read(body) == ({}, "ü.png", b"x")


@pytest.mark.parametrize(
    "body",
    [
        b"------b0--\r\n",
        b"------b0\r\n\r\n\r\n\r\nx",
        b"------b0\r\nContent-Disposition: attachment; name=a\r\n\r\nx",
        b"------b0\r\nContent-Disposition: form-data\r\n\r\nx",
        b'------b0\r\nContent-Disposition: form-data; name="a"; filename="b"\r\n\r\nx',
        b"------b0\r\nContent-Disposition: form-data; name=\xff\r\n\r\nx",
        b"------b0\r\nContent-Disposition: form-data; name=a\r\n\r\n\xff\r\n------b0",
        b"------b0junk\r\n",
    ],
)
def test_a_body_that_is_not_a_form_is_malformed(body: bytes) -> None:
    with pytest.raises(CosError) as caught:
        FormParser(BOUNDARY.encode()).feed(body)
    assert caught.value.code == "MalformedPOSTRequest"


@pytest.mark.parametrize(
    "start", [b"", b"------b0", b"------b0\r\n", b"------b0\r\nContent-Disposition: form-data; name=a\r\n\r\n"]
)
def test_an_endless_form_is_refused(start: bytes) -> None:
    parser = FormParser(BOUNDARY.encode())
    parser.feed(start)
    with pytest.raises(CosError) as caught:
        parser.feed(b"x" * (MAX_FIELDS_BYTES + 100))
    assert caught.value.code == "EntityTooLarge"


def test_the_total_size_of_fields_is_limited() -> None:
    with pytest.raises(CosError, match="fields"):
        FormParser(BOUNDARY.encode()).feed(
            form.head({f"a{n}": "x" * 10_000 for n in range(7)}, filename="f", boundary=BOUNDARY)
        )


@pytest.mark.parametrize("value", ["", "text/plain", "multipart/form-data", "multipart/mixed; boundary=a"])
def test_without_a_boundary_there_is_no_form(value: str) -> None:
    with pytest.raises(CosError, match="boundary"):
        boundary_of(value)


def test_a_boundary_may_be_quoted() -> None:
    assert boundary_of('multipart/form-data; charset=x; boundary="a b"') == b"a b"
    assert boundary_of("Multipart/Form-Data; boundary=ab") == b"ab"
