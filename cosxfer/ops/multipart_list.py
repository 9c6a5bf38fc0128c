"""List Multipart Uploads: what was begun and neither completed nor aborted (source: product page 436/7736)."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from cosxfer.arguments import check_text
from cosxfer.cos import responses, xml
from cosxfer.cos.names import check_bucket, given_key
from cosxfer.cos.requests import CosRequest
from cosxfer.errors import ProtocolError
from cosxfer.limits import MAX_LIST_ENTRIES
from cosxfer.models import MultipartListResult, Upload
from cosxfer.ops.listing import listing
from cosxfer.ops.multipart_list_part import check_encoding_type, check_page_size
from cosxfer.ops.session import Session


async def multipart_list(
    session: Session,
    bucket: str,
    *,
    prefix: str | None = None,
    delimiter: str | None = None,
    encoding_type: str | None = None,
    max_uploads: int | str | None = None,
    key_marker: str | None = None,
    upload_id_marker: str | None = None,
    region: str | None = None,
) -> MultipartListResult:
    doing = f"List Multipart Uploads of {bucket}"
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
    request = CosRequest(method="GET", bucket=check_bucket(bucket), params=params, region=region)
    response = await session.call(request, doing=doing)
    try:
        root = await listing(response, "ListMultipartUploadsResult", doing=doing)
    except ProtocolError:
        if encoding_type is not None:
            raise
        root = None
    if root is None or (encoding_type is None and b"\r" in response.body):
        # A key that XML cannot hold, or a carriage return, which XML reads as a line feed.
        return await multipart_list(
            session,
            bucket,
            prefix=prefix,
            delimiter=delimiter,
            encoding_type="url",
            max_uploads=max_uploads,
            key_marker=key_marker,
            upload_id_marker=upload_id_marker,
            region=region,
        )
    encoding = xml.text_of(root, "Encoding-Type") or xml.text_of(root, "EncodingType")
    decoded = responses.decoder(encoding)

    def key_of(element: Element, name: str) -> str:
        return given_key(decoded(xml.text_of(element, name)))

    try:
        return MultipartListResult(
            **responses.common(response),
            bucket=xml.text_of(root, "Bucket", bucket),
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
        raise responses.malformed(doing, str(error)) from error
