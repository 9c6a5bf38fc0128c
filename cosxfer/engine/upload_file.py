"""One file into COS: a single PUT for a small one, a multipart upload for the rest."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor

from cosxfer._native import hashing
from cosxfer.address import ObjectAddress
from cosxfer.arguments import check_flag, wrong_type
from cosxfer.config import check_concurrency
from cosxfer.cos.requests import Body, object_headers, with_md5_metadata
from cosxfer.engine.abort import abort_upload, kept
from cosxfer.engine.bodies import check_content_length, check_stored
from cosxfer.engine.checkpoint import Checkpoint
from cosxfer.engine.hash_ahead import HashAhead, HashedPart
from cosxfer.engine.opening import Opener
from cosxfer.engine.options import UploadOptions
from cosxfer.engine.part_body import PartBody
from cosxfer.engine.report import Reporter, logger
from cosxfer.engine.slice_upload import SliceUpload
from cosxfer.engine.unchanged import check_unchanged, compare
from cosxfer.errors import (
    CosxferError,
    IntegrityError,
    ServerError,
    SourceChangedError,
    SourceError,
    TransportError,
    UploadError,
    UsageError,
)
from cosxfer.limits import MAX_PUT_BYTES, MIB
from cosxfer.models import Progress, UploadResult
from cosxfer.ops.put_object import put_object
from cosxfer.ops.session import Session
from cosxfer.planning import PartRange, check_part_size, plan_parts
from cosxfer.sources import FileSource, RegularFile, SmallFile

DEFAULT_SLICE_SIZE = 1 * MIB
"""A file up to this many bytes goes in a single PUT (COS SDK: SliceSize)."""


class FileJob:
    """The upload of one file. ``run`` may be cancelled and called again; it goes on from the parts that are there.

    Every argument is checked when it is made; the file is opened by ``run``.
    """

    repeatable = True

    __slots__ = (
        "_checkpoint",
        "_executor",
        "_headers",
        "_opener",
        "_options",
        "_path",
        "_session",
        "_slice_size",
        "address",
    )

    def __init__(
        self,
        session: Session,
        executor: Executor,
        opener: Opener,
        address: ObjectAddress,
        path: str | os.PathLike[str],
        *,
        slice_size: int,
        options: UploadOptions,
    ) -> None:
        if isinstance(slice_size, bool) or not isinstance(slice_size, int) or slice_size < 0:
            raise UsageError(f"slice_size is {slice_size!r}; it must be a number of bytes", name="slice_size")
        if not isinstance(path, str | bytes | os.PathLike):
            raise wrong_type("path", path, "a path")
        if options.part_size is not None:
            check_part_size(options.part_size, name=options.part_size_name)
        if options.async_limit is not None:
            check_concurrency(options.async_limit, name="async_limit")
        if options.content_length is not None:
            check_content_length(options.content_length)
        check_flag(options.upload_add_meta_md5, "upload_add_meta_md5")
        check_flag(options.abort_on_failure, "abort_on_failure")
        headers = object_headers(address.key, options.given)
        if options.upload_add_meta_md5 and "x-cos-meta-md5" in headers:
            raise UsageError(
                "metadata has 'md5', which upload_add_meta_md5 sets; leave out one of them", name="upload_add_meta_md5"
            )
        self._session = session
        self._executor = executor
        self._opener = opener
        self.address = address
        self._headers = headers
        self._path = path
        self._slice_size = slice_size
        self._options = options
        self._checkpoint: Checkpoint | None = None

    @property
    def abort_on_failure(self) -> bool:
        """Whether the parts of an upload that fails are deleted from the server."""
        return self._options.abort_on_failure

    @property
    def holds_parts(self) -> bool:
        """Whether a failed run leaves its parts on the server, for a further one."""
        return self._options.abort_on_failure and self._options.restartable

    @property
    def upload_id(self) -> str:
        """The multipart upload that is on the server now, or empty."""
        return "" if self._checkpoint is None else self._checkpoint.upload_id

    @property
    def loaded(self) -> int:
        """The bytes of the parts that the server has."""
        return 0 if self._checkpoint is None else self._checkpoint.loaded

    async def run(
        self, *, on_hash_progress: Callable[[Progress], None] | None, on_progress: Callable[[Progress], None] | None
    ) -> UploadResult:
        """Upload it: up to ``slice_size`` bytes in a single PUT, longer in parts; an empty file always in a PUT.

        Cancelling ends it at once and keeps the parts on the server.
        """
        try:
            source, digest = await self._opener.open(self._path, small_bytes=self._slice_size)
        except SourceError as error:
            if self._checkpoint is not None and self._checkpoint.upload_id:
                error.add_note(kept(self._checkpoint, self._options))
            raise
        try:
            expected = self._options.content_length
            if expected is not None and expected != source.size:
                raise UsageError(
                    f"content_length is {expected}, but {source.path!r} is {source.size} bytes",
                    name="content_length",
                    value=expected,
                )
            checkpoint = self._checkpoint = self._checkpoint or Checkpoint()
            await self._check_source(source, checkpoint)
            if isinstance(source, SmallFile) or source.size <= min(self._slice_size, MAX_PUT_BYTES):
                return await _put(
                    self._session,
                    self._executor,
                    source,
                    digest,
                    address=self.address,
                    headers=self._headers,
                    options=self._options,
                    on_hash_progress=on_hash_progress,
                    on_progress=on_progress,
                )
            options = self._options
            plan = plan_parts(source.size, part_size_bytes=options.part_size, name=options.part_size_name)
            return await SliceUpload(
                self._session,
                self._executor,
                source,
                plan,
                address=self.address,
                headers=self._headers,
                options=options,
                checkpoint=checkpoint,
                on_hash_progress=on_hash_progress,
                on_progress=on_progress,
            ).run()
        except (ServerError, TransportError, IntegrityError) as error:
            if isinstance(error, UploadError):
                raise
            # A single PUT, or Initiate: nothing was begun, so there is nothing to add but the class.
            failure = UploadError.of(error, str(error))
            for note in getattr(error, "__notes__", []):
                failure.add_note(note)
            raise failure from error
        finally:
            source.close()

    async def _check_source(self, source: RegularFile, checkpoint: Checkpoint) -> None:
        try:
            if not checkpoint.check_source(source) and isinstance(source, FileSource):
                options = self._options
                plan = plan_parts(source.size, part_size_bytes=options.part_size, name=options.part_size_name)
                await compare(source, self._executor, checkpoint.hashed(plan))
                checkpoint.identity = source.identity
        except SourceChangedError as error:
            # Its parts are of no use any more; what is uploaded next time is the file as it is then.
            if self.abort_on_failure:
                error.add_note((await self.abort())[1])
            raise

    async def abort(self) -> tuple[bool, str]:
        """Delete the parts from the server; returns whether they are gone, and a sentence about it."""
        if self._checkpoint is None or not self._checkpoint.upload_id:
            return True, "nothing was left on the server"
        gone, left = await abort_upload(
            self._session,
            self.address,
            upload_id=self._checkpoint.upload_id,
            completing=self._checkpoint.completing,
        )
        if gone:
            self._checkpoint.clear()
        return gone, left


async def _put(
    session: Session,
    executor: Executor,
    source: FileSource | SmallFile,
    digest: hashing.PartDigest | None,
    *,
    address: ObjectAddress,
    headers: Mapping[str, str],
    options: UploadOptions,
    on_hash_progress: Callable[[Progress], None] | None,
    on_progress: Callable[[Progress], None] | None,
) -> UploadResult:
    began = time.monotonic()
    logger.debug("the upload of %s to %s: %d bytes in one request", source.path, address, source.size)
    retried: list[CosxferError] = []

    def sent_again(error: CosxferError) -> None:
        source.check()  # what was read is not the file any more: the error to tell is that
        retried.append(error)

    session = session.observed(sent_again)
    hash_reporter = Reporter(on_hash_progress, source.size)
    reporter = Reporter(on_progress, source.size)
    hash_reporter.start()
    body: Body
    hashed: HashedPart | hashing.PartDigest
    parts: list[HashedPart] = []
    hash_seconds = 0.0
    if isinstance(source, SmallFile):
        assert digest is not None
        body, hashed = memoryview(source.content), digest
    else:
        whole = PartRange(number=1, offset=0, length=source.size)
        ahead = HashAhead(source, executor=executor, on_hashed=hash_reporter.add)
        parts = [part async for part in ahead.hash([[whole]])]
        [hashed] = parts
        body = PartBody(source, hashed, executor)
        hash_seconds = ahead.seconds
    hash_reporter.finish()
    if options.upload_add_meta_md5:
        headers = with_md5_metadata(headers, hashed.md5.hex())
    reporter.start()
    send_began = time.monotonic()
    try:
        result, http_version = await put_object(
            session,
            address,
            body,
            content_length=source.size,
            md5=hashed.md5,
            crc64=hashed.crc64,
            headers=headers,
            on_sent=reporter.add,
        )
    except CosxferError:
        await check_unchanged(source, executor, parts)
        raise
    await check_stored(source, executor, parts)
    reporter.finish()
    return UploadResult(
        status_code=result.status_code,
        headers=result.headers,
        request_id=result.request_id,
        bucket=address.bucket,
        key=address.shown_key,
        etag=result.etag,
        location=result.location,
        version_id=result.version_id,
        crc64=hashed.crc64,
        verified=result.verified,
        verified_by=result.verified_by,
        size=source.size,
        parts=1,
        part_size_bytes=source.size,
        upload_id="",
        http_version=http_version,
        seconds=time.monotonic() - began,
        hash_seconds=hash_seconds,
        send_seconds=time.monotonic() - send_began,
        retries=len(retried),
    )
