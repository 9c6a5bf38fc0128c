"""Listings to their end: a server that repeats pages does not cause an endless loop."""

from __future__ import annotations

import asyncio

import pytest

import cosxfer
from cosxfer.cos.requests import HttpRequest
from cosxfer.cos.responses import HttpResponse
from cosxfer.transport.memory import MemoryTransport
from tests.unit.fake_cos import BUCKET, document


def client(root: str, fields: list[tuple[str, str]]) -> cosxfer.AsyncClient:
    """A client whose server always returns this page."""

    def response(request: HttpRequest, body: bytes) -> HttpResponse:
        return document(root, [*fields, ("IsTruncated", "true")])

    return cosxfer.AsyncClient(region="ap-guangzhou", anonymous=True, transport=MemoryTransport(response))


@pytest.mark.parametrize("fields", [[], [("NextKeyMarker", "a"), ("NextUploadIdMarker", "1")]])
def test_a_listing_of_uploads_that_repeats_a_page_is_an_error(fields: list[tuple[str, str]]) -> None:
    async def main() -> None:
        async with client("ListMultipartUploadsResult", fields) as circles:
            async for _ in circles.iter_multipart_list(BUCKET):
                pass

    with pytest.raises(cosxfer.ProtocolError, match="it is truncated but has no new marker"):
        asyncio.run(main())


@pytest.mark.parametrize("fields", [[], [("NextPartNumberMarker", "3")]])
def test_a_listing_of_parts_that_repeats_a_page_is_an_error(fields: list[tuple[str, str]]) -> None:
    async def main() -> None:
        async with client("ListPartsResult", fields) as circles:
            async for _ in circles.iter_multipart_list_part(BUCKET, "k", upload_id="u"):
                pass

    with pytest.raises(cosxfer.ProtocolError, match="it is truncated but has no new marker"):
        asyncio.run(main())
