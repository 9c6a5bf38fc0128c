"""A single PUT: a body, or a file of any size up to 5 GiB, in one request. The only place that sends one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor

from cosxfer._native import hashing
from cosxfer.address import ObjectAddress
from cosxfer.cos.requests import Body, with_md5_metadata
from cosxfer.engine.limiter import Share
from cosxfer.engine.multipart.source import HashedPart
from cosxfer.engine.report import Reporter, logger
from cosxfer.engine.upload.bodies import PreparedBody
from cosxfer.engine.upload.hash_ahead import HashAhead
from cosxfer.engine.upload.opening import Opener
from cosxfer.engine.upload.part_body import STEP_BYTES, PartBody
from cosxfer.engine.upload.sent import SinglePut
from cosxfer.engine.upload.short import UploadRest
from cosxfer.engine.upload.unchanged import check_small_file, check_stored, check_unchanged
from cosxfer.errors import CosxferError
from cosxfer.models import Progress, PutObjectResult
from cosxfer.ops.put_object import put_fields, put_object
from cosxfer.ops.session import Session
from cosxfer.planning import PartRange
from cosxfer.sources import FileSource, SmallFile

Report = Callable[[Progress], None]


async def put_body(
    session: Session,
    address: ObjectAddress,
    ready: PreparedBody,
    *,
    slot: Share | None,
    headers: Mapping[str, str],
    on_progress: Report | None,
) -> tuple[PutObjectResult, str, Reporter]:
    """Send a body whose digests are known; returns the result, the HTTP version, and the reporter to be finished.

    Without a ``slot`` the request is sent at once, and the scheduler does not count it.
    """
    reporter = Reporter(on_progress, ready.content_length)
    reporter.start()
    size = ready.content_length or 0
    if slot is not None:
        session = session.observed(counted=True)
        await slot.acquire(size)
    try:
        result, http_version = await put_object(
            session,
            address,
            ready.body,
            content_length=ready.content_length,
            md5=ready.md5,
            crc64=ready.crc64,
            headers=headers,
            on_sent=None if on_progress is None else reporter.add,
        )
    finally:
        if slot is not None:
            slot.release(size)
    return ready.proven(result, operation="PUT Object"), http_version, reporter


async def put_file(
    session: Session,
    address: ObjectAddress,
    source: FileSource | SmallFile,
    digest: hashing.PartDigest | None,
    *,
    executor: Executor,
    opener: Opener,
    slot: Share | None,
    headers: Mapping[str, str],
    content_md5: bytes | None = None,
    add_meta_md5: bool = False,
    rest: UploadRest | None = None,
    on_hash_progress: Report | None = None,
    on_progress: Report | None = None,
) -> SinglePut:
    """Send an open file; raises `SourceChangedError` if it changed meanwhile.

    ``slot`` is as for `put_body`. ``digest`` is that of a `SmallFile`. ``content_md5`` replaces the computed
    Content-MD5; ``add_meta_md5`` stores the file's MD5 as ``x-cos-meta-md5``. ``rest`` is what the short way has left.
    """
    logger.debug("the upload of %s to %s: %d bytes in one request", source.path, address, source.size)
    began = time.monotonic()
    session = session.observed(counted=slot is not None)
    hash_reporter = Reporter(on_hash_progress, source.size)
    hash_reporter.start()
    hash_seconds = 0.0
    parts: list[HashedPart] = []
    if isinstance(source, SmallFile):
        assert digest is not None
        md5, crc64 = digest.md5, digest.crc64
        body: Body = memoryview(source.content)
    else:
        whole = PartRange(number=1, offset=0, length=source.size)
        ahead = HashAhead(source, executor=executor, on_hashed=hash_reporter.add)
        parts = [part async for part in ahead.hash([[whole]])]
        md5, crc64 = parts[0].md5, parts[0].crc64
        body = PartBody(source, parts[0], executor)
        hash_seconds = ahead.seconds
    hash_reporter.finish()
    if add_meta_md5:
        headers = with_md5_metadata(headers, md5.hex())

    async def check() -> None:
        if isinstance(source, SmallFile):
            await check_small_file(source, opener)
        else:
            await check_unchanged(source, executor, parts)

    reporter = Reporter(on_progress, source.size)
    reporter.start()
    # Of a mapped file one step is in memory at a time.
    held = min(source.size, STEP_BYTES)
    if slot is not None:
        await slot.acquire(source.size, held)
    send_began = time.monotonic()
    try:
        if rest is not None and rest.stored is not None:
            location = session.endpoint(address).location(address.key)
            fields = put_fields(address.key, location, rest.stored, md5=md5, crc64=crc64)
            result, http_version = PutObjectResult(**fields), rest.stored.http_version
        else:
            result, http_version = await put_object(
                session,
                address,
                body,
                content_length=source.size,
                md5=content_md5 or md5,
                crc64=crc64,
                headers=headers,
                on_sent=None if on_progress is None else reporter.add,
                before_retry=check,
                tried=None if rest is None else rest.tried,
            )
    except CosxferError:
        await check()
        raise
    finally:
        if slot is not None:
            slot.release(source.size, held)
    await check_stored(check())
    reporter.finish()
    return SinglePut(
        result=result,
        crc64=crc64,
        size=source.size,
        http_version=http_version,
        seconds=time.monotonic() - began,
        hash_seconds=hash_seconds,
        send_seconds=time.monotonic() - send_began,
        retries=session.retries,
    )
