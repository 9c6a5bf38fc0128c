"""XML: built documents are parsed back, and hostile documents are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosxfer.cos import xml

text = st.text(
    st.characters(exclude_categories=["Cs"]).filter(lambda c: c in "\t\n\r" or (c >= " " and c not in "\ufffe\uffff"))
)
tag = st.from_regex(r"[A-Z][A-Za-z]{0,8}", fullmatch=True)


@given(tag, st.lists(st.tuples(tag, text), max_size=6))
def test_what_is_built_is_read_back(root: str, fields: list[tuple[str, str]]) -> None:
    element = xml.parse(xml.build(root, fields), root=root)
    assert [(child.tag, child.text or "") for child in element] == fields


@given(st.text(max_size=5))
def test_text_that_xml_cannot_hold_is_refused_and_other_text_survives(value: str) -> None:
    try:
        document = xml.build("A", [("B", value)])
    except xml.XmlError:
        assert any(c < " " or c in "\ufffe\uffff" or "\ud800" <= c <= "\udfff" for c in value)
    else:
        assert xml.text_of(xml.parse(document), "B") == value


@given(st.binary(max_size=200))
def test_no_bytes_break_the_parser(document: bytes) -> None:
    try:
        xml.parse(document)
    except xml.XmlError:
        return
    assert b"<" in document


def test_white_space_around_a_document_and_name_spaces_are_skipped() -> None:
    element = xml.parse(b" \n " * 1000 + b'<?xml version="1.0"?><A xmlns="urn:x"><B>1</B></A>' + b"  ", root="A")
    assert xml.int_of(element, "B") == 1


@pytest.mark.parametrize(
    ("document", "told"),
    [
        (b"", "not well-formed"),
        (b"<A>", "not well-formed"),
        (b"<A/><B/>", "not well-formed"),
        (b"plain", "not well-formed"),
        (b"\xff\xfe<\x00A\x00/\x00>\x00", "not UTF-8"),
        (b"<!DOCTYPE A><A/>", "document type"),
        (b'<!DOCTYPE A [<!ENTITY x "y">]><A>&x;</A>', "document type"),
        (b'<?xml version="1.0" encoding="utf-16"?><!DOCTYPE A><A/>', "document type"),
        (b"<A>&unknown;</A>", "not well-formed"),
        (b"<A>" * 40 + b"</A>" * 40, "nested deeper than 32"),
        (b"<A>" * 100_000, "nested deeper than 32"),
        (b" " * (16 * 1024 * 1024) + b"<A/>", "the limit is"),
        (b"<B/>", "not <A>"),
    ],
    ids=range(13),
)
def test_a_document_that_is_wrong_or_hostile_is_refused(document: bytes, told: str) -> None:
    with pytest.raises(xml.XmlError, match=told):
        xml.parse(document, root="A")


@pytest.mark.parametrize("value", ["", " ", "-1", "1.0", "x", "٣", "9" * 20])
def test_a_malformed_number_is_refused(value: str) -> None:
    element = xml.parse(xml.build("A", [("N", value)]))
    with pytest.raises(xml.XmlError, match="<N>"):
        xml.int_of(element, "N")


def test_a_number_that_is_not_there_has_its_default() -> None:
    element = xml.parse(b"<A><N/></A>")
    assert xml.int_of(element, "N", 7) == 7
    assert xml.int_of(element, "M", 8) == 8
