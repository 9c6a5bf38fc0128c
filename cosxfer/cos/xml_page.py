"""Parses a page of a listing. It has thousands of elements, so no Python step runs for each of them.

COS sends plain pages: no attribute but in the declaration, no comment, no CDATA, no document type. Such a page
is parsed in C. Every other document goes to `cosxfer.cos.xml.parse`, which decides if it is legal and says why not.
"""

from __future__ import annotations

import re
from itertools import chain
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import unquote

from cosxfer.cos import xml
from cosxfer.limits import MAX_LIST_ENTRIES
from cosxfer.threads import import_lock

if TYPE_CHECKING:
    from xml.etree import ElementTree as ET

_ATTRIBUTE = re.compile(rb"=\s*[\"']")
_DECLARATION = re.compile(rb"<\?xml[^<>?]{0,100}\?>")


def parse_page(document: bytes | bytearray | memoryview, *, root: str) -> ET.Element:
    """Return the root element of a page. Raises `XmlError` as `xml.parse` does with the bounds `xml.LISTING`."""
    element = _parse_plain(bytes(document).strip())
    if element is None or element.tag != root:
        return xml.parse(document, root=root, bounds=xml.LISTING)
    return element


def _parse_plain(content: bytes) -> ET.Element | None:
    """Return the root element of a plain and legal document, else None."""
    with import_lock:
        from xml.etree import ElementTree as ET

    bounds = xml.LISTING
    declaration = _DECLARATION.match(content)
    begin = declaration.end() if declaration else 0
    # An element has one tag or two. So the number of tags bounds the work before it begins.
    if len(content) > bounds.document_bytes or content.count(b"<", begin) > 2 * bounds.elements:
        return None
    if b"<!" in content or content.find(b"<?", begin) >= 0 or _ATTRIBUTE.search(content, begin):
        return None
    parser = ET.XMLParser()  # noqa: S314 # there is no document type, and so no entity
    try:
        parser.feed(content.decode())
        element: ET.Element = parser.close()
    except (UnicodeDecodeError, ET.ParseError):
        return None
    return element if _is_within_bounds(element, bounds.elements) else None


def _is_within_bounds(root: ET.Element, max_elements: int) -> bool:
    level, count = [root], 1
    for _ in range(xml.MAX_DEPTH):
        level = list(chain.from_iterable(level))
        if not level:
            return count <= max_elements
        count += len(level)
    return False


_ROW = re.compile(
    "<Contents><Key>([^<]+)</Key><LastModified>([^<]*)</LastModified><ETag>([^<]*)</ETag><Size>([0-9]{1,19})</Size>"
    "<Owner><ID>([^<]*)</ID><DisplayName>([^<]*)</DisplayName></Owner><StorageClass>([^<]*)</StorageClass>"
    "(?:<StorageTier>([^<]+)</StorageTier>)?(?:<RestoreStatus>([^<]+)</RestoreStatus>)?</Contents>"
)
"""An object as COS writes it (source: product page 436/7734)."""

_TAGS_OF_ROW = 18
"""Without the two optional elements, which have two tags each."""

Row: TypeAlias = tuple[str, str, str, str, str, str, str, str, str]
"""Key, LastModified, ETag, Size, ID and DisplayName of the owner, StorageClass, StorageTier, RestoreStatus."""


def parse_object_page(document: bytes | bytearray | memoryview, *, root: str) -> tuple[ET.Element, list[Row]]:
    """Return the root element of a page of objects, and its objects as rows: one step of C for all of them.

    The rows are taken only if nothing else is between the first and the last object, and if one element in their place
    is a child of the root. So XML gives them the same meaning. The root has no objects then. Otherwise there are no
    rows, and the objects are children of the root.
    """
    content = bytes(document)
    begin, end = content.find(b"<Contents>"), content.rfind(b"</Contents>") + len(b"</Contents>")
    rows = _rows(content[begin:end]) if 0 <= begin < end <= xml.LISTING.document_bytes else []
    if rows:
        try:
            element = parse_page(content[:begin] + b"<Contents/>" + content[end:], root=root)
        except xml.XmlError:
            return parse_page(content, root=root), []
        places = element.findall("Contents")
        if len(places) == 1:
            element.remove(places[0])
            return element, rows
    return parse_page(content, root=root), []


def _rows(content: bytes) -> list[Row]:
    """Return the rows of objects that follow each other; none if anything else is between them."""
    try:
        text = content.replace(b"&quot;", b'"').decode()
    except UnicodeDecodeError:
        return []
    # Printable text has no character that XML forbids or changes, and this is the faster question.
    if "&" in text or (not text.isprintable() and ("\r" in text or xml.NOT_XML.search(text))):
        return []
    rows: list[Row] = _ROW.findall(text)
    tags = _TAGS_OF_ROW * len(rows) + 2 * sum([bool(row[7]) + bool(row[8]) for row in rows])
    return rows if text.count("<") == tags and text.count("<Contents>") == len(rows) <= _MOST_ROWS else []


_MOST_ROWS = 2 * MAX_LIST_ENTRIES


def percent_decoded(text: str) -> str:
    """Decode a name of a listing with ``encoding-type=url``. A ``+`` stays: COS writes a space as ``%20``.

    Raises `XmlError` if the bytes are not UTF-8. A replacement would name another object.
    """
    try:
        return unquote(text, errors="strict") if "%" in text else text
    except UnicodeDecodeError as error:
        raise xml.XmlError(f"a name is not UTF-8: {error.reason}") from error
