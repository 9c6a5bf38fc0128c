"""List Multipart Uploads: those that are neither completed nor aborted (source: product page 436/7736)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cosxfer.address import ObjectAddress, shown_key
from cosxfer.arguments import check_text
from cosxfer.cos import responses, xml
from cosxfer.cos.requests import CosRequest
from cosxfer.errors import ProtocolError
from cosxfer.limits import MAX_LIST_ENTRIES
from cosxfer.models import MultipartListResult, Upload
from cosxfer.ops.listing import listing
from cosxfer.ops.multipart_list_part import check_encoding_type, check_page_size
from cosxfer.ops.session import Session

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element


async def multipart_list(
    session: Session,
    address: ObjectAddress,
    *,
    prefix: str | None = None,
    delimiter: str | None = None,
    encoding_type: str | None = None,
    max_uploads: int | str | None = None,
    key_marker: str | None = None,
    upload_id_marker: str | None = None,
) -> MultipartListResult:
    operation = f"List Multipart Uploads of {address.bucket}"
    for name, text in (
        ("prefix", prefix),
        ("delimiter", delimiter),
        ("key_marker", key_marker),
        ("upload_id_marker", upload_id_marker),
    ):
        check_text(text, name)
    check_encoding_type(encoding_type)
    optional = {
        "prefix": None if prefix is None else prefix.removeprefix("/"),
        "delimiter": delimiter,
        "encoding-type": encoding_type,
        "max-uploads": None if max_uploads is None else str(check_page_size(max_uploads, "max_uploads")),
        "key-marker": None if key_marker is None else key_marker.removeprefix("/"),
        "upload-id-marker": upload_id_marker,
    }
    params = {"uploads": "", **{name: value for name, value in optional.items() if value is not None}}
    request = CosRequest(method="GET", operation=operation, address=address, params=params)
    response = await session.call(request)
    try:
        root = await listing(response, "ListMultipartUploadsResult", operation=operation)
    except ProtocolError:
        if encoding_type is not None:
            raise
        root = None
    if root is None or (encoding_type is None and b"\r" in response.body):
        # There is a key that XML cannot hold, or a carriage return, which XML reads as a line feed.
        return await multipart_list(
            session,
            address,
            prefix=prefix,
            delimiter=delimiter,
            encoding_type="url",
            max_uploads=max_uploads,
            key_marker=key_marker,
            upload_id_marker=upload_id_marker,
        )
    encoding = xml.text_of(root, "Encoding-Type") or xml.text_of(root, "EncodingType")
    decoded = responses.decoder(encoding)

    def key_of(element: Element, name: str) -> str:
        return shown_key(decoded(xml.text_of(element, name)))

    try:
        return MultipartListResult(
            **responses.common(response),
            bucket=xml.text_of(root, "Bucket", address.bucket),
            encoding_type=encoding,
            prefix=key_of(root, "Prefix"),
            delimiter=decoded(xml.text_of(root, "Delimiter")),
            key_marker=key_of(root, "KeyMarker"),
            upload_id_marker=xml.text_of(root, "UploadIdMarker"),
            next_key_marker=key_of(root, "NextKeyMarker"),
            next_upload_id_marker=xml.text_of(root, "NextUploadIdMarker"),
            max_uploads=xml.int_of(root, "MaxUploads", MAX_LIST_ENTRIES),
            is_truncated=xml.text_of(root, "IsTruncated").lower() == "true",
            uploads=tuple(
                Upload(
                    key=key_of(upload, "Key"),
                    upload_id=xml.text_of(upload, "UploadId"),
                    storage_class=xml.text_of(upload, "StorageClass"),
                    initiator=responses.identity(upload, "Initiator"),
                    owner=responses.identity(upload, "Owner"),
                    initiated=xml.text_of(upload, "Initiated"),
                )
                for upload in root.findall("Upload")
            ),
            common_prefixes=tuple(key_of(p, "Prefix") for p in root.findall("CommonPrefixes")),
        )
    except xml.XmlError as error:
        raise responses.malformed(operation, str(error)) from error
