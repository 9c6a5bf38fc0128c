"""A copy of an object of any size, compared with its source.

HEAD shows the source. Up to ``slice_size`` one request copies it; a larger one is copied in parts, side by side. Each
request is pinned to the version that HEAD showed, so a source that changes makes the copy fail and never mixes content.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from cosxfer.bucket_models import CopyObjectResult, CopyResult, CopySource
from cosxfer.cos.requests import customer_key_headers
from cosxfer.engine.copy.parts import CopyInParts, PartsOutcome
from cosxfer.engine.copy.request import DIRECTIVE, CopyRequest, tags_header
from cosxfer.engine.limiter import Limiter
from cosxfer.engine.report import Reporter
from cosxfer.errors import AccessDeniedError, CosxferError, IntegrityError, ServerError
from cosxfer.models import HeadObjectResult, Progress
from cosxfer.ops.copy_object import copy_object
from cosxfer.ops.head_object import head_object
from cosxfer.ops.object_tagging import get_object_tagging
from cosxfer.ops.outage import Transfer
from cosxfer.ops.put_object import EXISTS
from cosxfer.ops.session import Session


async def copy(
    session: Session, limiter: Limiter, request: CopyRequest, *, on_progress: Callable[[Progress], None] | None
) -> CopyResult:
    """Copy an object; raises `IntegrityError` if the copy differs from its source."""
    began = time.monotonic()
    session = session.observed(transfer=Transfer())
    head = await head_object(session, request.source, version_id=request.version_id)
    # The version that was seen, even if a newer one is stored meanwhile.
    request = replace(request, version_id=request.version_id or head.version_id)
    reporter = Reporter(on_progress, head.size)
    reporter.start()
    try:
        if head.size <= request.slice_size:
            made: CopyObjectResult | PartsOutcome = await _copy_at_once(session, request, head)
            reporter.add(head.size)
        else:
            made = await _copy_in_parts(session, limiter, request, head, reporter)
    except ServerError as error:
        if error.status == 412:
            error.add_note(f"the source {request.source} has changed since the copy began; copy it again")
        raise
    await _verify(session, request, head, made.crc64)
    reporter.finish()
    in_parts = made if isinstance(made, PartsOutcome) else None
    return CopyResult(
        bucket=request.target.bucket,
        key=request.target.shown_key,
        etag=made.etag,
        crc64=head.crc64,
        verified=head.crc64 is not None,
        size=head.size,
        parts=1 if in_parts is None else in_parts.parts,
        upload_id="" if in_parts is None else in_parts.upload_id,
        version_id=made.version_id,
        source=CopySource(
            bucket=request.source.bucket,
            key=request.source.shown_key,
            region=request.source.region,
            version_id=request.version_id,
        ),
        source_etag=head.etag,
        seconds=time.monotonic() - began,
        retries=session.retries,
    )


def pins(head: HeadObjectResult) -> dict[str, str]:
    """Return the condition that the source is still the one that ``head`` shows."""
    return {"x-cos-copy-source-if-match": head.etag} if head.etag else {}


async def _copy_at_once(session: Session, request: CopyRequest, head: HeadObjectResult) -> CopyObjectResult:
    replaced = request.replaced or request.onto_itself
    # A copy onto itself must replace the metadata, so it repeats those that are to stay.
    own: Mapping[str, str] = request.headers_for(head)
    if not replaced:
        own = {name: value for name, value in own.items() if name in request.headers or name == "x-cos-storage-class"}
    tags = {} if request.tags is None else {"x-cos-tagging-directive": "Replaced", **tags_header(request.tags)}
    try:
        return await copy_object(
            session,
            request.target,
            source=request.source,
            version_id=request.version_id,
            headers={DIRECTIVE: "Replaced" if replaced else "Copy", **own, **tags, **pins(head)},
        )
    except ServerError as error:
        # The response to an earlier attempt was lost, and this one was refused because of its object.
        if error.code != EXISTS or not session.retries or head.crc64 is None:
            raise
        found = await head_object(session, request.target, headers=customer_key_headers(request.headers))
        if (found.size, found.crc64) != (head.size, head.crc64):
            raise
        return CopyObjectResult(
            status_code=found.status_code,
            headers=found.headers,
            request_id=found.request_id,
            etag=found.etag,
            crc64=found.crc64,
            last_modified=found.last_modified,
            version_id=found.version_id,
        )


async def _copy_in_parts(
    session: Session, limiter: Limiter, request: CopyRequest, head: HeadObjectResult, reporter: Reporter
) -> PartsOutcome:
    tags = request.tags
    if tags is None:
        try:
            tags = (await get_object_tagging(session, request.source, version_id=request.version_id)).tags
        except AccessDeniedError as error:
            error.add_note("a copy in parts must read the tags of its source; pass tags={} to copy without them")
            raise
    headers = {**request.headers_for(head), **tags_header(tags)}
    return await CopyInParts(session, limiter, request, head, headers=headers, pins=pins(head), reporter=reporter).run()


async def _verify(session: Session, request: CopyRequest, head: HeadObjectResult, crc64: int | None) -> None:
    """Compare the copy with its source. An ETag proves nothing: it depends on the parts and on the encryption."""
    theirs, size = crc64, head.size
    if theirs is None:
        try:
            copied = await head_object(session, request.target, headers=customer_key_headers(request.headers))
        except CosxferError as error:
            error.add_note(f"{request.target} was copied, but could not be compared with its source")
            raise
        theirs, size = copied.crc64, copied.size
    # A source without a CRC64 was stored before COS computed them.
    if size != head.size or (head.crc64 is not None and theirs != head.crc64):
        raise IntegrityError(
            f"the copy {request.target} is not its source {request.source}: checksum mismatch: copy CRC64 {theirs}, "
            f"{size} bytes; source CRC64 {head.crc64}, {head.size} bytes. Do not use it; copy again",
            expected=head.crc64,
            actual=theirs,
        )
