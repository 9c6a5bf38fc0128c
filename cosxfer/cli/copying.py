"""``cosxfer cp`` and ``mv`` within COS: one object, or all objects of a folder. No byte passes this machine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from cosxfer.address import shown_key
from cosxfer.arguments import AUTO
from cosxfer.bucket_models import CopyResult, CopySource, ListedObject
from cosxfer.cli.failures import error_object, message_of
from cosxfer.cli.fetch import FetchOptions, report
from cosxfer.cli.hints import with_hint
from cosxfer.cli.interrupts import ended_by_signal
from cosxfer.cli.listing import folder_entries
from cosxfer.cli.notices import hide_retries, show
from cosxfer.cli.output import printable
from cosxfer.cli.progress import Display, display
from cosxfer.cli.values import parse_address
from cosxfer.client import Client
from cosxfer.errors import CosxferError, UsageError
from cosxfer.figures import counted, human_bytes, human_rate
from cosxfer.foreign import shorten
from cosxfer.records import dataclass
from cosxfer.sync.moving import COPIES_AT_ONCE
from cosxfer.sync.progress import TotalProgress
from cosxfer.sync.selection import Selection, selection_of
from cosxfer.tasks.directory import joined
from cosxfer.threads import SIGNAL_SECONDS

LABEL_SECONDS = 0.1
"""Time between two updates of the number of objects."""


def run(options: FetchOptions) -> None:
    """Copy or move one object, and print the result. Exits with 1 if it is not verified."""
    bucket, key = parse_address(options.target)
    if not key or key.endswith("/"):
        # As for a file, the name is added: the last part of the source's key.
        name = options.key.rsplit("/", 1)[-1]
        if not name:
            raise UsageError(
                "the source's key ends with /; give the complete key in the destination", name="destination"
            )
        key += name
    began = time.monotonic()
    ended_by_signal(_became(options))
    with (
        options.connection.client() as client,
        with_hint(client, bucket),
        display(activities=("copying",)) as shown,
    ):
        result = _copy(client, options, bucket, key, options.key, lambda progress: shown.update("copying", progress))
    seconds = time.monotonic() - began
    proof = f"verified by CRC64 {result.crc64}" if result.verified else "NOT verified"
    done = "moved" if options.move else "copied"
    summary = printable(
        f"{human_bytes(result.size)} {done} to cos://{bucket}/{key} in {seconds:.2f} s "
        f"({human_rate(result.size, seconds)}), {proof}"
    )
    figures = _figures(result, options, seconds)
    report(figures if options.as_json else None, summary=summary, good=result.verified)


def run_tree(options: FetchOptions, *, include: list[str] | None, exclude: list[str] | None) -> None:
    """Copy or move the objects of a folder. One that fails does not stop the others; then the exit code is 1."""
    tree = _Tree.of(options)
    selection = selection_of(
        [("exclude", pattern) for pattern in exclude or []] + [("include", pattern) for pattern in include or []]
    )
    ended_by_signal(_became(options))
    began = time.monotonic()
    with (
        options.connection.client() as client,
        with_hint(client, options.bucket),
        display(activities=("copying",)) as shown,
    ):
        copies = _Copies(client, options, tree, selection, shown)
        copies.run(include=include)
    seconds = time.monotonic() - began
    figures = copies.figures(seconds) if options.as_json else None
    report(figures, summary=copies.summary(seconds), good=not copies.failed)


def _became(options: FetchOptions) -> str:
    if options.move:
        return (
            "what was copied completely was moved, and every other source is as it was; the same command moves the rest"
        )
    return "what was copied is whole; the same command copies all again"


def _copy(client: Client, options: FetchOptions, bucket: str, key: str, source: str, on_progress: object) -> CopyResult:
    call = client.move if options.move else client.copy
    return call(
        bucket,
        key,
        CopySource(bucket=options.bucket, key=source, region=options.source_region),
        part_size=None if options.part_size == AUTO else options.part_size,
        metadata_directive=options.metadata_directive,
        on_progress=on_progress,  # type: ignore[arg-type] # the callers know
        **options.headers,
    )


def _figures(result: CopyResult, options: FetchOptions, seconds: float) -> dict[str, object]:
    figures: dict[str, object] = {
        "bucket": result.bucket,
        "key": result.key,
        "bytes": result.size,
        "seconds": round(seconds, 6),
        "parts": result.parts,
        "etag": result.etag,
        # Many JSON parsers round a number of 64 bits.
        "crc64": None if result.crc64 is None else str(result.crc64),
        "verified": result.verified,
        "version_id": result.version_id,
    }
    return figures | ({"source_deleted": True} if options.move else {})


@dataclass(frozen=True, kw_only=True)
class _Tree:
    """The two folders, as their keys are sent."""

    start: str
    bucket: str
    target: str

    @classmethod
    def of(cls, options: FetchOptions) -> _Tree:
        """Raises `UsageError` if one folder is in the other: a copy would then be a source, or replace one."""
        bucket, key = parse_address(options.target)
        start, target = (joined(prefix, "").removeprefix("/") for prefix in (options.key, key))
        if bucket == options.bucket and (start.startswith(target) or target.startswith(start)):
            raise UsageError(
                f"cos://{bucket}/{start} and cos://{bucket}/{target} are the same keys, or one is inside the other; "
                "name another destination",
                name="destination",
            )
        return cls(start=start, bucket=bucket, target=target)


class _Copies:
    """Copies of many objects, some at a time, while the folder is listed. Memory does not grow with their number."""

    def __init__(
        self, client: Client, options: FetchOptions, tree: _Tree, selection: Selection | None, shown: Display
    ) -> None:
        self._client = client
        self._options = options
        self._tree = tree
        self._selection = selection
        self._shown = shown
        self._progress = TotalProgress(lambda progress: shown.update("copying", progress))
        self._labelled = 0.0
        self._running: dict[Future[CopyResult], str] = {}
        self._objects: list[dict[str, object]] = []
        """For --json."""
        self.done = 0
        self.bytes = 0
        self.failed = 0

    def run(self, *, include: list[str] | None) -> None:
        """Copy all. If the listing fails, what it returned before is copied, and its error is raised."""
        failure: CosxferError | None = None
        listed = self._listed()
        pool = ThreadPoolExecutor(COPIES_AT_ONCE, thread_name_prefix="cosxfer-copy")
        try:
            while True:
                try:
                    entry = next(listed, None)
                except CosxferError as error:
                    failure, entry = error, None
                if entry is None:
                    break
                self._begin(pool, *entry)
                while len(self._running) >= 2 * COPIES_AT_ONCE:
                    self._some_end()
            while self._running:
                self._some_end()
            self._progress.finish()
        except BaseException:
            hide_retries()
            raise
        finally:
            # Closing the client ends the copies that are left.
            pool.shutdown(wait=False, cancel_futures=True)
        if failure is not None:
            verb = "moved" if self._options.move else "copied"
            failure.add_note(f"{counted(self.done, 'object')} had been {verb}, {self.failed:,} failed")
            raise failure
        place = f"cos://{self._options.bucket}/{self._tree.start}"
        for text in [] if self._selection is None else self._selection.unused:
            show(f"the pattern {text!r} decided about nothing in {place}")
        if not self.done and not self.failed:
            what = f"matches {', '.join(map(repr, include))} (include)" if include else "is there"
            raise CosxferError(f"no object of {place} {what}" if include else f"no key begins with {shorten(place)}")

    def _listed(self) -> Iterator[tuple[str, str, int]]:
        """Yield the relative key, the key and the size of what is to be copied."""
        start = self._tree.start
        options = self._options
        prefix = shown_key(start)
        for entry in folder_entries(
            self._client, options.bucket, prefix, recursive=True, versions=False, region=options.source_region
        ):
            if not isinstance(entry, ListedObject):
                continue
            relative = entry.key.removeprefix("/").removeprefix(start)
            is_folder = entry.key.endswith("/") and not entry.size
            if not relative and not self._tree.target:
                continue  # the key of the source folder itself, and the target is a whole bucket
            if self._selection is not None:
                name = relative.encode("utf-8", "surrogatepass")
                if not relative or not self._selection.takes(name, is_folder=is_folder):
                    continue
            yield relative, entry.key, entry.size

    def _begin(self, pool: ThreadPoolExecutor, relative: str, key: str, size: int) -> None:
        work = pool.submit(
            _copy,
            self._client,
            self._options,
            self._tree.bucket,
            shown_key(self._tree.target + relative),
            key,
            self._progress.part(size),
        )
        self._running[work] = key

    def _some_end(self) -> None:
        ended, _ = wait(self._running, timeout=SIGNAL_SECONDS, return_when=FIRST_COMPLETED)
        for work in ended:
            self._ended(self._running.pop(work), work)
        if (now := time.monotonic()) - self._labelled >= LABEL_SECONDS:
            self._labelled = now
            self._shown.label("copying", counted(self.done + self.failed, "object"))

    def _ended(self, key: str, work: Future[CopyResult]) -> None:
        try:
            result = work.result()
        except CosxferError as error:
            self._has_failed(key, error, error_object(error))
            return
        if not result.verified:
            self._has_failed(key, "the copy could not be verified: the server has no CRC64 of the source", None)
            return
        self.done += 1
        self.bytes += result.size
        if self._options.as_json:
            source: dict[str, object] = {"source_key": key}
            self._objects.append(source | _figures(result, self._options, result.seconds))

    def _has_failed(self, key: str, why: CosxferError | str, known: dict[str, object] | None) -> None:
        self.failed += 1
        text = why if isinstance(why, str) else message_of(why)
        show(f"cos://{self._options.bucket}/{key}: {text}")
        if self._options.as_json:
            self._objects.append({"source_key": key, "error": known or {"message": text}})

    def figures(self, seconds: float) -> dict[str, object]:
        """Return what ``--json`` prints."""
        return {
            "bucket": self._tree.bucket,
            "prefix": self._tree.target,
            "bytes": self.bytes,
            "seconds": round(seconds, 6),
            "failed": self.failed,
            "objects": self._objects,
        }

    def summary(self, seconds: float) -> str:
        """Return the outcome for people."""
        verb = "moved" if self._options.move else "copied"
        words = [
            f"{counted(self.done, 'object')}, {human_bytes(self.bytes)}, {verb} to "
            f"cos://{self._tree.bucket}/{self._tree.target} in {seconds:.2f} s ({human_rate(self.bytes, seconds)})"
        ]
        if self.done:
            words.append("verified" if self.done == 1 else "all verified")
        if self.failed:
            words.append(f"{counted(self.failed, 'object')} FAILED")
        return printable(", ".join(words))
