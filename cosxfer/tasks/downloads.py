"""How downloads become tasks."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, cast

from cosxfer.address import ObjectAddress
from cosxfer.arguments import check_callback, check_names, check_text, wrong_type
from cosxfer.bucket_models import ListedObject
from cosxfer.cos.identifiers import check_bucket
from cosxfer.cos.key_paths import KeyPaths
from cosxfer.engine.download.download_file import DownloadJob
from cosxfer.engine.download.first import FirstBlocks
from cosxfer.engine.download.options import (
    DownloadDirectoryOptions,
    DownloadOptions,
    DownloadSettings,
    FileDownload,
    OnFileFinish,
    check_download,
)
from cosxfer.engine.download.short import Shorts
from cosxfer.engine.download.writes import Writes
from cosxfer.engine.limiter import Limiter
from cosxfer.errors import CosxferError, TargetError
from cosxfer.foreign import shorten
from cosxfer.journal import Journal
from cosxfer.journal_downloads import DownloadJournal
from cosxfer.models import DownloadResult, Progress
from cosxfer.ops.list_objects import all_objects
from cosxfer.ops.outage import Transfer
from cosxfer.ops.session import Session
from cosxfer.patterns import Patterns, parse_patterns
from cosxfer.records import dataclass
from cosxfer.targets import folds_case, make_folders
from cosxfer.tasks.batch import AsyncUploadBatch, BatchRecord, OpenBatch, RefusedJob, UploadBatch
from cosxfer.tasks.directory import joined
from cosxfer.tasks.file_result import FileResult
from cosxfer.tasks.queue import TaskQueue
from cosxfer.tasks.record import TaskRecord, Watch
from cosxfer.tasks.task import AsyncUploadTask, UploadTask
from cosxfer.tasks.unfinished_downloads import FolderRows, begin
from cosxfer.threads import Workers, finished, in_thread

SUBMITTED_AT_ONCE = 100
"""Files that are put into the queue before an event loop has another turn."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DownloadedFile:
    """The outcome of one file: either an error or a result."""

    error: Exception | None
    result: DownloadResult | None
    options: FileDownload
    """The options of the file, as the caller gave them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Planned:
    """One file of a batch: its job, or why there is none."""

    options: FileDownload
    job: DownloadJob | RefusedJob
    address: ObjectAddress
    size: int = 0
    """0 if it is not known yet."""


@dataclass(frozen=True, kw_only=False, slots=True)
class SubmittedDownloads:
    """A batch and its files."""

    batch: BatchRecord
    planned: list[_Planned]
    rows: FolderRows | None = None
    """What the journal has of a folder."""


@dataclass(frozen=True, kw_only=False, slots=True)
class _Folder:
    """The files of a folder, the session that fetches them, and what the journal has of it."""

    planned: list[_Planned]
    session: Session
    rows: FolderRows | None


class Downloads:
    """The downloads of one client."""

    def __init__(
        self, session: Session, executor: Workers, limiter: Limiter, queue: TaskQueue, journal: Journal | None
    ) -> None:
        self._objects = journal
        self._journal = None if journal is None else DownloadJournal(journal)
        self._session = session
        self._executor = executor
        self._limiter = limiter
        self._queue = queue
        self._blocks = FirstBlocks()
        self._writes = Writes()

    def submit(
        self, bucket: str, key: str, path: str | os.PathLike[str], *, options: DownloadOptions
    ) -> TaskRecord[DownloadResult]:
        """Put a download into the queue, from any thread. What can be refused is refused here: `UsageError`."""
        self._queue.home.check_process()
        watch = _watch(options)
        job = self._job(bucket, key, path, options.get("region"), settings=self._settings(options))
        return self._queue.submit(
            job,
            address=job.address,
            path=os.fsdecode(path),
            watch=watch,
            on_task_ready=options.get("on_task_ready"),
            download=True,
        )

    async def files(
        self,
        files: Iterable[FileDownload],
        *,
        on_progress: Callable[[Progress], None] | None,
        on_file_finish: OnFileFinish | None,
    ) -> list[DownloadedFile]:
        """Download many files. What no server can make right is refused before anything is sent: `UsageError`."""
        planned, session = self._planned(files, short=True)
        return await self._all(planned, session, on_progress, on_file_finish)

    def batch(
        self,
        files: Iterable[FileDownload],
        *,
        on_progress: Callable[[Progress], None] | None,
        on_file_finish: OnFileFinish | None,
    ) -> SubmittedDownloads:
        """Prepare the downloads of many files, from any thread. `UsageError` is as in `files`."""
        self._queue.home.check_process()
        # Nobody may wait for these, and the end of the event loop must end them: they take the long way.
        planned, session = self._planned(files, short=False)
        return SubmittedDownloads(self._batch(planned, session, on_progress, on_file_finish), planned)

    def submit_all(self, submitted: SubmittedDownloads) -> None:
        """Put the files into the queue, from any thread."""
        batch = submitted.batch
        batch.begin()
        for index, file in enumerate(submitted.planned):
            batch.records.append(cast(Any, self._submit_one(batch, index, file, submitted.rows)))
            batch.submitted += 1

    def _planned(self, files: Iterable[FileDownload], *, short: bool) -> tuple[list[_Planned], Session]:
        if not isinstance(files, Iterable) or isinstance(files, str | bytes | Mapping):
            raise wrong_type("files", files, "a list of mappings with bucket, key and path")
        planned = []
        session = self._session.observed(transfer=Transfer())
        shorts = self._shorts(session) if short else None
        plain = self._settings({})
        for index, entry in enumerate(list(files)):
            check_download(entry, index)
            settings = plain
            if len(entry) > 3:  # more than bucket, key and path
                own = {name: value for name, value in entry.items() if name in DownloadOptions.__annotations__}
                settings = self._settings(cast(DownloadOptions, own))
                _watch(entry)
            job = self._job(
                entry["bucket"],
                entry["key"],
                entry["path"],
                entry.get("region"),
                settings=settings,
                session=session,
                shorts=shorts,
            )
            planned.append(_Planned(options=entry, job=job, address=job.address))
        return planned, session

    async def directory(
        self,
        bucket: str,
        prefix: str,
        path: str | os.PathLike[str],
        *,
        include: Sequence[str] | None,
        exclude: Sequence[str] | None,
        on_progress: Callable[[Progress], None] | None,
        on_file_finish: OnFileFinish | None,
        options: DownloadDirectoryOptions,
    ) -> list[DownloadedFile]:
        """Download all objects below ``prefix`` into the folder ``path``."""
        folder = await self._folder(
            bucket, prefix, path, include, exclude, on_progress, on_file_finish, options, short=True
        )
        return await self._all(folder.planned, folder.session, on_progress, on_file_finish, folder.rows)

    async def directory_batch(
        self,
        bucket: str,
        prefix: str,
        path: str | os.PathLike[str],
        *,
        include: Sequence[str] | None,
        exclude: Sequence[str] | None,
        on_progress: Callable[[Progress], None] | None,
        on_file_finish: OnFileFinish | None,
        options: DownloadDirectoryOptions,
    ) -> SubmittedDownloads:
        """List the objects below ``prefix``, and prepare their downloads; `submit_all` follows."""
        self._queue.home.check_process()
        # Nobody may wait for these, and the end of the event loop must end them: they take the long way.
        folder = await self._folder(
            bucket, prefix, path, include, exclude, on_progress, on_file_finish, options, short=False
        )
        batch = self._batch(folder.planned, folder.session, on_progress, on_file_finish, folder.rows)
        return SubmittedDownloads(batch, folder.planned, folder.rows)

    async def _folder(
        self,
        bucket: str,
        prefix: str,
        path: str | os.PathLike[str],
        include: Sequence[str] | None,
        exclude: Sequence[str] | None,
        on_progress: Callable[[Progress], None] | None,
        on_file_finish: OnFileFinish | None,
        options: DownloadDirectoryOptions,
        *,
        short: bool,
    ) -> _Folder:
        check_text(prefix, "prefix", optional=False)
        if not isinstance(path, str | bytes | os.PathLike):
            raise wrong_type("path", path, "a path")
        check_names(options, DownloadDirectoryOptions.__annotations__)
        check_callback(on_progress, "on_progress")
        check_callback(on_file_finish, "on_file_finish")
        common = cast(DownloadOptions, options)
        settings = self._settings(common)
        self._job(bucket, joined(prefix, "a"), path, options.get("region"), settings=settings)
        root = os.fsdecode(path)
        selection = KeySelection(parse_patterns("include", include), parse_patterns("exclude", exclude))
        address = ObjectAddress(check_bucket(bucket), region=options.get("region"))
        start = joined(prefix, "")
        # All of the listing comes first: an error in it must not look like a bucket with fewer objects.
        pages = all_objects(self._session, address, prefix=start, delimiter=None, marker=None, max_keys=None)
        listed = [entry async for entry in pages if isinstance(entry, ListedObject)]
        if not listed:
            raise CosxferError(f"no object of {bucket} has a key that begins with {shorten(start)}")
        await finished(in_thread(self._executor.waiting, make_folders, root, ()))
        folds = await finished(in_thread(self._executor.waiting, folds_case, root))
        paths = KeyPaths(folds_case=folds, windows=os.name == "nt")
        session = self._session.observed(transfer=Transfer())
        shorts = self._shorts(session) if short else None
        planned, folders = self._plan(listed, bucket, start, root, paths, selection, common, settings, session, shorts)
        for names in folders:
            await finished(in_thread(self._executor.waiting, make_folders, root, names))
        rows, known = await begin(
            self._objects,
            self._session,
            bucket,
            start=start,
            root=root,
            region=options.get("region"),
            settings=settings,
            listed=listed,
        )
        for file in planned if known else ():
            if isinstance(file.job, DownloadJob):
                file.job.known = known.get(file.options["key"])
        return _Folder(planned, session, rows)

    async def below(
        self,
        bucket: str,
        keys: Sequence[tuple[str, tuple[str, ...], int]],
        root: str,
        *,
        on_progress: Callable[[Progress], None] | None,
        options: DownloadDirectoryOptions,
        last_modified: bool,
    ) -> list[DownloadedFile]:
        """Download objects into files below ``root``: for each its key, the names of its path, and its size.

        ``last_modified`` gives a file the time at which its object was stored, if it gets no other time.
        """
        session = self._session.observed(transfer=Transfer())
        shorts = self._shorts(session)
        settings = self._settings(cast(DownloadOptions, options), last_modified=last_modified)
        planned = []
        for key, names, size in keys:
            target = os.path.join(root, *names)  # noqa: PTH118 (it is text)
            file = cast(FileDownload, {**options, "bucket": bucket, "key": key, "path": target})
            job: DownloadJob | RefusedJob
            try:
                job = self._job(
                    bucket,
                    key,
                    target,
                    options.get("region"),
                    settings=settings.at((root, names)),
                    shorts=shorts,
                )
                address = job.address
            except ValueError as error:  # a key that cannot be sent
                job = RefusedJob(TargetError(f"cannot download {shorten(key)}: {error}", path=target))
                address = ObjectAddress(bucket, key, options.get("region"))
            planned.append(_Planned(options=file, job=job, address=address, size=size))
        return await self._all(planned, session, on_progress, None)

    def _plan(
        self,
        listed: list[ListedObject],
        bucket: str,
        start: str,
        root: str,
        paths: KeyPaths,
        selection: KeySelection,
        options: DownloadOptions,
        settings: DownloadSettings,
        session: Session,
        shorts: Shorts | None,
    ) -> tuple[list[_Planned], list[tuple[str, ...]]]:
        """Return the files, and the folders that have keys of their own."""
        planned: list[_Planned] = []
        folders: list[tuple[str, ...]] = []
        for entry in listed:
            sent = entry.key.removeprefix("/")  # calls drop one leading slash
            relative = sent.removeprefix(start.removeprefix("/"))
            is_folder = entry.key.endswith("/") and not entry.size
            if (is_folder and not relative) or not selection.takes(relative, is_folder=is_folder):
                continue
            address = ObjectAddress(bucket, sent, options.get("region"))
            target = os.path.join(root, *relative.split("/"))  # noqa: PTH118 (it is text)
            file = cast(FileDownload, {**options, "bucket": bucket, "key": entry.key, "path": target})
            try:
                names = paths.names(relative, is_folder=is_folder)
                if is_folder:
                    folders.append(names)
                    continue
                job: DownloadJob | RefusedJob = self._job(
                    bucket,
                    entry.key,
                    target,
                    options.get("region"),
                    settings=settings.at((root, names)),
                    session=session,
                    shorts=shorts,
                )
            except ValueError as error:  # also what `_job` refuses
                refused = TargetError(f"the key {shorten(sent)} has no path below {root!r}: {error}", path=root)
                job = RefusedJob(refused)
                file["path"] = root
            planned.append(_Planned(options=file, job=job, address=address, size=entry.size))
        return planned, folders

    def _settings(self, options: DownloadOptions, *, last_modified: bool = False) -> DownloadSettings:
        # A task that leaves the list in the moment in which it ends is not restarted.
        restartable = self._session.config.max_finished_tasks > 0
        return DownloadSettings.of(options, restartable=restartable, last_modified=last_modified)

    def _job(
        self,
        bucket: str,
        key: str,
        path: str | os.PathLike[str],
        region: str | None,
        *,
        settings: DownloadSettings,
        session: Session | None = None,
        shorts: Shorts | None = None,
    ) -> DownloadJob:
        """``session`` is that of a batch, whose files are one transfer. With ``shorts`` they may take the short way."""
        return DownloadJob(
            session or (self._session if shorts is None else shorts.batch),
            self._executor.waiting,
            self._limiter,
            self._blocks,
            self._session.address(bucket, key, region),
            path,
            settings=settings,
            journal=self._journal,
            shorts=shorts,
        )

    def _shorts(self, session: Session) -> Shorts:
        return Shorts(session, self._limiter, self._blocks, self._writes)

    def close(self) -> None:
        """Write nothing any more."""
        self._writes.close()

    async def _all(
        self,
        planned: list[_Planned],
        session: Session,
        on_progress: Callable[[Progress], None] | None,
        on_file_finish: OnFileFinish | None,
        rows: FolderRows | None = None,
    ) -> list[DownloadedFile]:
        """Put the files into the queue and wait. Between the steps the event loop can run other work."""
        batch = self._batch(planned, session, on_progress, on_file_finish, rows)
        batch.begin()
        planned.reverse()
        try:
            index = 0
            while planned:  # a job that has ended is freed
                batch.records.append(cast(Any, self._submit_one(batch, index, planned.pop(), rows)))
                index += 1
                if not index % SUBMITTED_AT_ONCE:
                    await asyncio.sleep(0)
        except BaseException:
            await self._handle(batch)._give_up()
            raise
        try:
            outcomes = await self._handle(batch).result()
        except asyncio.CancelledError as error:
            await self._handle(batch)._cut_off(error)
            raise
        return _downloaded(outcomes)

    def _batch(
        self,
        planned: list[_Planned],
        session: Session,
        on_progress: Callable[[Progress], None] | None,
        on_file_finish: OnFileFinish | None,
        rows: FolderRows | None = None,
    ) -> BatchRecord:
        check_callback(on_progress, "on_progress")
        check_callback(on_file_finish, "on_file_finish")
        # A batch of uploads differs in the types of its options and results only.
        return BatchRecord(
            cast(Any, [file.options for file in planned]),
            self._queue.dispatcher,
            slice_size=0,
            sizes=[file.size for file in planned],
            problems={index: file.job.error for index, file in enumerate(planned) if isinstance(file.job, RefusedJob)},
            on_progress=on_progress,
            on_file_finish=cast(Any, on_file_finish),
            session=session,
            unfinished=None if rows is None else OpenBatch(number=rows.number, end=rows.end),
        )

    def _submit_one(
        self, batch: BatchRecord, index: int, file: _Planned, rows: FolderRows | None = None
    ) -> TaskRecord[Any]:
        on_end: Callable[[TaskRecord[Any]], None] = batch.task_ended
        if rows is not None:
            on_end = partial(_file_of_folder_ended, on_end, rows, file.options["key"])
        return self._queue.submit(
            cast(DownloadJob, file.job),
            address=file.address,
            path=os.fsdecode(file.options["path"]),
            total=file.size,
            watch=_watch(file.options) if "on_progress" in file.options else None,
            on_task_ready=file.options.get("on_task_ready"),
            on_report=batch.on_report,
            on_end=on_end,
            download=True,
            index=index,
        )

    def _handle(self, batch: BatchRecord) -> AsyncUploadBatch:
        return AsyncUploadBatch(batch, partial(AsyncUploadTask, self._queue))


def _file_of_folder_ended(
    then: Callable[[TaskRecord[Any]], None], rows: FolderRows, key: str, record: TaskRecord[Any]
) -> None:
    """Note that a file is complete, before the batch may end."""
    if record.result is not None and record.state == "success":
        rows.done(key, record.result)
    then(record)


def _downloaded(outcomes: Iterable[FileResult]) -> list[DownloadedFile]:
    return [
        DownloadedFile(
            error=outcome.error, result=cast(Any, outcome.result), options=cast(FileDownload, outcome.options)
        )
        for outcome in outcomes
    ]


class DownloadBatch:
    """The downloads of many files; returned by `Client.submit_download_files`."""

    def __init__(self, batch: UploadBatch) -> None:
        self._batch = batch

    @property
    def tasks(self) -> tuple[UploadTask[DownloadResult], ...]:
        """One task for each file, in the order of the files."""
        return cast("tuple[UploadTask[DownloadResult], ...]", self._batch.tasks)

    @property
    def loaded(self) -> int:
        """Bytes received of all files."""
        return self._batch.loaded

    @property
    def total(self) -> int:
        """Total bytes of the files whose sizes are known."""
        return self._batch.total

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self.tasks)} files>"

    def result(self, timeout: float | None = None) -> list[DownloadedFile]:
        """Wait until every file has ended; raises `TaskTimeoutError` after ``timeout`` seconds, and no file's error."""
        return _downloaded(self._batch.result(timeout))

    def cancel(self, *, abort: bool = True) -> None:
        """Cancel all files that have not ended, and remove their temporary files unless ``abort`` is False."""
        self._batch.cancel(abort=abort)


class AsyncDownloadBatch:
    """The downloads of many files; returned by `AsyncClient.submit_download_files`. See `DownloadBatch`."""

    def __init__(self, batch: AsyncUploadBatch) -> None:
        self._batch = batch

    @property
    def tasks(self) -> tuple[AsyncUploadTask[DownloadResult], ...]:
        """One task for each file, in the order of the files."""
        return cast("tuple[AsyncUploadTask[DownloadResult], ...]", self._batch.tasks)

    @property
    def loaded(self) -> int:
        """Bytes received of all files."""
        return self._batch.loaded

    @property
    def total(self) -> int:
        """Total bytes of the files whose sizes are known."""
        return self._batch.total

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self.tasks)} files>"

    async def result(self, timeout: float | None = None) -> list[DownloadedFile]:
        """Wait until every file has ended; see `DownloadBatch.result`."""
        return _downloaded(await self._batch.result(timeout))

    async def cancel(self, *, abort: bool = True) -> None:
        """Cancel all files that have not ended; see `DownloadBatch.cancel`."""
        await self._batch.cancel(abort=abort)


class KeySelection:
    """Which keys of a folder are wanted."""

    def __init__(self, wanted: Patterns | None, unwanted: Patterns | None) -> None:
        self._wanted = wanted
        self._unwanted = unwanted

    def takes(self, relative: str, *, is_folder: bool) -> bool:
        """Whether the key is included, itself or by a folder above it, and not excluded in the same way."""
        names = relative.removesuffix("/").split("/")
        if self._unwanted is not None and _matches(self._unwanted, names, is_folder=is_folder):
            return False
        return self._wanted is None or _matches(self._wanted, names, is_folder=is_folder)


def _matches(patterns: Patterns, names: Sequence[str], *, is_folder: bool) -> bool:
    above = any(patterns.match(names[:length], is_folder=True) for length in range(1, len(names)))
    return above or patterns.match(names, is_folder=is_folder)


def _watch(options: DownloadOptions) -> Watch | None:
    """The task's own callback, if it has one. Raises `UsageError` for what cannot be called."""
    on_progress = options.get("on_progress")
    check_callback(options.get("on_task_ready"), "on_task_ready")
    check_callback(on_progress, "on_progress")
    return None if on_progress is None else Watch(None, on_progress)
