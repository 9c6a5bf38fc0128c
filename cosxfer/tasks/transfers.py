"""How transfers become tasks: one place for both clients."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar, cast

from cosxfer.address import ObjectAddress, shown_key
from cosxfer.arguments import (
    as_number,
    as_number_or_auto,
    check_callback,
    check_count,
    check_names,
    check_text,
    wrong_type,
)
from cosxfer.cos.requests import ObjectHeaders, object_headers
from cosxfer.engine.limiter import Limiter
from cosxfer.engine.report import logger
from cosxfer.engine.scheduler import Scheduler
from cosxfer.engine.upload.bodies import BodyInput
from cosxfer.engine.upload.digests import Digests
from cosxfer.engine.upload.find import UploadFinder
from cosxfer.engine.upload.opening import Opener
from cosxfer.engine.upload.options import (
    PLAIN,
    RESTARTABLE,
    DirectoryOptions,
    FileOptions,
    FileUpload,
    ResumeOptions,
    SliceFileOptions,
    UploadOptions,
    check_file,
)
from cosxfer.engine.upload.put import PutJob
from cosxfer.engine.upload.recall import Finished
from cosxfer.engine.upload.short import ShortUploads
from cosxfer.engine.upload.stream_upload import StreamInput, StreamJob
from cosxfer.engine.upload.upload_file import DEFAULT_SLICE_SIZE, FileJob
from cosxfer.errors import CosxferError, UsageError
from cosxfer.foreign import shorten
from cosxfer.journal import journal_of
from cosxfer.models import Progress, TaskEvent, UploadResult
from cosxfer.ops.outage import Transfer
from cosxfer.ops.session import Session
from cosxfer.resume_token import ResumeToken, decode
from cosxfer.tasks.batch import BatchRecord, OnFileFinish, OpenBatch, RefusedJob, outcome_of, tell_outcome
from cosxfer.tasks.directory import find_files, iter_files, joined
from cosxfer.tasks.file_callbacks import check_callbacks, watch_of
from cosxfer.tasks.leftovers import CLEAN_UP_SECONDS
from cosxfer.tasks.plain_files import PlainFiles
from cosxfer.tasks.queue import TaskQueue
from cosxfer.tasks.record import BodyJob, TaskRecord, Watch
from cosxfer.tasks.sizes import size_of, sizes_of
from cosxfer.tasks.stream import DirectoryStream
from cosxfer.tasks.submitting import submit_some
from cosxfer.tasks.task import DELIVERY_SECONDS, AsyncUploadTask
from cosxfer.tasks.unfinished import begin
from cosxfer.threads import Workers, import_lock, in_thread
from cosxfer.transport.native_pool import ConnectionLimits

if TYPE_CHECKING:
    from cosxfer.tasks.downloads import Downloads

R = TypeVar("R")

_NAMES = frozenset({"bucket", "key", "path"})


class Transfers:
    """The transfers of one client; every method but `aclose` may be called from any thread."""

    def __init__(self, session: Session, executor: Workers, connections: ConnectionLimits) -> None:
        self._session = session
        self._executor = executor
        self._opener = Opener()
        self._digests = Digests(executor)
        self._shorts: ShortUploads | None = None
        self._downloads: Downloads | None = None
        self.journal = journal_of(session.config)
        """What else of the client remembers checksums; None if it is off."""
        self._finder = UploadFinder(session)
        self.limiter = Limiter(tasks=1, slots=1, connections=connections)
        """What calls that are no tasks may have in flight, too."""
        queue = self.queue = TaskQueue(self.limiter, keep=session.config.max_finished_tasks)
        self._scheduler = Scheduler(
            session.config,
            self.limiter,
            session.traffic,
            session.transport,
            executor=executor,
            work_waits=lambda: queue.some_wait,
        )

    @property
    def downloads(self) -> Downloads:
        """The downloads. Made when they are first used: many processes only send."""
        with import_lock:  # threads may ask for them at once
            from cosxfer.tasks.downloads import Downloads

            if self._downloads is None:
                self._downloads = Downloads(self._session, self._executor, self.limiter, self.queue, self.journal)
            return self._downloads

    def submit_file(
        self,
        bucket: str,
        key: str,
        path: str | os.PathLike[str],
        *,
        slice_size: int | str,
        options: FileOptions,
    ) -> TaskRecord[UploadResult]:
        """Put a file into the queue. What can be refused is refused here: `UsageError`."""
        asked = cast(FileUpload, {**options, "bucket": bucket, "key": key, "path": path})
        if slice_size is not DEFAULT_SLICE_SIZE:
            asked["slice_size"] = slice_size
        return self._submit_file(self._options(options), asked, slice_size=slice_size)

    def _submit_file(
        self,
        parsed: UploadOptions,
        asked: FileUpload,
        *,
        slice_size: int | str,
        token: ResumeToken | None = None,
    ) -> TaskRecord[UploadResult]:
        """``asked`` is what the caller gave, for ``on_file_finish``."""
        self.queue.home.check_process()
        check_callbacks(asked)
        path = asked["path"]
        job = self._job(asked["bucket"], asked["key"], path, as_number(slice_size), parsed, token=token)
        return self.queue.submit(
            job,
            address=job.address,
            path=os.fsdecode(path),
            total=size_of(path),
            watch=watch_of(asked),
            on_task_ready=asked.get("on_task_ready"),
            on_end=self._on_end(asked, asked.get("on_file_finish")),
        )

    def put_job(
        self,
        bucket: str,
        key: str,
        body: BodyInput,
        *,
        content_length: int | str | None,
        content_md5: str | None,
        region: str | None,
        parameters: ObjectHeaders,
        at_once: bool = False,
    ) -> PutJob:
        """The sending of one body in one request."""
        address = self._session.address(bucket, key, region)
        return PutJob(
            self._session,
            self._executor,
            self._opener,
            self._digests,
            self.limiter,
            address,
            body,
            content_length=as_number(content_length),
            content_md5=content_md5,
            headers=object_headers(address.key, parameters),
            at_once=at_once,
        )

    def stream_job(
        self,
        bucket: str,
        key: str,
        stream: StreamInput,
        *,
        content_length: int | str | None,
        part_size: int | str | None,
        async_limit: int | str | None,
        region: str | None,
        parameters: ObjectHeaders,
    ) -> StreamJob:
        """The sending of one stream, in parts if it is long."""
        address = self._session.address(bucket, key, region)
        return StreamJob(
            self._session,
            self._executor,
            self.limiter,
            address,
            stream,
            content_length=as_number(content_length),
            part_size=as_number_or_auto(part_size),
            async_limit=as_number_or_auto(async_limit),
            headers=object_headers(address.key, parameters),
        )

    def submit_put(
        self,
        job: BodyJob[R],
        *,
        on_task_ready: Callable[[str], None] | None,
        on_progress: Callable[[Progress], None] | None,
        at_once: bool = False,
    ) -> TaskRecord[R]:
        """Make a task of the sending of a body or a stream; unless it is to run ``at_once`` it waits for a slot."""
        check_callback(on_task_ready, "on_task_ready")
        check_callback(on_progress, "on_progress")
        return self.queue.submit(
            job,
            address=job.address,
            path=job.path,
            total=size_of(job.path) if job.path else job.size,
            watch=None if on_progress is None else Watch(None, on_progress),
            on_task_ready=on_task_ready,
            at_once=at_once,
        )

    def batch(
        self,
        files: Iterable[FileUpload],
        *,
        slice_size: int | str,
        on_progress: Callable[[Progress], None] | None,
        on_file_finish: OnFileFinish | None,
    ) -> BatchRecord:
        """Look at many files, and put none into the queue yet: that is `submit_some`'s.

        An entry that no file can make right is refused here, and then none is sent."""
        if not isinstance(files, Iterable) or isinstance(files, str | bytes | Mapping):
            raise wrong_type("files", files, "a list of mappings with bucket, key and path")
        for index, entry in enumerate(listed := list(files)):
            check_file(entry, index)
        return self._batch(
            listed,
            slice_size=slice_size,
            on_progress=on_progress,
            on_file_finish=on_file_finish,
            sizes=sizes_of([entry["path"] for entry in listed]),
            problems={},
        )

    def _batch(
        self,
        listed: list[FileUpload],
        *,
        slice_size: int | str,
        on_progress: Callable[[Progress], None] | None,
        on_file_finish: OnFileFinish | None,
        sizes: list[int],
        problems: Mapping[int, Exception],
        unfinished: OpenBatch | None = None,
    ) -> BatchRecord:
        """``problems`` are files that are known to fail, by their index; all others are for `BatchRecord`."""
        self.queue.home.check_process()
        check_callback(on_progress, "on_progress")
        check_callback(on_file_finish, "on_file_finish")
        slice_size = check_count(as_number(slice_size), "slice_size", unit="bytes")
        return BatchRecord(
            listed,
            self.queue.dispatcher,
            slice_size=slice_size,
            sizes=sizes,
            problems=problems,
            on_progress=on_progress,
            on_file_finish=on_file_finish,
            session=self._session.observed(transfer=Transfer()),
            unfinished=unfinished,
        )

    def directory(
        self,
        bucket: str,
        prefix: str,
        path: str | os.PathLike[str],
        *,
        include: Sequence[str] | None,
        exclude: Sequence[str] | None,
        slice_size: int | str,
        on_progress: Callable[[Progress], None] | None,
        on_file_finish: OnFileFinish | None,
        options: DirectoryOptions,
    ) -> BatchRecord:
        """Look at a directory tree; put nothing into the queue yet. What is wrong for every file is refused once."""
        parsed, common = self._check_directory(bucket, prefix, path, slice_size=slice_size, options=options)
        files, problems, start = [], {}, joined(prefix, "")
        found = find_files(path, include=include, exclude=exclude)
        for index, entry in enumerate(found):
            file = {**common, "key": start + entry.relative, "path": entry.path}
            files.append(cast(FileUpload, file))
            if entry.error is not None:
                problems[index] = entry.error
        unfinished = None
        if self.journal is not None and files:
            batch = begin(self.journal, self._session, bucket, options=parsed, prefix=prefix, root=path)
            unfinished = batch.of_all(files, found)
        return self._batch(
            files,
            slice_size=slice_size,
            on_progress=on_progress,
            on_file_finish=on_file_finish,
            sizes=[0 if entry.identity is None else entry.identity.size for entry in found],
            problems=problems,
            unfinished=unfinished,
        )

    def _check_directory(
        self,
        bucket: str,
        prefix: str,
        path: str | os.PathLike[str],
        *,
        slice_size: int | str,
        options: DirectoryOptions,
    ) -> tuple[UploadOptions, dict[str, object]]:
        """Return the options of all files, and what their mappings have in common."""
        check_text(prefix, "prefix", optional=False)
        check_names(options, DirectoryOptions.__annotations__)
        parsed = self._options(cast(FileOptions, options))
        self._job(bucket, joined(prefix, "a"), path, as_number(slice_size), parsed)
        common: dict[str, object] = {**options, "bucket": bucket}
        if slice_size is not DEFAULT_SLICE_SIZE:
            common["slice_size"] = slice_size
        return parsed, common

    def directory_stream(
        self,
        bucket: str,
        prefix: str,
        path: str | os.PathLike[str],
        *,
        include: Sequence[str] | None,
        exclude: Sequence[str] | None,
        slice_size: int | str,
        on_progress: Callable[[Progress], None] | None,
        options: DirectoryOptions,
    ) -> DirectoryStream:
        """The same for files that are put into the queue while the tree is walked. Reads no file."""
        parsed, common = self._check_directory(bucket, prefix, path, slice_size=slice_size, options=options)
        check_callback(on_progress, "on_progress")
        journal, session = self.journal, self._session
        return DirectoryStream(
            iter_files(path, include=include, exclude=exclude),
            common=common,
            start=joined(prefix, ""),
            begin=lambda: (
                None if journal is None else begin(journal, session, bucket, options=parsed, prefix=prefix, root=path)
            ),
            submit=partial(
                self._submit_entry,
                slice_size=check_count(as_number(slice_size), "slice_size", unit="bytes"),
                session=session.observed(transfer=Transfer()),
                options=parsed,
            ),
            handle=partial(AsyncUploadTask, self.queue),
            dispatcher=self.queue.dispatcher,
            on_progress=on_progress,
        )

    def measure(self, batch: BatchRecord) -> None:
        """Look up the sizes of files that were submitted in the thread of an event loop; to be called in another."""
        for record, size in zip(batch.records, sizes_of([record.path for record in batch.records]), strict=True):
            self.queue.set_total(record, size)

    def submit_all(self, batch: BatchRecord) -> None:
        """Put the files into the queue; one that is refused ends with its error, like one that fails later."""
        while self.submit_some(batch):
            pass

    def submit_some(self, batch: BatchRecord) -> bool:
        """Put the next of the files into the queue; returns whether there are more. Takes some milliseconds."""
        return submit_some(
            batch,
            self.queue,
            keep=self._session.config.max_finished_tasks,
            jobs=self._plain_files(batch),
            check=lambda bucket: self._session.address(bucket, "key", None),
            submit=partial(self._submit_entry, slice_size=batch.slice_size, session=batch.session),
        )

    def _plain_files(self, batch: BatchRecord) -> PlainFiles:
        session, number, finished = batch.session, batch.unfinished.number, None
        if self.journal is not None:
            finished = Finished(self.journal, session, add_md5=False, batch=number)
        make = partial(self._file_job, session=session, batch=number)
        shorts = self._shorts_of(session)
        return PlainFiles(batch, session.config, self.limiter, self._plain, shorts, finished, make)

    @property
    def _plain(self) -> UploadOptions:
        """The options of a file with bucket, key and path alone."""
        # A task that leaves the list in the moment in which it ends is not restarted.
        return RESTARTABLE if self._session.config.max_finished_tasks > 0 else PLAIN

    def _submit_entry(
        self,
        entry: FileUpload,
        *,
        slice_size: int,
        session: Session,
        size: int,
        problem: Exception | None,
        batch: int,
        on_report: Callable[[int, int], None] | None,
        on_end: Callable[[TaskRecord[UploadResult]], None],
        options: UploadOptions | None = None,
        index: int = 0,
    ) -> TaskRecord[UploadResult]:
        """Put one file of many into the queue; one that is refused ends with its error, like one that fails later."""
        options = options or self._options(entry)
        job: FileJob | RefusedJob
        try:
            if problem is not None:
                raise problem
            if (own := as_number(entry.get("slice_size"))) is not None:
                slice_size = own
            job = self._job(
                entry["bucket"], entry["key"], entry["path"], slice_size, options, session=session, batch=batch
            )
            address = job.address
        except CosxferError as refused:
            job = RefusedJob(refused)
            address = ObjectAddress(str(entry["bucket"]), str(entry["key"]).removeprefix("/"), options.region)
        return self.queue.submit(
            job,
            address=address,
            path=str(entry.get("path", "")),
            total=size,
            watch=watch_of(entry),
            on_task_ready=entry.get("on_task_ready"),
            on_report=on_report,
            on_end=self._on_end(entry, entry.get("on_file_finish"), then=on_end),
            index=index,
        )

    def _options(self, options: FileOptions, *, part_size_name: str = "part_size") -> UploadOptions:
        plain = self._plain
        if options.keys() <= _NAMES:
            return plain
        return UploadOptions.of(options, part_size_name=part_size_name, restartable=plain.restartable)

    def _job(
        self,
        bucket: str,
        key: str,
        path: str | os.PathLike[str],
        slice_size: int,
        options: UploadOptions,
        *,
        session: Session | None = None,
        batch: int = 0,
        token: ResumeToken | None = None,
    ) -> FileJob:
        address = self._session.address(bucket, key, options.region)
        return self._file_job(address, path, slice_size, options, session=session, batch=batch, token=token)

    def _file_job(
        self,
        address: ObjectAddress,
        path: str | os.PathLike[str],
        slice_size: int,
        options: UploadOptions,
        *,
        session: Session | None = None,
        batch: int = 0,
        token: ResumeToken | None = None,
    ) -> FileJob:
        return FileJob(
            session or self._session,
            self._executor,
            self._opener,
            self.limiter,
            address,
            path,
            slice_size=slice_size,
            options=options,
            journal=self.journal,
            batch=batch,
            finder=self._finder,
            token=token,
            shorts=None if session is None else self._shorts_of(session),
        )

    def _shorts_of(self, session: Session) -> ShortUploads:
        """Return what the short uploads of the batch of ``session`` share."""
        if self._shorts is None or self._shorts.batch is not session:
            self._shorts = ShortUploads(session, self.limiter, self._opener)
        return self._shorts

    def _on_end(
        self,
        asked: FileUpload,
        callback: OnFileFinish | None,
        *,
        then: Callable[[TaskRecord[UploadResult]], None] | None = None,
    ) -> Callable[[TaskRecord[UploadResult]], None] | None:
        """What is done when a file's task has ended: its own ``on_file_finish``, and ``then``."""
        if callback is None:
            return then

        def ended(record: TaskRecord[UploadResult]) -> None:
            tell_outcome(self.queue.dispatcher, callback, outcome_of(record, asked))
            if then is not None:
                then(record)

        return ended

    def submit_slices(
        self,
        bucket: str,
        key: str,
        path: str | os.PathLike[str],
        *,
        slice_size: int | str | None,
        options: SliceFileOptions,
    ) -> TaskRecord[UploadResult]:
        """Put a file into the queue, to go in parts whatever its size; ``slice_size`` is that of a part."""
        if "part_size" in options:
            raise UsageError("slice_upload_file has no part_size; it is called slice_size here", name="part_size")
        asked = cast(FileUpload, {**options, "bucket": bucket, "key": key, "path": path})
        if slice_size is not None:
            asked["slice_size"] = slice_size
        in_parts = FileOptions(**options, part_size=slice_size)
        return self._submit_file(self._options(in_parts, part_size_name="slice_size"), asked, slice_size=0)

    def submit_resume(
        self, token: str, path: str | os.PathLike[str] | None, *, options: ResumeOptions
    ) -> TaskRecord[UploadResult]:
        """Put the upload of a token into the queue."""
        known = decode(token)
        check_names(options, ResumeOptions.__annotations__)
        asked: dict[str, object] = {
            "abort_on_failure": False,
            **options,
            "bucket": known.bucket,
            "key": shown_key(known.key),
            "path": known.path if path is None else path,
            "part_size": known.plan.part_size_bytes,
            "headers": known.parameters,
            "upload_add_meta_md5": known.add_md5,
            "region": known.region or None,
        }
        if known.endpoint != self._session.config.endpoint:
            logger.warning(
                "the token was exported at the endpoint %s, and this client uses %s",
                known.endpoint,
                self._session.config.endpoint,
            )
        parsed = self._options(cast(FileOptions, {n: v for n, v in asked.items() if n in FileOptions.__annotations__}))
        return self._submit_file(parsed, cast(FileUpload, asked), slice_size=0, token=known)

    def listen(self, event: str, listener: Callable[[TaskEvent], None]) -> None:
        """Tell ``listener`` of every change in the list."""
        _check_event(event)
        if listener is None:
            raise wrong_type("callback", listener, "a function")
        check_callback(listener, "callback")
        self.queue.listen(listener)

    def unlisten(self, event: str, listener: Callable[[TaskEvent], None] | None) -> None:
        """Tell it no more; None: tell nobody."""
        _check_event(event)
        check_callback(listener, "callback")
        self.queue.unlisten(listener)

    async def aclose(self) -> None:
        """Cancel what has not ended, wait until it is cleaned up, and deliver the callbacks that are left."""
        stopping = [asyncio.wrap_future(future) for future in self.queue.cancel_all()]
        if stopping:
            await asyncio.wait(stopping, timeout=CLEAN_UP_SECONDS)
        await self.queue.close()
        await self._scheduler.aclose()
        left = self.queue.dispatcher.delivered()
        if left is not None:
            await asyncio.wait([asyncio.wrap_future(left)], timeout=DELIVERY_SECONDS)
        self.queue.dispatcher.close()
        self._opener.close()
        if self._downloads is not None:
            self._downloads.close()
        if self.journal is not None:
            try:
                await in_thread(None, self.journal.close)
            except CosxferError:  # no thread is available
                self.journal.end()

    def abandon(self) -> None:
        """Nobody holds the client any more, and it has no work: end its threads."""
        if self.journal is not None:
            self.journal.end()


def _check_event(event: str) -> None:
    if event != "list-update":
        raise UsageError(f'there is no event {shorten(event)}; there is "list-update"', name="event", value=event)
