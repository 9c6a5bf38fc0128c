"""GET Bucket: the keys below a prefix, for downloads of a folder (source: product page 436/7734)."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import NamedTuple
from urllib.parse import unquote

from cosxfer.address import ObjectAddress
from cosxfer.cos import responses, xml
from cosxfer.cos.requests import CosRequest
from cosxfer.ops.listing import listing
from cosxfer.ops.session import Session


class ListedKey(NamedTuple):
    """An object of a listing."""

    key: str
    size: int


async def list_keys(session: Session, address: ObjectAddress, prefix: str) -> AsyncGenerator[ListedKey, None]:
    """Yield all objects whose keys begin with ``prefix``, in the order of the keys' bytes."""
    operation = f"List Objects of {address.bucket}"
    marker = ""
    while True:
        params = {"encoding-type": "url", "prefix": prefix, "marker": marker}
        request = CosRequest(
            method="GET",
            operation=operation,
            address=address,
            params={name: value for name, value in params.items() if value},
        )
        root = await listing(await session.call(request), "ListBucketResult", operation=operation)
        try:
            for entry in root.findall("Contents"):
                yield ListedKey(unquote(xml.text_of(entry, "Key")), xml.int_of(entry, "Size", 0))
            if xml.text_of(root, "IsTruncated").lower() != "true":
                return
            after = unquote(xml.text_of(root, "NextMarker"))
        except xml.XmlError as error:
            raise responses.malformed(operation, str(error)) from error
        # A marker that does not advance would make this loop endless.
        if after.encode("utf-8", "surrogatepass") <= marker.encode("utf-8", "surrogatepass"):
            raise responses.malformed(operation, "it is truncated but has no new marker")
        marker = after
