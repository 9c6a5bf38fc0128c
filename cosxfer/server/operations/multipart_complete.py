"""Complete Multipart Upload (source: product page 436/7742).

No byte is copied, so the response nearly always comes at once. If it takes longer, the server does as COS does: it
sends status 200 and spaces that keep the connection alive, then the result or an Error.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from hashlib import md5
from itertools import pairwise

from cosxfer._native import hashing
from cosxfer.cos import xml
from cosxfer.limits import MAX_PART_NUMBER, MIN_PART_BYTES
from cosxfer.server import checks, encryption, versions
from cosxfer.server.call import CRC64_HEADER, Call, quoted
from cosxfer.server.http import XML_TYPE, CosError, Response, error_body, xml_response
from cosxfer.server.store import StoredPart, StoredUpload

PATIENCE_SECONDS = 1.0
"""How long the assembly may take before the response begins; also the time between two spaces."""

Wanted = list[tuple[int, str]]
"""Part numbers and ETags without quotes."""


async def multipart_complete(call: Call) -> Response:
    checks.refuse_conditions(call.request.headers)
    upload = call.upload()
    expected = checks.content_md5(call.request.headers)
    document = await call.body.read_all(limit=xml.MAX_DOCUMENT_BYTES)
    if expected is not None and md5(document, usedforsecurity=False).digest() != expected:
        raise CosError("BadDigest", "The Content-MD5 you specified did not match what we received.")
    wanted = parse_parts(document)
    chosen = choose_parts(wanted, {part.number: part for part in call.store.parts(upload)})
    assembly = asyncio.create_task(_assemble(call, upload, chosen))
    done, _ = await asyncio.wait([assembly], timeout=PATIENCE_SECONDS)
    if done:
        return assembly.result()
    return Response(
        headers={"content-type": XML_TYPE, **encryption.response_headers(upload.headers)},
        body=keep_alive(assembly, resource=call.location()),
    )


async def _assemble(call: Call, upload: StoredUpload, parts: Sequence[StoredPart]) -> Response:
    loop = asyncio.get_running_loop()
    etag, crc64 = await loop.run_in_executor(call.executor, combine, parts)
    current = call.store.upload(upload.id, upload.bucket, upload.key)
    if current is None:
        raise CosError("NoSuchUpload", "The specified multipart upload does not exist.")
    present = {part.blob for part in call.store.parts(upload)}
    if any(part.blob not in present for part in parts):
        raise CosError("InvalidPart", "A part was uploaded again while the upload was being completed.")
    call.check_overwrite(call.request.headers)
    version = call.store.complete(upload, parts=parts, etag=etag, crc64=crc64)
    response = xml_response(
        "CompleteMultipartUploadResult",
        [
            ("Location", f"{call.request.scheme}://{call.location()}"),
            ("Bucket", call.bucket),
            ("Key", call.key),
            ("ETag", quoted(etag)),
        ],
    )
    response.headers |= {CRC64_HEADER: str(crc64), **encryption.response_headers(upload.headers)}
    response.headers |= versions.headers(call, version)
    return response


async def keep_alive(assembly: asyncio.Task[Response], *, resource: str) -> AsyncIterator[bytes]:
    """Yield spaces until ``assembly`` is done, then its document or that of its error."""
    while not (await asyncio.wait([assembly], timeout=PATIENCE_SECONDS))[0]:
        yield b" "
    try:
        body = assembly.result().body
    except CosError as error:
        body = error_body(error, resource=resource, request_id="", trace_id="")
    assert isinstance(body, bytes)
    yield body


def parse_parts(document: bytes) -> Wanted:
    """Parse the request's document. Raises MalformedXML, InvalidPartOrder, InvalidArgument."""
    try:
        root = xml.parse(document, root="CompleteMultipartUpload")
        wanted = [
            (xml.int_of(part, "PartNumber"), xml.text_of(part, "ETag").strip().strip('"').lower())
            for part in root.findall("Part")
        ]
    except xml.XmlError as error:
        raise CosError("MalformedXML", str(error)) from error
    if not wanted:
        raise CosError("MalformedXML", "The document names no part.")
    numbers = [number for number, _ in wanted]
    if any(later <= earlier for earlier, later in pairwise(numbers)):
        raise CosError("InvalidPartOrder", "The parts are not in ascending order of their numbers.")
    if numbers[0] < 1 or numbers[-1] > MAX_PART_NUMBER:
        raise CosError("InvalidArgument", f"Part numbers go from 1 to {MAX_PART_NUMBER}.")
    return wanted


def choose_parts(wanted: Wanted, present: dict[int, StoredPart]) -> list[StoredPart]:
    """Return the stored parts for ``wanted``. Raises InvalidPart, EntityTooSmall."""
    chosen = []
    for number, etag in wanted:
        part = present.get(number)
        if part is None or part.etag != etag:
            why = "was not uploaded" if part is None else "has another ETag"
            raise CosError(
                "InvalidPart", f"One or more of the specified parts could not be found: part {number} {why}."
            )
        chosen.append(part)
    for part in chosen[:-1]:
        if part.size < MIN_PART_BYTES:
            raise CosError(
                "EntityTooSmall",
                f"Part {part.number} is {part.size} bytes; all but the last need {MIN_PART_BYTES}.",
            )
    return chosen


def combine(parts: Sequence[StoredPart]) -> tuple[str, int]:
    """Return ETag and CRC64 of the object that consists of ``parts``."""
    digest = md5(b"".join(bytes.fromhex(part.etag) for part in parts), usedforsecurity=False)
    crc64 = 0
    for part in parts:
        crc64 = hashing.crc64_combine(crc64, part.crc64, part.size)
    return f"{digest.hexdigest()}-{len(parts)}", crc64
