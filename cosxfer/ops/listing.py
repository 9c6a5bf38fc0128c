"""Parsing a page of a listing, which may be large, without blocking the event loop."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from cosxfer.cos import responses
from cosxfer.cos.responses import HttpResponse
from cosxfer.cos.xml import XmlError
from cosxfer.cos.xml_page import parse_page
from cosxfer.threads import in_thread

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

T = TypeVar("T")

_AT_ONCE_BYTES = 64 * 1024
"""Up to this size a page is parsed on the event loop, in less than 5 ms; a larger one in a thread."""


async def listing(response: HttpResponse, root: str, *, operation: str) -> Element:
    """Return the document ``root`` of ``response``.

    Raises `ProtocolError` if it is not one, or larger than a page can be.
    """
    return await read_page(response, root, lambda element: element, operation=operation)


async def read_page(response: HttpResponse, root: str, read: Callable[[Element], T], *, operation: str) -> T:
    """Return what ``read`` makes of the document ``root``. A thread runs it if the page is large.

    Raises `ProtocolError` if the document is no such page, or if ``read`` raises `XmlError`.
    """
    return await read_with(response, lambda body: read(parse_page(body, root=root)), operation=operation)


async def read_with(response: HttpResponse, read: Callable[[bytes], T], *, operation: str) -> T:
    """Return what ``read`` makes of the body, as `read_page` does."""
    work = partial(_read, response, read, operation)
    return work() if len(response.body) <= _AT_ONCE_BYTES else await in_thread(None, work)


def _read(response: HttpResponse, read: Callable[[bytes], T], operation: str) -> T:
    try:
        return read(response.body)
    except XmlError as error:
        raise responses.malformed(operation, str(error)) from error


class Markers:
    """Raises `ProtocolError` if a server returns no marker, or one that it has returned before.

    Otherwise a listing would never end. It keeps two markers only: the current one, and one of the past that it renews
    after 1, 2, 4, … pages (Brent's cycle detection). So it finds a cycle of any length.
    """

    def __init__(self, operation: str, *first: str) -> None:
        self._operation = operation
        self._current = self._earlier = first
        self._pages, self._renewal = 0, 1

    def following(self, first: str, *rest: str) -> str:
        """Return the marker of the next page: ``first``; ``rest`` are the other markers of that page."""
        new = (first, *rest)
        if not first or new in (self._current, self._earlier):
            raise responses.malformed(self._operation, "it is truncated but has no new marker")
        self._current = new
        self._pages += 1
        if self._pages == self._renewal:
            self._earlier, self._pages, self._renewal = new, 0, self._renewal * 2
        return first
