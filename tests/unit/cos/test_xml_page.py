"""Pages of listings: parsed in C if they are plain, and refused as strictly as any other document."""

from __future__ import annotations

import pytest

from cosxfer.cos import xml
from cosxfer.cos.xml_page import parse_object_page, parse_page, percent_decoded

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


# Rows of objects

ROW = (
    "<Contents><Key>k{}</Key><LastModified>t</LastModified><ETag>&quot;e&quot;</ETag><Size>{}</Size>"
    "<Owner><ID>i</ID><DisplayName>d</DisplayName></Owner><StorageClass>c</StorageClass>{}</Contents>"
)
TIER = "<StorageTier>FREQUENT</StorageTier>"
RESTORE = "<RestoreStatus>ONGOING</RestoreStatus>"


def test_objects_as_cos_writes_them_become_rows(slow: list[bytes]) -> None:
    objects = ROW.format(1, 1, "") + ROW.format(2, 22, TIER) + ROW.format(3, 3, TIER + RESTORE)
    document = page(f"<Name>b</Name>{objects}<CommonPrefixes><Prefix>p</Prefix></CommonPrefixes>")
    root, rows = parse_object_page(document, root="ListBucketResult")
    assert [row[0] for row in rows] == ["k1", "k2", "k3"]
    assert rows[1] == ("k2", "t", '"e"', "22", "i", "d", "c", "FREQUENT", "")
    assert rows[2][7:] == ("FREQUENT", "ONGOING")
    assert [child.tag for child in root] == ["Name", "CommonPrefixes"]
    assert slow == []


@pytest.mark.parametrize(
    "objects",
    [
        ROW.format(1, 1, "") + "<CommonPrefixes><Prefix>p</Prefix></CommonPrefixes>" + ROW.format(2, 2, ""),
        ROW.format(1, 1, "<New>x</New>") + ROW.format(2, 2, ""),
        ROW.format("&amp;", 1, "") + ROW.format(2, 2, ""),
        ROW.format("\r\n", 1, "") + ROW.format(2, 2, ""),
        ROW.format(1, 1, "") + " <!-- x --> " + ROW.format(2, 2, ""),
        ROW.format(1, 1, "").replace("<Owner>", "<Owner a='b'>") + ROW.format(2, 2, ""),
        ROW.format(1, 1, "").replace("><", ">\n  <") + ROW.format(2, 2, ""),
        ROW.format(1, -1, "") + ROW.format(2, 2, ""),
        ROW.format(1, 1, "<Contents></Contents>"),
        "<Contents/>" + ROW.format(1, 1, ""),
    ],
)
def test_objects_of_any_other_form_are_elements(objects: str) -> None:
    document = page(f"<Name>b</Name>{objects}")
    root, rows = parse_object_page(document, root="ListBucketResult")
    careful = xml.parse(document, root="ListBucketResult", bounds=xml.LISTING)
    if rows:  # what is beside them is the same
        assert len(rows) + len(root.findall("Contents")) == len(careful.findall("Contents"))
    else:
        assert [child.tag for child in root] == [child.tag for child in careful]


@pytest.mark.parametrize(
    "document",
    [
        page(f"<!-- {ROW.format(1, 1, '')} -->"),
        page(f"<![CDATA[{ROW.format(1, 1, '')}]]>"),
        f"<!DOCTYPE a><ListBucketResult>{ROW.format(1, 1, '')}</ListBucketResult>".encode(),
        page(f"<Inner>{ROW.format(1, 1, '')}</Inner>"),
        page(f"<a b='{ROW.format(1, 1, '')}'/>"),
        page(ROW.format("\x01", 1, "")),
        page(ROW.format("\xff", 1, "")).replace("\xff".encode(), b"\xff"),
        page(ROW.format(1, 1, "")).removesuffix(b"</ListBucketResult>"),
        ROW.format(1, 1, "").encode(),
    ],
)
def test_rows_are_taken_only_where_xml_has_objects(document: bytes) -> None:
    try:
        careful = xml.parse(document, root="ListBucketResult", bounds=xml.LISTING)
    except xml.XmlError:
        with pytest.raises(xml.XmlError):
            parse_object_page(document, root="ListBucketResult")
        return
    root, rows = parse_object_page(document, root="ListBucketResult")
    assert rows == []
    assert len(root.findall("Contents")) == len(careful.findall("Contents"))
