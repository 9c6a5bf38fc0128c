"""Transferring keys in batches. Two batches run at a time, so memory is bounded and the slots stay busy."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from typing import Any, Protocol, TypeAlias, cast

from cosxfer.address import shown_key
from cosxfer.bucket_models import CopyResult, CopySource
from cosxfer.cos.responses import seconds_of
from cosxfer.engine.download.options import DownloadDirectoryOptions
from cosxfer.engine.upload.options import FileUpload
from cosxfer.errors import CosxferError, IntegrityError, ServerError
from cosxfer.models import DownloadResult
from cosxfer.ops.put_object import EXISTS
from cosxfer.sorted_tree import Entry
from cosxfer.sync.checksums import Checksums
from cosxfer.sync.options import Side, SyncOptions
from cosxfer.sync.progress import OnProgress
from cosxfer.sync.rules import SECOND
from cosxfer.sync.sides import look_up_all
from cosxfer.tasks.downloads import Downloads
from cosxfer.tasks.file_result import FileResult
from cosxfer.threads import Workers, finished, in_thread

BATCH_KEYS = 500
BATCHES_AT_ONCE = 2
COPIES_AT_ONCE = 16

OnOutcome = Callable[[Entry, Exception | None], None]


class UploadFiles(Protocol):
    """`AsyncClient.upload_files`."""

    def __call__(
        self, files: Sequence[FileUpload], *, on_progress: OnProgress = None
    ) -> Awaitable[list[FileResult]]: ...


Copy: TypeAlias = Callable[..., Awaitable[CopyResult]]
"""`AsyncClient.copy`."""


class Keeps(Protocol):
    """`cosxfer.sync.backup.Backups`."""

    async def keep(self, entries: list[Entry]) -> list[CosxferError | None]:
        """Keep entries of the target; returns why one could not be."""
        ...


class Mover:
    """Transfers entries of the source. ``on_outcome`` gets each entry, and why it failed."""

    def __init__(
        self,
        options: SyncOptions,
        checksums: Checksums,
        executor: Workers,
        *,
        upload_files: UploadFiles,
        downloads: Downloads,
        copy: Copy,
        backups: Keeps,
        on_outcome: OnOutcome,
        on_progress: Callable[[int], OnProgress],
    ) -> None:
        """``on_progress`` returns the callback of a transfer, or of several together, given its bytes."""
        self._options = options
        self._checksums = checksums
        self._executor = executor
        self._upload_files = upload_files
        self._downloads = downloads
        self._copy = copy
        self._backups = backups
        self._on_outcome = on_outcome
        self._on_progress = on_progress
        self._waiting: list[Entry] = []
        self._replaced: dict[bytes, Entry] = {}
        """Of those that wait: the entries of the target, if they are to be kept."""
        self._running: set[asyncio.Task[None]] = set()

    async def add(self, entry: Entry, replaced: Entry | None) -> None:
        """Transfer an entry, later, over what the target has. Waits while two batches run."""
        self._waiting.append(entry)
        if replaced is not None and self._options.backup:
            self._replaced[entry[0]] = replaced
        if len(self._waiting) >= BATCH_KEYS:
            await self._begin()

    async def finish(self) -> None:
        """Wait until everything is transferred."""
        if self._waiting:
            await self._begin()
        while self._running:
            await self._one_done()

    async def aclose(self) -> None:
        """Cancel what runs."""
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)

    async def _begin(self) -> None:
        while len(self._running) >= BATCHES_AT_ONCE:
            await self._one_done()
        entries, self._waiting = self._waiting, []
        replaced, self._replaced = self._replaced, {}
        run = {"upload": self._upload, "download": self._download, "copy": self._copy_all}[
            self._options.rules.direction
        ]
        self._running.add(asyncio.create_task(self._run(run, entries, replaced)))

    async def _run(
        self, run: Callable[[list[Entry]], Awaitable[None]], entries: list[Entry], replaced: dict[bytes, Entry]
    ) -> None:
        """Transfer entries. One whose target could not be kept is not transferred."""
        if replaced:
            outcomes = await self._backups.keep(list(replaced.values()))
            problems = {key: error for key, error in zip(replaced, outcomes, strict=True) if error is not None}
            for entry in entries:
                if (error := problems.get(entry[0])) is not None:
                    self._on_outcome(entry, error)
            entries = [entry for entry in entries if entry[0] not in problems]
        if entries:
            await run(entries)

    async def _one_done(self) -> None:
        done, self._running = await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def _upload(self, entries: list[Entry]) -> None:
        report = self._on_progress(sum(entry[1] for entry in entries))
        source, target = self._options.source, self._options.target
        files: list[Any] = [
            {
                **self._headers(entry),
                "bucket": target.bucket,
                "key": shown_key(target.object(entry[0]).key),
                "path": source.path(entry[0]),
                "region": target.region,
            }
            for entry in entries
        ]
        results = await self._upload_files(files, on_progress=report)
        for entry, outcome in zip(entries, results, strict=True):
            result = outcome.result
            if result is not None:
                self._checksums.remember(source, entry, result.crc64)
                self._checksums.remember(target, (entry[0], result.size, 0, result.etag, 0), result.crc64)
            self._told(entry, outcome.error, verified=result is None or result.verified)

    def _headers(self, entry: Entry) -> dict[str, Any]:
        """Return the headers of a new object."""
        headers = dict(self._options.parameters)
        if self._options.rules.no_overwrite:
            headers["forbid_overwrite"] = True
        if self._options.rules.preserve_mtime and self._options.rules.direction == "upload":
            headers["metadata"] = {**(headers.get("metadata") or {}), "mtime": mtime_text(entry[2])}
        return headers

    async def _download(self, entries: list[Entry]) -> None:
        report = self._on_progress(sum(entry[1] for entry in entries))
        source, target = self._options.source, self._options.target
        options = DownloadDirectoryOptions(preserve_mtime=self._options.rules.preserve_mtime, region=source.region)
        options.update(cast(DownloadDirectoryOptions, self._options.parameters))  # the customer's key, if any
        keys = [
            (shown_key(source.object(entry[0]).key), tuple(entry[0].decode().split("/")), entry[1]) for entry in entries
        ]
        results = await self._downloads.below(
            source.bucket, keys, target.root, on_progress=report, options=options, last_modified=True
        )
        done = [entry for entry, outcome in zip(entries, results, strict=True) if outcome.result is not None]
        names = tuple(entry[0] for entry in done)
        found = await finished(in_thread(self._executor.waiting, look_up_all, target, names))
        written = dict(zip(names, found, strict=True))
        for entry, outcome in zip(entries, results, strict=True):
            result = outcome.result
            if result is not None:
                there = written[entry[0]]
                self._checksums.remember(source, (entry[0], result.size, 0, result.etag, 0), result.crc64)
                # Another process may have written to the file since: then it has another time.
                if there is not None and there[1] == result.size and there[2] in _times_of(result):
                    self._checksums.remember(target, there, result.crc64)
            self._told(entry, outcome.error, verified=result is None or result.verified)

    async def _copy_all(self, entries: list[Entry]) -> None:
        room = asyncio.Semaphore(COPIES_AT_ONCE)
        # All sizes are part of the total before the first copy begins.
        reports = [self._on_progress(entry[1]) for entry in entries]
        await asyncio.gather(
            *[self._copy_one(entry, report, room) for entry, report in zip(entries, reports, strict=True)]
        )

    async def _copy_one(self, entry: Entry, report: OnProgress, room: asyncio.Semaphore) -> None:
        source, target = self._options.source, self._options.target
        async with room:
            try:
                result = await self._copy(
                    target.bucket,
                    shown_key(target.object(entry[0]).key),
                    CopySource(bucket=source.bucket, key=shown_key(source.object(entry[0]).key), region=source.region),
                    region=target.region,
                    metadata_directive=self._options.metadata_directive,
                    on_progress=report,
                    **self._headers(entry),
                )
            except CosxferError as error:
                self._told(entry, error)
                return
        self._checksums.remember(source, (entry[0], result.size, 0, result.source_etag, 0), result.crc64)
        self._checksums.remember(target, (entry[0], result.size, 0, result.etag, 0), result.crc64)
        self._told(entry, None, verified=result.verified)

    def _told(self, entry: Entry, error: Exception | None, *, verified: bool = True) -> None:
        if error is None and not verified:
            error = IntegrityError(
                "it was transferred, but the server sent no checksum to verify it with", expected=None, actual=None
            )
        self._on_outcome(entry, error)


def exists_already(error: Exception | None) -> bool:
    """Whether ``no_overwrite`` protected an object that the listing did not show yet."""
    return isinstance(error, ServerError) and error.code == EXISTS


def mtime_text(nanoseconds: int) -> str:
    """Return a time as the metadata ``mtime`` has it: seconds since 1970."""
    seconds, rest = divmod(nanoseconds, SECOND)
    return f"{seconds}.{rest:09}".rstrip("0").rstrip(".") if seconds >= 0 else f"{Decimal(nanoseconds) / SECOND:f}"


def _times_of(result: DownloadResult) -> list[int]:
    """Return the times that the file may have got, in nanoseconds."""
    times = [seconds_of(result.last_modified) * SECOND]
    with suppress(InvalidOperation, ValueError, OverflowError):
        times.append(int(Decimal(result.metadata.get("mtime", "")) * SECOND))
    return times


def side_name(side: Side) -> str:
    """Return a side for messages."""
    return side.root if side.is_local else f"cos://{side.bucket}/{side.prefix}"
