"""Parsing a page of a listing, which may be large, without blocking the event loop."""

from __future__ import annotations

from functools import partial
from xml.etree.ElementTree import Element

from cosxfer.cos import responses, xml
from cosxfer.cos.responses import HttpResponse
from cosxfer.threads import in_thread

_AT_ONCE_BYTES = 64 * 1024
"""Up to this size a page is parsed on the event loop, in less than 5 ms; a larger one in a thread."""


async def listing(response: HttpResponse, root: str, *, operation: str) -> Element:
    """Return the document ``root`` of ``response``.

    Raises `ProtocolError` if it is not one, or larger than a page can be.
    """
    read = partial(responses.document, response, root, operation=operation, bounds=xml.LISTING)
    return read() if len(response.body) <= _AT_ONCE_BYTES else await in_thread(None, read)
