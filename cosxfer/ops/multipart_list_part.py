"""List Parts: the uploaded parts of a multipart upload (source: product page 436/7747)."""

from __future__ import annotations

from cosxfer.address import ObjectAddress
from cosxfer.arguments import as_number, check_count, check_text, warn_unknown_value
from cosxfer.cos import responses, xml
from cosxfer.cos.identifiers import check_upload_id
from cosxfer.cos.requests import CosRequest
from cosxfer.limits import LARGEST_NUMBER, MAX_LIST_ENTRIES
from cosxfer.models import MultipartListPartResult, Part
from cosxfer.ops.listing import listing
from cosxfer.ops.session import Session


async def multipart_list_part(
    session: Session,
    address: ObjectAddress,
    *,
    upload_id: str,
    max_parts: int | str | None = None,
    part_number_marker: int | str | None = None,
    encoding_type: str | None = None,
) -> MultipartListPartResult:
    operation = f"List Parts of {check_upload_id(upload_id)}"
    params = {"uploadId": upload_id}
    if max_parts is not None:
        params["max-parts"] = str(check_page_size(max_parts, "max_parts"))
    check_encoding_type(encoding_type)
    if encoding_type is None and xml.NOT_XML.search(address.key):
        encoding_type = "url"  # the response repeats the key
    part_number_marker = as_number(part_number_marker)
    if part_number_marker is not None:
        check_count(part_number_marker, "part_number_marker", maximum=LARGEST_NUMBER)
        params["part-number-marker"] = str(part_number_marker)
    if encoding_type is not None:
        params["encoding-type"] = encoding_type
    request = CosRequest(method="GET", operation=operation, address=address, params=params)
    response = await session.call(request)
    root = await listing(response, "ListPartsResult", operation=operation)
    encoding = xml.text_of(root, "Encoding-type") or xml.text_of(root, "EncodingType")
    try:
        next_marker = xml.text_of(root, "NextPartNumberMarker")
        return MultipartListPartResult(
            **responses.common(response),
            bucket=xml.text_of(root, "Bucket", address.bucket),
            key=address.shown_key,
            upload_id=xml.text_of(root, "UploadId", upload_id),
            initiator=responses.identity(root, "Initiator"),
            owner=responses.identity(root, "Owner"),
            storage_class=xml.text_of(root, "StorageClass"),
            encoding_type=encoding,
            part_number_marker=xml.int_of(root, "PartNumberMarker", 0),
            next_part_number_marker=xml.int_of(root, "NextPartNumberMarker") if next_marker else None,
            max_parts=xml.int_of(root, "MaxParts", MAX_LIST_ENTRIES),
            is_truncated=xml.text_of(root, "IsTruncated").lower() == "true",
            parts=tuple(
                Part(
                    part_number=xml.int_of(part, "PartNumber"),
                    etag=xml.text_of(part, "ETag"),
                    size=xml.int_of(part, "Size"),
                    last_modified=xml.text_of(part, "LastModified"),
                )
                for part in root.findall("Part")
            ),
        )
    except xml.XmlError as error:
        raise responses.malformed(operation, str(error)) from error


def check_encoding_type(value: str | None) -> None:
    """Raise `UsageError` if ``value`` is not text, and warn if COS may not know it."""
    check_text(value, "encoding_type")
    if value not in (None, "url"):
        warn_unknown_value("encoding_type", str(value), ("url",))


def check_page_size(value: int | str, name: str) -> int:
    return check_count(as_number(value), name, minimum=1, maximum=MAX_LIST_ENTRIES)
