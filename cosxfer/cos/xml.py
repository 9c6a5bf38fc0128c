"""XML both ways, for documents that may come from anyone: no document types, no entities, a bounded size."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TypeAlias
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

MAX_DOCUMENT_BYTES = 16 * 1024 * 1024
"""More than any page of 1,000 entries or any list of 10,000 parts needs."""

MAX_DEPTH = 32

Tree: TypeAlias = "str | int | Iterable[tuple[str, Tree]]"
"""Text, or children in order; a name may come more than once."""

NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""A character that no XML document can hold."""


class XmlError(ValueError):
    """The document is not well-formed XML of a form that COS uses."""


def parse(document: bytes | bytearray | memoryview, *, root: str | None = None) -> ET.Element:
    """Parse ``document`` and return its root element, its names without name spaces.

    White space around the document is skipped: COS sends spaces to keep a slow answer alive. Raises `XmlError`
    for anything malformed, for a document type, and for a root other than ``root``.
    """
    if len(document) > MAX_DOCUMENT_BYTES:
        raise XmlError(f"the XML document is {len(document)} bytes long; at most {MAX_DOCUMENT_BYTES} are read")
    try:
        # Decoded here, so that no declared encoding can hide a document type from the check below.
        text = bytes(document).decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise XmlError(f"the XML document is not UTF-8: {error.reason}") from error
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise XmlError("the XML document holds a document type, which is refused")
    parser = ET.XMLParser(target=_Builder())  # noqa: S314 # no document type gets here, so no entities
    try:
        parser.feed(text)
        element: ET.Element = parser.close()
    except ET.ParseError as error:
        raise XmlError(f"the XML document is not well-formed: {error}") from error
    if root is not None and element.tag != root:
        raise XmlError(f"the XML document is <{element.tag[:60]}>; <{root}> was expected")
    return element


class _Builder(ET.TreeBuilder):
    """Builds elements without name spaces, and none deeper than COS nests them."""

    _depth = 0

    def start(self, tag: str, attributes: dict[str, str]) -> ET.Element:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise XmlError(f"the XML document is nested deeper than {MAX_DEPTH} levels")
        return super().start(tag.rpartition("}")[2], attributes)

    def end(self, tag: str) -> ET.Element:
        self._depth -= 1
        return super().end(tag.rpartition("}")[2])


def text_of(element: ET.Element, name: str, default: str = "") -> str:
    """The text of the first child called ``name``."""
    child = element.find(name)
    return default if child is None or child.text is None else child.text


def int_of(element: ET.Element, name: str, default: int | None = None) -> int:
    """The number in the first child called ``name``; raises `XmlError` where it is none."""
    value = text_of(element, name).strip()
    if not value and default is not None:
        return default
    if not (value.isascii() and value.isdigit() and len(value) < 20):
        raise XmlError(f"<{name}> is {value[:40]!r} and not a number")
    return int(value)


def build(root: str, content: Tree) -> bytes:
    """Return the document ``<root>content</root>`` with its declaration.

    Raises `XmlError` for text that XML cannot hold (control characters).
    """
    return ("<?xml version='1.0' encoding='utf-8' ?>\n" + "".join(_render(root, content))).encode()


def _render(name: str, content: Tree) -> Iterator[str]:
    yield f"<{name}>"
    if isinstance(content, str | int):
        text = str(content)
        if bad := NOT_XML.search(text):
            raise XmlError(f"<{name}> cannot hold the character {bad.group()!r}")
        # A bare carriage return would come back as a line feed.
        yield escape(text, {"\r": "&#13;", '"': "&quot;"})
    else:
        for child_name, child in content:
            yield from _render(child_name, child)
    yield f"</{name}>"
