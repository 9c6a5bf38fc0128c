"""Parses and builds XML. Parsing is safe for untrusted documents: no document types, no entities, limited size."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeAlias

from cosxfer.foreign import clean_causes, foreign
from cosxfer.records import dataclass
from cosxfer.threads import import_lock

if TYPE_CHECKING:
    from xml.etree import ElementTree as ET

MAX_DOCUMENT_BYTES = 16 * 1024 * 1024
"""Enough for any page of 1,000 entries and any list of 10,000 parts, with spaces."""

MAX_DEPTH = 32
MAX_ATTRIBUTES = 10_000
MAX_NAME_SPACES = 1_000

PIECE_BYTES = 64 * 1024
"""Bytes per step of the parser, so that it stops soon after a hostile document exceeds its limits."""

Tree: TypeAlias = "str | int | Iterable[tuple[str, Tree]]"
"""Text, or children in order. A name may occur more than once."""

NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
"""Matches a character that XML cannot hold. (Without the characters beyond U+FFFF it compiles in no time.)"""


class XmlError(ValueError):
    """The document is malformed, or not of a form that COS uses."""


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Limits for one kind of document: bytes without surrounding white space, and elements."""

    document_bytes: int
    elements: int


ANY = Bounds(document_bytes=MAX_DOCUMENT_BYTES, elements=100_000)
"""Enough for a Complete request with 10,000 parts."""

SMALL = Bounds(document_bytes=256 * 1024, elements=1_000)
"""Enough for an error or the result of one request, which have a dozen elements."""

LISTING = Bounds(document_bytes=8 * 1024 * 1024, elements=25_000)
"""Enough for 1,000 entries with a dozen elements each and keys of 850 bytes, escaped to 6 times their length."""


def parse(document: bytes | bytearray | memoryview, *, root: str | None = None, bounds: Bounds = ANY) -> ET.Element:
    """Parse ``document`` and return its root element, without name spaces and attributes.

    White space around the document is skipped, because COS sends spaces to keep a slow response alive. The document is
    parsed in pieces. Raises `XmlError` as soon as it exceeds ``bounds``, and for a malformed document, a document type
    or a root other than ``root``.
    """
    with import_lock:
        from xml.etree import ElementTree as ET  # its import takes a while, and small uploads need none

    if len(document) > MAX_DOCUMENT_BYTES:
        raise XmlError(f"the XML document is {len(document)} bytes long; the limit is {MAX_DOCUMENT_BYTES}")
    content = bytes(document).removeprefix(codecs.BOM_UTF8).strip()
    if len(content) > bounds.document_bytes:
        raise XmlError(f"the XML document is {len(content)} bytes long; the limit is {bounds.document_bytes}")
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise XmlError("the XML document has a document type, which is not allowed")
    if content.count(b"xmlns") > MAX_NAME_SPACES:
        raise XmlError(f"the XML document declares more than {MAX_NAME_SPACES} name spaces")
    builder = _Builder(ET.TreeBuilder(), bounds.elements)
    parser = ET.XMLParser(target=builder)  # noqa: S314 # documents with a document type, and so with entities, were refused
    # Decode here, so that no declared encoding can hide a document type from the check above.
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for start in range(0, len(content), PIECE_BYTES):
            before = builder.tags
            parser.feed(decoder.decode(content[start : start + PIECE_BYTES]))
            if builder.tags == before and start + PIECE_BYTES < len(content):
                raise XmlError(f"the XML document has {PIECE_BYTES} bytes that neither open nor close an element")
        decoder.decode(b"", final=True)
        element: ET.Element = parser.close()
    except UnicodeDecodeError as error:
        raise XmlError(f"the XML document is not UTF-8: {error.reason}") from error
    except ET.ParseError as error:
        clean_causes(error)
        raise XmlError(f"the XML document is not well-formed: {foreign(str(error))}") from error
    if root is not None and element.tag != root:
        raise XmlError(f"the XML document is <{foreign(element.tag, 60)}>, not <{root}>")
    return element


class _Builder:
    """Builds elements without name spaces and attributes. Limits their number and depth."""

    def __init__(self, tree: ET.TreeBuilder, max_elements: int) -> None:
        self._tree = tree
        self.data, self.close = tree.data, tree.close
        self._max_elements = max_elements
        self.tags = 0
        """How many elements were opened or closed."""
        self._elements = self._attributes = self._depth = 0

    def start(self, tag: str, attributes: dict[str, str]) -> ET.Element:
        self.tags += 1
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise XmlError(f"the XML document is nested deeper than {MAX_DEPTH} levels")
        self._elements += 1
        if self._elements > self._max_elements:
            raise XmlError(f"the XML document has more than {self._max_elements} elements")
        self._attributes += len(attributes)
        if self._attributes > MAX_ATTRIBUTES:
            raise XmlError(f"the XML document has more than {MAX_ATTRIBUTES} attributes")
        return self._tree.start(tag.rpartition("}")[2], {})

    def end(self, tag: str) -> ET.Element:
        self.tags += 1
        self._depth -= 1
        return self._tree.end(tag.rpartition("}")[2])


def text_of(element: ET.Element, name: str, default: str = "") -> str:
    """Return the text of the first child called ``name``."""
    child = element.find(name)
    return default if child is None or child.text is None else child.text


def int_of(element: ET.Element, name: str, default: int | None = None) -> int:
    """Return the number in the first child called ``name``. Raises `XmlError` if it is not a number."""
    value = text_of(element, name).strip()
    if not value and default is not None:
        return default
    if not (value.isascii() and value.isdigit() and len(value) < 20):
        raise XmlError(f"<{name}> is {value[:40]!r} and not a number")
    return int(value)


def build(root: str, content: Tree) -> bytes:
    """Return the document ``<root>content</root>`` with its declaration. A name may have attributes, already escaped.

    Raises `XmlError` for text that XML cannot hold (control characters).
    """
    return ("<?xml version='1.0' encoding='utf-8' ?>\n" + "".join(_render(root, content))).encode()


_ESCAPED = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\r": "&#13;"})
"""A parser would turn a bare carriage return into a line feed."""


def _render(name: str, content: Tree) -> Iterator[str]:
    yield f"<{name}>"
    if isinstance(content, str | int):
        text = str(content)
        if bad := NOT_XML.search(text):
            raise XmlError(f"<{name}> cannot hold the character {bad.group()!r}")
        yield text.translate(_ESCAPED)
    else:
        for child_name, child in content:
            yield from _render(child_name, child)
    yield f"</{name.partition(' ')[0]}>"
