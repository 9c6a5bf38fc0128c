"""One file into COS: a single PUT for a small one, a multipart upload for the rest."""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from concurrent.futures import Executor

from cosxfer.config import check_concurrency
from cosxfer.cos.names import check_bucket, check_key
from cosxfer.cos.requests import ObjectHeaders, object_headers
from cosxfer.engine.hash_ahead import HashAhead
from cosxfer.engine.options import UploadOptions
from cosxfer.engine.part_body import PartBody
from cosxfer.engine.report import Reporter, call
from cosxfer.engine.slice_upload import SliceUpload
from cosxfer.errors import CosxferError, UsageError
from cosxfer.limits import MAX_PUT_BYTES, MIB
from cosxfer.models import UploadResult
from cosxfer.ops.put_object import put_object
from cosxfer.ops.session import Session
from cosxfer.planning import PartRange, check_part_size, plan_parts
from cosxfer.sources import FileSource

DEFAULT_SLICE_SIZE = 1 * MIB
"""A file up to this many bytes goes in a single PUT (COS SDK: SliceSize)."""


async def upload_file(
    session: Session,
    executor: Executor,
    bucket: str,
    key: str,
    path: str | os.PathLike[str],
    *,
    slice_size: int,
    options: UploadOptions,
) -> UploadResult:
    """Upload ``path``: up to ``slice_size`` bytes in a single PUT, longer in parts; an empty file always in a PUT."""
    if isinstance(slice_size, bool) or not isinstance(slice_size, int) or slice_size < 0:
        raise UsageError(f"slice_size is {slice_size!r}; it must be a number of bytes", name="slice_size")
    if options.part_size is not None:
        check_part_size(options.part_size, name=options.part_size_name)
    if options.async_limit is not None:
        check_concurrency(options.async_limit, name="async_limit")
    # Everything that can be refused is refused before the file is opened or a request is sent.
    check_bucket(bucket)
    object_headers(check_key(key), options.given)
    session.endpoint(bucket, options.region)
    source = await asyncio.to_thread(FileSource.open, path)
    try:
        if source.size <= min(slice_size, MAX_PUT_BYTES):
            begin(options)
            return await _put(session, executor, source, bucket=bucket, key=key, options=options)
        plan = plan_parts(source.size, part_size_bytes=options.part_size, name=options.part_size_name)
        upload = SliceUpload(session, executor, source, plan, bucket=bucket, key=key, options=options)
        begin(options)
        return await upload.run()
    finally:
        source.close()


def begin(options: UploadOptions) -> None:
    """Tell the caller the task's id."""
    if options.on_task_ready is not None:
        call(options.on_task_ready, uuid.uuid4().hex)


async def _put(
    session: Session, executor: Executor, source: FileSource, *, bucket: str, key: str, options: UploadOptions
) -> UploadResult:
    began, retries = time.monotonic(), session.retries
    hash_reporter = Reporter(options.on_hash_progress, source.size)
    reporter = Reporter(options.on_progress, source.size)
    hash_reporter.start()
    whole = PartRange(number=1, offset=0, length=source.size)
    ahead = HashAhead(source, executor=executor, on_hashed=hash_reporter.add)
    [hashed] = [part async for part in ahead.hash([[whole]])]
    hash_reporter.finish()
    given = options.given
    if options.upload_add_meta_md5:
        metadata = {**(given.get("metadata") or {}), "md5": hashed.md5.hex()}
        given = ObjectHeaders(**{**given, "metadata": metadata})
    reporter.start()
    send_began = time.monotonic()
    try:
        result, http_version = await put_object(
            session,
            bucket,
            key,
            PartBody(source, whole),
            content_length=source.size,
            md5=hashed.md5,
            crc64=hashed.crc64,
            given=given,
            region=options.region,
            on_sent=reporter.add,
        )
    except CosxferError:
        source.check()
        raise
    source.check()
    verified_by = "crc64" if result.crc64 is not None else ""
    if not verified_by and result.etag.strip('"').lower() == hashed.md5.hex():
        verified_by = "etag"
    reporter.finish()
    return UploadResult(
        status_code=result.status_code,
        headers=result.headers,
        request_id=result.request_id,
        bucket=bucket,
        key=check_key(key),
        etag=result.etag,
        location=result.location,
        version_id=result.version_id,
        crc64=hashed.crc64,
        verified=bool(verified_by),
        verified_by=verified_by,
        size=source.size,
        parts=1,
        part_size_bytes=source.size,
        upload_id="",
        http_version=http_version,
        seconds=time.monotonic() - began,
        hash_seconds=ahead.seconds,
        send_seconds=time.monotonic() - send_began,
        retries=session.retries - retries,
    )
