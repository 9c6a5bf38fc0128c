"""Runs the cases of a benchmark against an endpoint, and cleans up after them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from cosxfer.arguments import AUTO, NumberOrAuto
from cosxfer.benchmark.cleanup import Cleaner
from cosxfer.benchmark.files import Report, check_space, make_files, needed_bytes
from cosxfer.benchmark.phases import Keys, download, upload
from cosxfer.benchmark.records import BenchmarkCase, CaseResult, Cleanup, Direction, PhaseResult
from cosxfer.client import Client
from cosxfer.errors import AccessDeniedError, CosxferError, ServerError, UsageError
from cosxfer.foreign import shorten
from cosxfer.limits import MAX_KEY_BYTES, MAX_OBJECT_BYTES
from cosxfer.tasks.directory import joined

MAX_OBJECTS = 100_000
"""Of a case. Each outcome takes a few KiB of memory."""
DIRECTIONS: tuple[Direction, ...] = ("upload", "download")
ROOM_BYTES = 64
"""What a key has besides the prefix that the user gives."""
EXISTS = "FileAlreadyExists"
"""The code of the server's refusal to replace an object."""


class Benchmark:
    """Measures transfers below a new prefix of a bucket. A context manager: at its end it deletes what it has made.

    ::

        with Benchmark(cosxfer.Client, "examplebucket-1250000000", "bench") as benchmark:
            result = benchmark.run(BenchmarkCase(object_bytes=16384, objects=1000))

    Each direction of each case has a client of its own, which ``connect`` makes, so its connections are opened in the
    measured time. No object is replaced, and only keys that the benchmark has sent are deleted.
    """

    def __init__(
        self,
        connect: Callable[[], Client],
        bucket: str,
        prefix: str = "",
        *,
        folder: str | os.PathLike[str] | None = None,
        part_size: NumberOrAuto = AUTO,
        keep: bool = False,
        on_progress: Report | None = None,
    ) -> None:
        """``folder`` is where the files are made (default: the system's temporary folder). ``keep`` deletes nothing.

        ``on_progress(activity, progress)`` gets the progress of ``"making"``, ``"sending"`` and ``"receiving"``, the
        last two in a thread of the client. Raises `UsageError` for a prefix or a folder that cannot be used.
        """
        if prefix.startswith("/") or len(prefix.encode("utf-8", "replace")) > MAX_KEY_BYTES - ROOM_BYTES:
            raise UsageError(
                f"the prefix {shorten(prefix)} begins with / or has more than {MAX_KEY_BYTES - ROOM_BYTES} bytes",
                name="prefix",
                value=prefix,
            )
        self.bucket = bucket
        self.prefix = joined(prefix, f"cosxfer-bench-{os.urandom(12).hex()}/")
        """Below it are all objects of the benchmark."""
        self.cleanup: Cleanup | None = None
        """What became of the objects, after the end."""
        self.on_progress = on_progress
        self._connect = connect
        self._folder = Path(tempfile.gettempdir() if folder is None else folder)
        if not self._folder.is_dir():
            raise UsageError(f"folder is {shorten(str(folder))}, which is no directory", name="folder", value=folder)
        self._part_size = part_size
        self._keep = keep
        self._cases = 0
        self.local_folder: Path | None = None
        """Where the files of the case are that runs now."""
        self._own: set[str] = set()
        """Keys that were sent, or may have been."""
        self._foreign: set[str] = set()
        """Keys that the server has refused to replace."""
        self._versions: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clean_up()

    @property
    def sent(self) -> bool:
        """Whether something was sent, so that objects may be on the server."""
        return bool(self._own)

    def check(self, cases: Sequence[BenchmarkCase], directions: Collection[Direction] = DIRECTIONS) -> int:
        """Check the cases, the space for their files, and that the prefix is new. Returns the bytes that they need.

        Raises `UsageError`, and `CosxferError` if there is not enough space or the prefix has objects.
        """
        for case in cases:
            _check_case(case)
        needed = needed_bytes(cases, directions)
        check_space(self._folder, needed)
        if not self._cases:
            self._check_prefix()
        return needed

    def run(self, case: BenchmarkCase, directions: Collection[Direction] = DIRECTIONS) -> CaseResult:
        """Measure one case. Objects are uploaded in any case, because a download needs them.

        If some objects do not arrive, the result has the first error, and nothing is downloaded. If none arrives, the
        error is raised.
        """
        self.check([case], directions)
        self._cases += 1
        try:
            folder = Path(tempfile.mkdtemp(prefix="cosxfer-bench-", dir=self._folder))
        except OSError as error:
            raise CosxferError(
                f"no folder can be made in {str(self._folder)!r}: {(error.strerror or str(error)).lower()}"
            ) from error
        self.local_folder = folder
        try:
            paths = make_files(folder / "sent", case, self.on_progress)
            keys = {path: f"{self.prefix}{self._cases}/{path.name}" for path in paths}
            uploaded = self._upload(keys)
            result = CaseResult(case=case, upload=uploaded)
            if "download" in directions and not uploaded.failed:
                received = folder / "received"
                received.mkdir()
                downloaded = self._download(keys, received)
                shown = uploaded if "upload" in directions or not uploaded.good else None
                result = replace(result, upload=shown, download=downloaded)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            self.local_folder = None
        return result

    def _upload(self, keys: Keys) -> PhaseResult:
        self._own.update(keys.values())  # before anything is sent: an interrupt may come at any time
        result, outcomes = upload(self._connect, self.bucket, keys, part_size=self._part_size, report=self.on_progress)
        for outcome in outcomes:
            key = outcome.options["key"]
            if outcome.result is not None and outcome.result.version_id:
                self._versions[key] = outcome.result.version_id
            elif isinstance(outcome.error, ServerError) and outcome.error.code == EXISTS:
                self._own.discard(key)
                self._foreign.add(key)
            elif isinstance(outcome.error, AccessDeniedError) and not getattr(outcome.error, "upload_id", ""):
                self._own.discard(key)  # nothing of it was stored
        return _some_arrived(result)

    def _download(self, keys: Keys, folder: Path) -> PhaseResult:
        return _some_arrived(
            download(self._connect, self.bucket, keys, folder, part_size=self._part_size, report=self.on_progress)
        )

    def _check_prefix(self) -> None:
        with self._connect() as client:
            try:
                page = client.list_objects(self.bucket, prefix=self.prefix, max_keys=1)
            except AccessDeniedError as error:
                if error.code != "AccessDenied":
                    raise
                return  # these keys may not list; each upload still refuses to replace
        if page.objects:
            raise CosxferError(f"cos://{self.bucket}/{self.prefix} has objects already; run the benchmark again")

    def clean_up(self) -> Cleanup:
        """Delete what was made, once. No error is raised: the result says what is left."""
        if self.cleanup is None:
            self.cleanup = self._clean()
        return self.cleanup

    def _clean(self) -> Cleanup:
        if self._keep:
            return Cleanup(kept=True)
        if not self._own and not self._foreign:
            return Cleanup(kept=False)
        try:
            with self._connect() as client:
                done = Cleaner(client, self.bucket, self.prefix, self._own, self._versions).run()
        except CosxferError as error:  # there is no client any more, as without keys
            done = Cleanup(kept=False, left=tuple(sorted(self._own)), reasons=(str(error),))
        if not self._foreign:
            return done
        reason = "somebody else has written an object below the prefix meanwhile, or a response was lost"
        return replace(done, left=(*done.left, *sorted(self._foreign)), reasons=(*done.reasons, reason))


def _some_arrived(result: PhaseResult) -> PhaseResult:
    if not result.objects and result.error is not None:
        raise result.error
    return result


def _check_case(case: BenchmarkCase) -> None:
    if not 1 <= case.object_bytes <= MAX_OBJECT_BYTES:
        raise UsageError(
            f"object_bytes is {case.object_bytes}; it can be from 1 to {MAX_OBJECT_BYTES}",
            name="object_bytes",
            value=case.object_bytes,
        )
    if not 1 <= case.objects <= MAX_OBJECTS:
        raise UsageError(
            f"objects is {case.objects}; it can be from 1 to {MAX_OBJECTS}", name="objects", value=case.objects
        )
