"""Initiate Multipart Upload (source: product page 436/7746)."""

from __future__ import annotations

from collections.abc import Mapping

from cosxfer.address import ObjectAddress
from cosxfer.cos import responses, xml
from cosxfer.cos.identifiers import check_key_in_xml
from cosxfer.cos.requests import CosRequest
from cosxfer.errors import ConnectError, CosxferError, ServerError, TransportError
from cosxfer.foreign import shorten
from cosxfer.models import MultipartInitResult
from cosxfer.ops.mistakes import warn_if_folder
from cosxfer.ops.session import Session, logger

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
    except CosxferError as error:
        if may_have_begun(error):
            error.add_note(MAY_HAVE_BEGUN)
        raise
    return MultipartInitResult(
        **responses.common(response),
        bucket=xml.text_of(root, "Bucket", address.bucket),
        key=address.shown_key,
        upload_id=upload_id,
    )


def warn_of_retry(what: str, error: CosxferError) -> None:
    """Log that a retry of Initiate may leave an upload on the server. ``what`` names the upload.

    Each Initiate makes a new upload, and the server cannot be asked which one a lost response named.
    """
    if may_have_begun(error):
        logger.warning(
            "%s begins again after a failed Initiate (%s): an empty multipart upload of this key may stay on the "
            "server; multipart_list shows it",
            what,
            error,
        )


def may_have_begun(error: CosxferError) -> bool:
    """Whether the server may have begun an upload in spite of ``error``.

    A lost response says nothing, and a server may fail (5xx, or an error inside a 200) after its work. A server that
    refuses or throttles a request has not begun.
    """
    if isinstance(error, ServerError):
        return error.retryable and error.code != "SlowDown" and not 300 <= error.status < 500
    return isinstance(error, TransportError) and not isinstance(error, ConnectError)
