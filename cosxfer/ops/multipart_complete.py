"""Complete Multipart Upload: join the parts to one object (source: product page 436/7742)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

from cosxfer._native import hashing
from cosxfer.address import ObjectAddress
from cosxfer.arguments import check_text, wrong_type
from cosxfer.cos import requests, responses, xml
from cosxfer.cos.identifiers import check_key_in_xml, check_part_number, check_upload_id
from cosxfer.cos.requests import CosRequest
from cosxfer.errors import UsageError
from cosxfer.models import MultipartCompleteResult, MultipartUploadResult, Part
from cosxfer.ops.session import Session
from cosxfer.sdk_names import plain

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

PartInput: TypeAlias = Part | MultipartUploadResult | Mapping[str, Any] | tuple[int | str, str]
"""A part of `multipart_complete`: a record, a mapping with ``PartNumber`` and ``ETag``, or a pair of them."""

WANTED = (
    "an iterable of cosxfer.Part or of what multipart_upload returned, of mappings with PartNumber and ETag, "
    "or of pairs (part number, ETag)"
)


async def multipart_complete(
    session: Session,
    address: ObjectAddress,
    *,
    upload_id: str,
    parts: Iterable[PartInput],
    forbid_overwrite: bool = False,
) -> MultipartCompleteResult:
    check_key_in_xml(address.key)
    operation = f"Complete Multipart Upload {check_upload_id(upload_id)}"
    body = xml.build(
        "CompleteMultipartUpload",
        [
            ("Part", [("PartNumber", part.part_number), ("ETag", f'"{part.etag.strip(chr(34))}"')])
            for part in _sorted(listed_parts(parts))
        ],
    )
    request = CosRequest(
        method="POST",
        operation=operation,
        address=address,
        params={"uploadId": upload_id},
        headers={
            "content-type": "application/xml",
            "content-md5": requests.content_md5(hashing.md5(body)),
            **({requests.FORBID_OVERWRITE: "true"} if forbid_overwrite else {}),
        },
        body=body,
        content_length=len(body),
        stall_timeout_seconds=max(session.config.complete_timeout_seconds, session.config.stall_timeout_seconds),
        # COS sends status 200 at once and the outcome later. A response without an outcome is not a success.
        check=lambda response: _check(response, operation),
    )
    response = await session.call(request)
    root = responses.document(response, "CompleteMultipartUploadResult", operation=operation)
    return MultipartCompleteResult(
        **responses.common(response),
        # Without the scheme, as in every other result.
        location=_bare(xml.text_of(root, "Location")) or session.endpoint(address).location(address.key),
        bucket=xml.text_of(root, "Bucket", address.bucket),
        key=address.shown_key,
        etag=xml.text_of(root, "ETag"),
        crc64=responses.crc64(response, operation=operation)
        if "x-cos-hash-crc64ecma" in response.headers
        else _crc64(root),
        version_id=response.headers.get("x-cos-version-id"),
    )


def _bare(location: str) -> str:
    return location.removeprefix("https://").removeprefix("http://")


def _check(response: responses.HttpResponse, operation: str) -> None:
    root = responses.document(response, "CompleteMultipartUploadResult", operation=operation)
    if not xml.text_of(root, "ETag"):
        raise responses.malformed(operation, "it has no ETag")


def _crc64(root: Element) -> int | None:
    # The checksum is in the body if the server sent the header of the response before it knew it.
    text = xml.text_of(root, "CRC64") or xml.text_of(root, "x-cos-hash-crc64ecma")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 20 else None


def listed_parts(parts: Iterable[PartInput]) -> list[Part | MultipartUploadResult]:
    """Return the parts as records; raises `UsageError` for an entry that is not a part."""
    if not isinstance(parts, Iterable) or isinstance(parts, str | bytes | Mapping):
        inside = "; pass the list in it: parts['Part']" if isinstance(parts, Mapping) and "Part" in parts else ""
        raise wrong_type("parts", parts, WANTED + inside)
    return [_as_part(part) for part in parts]


def _as_part(part: PartInput) -> Part | MultipartUploadResult:
    if isinstance(part, Mapping):
        named = {plain(name): value for name, value in part.items() if isinstance(name, str)}
        if missing := [name for name in ("PartNumber", "ETag") if plain(name) not in named]:
            raise UsageError(
                f"a mapping in parts has no {missing[0]!r}; it must have PartNumber and ETag", name="parts"
            )
        number, etag = named["partnumber"], named["etag"]
    elif isinstance(part, tuple) and len(part) == 2:
        number, etag = part
    elif isinstance(part, Part | MultipartUploadResult):
        number, etag = part.part_number, part.etag
    else:
        raise UsageError(f"parts holds {type(part).__name__}; it must be {WANTED}", name="parts")
    try:
        number = check_part_number(number)
        check_text(etag, "etag", optional=False)
    except UsageError as error:
        raise UsageError(f"parts holds a part whose {error}", name="parts", value=error.value) from None
    if isinstance(part, MultipartUploadResult | Part) and part.part_number is number:
        return part
    return Part(part_number=number, etag=etag)


def _sorted(listed: list[Part | MultipartUploadResult]) -> list[Part | MultipartUploadResult]:
    chosen = sorted(listed, key=lambda part: part.part_number)
    if not chosen:
        raise UsageError("parts is empty; a multipart upload needs at least one part", name="parts", value=())
    for part in chosen:
        if not part.etag.strip('"') or not part.etag.isprintable():
            raise UsageError(
                f"part {part.part_number} has the ETag {part.etag!r}; pass the one that multipart_upload returned",
                name="parts",
                value=part.part_number,
            )
    for before, after in pairwise(chosen):
        if before.part_number == after.part_number:
            raise UsageError(f"parts holds part {after.part_number} twice", name="parts", value=after.part_number)
    return chosen
