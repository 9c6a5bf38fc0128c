"""Parses a page of a listing. It has thousands of elements, so no Python step runs for each of them.

COS sends plain pages: no attribute but in the declaration, no comment, no CDATA, no document type. Such a page
is parsed in C. Every other document goes to `cosxfer.cos.xml.parse`, which decides if it is legal and says why not.
"""

from __future__ import annotations

import re
from itertools import chain
from urllib.parse import unquote
from xml.etree import ElementTree as ET

from cosxfer.cos import xml

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


def percent_decoded(text: str) -> str:
    """Decode a name of a listing with ``encoding-type=url``. A ``+`` stays: COS writes a space as ``%20``.

    Raises `XmlError` if the bytes are not UTF-8. A replacement would name another object.
    """
    try:
        return unquote(text, errors="strict") if "%" in text else text
    except UnicodeDecodeError as error:
        raise xml.XmlError(f"a name is not UTF-8: {error.reason}") from error
