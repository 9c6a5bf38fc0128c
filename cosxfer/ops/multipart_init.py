"""Initiate Multipart Upload (source: product page 436/7746)."""

from __future__ import annotations

from collections.abc import Mapping

from cosxfer.address import ObjectAddress
from cosxfer.cos import responses, xml
from cosxfer.cos.identifiers import check_key_in_xml
from cosxfer.cos.requests import CosRequest
from cosxfer.errors import ConnectError, TransportError
from cosxfer.foreign import shorten
from cosxfer.models import MultipartInitResult
from cosxfer.ops.mistakes import warn_if_folder
from cosxfer.ops.session import Session

MAY_HAVE_BEGUN = (
    "the server may have begun an empty multipart upload of this key: multipart_list shows it, multipart_abort removes "
    "it"
)


async def multipart_init(
    session: Session, address: ObjectAddress, *, headers: Mapping[str, str]
) -> MultipartInitResult:
    check_key_in_xml(address.key)
    warn_if_folder(address.key, None)
    operation = f"Initiate Multipart Upload {shorten(address.key)}"
    request = CosRequest(
        method="POST",
        operation=operation,
        address=address,
        params={"uploads": ""},
        headers=headers,
    )
    try:
        response = await session.call(request)
        root = responses.document(response, "InitiateMultipartUploadResult", operation=operation)
        upload_id = xml.text_of(root, "UploadId")
        if not upload_id:
            raise responses.malformed(operation, "it has no UploadId")
    except TransportError as error:
        if not isinstance(error, ConnectError):
            error.add_note(MAY_HAVE_BEGUN)
        raise
    return MultipartInitResult(
        **responses.common(response),
        bucket=xml.text_of(root, "Bucket", address.bucket),
        key=address.shown_key,
        upload_id=upload_id,
    )
