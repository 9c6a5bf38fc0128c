"""Upload Part - Copy: a part that is a range of an object (source: product page 436/8287)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from cosxfer.address import ObjectAddress
from cosxfer.bucket_models import UploadPartCopyResult
from cosxfer.cos import responses, xml
from cosxfer.cos.requests import AttemptFollower, CosRequest
from cosxfer.cos.responses import HttpResponse
from cosxfer.errors import UsageError
from cosxfer.foreign import shorten
from cosxfer.limits import LARGEST_NUMBER, MAX_PART_BYTES
from cosxfer.ops.copy_object import outcome, source_header
from cosxfer.ops.session import Session

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element


async def upload_part_copy(
    session: Session,
    address: ObjectAddress,
    *,
    source: ObjectAddress,
    version_id: str | None,
    upload_id: str,
    part_number: int,
    byte_range: tuple[int, int] | None,
    headers: Mapping[str, str],
    follower: AttemptFollower | None = None,
) -> UploadPartCopyResult:
    """Copy the bytes ``byte_range`` (first and last, both included) of the source, or all of it, as one part.

    The request can be repeated: a second part with the same number replaces the first.
    """
    operation = f"Upload Part - Copy {part_number}"
    root: Element | None = None

    def check(response: HttpResponse) -> None:
        nonlocal root
        root = outcome(response, "CopyPartResult", operation)

    ranged = {} if byte_range is None else {"x-cos-copy-source-range": f"bytes={byte_range[0]}-{byte_range[1]}"}
    request = CosRequest(
        method="PUT",
        operation=operation,
        address=address,
        params={"partNumber": str(part_number), "uploadId": upload_id},
        headers={**headers, **ranged, "x-cos-copy-source": source_header(session, source, version_id)},
        stall_timeout_seconds=max(session.config.complete_timeout_seconds, session.config.stall_timeout_seconds),
        follower=follower,
        check=check,
    )
    response = await session.call(request)
    assert root is not None
    return UploadPartCopyResult(
        **responses.common(response),
        part_number=part_number,
        etag=xml.text_of(root, "ETag"),
        last_modified=xml.text_of(root, "LastModified"),
        source_version_id=response.headers.get("x-cos-copy-source-version-id"),
    )


def check_source_range(byte_range: tuple[int, int] | None) -> None:
    """Raise `UsageError` if it is neither None nor the first and the last byte of a part."""
    if byte_range is None:
        return
    whole_numbers = isinstance(byte_range, tuple) and [type(end) for end in byte_range] == [int, int]
    if not whole_numbers or not 0 <= byte_range[0] <= byte_range[1] <= LARGEST_NUMBER:
        raise UsageError(
            f"byte_range is {shorten(byte_range)}; it must be the first and the last byte, both included",
            name="byte_range",
            value=byte_range,
        )
    if byte_range[1] - byte_range[0] >= MAX_PART_BYTES:
        raise UsageError(
            f"byte_range has {byte_range[1] - byte_range[0] + 1} bytes; a part has at most {MAX_PART_BYTES}",
            name="byte_range",
            value=byte_range,
        )
