"""Pages of listings: parsed in C if they are plain, and refused as strictly as any other document."""

from __future__ import annotations

import pytest

from cosxfer.cos import xml
from cosxfer.cos.xml_page import parse_page, percent_decoded

ENTRY = "<Contents><Key>k{}</Key><Size>1</Size><Owner><ID>o</ID></Owner></Contents>"


def page(content: str) -> bytes:
    return f"<?xml version='1.0' encoding='utf-8' ?>\n<ListBucketResult>{content}</ListBucketResult>".encode()


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The documents that the careful parser gets."""
    seen: list[bytes] = []
    careful = xml.parse

    def parse(document: bytes, *, root: str, bounds: xml.Bounds) -> object:
        seen.append(bytes(document))
        return careful(document, root=root, bounds=bounds)

    monkeypatch.setattr(xml, "parse", parse)
    return seen


def test_a_plain_page_needs_no_python_step_for_each_element(slow: list[bytes]) -> None:
    document = page("".join(ENTRY.format(n) for n in range(1000)))
    root = parse_page(document, root="ListBucketResult")
    assert [entry.findtext("Key") for entry in root.findall("Contents")] == [f"k{n}" for n in range(1000)]
    assert slow == []


@pytest.mark.parametrize(
    "content",
    [
        "<!-- a comment -->",
        "<![CDATA[x]]>",
        "<?target data?>",
        '<Contents a="1"/>',
        "<Contents a\n=\n'1'/>",
        '<Contents xmlns="http://doc.example.com/2006-03-01"><Key>k</Key></Contents>',
    ],
)
def test_a_page_that_is_not_plain_is_left_to_the_careful_parser(slow: list[bytes], content: str) -> None:
    root = parse_page(page(content), root="ListBucketResult")
    assert len(slow) == 1
    assert all("}" not in element.tag and not element.attrib for element in root.iter())


@pytest.mark.parametrize(
    ("document", "why"),
    [
        (b"<!DOCTYPE a [<!ENTITY e 'x'>]><ListBucketResult>&e;</ListBucketResult>", "document type"),
        ("<!DOCTYPE a><ListBucketResult/>".encode("utf-16"), "not UTF-8|not well-formed"),
        (page("<a>" * 40 + "</a>" * 40), "nested deeper"),
        (page("<a/>" * 30_000), "more than 25000 elements"),
        (page("<a></a>" * 30_000), "more than 25000 elements"),
        (page("x" * (9 << 20)), "the limit is"),
        (page("&undefined;"), "not well-formed"),
        (page("<a>"), "not well-formed"),
        (page("\xff").replace("\xff".encode(), b"\xff"), "not UTF-8"),
        (b"<Other/>", "is <Other>, not <ListBucketResult>"),
        (b"", "not well-formed"),
    ],
)
def test_a_hostile_page_is_refused(document: bytes, why: str) -> None:
    with pytest.raises(xml.XmlError, match=why):
        parse_page(document, root="ListBucketResult")


def test_white_space_around_a_page_is_skipped(slow: list[bytes]) -> None:
    assert parse_page(b"  \n" + page("<Name>b</Name>") + b" \n", root="ListBucketResult").findtext("Name") == "b"
    assert slow == []


@pytest.mark.parametrize(
    ("text", "decoded"),
    [("a%20b+c", "a b+c"), ("%2B%25%01", "+%\x01"), ("%E5%90%8D/x", "名/x"), ("plain/é", "plain/é"), ("%zz%", "%zz%")],
)
def test_names_are_percent_decoded_once_and_a_plus_stays(text: str, decoded: str) -> None:
    assert percent_decoded(text) == decoded


def test_a_name_that_is_not_utf_8_is_refused_and_not_replaced() -> None:
    with pytest.raises(xml.XmlError, match="a name is not UTF-8"):
        percent_decoded("%ff")
