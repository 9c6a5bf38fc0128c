"""Uploading one file: a small one with a single PUT, any other with a multipart upload."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from functools import partial

from cosxfer.address import ObjectAddress
from cosxfer.arguments import check_count, check_flag, wrong_type
from cosxfer.config import ClientConfig, check_concurrency, check_part_size, window_bytes
from cosxfer.cos.requests import object_headers, usual_headers, with_md5_metadata
from cosxfer.engine.limiter import Limiter
from cosxfer.engine.multipart import in_use
from cosxfer.engine.multipart.abort import Leaving, abort_checkpoint, kept, passes
from cosxfer.engine.multipart.checkpoint import Checkpoint
from cosxfer.engine.multipart.lifecycle import MultipartUpload
from cosxfer.engine.report import Reporter, logger
from cosxfer.engine.upload.bodies import check_content_length
from cosxfer.engine.upload.closing import close_source
from cosxfer.engine.upload.file_parts import FileParts
from cosxfer.engine.upload.find import UploadFinder, wrong_headers
from cosxfer.engine.upload.opening import Opener
from cosxfer.engine.upload.options import PLAIN, RESTARTABLE, UploadOptions
from cosxfer.engine.upload.recall import FileJournal, Finished, token_of
from cosxfer.engine.upload.sent import SentInParts
from cosxfer.engine.upload.short import ShortUpload, ShortUploads, UploadRest
from cosxfer.engine.upload.single_put import put_file
from cosxfer.engine.upload.unchanged import compare
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
from cosxfer.journal import Journal
from cosxfer.journal_rows import headers_fingerprint
from cosxfer.limits import MAX_PUT_BYTES, MIB
from cosxfer.models import Progress, UploadResult
from cosxfer.ops.session import Session
from cosxfer.planning import Plan, plan_parts
from cosxfer.resume_token import ResumeToken
from cosxfer.sources import FileSource, SmallFile
from cosxfer.walls import part_size_of, parts_in_flight, usual_parts

DEFAULT_SLICE_SIZE = 1 * MIB
"""A file up to this many bytes is sent in a single PUT (COS SDK: SliceSize)."""


def demand_of(config: ClientConfig, limiter: Limiter, options: UploadOptions, slice_size: int, total: int) -> int:
    """Return how many requests at a time a file of ``total`` bytes can use."""
    if total <= slice_size:
        return 1
    try:
        parts = _plan(config, limiter, options, total, mapped=True).count
    except UsageError:
        return 1  # `FileJob.run` raises it
    return min(parts, parts_in_flight(config, options.async_limit))


def _plan(config: ClientConfig, limiter: Limiter, options: UploadOptions, size: int, *, mapped: bool) -> Plan:
    part_size, name = part_size_of(config, options.part_size, options.part_size_name)
    return plan_parts(
        size,
        part_size_bytes=part_size,
        known=limiter.link_for(parts_in_flight(config, options.async_limit)),
        # A part of a mapped file holds next to no memory, however large it is.
        window_bytes=size if mapped else window_bytes(config.memory_budget_bytes),
        name=name,
    )


class FileJob:
    """The upload of one file. ``run`` may be cancelled and called again; it continues with the parts that are stored.

    The constructor checks every argument; ``run`` opens the file.
    """

    repeatable = True
    must_leave = False

    __slots__ = (
        "_batch",
        "_checkpoint",
        "_executor",
        "_exported",
        "_finder",
        "_headers",
        "_journal",
        "_limiter",
        "_may_pass",
        "_opener",
        "_options",
        "_path",
        "_session",
        "_shorts",
        "_slice_size",
        "_token",
        "address",
    )

    def __init__(
        self,
        session: Session,
        executor: Executor,
        opener: Opener,
        limiter: Limiter,
        address: ObjectAddress,
        path: str | os.PathLike[str],
        *,
        slice_size: int,
        options: UploadOptions,
        journal: Journal | None = None,
        batch: int = 0,
        finder: UploadFinder | None = None,
        token: ResumeToken | None = None,
        shorts: ShortUploads | None = None,
    ) -> None:
        """``finder`` looks on the server for an upload that the journal does not have, or for that of ``token``.

        ``shorts`` is what the short way takes; None: there is none.

        ``batch`` is the number of the journal's batch that the file belongs to; 0 for none.
        """
        check_count(slice_size, "slice_size")
        if not isinstance(path, str | bytes | os.PathLike):
            raise wrong_type("path", path, "a path")
        if options is PLAIN or options is RESTARTABLE:
            headers = usual_headers(address.key)
        else:
            headers = _checked(options, address)
        self._session = session
        self._executor = executor
        self._opener = opener
        self._limiter = limiter
        self.address = address
        self._headers = headers
        self._path = path
        self._slice_size = slice_size
        self._options = options
        self._journal = journal
        self._batch = batch
        self._finder = finder
        self._token = token
        self._shorts = shorts
        self._exported = False
        if token is not None and token.headers != headers_fingerprint(headers, add_md5=options.upload_add_meta_md5):
            raise UsageError("the token is damaged: its headers are not those that it names", name="token")
        self._checkpoint: Checkpoint | None = None
        self._may_pass = False
        """Whether a later call may succeed, although the last run has failed."""

    @property
    def abort_on_failure(self) -> bool:
        """Whether its parts are deleted from the server if it is interrupted."""
        return self._checkpoint is None or not self._leaving().keeps(self._checkpoint)

    @property
    def holds_parts(self) -> bool:
        """Whether a failed run leaves its parts on the server for a later run."""
        if self._checkpoint is None or not self._options.restartable:
            return False
        return not self._leaving().keeps(self._checkpoint, later=self._may_pass)

    @property
    def kept(self) -> str:
        """A sentence about the parts that an interrupted upload leaves on the server."""
        return "" if self._checkpoint is None else kept(self._checkpoint, for_later=True)

    @property
    def upload_id(self) -> str:
        """The id of the multipart upload that is on the server now, or empty."""
        return "" if self._checkpoint is None else self._checkpoint.upload_id

    @property
    def loaded(self) -> int:
        """The bytes of the parts that the server has."""
        return 0 if self._checkpoint is None else self._checkpoint.loaded

    def demand(self, total: int) -> int:
        """Return how many requests at a time it can use if the file has ``total`` bytes."""
        return demand_of(self._session.config, self._limiter, self._options, self._slice_size, total)

    @property
    def _limit(self) -> int:
        """The most parts in flight."""
        return parts_in_flight(self._session.config, self._options.async_limit)

    def _plan(self, size: int, *, mapped: bool) -> Plan:
        return _plan(self._session.config, self._limiter, self._options, size, mapped=mapped)

    def shortcut(self) -> ShortUpload | None:
        """Return the short way of doing this, which may end with an `UploadRest` for `run`; None if there is none."""
        options, shorts = self._options, self._shorts
        if shorts is None or self._checkpoint is not None or self._token is not None:
            return None
        if options.content_length is not None or options.upload_add_meta_md5 or "expect" in self._headers:
            return None
        return shorts.upload(
            self.address, self._path, self._headers, slice_size=self._slice_size, finished=self._finished()
        )

    def _finished(self) -> Finished | None:
        """Return what notes that the object is stored; None without a journal."""
        if self._journal is None:
            return None
        add_md5 = self._options.upload_add_meta_md5
        return Finished(self._journal, self._session, add_md5=add_md5, batch=self._batch)

    async def run(
        self,
        *,
        on_hash_progress: Callable[[Progress], None] | None,
        on_progress: Callable[[Progress], None] | None,
        rest: UploadRest | None = None,
    ) -> UploadResult:
        """Upload the file: in a single PUT if it is empty or has up to ``slice_size`` bytes, else in parts.

        Cancelling ends the upload at once and keeps the parts on the server. ``rest`` is what `shortcut` has left.
        """
        self._may_pass = False
        try:
            source: FileSource | SmallFile
            if rest is not None and rest.source is not None:
                source, digest = rest.source, rest.digest
            else:
                source, digest = await self._opener.open(self._path, small_bytes=self._slice_size)
        except SourceError as error:
            if self._checkpoint is not None and self._checkpoint.upload_id:
                self._may_pass = passes(error)
                keeps = self._leaving().keeps(self._checkpoint, later=self._may_pass)
                error.add_note(kept(self._checkpoint, for_later=keeps))
            raise
        try:
            expected = self._options.content_length
            if expected is not None and expected != source.size:
                raise UsageError(
                    f"content_length is {expected}, but {source.path!r} is {source.size} bytes",
                    name="content_length",
                    value=expected,
                )
            if self._checkpoint is not None:
                self._checkpoint.hold(True)
                await self._check_source(source, self._checkpoint)
            if isinstance(source, SmallFile) or source.size <= min(self._slice_size, MAX_PUT_BYTES):
                put = await put_file(
                    self._session,
                    self.address,
                    source,
                    digest,
                    executor=self._executor,
                    opener=self._opener,
                    slot=self._limiter.single,
                    headers=self._headers,
                    add_meta_md5=self._options.upload_add_meta_md5,
                    rest=rest,
                    on_hash_progress=on_hash_progress,
                    on_progress=on_progress,
                )
                result = put.as_upload_result(self.address)
            else:
                result = await self._send_or_go_on(source, on_hash_progress, on_progress)
            # Only a checksum of the whole object is worth remembering.
            finished = self._finished()
            if finished is not None and result.verified_by == "crc64" and result.crc64 is not None:
                finished.note(
                    self.address,
                    self._headers,
                    source.location,
                    source.identity,
                    crc64=result.crc64,
                    etag=result.etag,
                )
            return result
        except CosxferError as error:
            self._may_pass = passes(error)
            if isinstance(error, UploadError) or not isinstance(error, ServerError | TransportError | IntegrityError):
                raise
            # A single PUT or Initiate failed. Nothing was begun, so only the class of the error changes.
            raise UploadError.with_notes_of(error) from error
        finally:
            if self._checkpoint is not None:
                self._checkpoint.hold(False)
            await close_source(source, self._executor)

    def _file_journal(self, journal: Journal) -> FileJournal:
        return FileJournal(
            journal, self._session, self.address, self._headers, add_md5=self._options.upload_add_meta_md5
        )

    async def _recalled(self, source: FileSource, on_hash_progress: Callable[[Progress], None] | None) -> Checkpoint:
        """Return the checkpoint of an earlier run or call, of an upload found on the server, or of a new one."""
        if self._checkpoint is not None and self._checkpoint.upload_id:
            return self._checkpoint
        part_size, _ = part_size_of(self._session.config, self._options.part_size, self._options.part_size_name)
        if self._journal is None:
            checkpoint = self._checkpoint = Checkpoint(name=partial(in_use.name_of, self._session, self.address))
        else:
            journal = self._file_journal(self._journal)
            checkpoint = self._checkpoint = journal.checkpoint(source.location)
            known = await journal.recall(source, checkpoint, self._executor, part_size=part_size)
            if self._token is not None and checkpoint.upload_id not in ("", self._token.upload_id):
                checkpoint.hold(False)
                checkpoint = self._checkpoint = journal.checkpoint(source.location)
            elif known and (self._token is None or checkpoint.upload_id):
                return checkpoint
        if self._token is not None:
            await self._go_on_with(self._token, source, checkpoint, on_hash_progress)
            return checkpoint
        plan = self._plan(source.size, mapped=source.mapped)
        if self._finder is not None and self._finder.may_find(
            self.address,
            self._headers,
            parts=plan.count,
            journal=self._journal is not None,
            add_md5=self._options.upload_add_meta_md5,
        ):
            await self._finder.find(
                source,
                checkpoint,
                self.address,
                self._headers,
                plan=plan,
                fixed=isinstance(part_size, int),
                executor=self._executor,
                on_hash_progress=on_hash_progress,
                on_busy=self._limiter.add_hashing,
            )
        return checkpoint

    async def _go_on_with(
        self,
        token: ResumeToken,
        source: FileSource,
        checkpoint: Checkpoint,
        on_hash_progress: Callable[[Progress], None] | None,
    ) -> None:
        """Fill ``checkpoint`` with the upload of ``token``, or say why a new one begins."""
        assert self._finder is not None
        why = await self._finder.go_on(
            token,
            source,
            checkpoint,
            self.address,
            executor=self._executor,
            on_hash_progress=on_hash_progress,
            on_busy=self._limiter.add_hashing,
        )
        await checkpoint.settled()
        if why:
            logger.warning(
                "the upload of %s to %s starts over, because the upload %s of the token cannot be continued: %s",
                source.path,
                self.address,
                token.upload_id,
                why,
            )

    def export(self) -> str:
        """Return the token of the multipart upload that is on the server. From now on its parts are kept on a failure.

        Raises `UsageError` if there is none, or if it has a header that is a secret.
        """
        checkpoint = self._checkpoint
        if checkpoint is None or not checkpoint.upload_id or not isinstance(checkpoint.plan, Plan):
            raise UsageError(
                "the task has no multipart upload on the server now: it has not begun, is done or cancelled, or sends "
                "the file in one request",
                name="task",
            )
        token = token_of(
            self._session.config,
            self.address,
            os.path.abspath(os.fsdecode(self._path)),  # noqa: PTH100 (text, as the sources take it)
            checkpoint,
            self._headers,
            add_md5=self._options.upload_add_meta_md5,
        )
        self._exported = True
        return token

    async def _send_or_go_on(
        self,
        source: FileSource,
        on_hash_progress: Callable[[Progress], None] | None,
        on_progress: Callable[[Progress], None] | None,
    ) -> UploadResult:
        """Send the parts. An upload that was found may end or turn out to be another one; then all are sent again."""
        checkpoint = await self._recalled(source, on_hash_progress)
        if not checkpoint.found:
            return await self._send_parts(source, checkpoint, on_hash_progress, on_progress)
        upload_id = checkpoint.upload_id
        try:
            result = await self._send_parts(source, checkpoint, on_hash_progress, on_progress)
            why = await wrong_headers(self._session, self.address, self._headers) if result.resumed_bytes else ""
            if not why:
                return result
        except UploadError as error:
            if error.code not in ("NoSuchUpload", "InvalidPart"):
                raise
            why = "another process completed it, deleted it or sent other parts into it"
        checkpoint.clear()
        logger.warning(
            "the upload of %s to %s starts over. The upload %s was found on the server, but %s",
            source.path,
            self.address,
            upload_id,
            why,
        )
        return await self._send_parts(source, checkpoint, on_hash_progress, on_progress)

    async def _send_parts(
        self,
        source: FileSource,
        checkpoint: Checkpoint,
        on_hash_progress: Callable[[Progress], None] | None,
        on_progress: Callable[[Progress], None] | None,
    ) -> UploadResult:
        began = time.monotonic()
        options, limit = self._options, self._limit
        plan = checkpoint.plan
        if not isinstance(plan, Plan):
            plan = self._plan(source.size, mapped=source.mapped)
        parts = FileParts(
            source,
            plan,
            executor=self._executor,
            opener=self._opener,
            on_hash_progress=on_hash_progress,
            on_busy=self._limiter.add_hashing,
        )

        async def with_md5() -> Mapping[str, str]:
            # Metadata is sent with Initiate, so the whole file is hashed before.
            return with_md5_metadata(self._headers, await parts.hash_whole(window=limit))

        with self._limiter.share(limit, usual=usual_parts(self._session.config, in_task=True)) as share:
            outcome = await MultipartUpload(
                self._session,
                parts,
                address=self.address,
                headers=self._headers,
                checkpoint=checkpoint,
                share=share,
                leaving=self._leaving(),
                reporter=Reporter(on_progress, plan.size),
                identity=source.identity,
                headers_of_object=with_md5 if options.upload_add_meta_md5 else None,
            ).run()
        sent = SentInParts(
            outcome=outcome,
            part_size_bytes=plan.part_size_bytes,
            seconds=time.monotonic() - began,
            hash_seconds=parts.hash_seconds,
        )
        return sent.as_upload_result(self.address)

    def _leaving(self) -> Leaving:
        # Whoever has the token may go on with the upload.
        abort = False if self._exported else self._options.abort_on_failure
        return Leaving(abort_on_failure=abort, restartable=self._options.restartable)

    async def _check_source(self, source: FileSource | SmallFile, checkpoint: Checkpoint) -> None:
        try:
            if not checkpoint.check_source(source) and isinstance(source, FileSource):
                await compare(source, self._executor, checkpoint.hashed())
                checkpoint.same_content(source.identity)
        except SourceChangedError as error:
            # The parts are useless now. The next upload starts from the beginning.
            if self._options.abort_on_failure is not False:
                error.add_note((await self.abort())[1])
            raise

    async def leave(self) -> tuple[bool, str]:
        """Nothing is open."""
        return True, ""

    async def abort(self) -> tuple[bool, str]:
        """Delete the parts from the server; returns whether they are gone, and a sentence about it."""
        if self._checkpoint is None:
            return True, "nothing was left on the server"
        return await abort_checkpoint(self._session, self.address, self._checkpoint)


def _checked(options: UploadOptions, address: ObjectAddress) -> dict[str, str]:
    """Check the options, and return the headers of the object."""
    if options.part_size is not None:
        check_part_size(options.part_size, name=options.part_size_name)
    if options.async_limit is not None:
        check_concurrency(options.async_limit, name="async_limit")
    check_content_length(options.content_length)
    check_flag(options.upload_add_meta_md5, "upload_add_meta_md5")
    if options.abort_on_failure is not None:
        check_flag(options.abort_on_failure, "abort_on_failure")
    headers = object_headers(address.key, options.parameters)
    if options.upload_add_meta_md5 and "x-cos-meta-md5" in headers:
        raise UsageError(
            "metadata has 'md5', which upload_add_meta_md5 sets; leave out one of them", name="upload_add_meta_md5"
        )
    return headers
