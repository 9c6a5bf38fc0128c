"""Options of the calls that download files: those of the public calls, and those of the engine."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Required, cast

from cosxfer.arguments import NumberOrAuto, as_number_or_auto, check_flag, check_names, check_text
from cosxfer.config import check_concurrency, check_part_size
from cosxfer.cos.requests import CustomerKey, HeadParameters, reading_headers
from cosxfer.errors import UsageError
from cosxfer.foreign import shorten
from cosxfer.models import DownloadResult, Progress
from cosxfer.records import dataclass


class DownloadDirectoryOptions(CustomerKey, total=False):
    """Options that apply to every file of `download_directory`."""

    part_size: int | str | None
    """Bytes of a range, 1 MiB to 5 GiB, or ``"auto"``: the client chooses. Default: the client's ``part_size``."""
    async_limit: int | str | None
    """The most ranges in flight, 1 to 256, or ``"auto"``: the client chooses. Default: the client's ``concurrency``."""
    preserve_mtime: bool
    """Give the file the time in the metadata ``mtime`` (seconds since 1970), if the object has it."""
    sparse: bool
    """Leave out blocks of zeros of an object in ranges, so that they take no space on the disk."""
    region: str | None


class DownloadOptions(DownloadDirectoryOptions, total=False):
    """Parameters of `download_file`."""

    version_id: str | None
    """The version to download. Default: the latest one."""
    on_task_ready: Callable[[str], None] | None
    """Gets the task's id. Called at once in the caller's own thread, before anything is sent."""
    on_progress: Callable[[Progress], None] | None
    """Gets the progress several times a second, in a thread of the client."""


_OPTIONS = frozenset(DownloadOptions.__annotations__)
_KEY_OPTIONS = frozenset(CustomerKey.__annotations__)


class FileDownload(DownloadOptions, total=False):
    """One file of `download_files`: its bucket, key and path, and any other parameter of `download_file`."""

    bucket: Required[str]
    key: Required[str]
    path: Required[str | os.PathLike[str]]


OnFileFinish = Callable[[Exception | None, DownloadResult | None, FileDownload], None]

_FILE_OPTIONS = frozenset(FileDownload.__annotations__)


def check_download(entry: FileDownload, index: int) -> None:
    """Raise `UsageError` if a file of `download_files` lacks a name or has an unknown one."""
    if type(entry) is not dict and not isinstance(entry, Mapping):  # the second test is slow
        raise UsageError(
            f"file {index} is {shorten(entry)}; it must be a mapping with bucket, key and path", name="files"
        )
    check_names(entry, _FILE_OPTIONS, where=f"file {index}: ")
    for name in ("bucket", "key", "path"):
        if name not in entry:
            raise UsageError(f"file {index} has no {name!r}; it needs bucket, key and path", name=name)


@dataclass(frozen=True, kw_only=True, slots=True)
class DownloadSettings:
    """How a file is downloaded; each field is the keyword of the same name of `download_file`."""

    version_id: str | None = None
    part_size: NumberOrAuto | None = None
    async_limit: NumberOrAuto | None = None
    preserve_mtime: bool = False
    sparse: bool = False
    below: tuple[str, tuple[str, ...]] | None = None
    """A folder and the names below it that make the path. The folders are created, and no link is followed."""
    last_modified: bool = False
    """Give the file the time at which the object was stored, unless it gets the one of ``preserve_mtime``."""
    restartable: bool = False
    """Whether a run that fails keeps what it has received. `DownloadJob.abort` removes it later."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Of each request."""

    def at(self, below: tuple[str, tuple[str, ...]] | None) -> DownloadSettings:
        """Return these settings for another file of a batch."""
        return DownloadSettings(
            version_id=self.version_id,
            part_size=self.part_size,
            async_limit=self.async_limit,
            preserve_mtime=self.preserve_mtime,
            sparse=self.sparse,
            below=below,
            last_modified=self.last_modified,
            restartable=self.restartable,
            headers=self.headers,
        )

    @classmethod
    def of(
        cls,
        options: DownloadOptions,
        *,
        restartable: bool,
        last_modified: bool = False,
    ) -> DownloadSettings:
        """Make the settings from the options of a call. Raises `UsageError`."""
        check_names(options, _OPTIONS)
        part_size = as_number_or_auto(options.get("part_size"))
        async_limit = as_number_or_auto(options.get("async_limit"))
        if part_size is not None:
            check_part_size(part_size)
        if async_limit is not None:
            check_concurrency(async_limit, name="async_limit")
        check_text(options.get("version_id"), "version_id")
        check_flag(options.get("preserve_mtime", False), "preserve_mtime")
        check_flag(options.get("sparse", False), "sparse")
        key = {name: value for name, value in options.items() if name in _KEY_OPTIONS}
        return cls(
            version_id=options.get("version_id"),
            part_size=part_size,
            async_limit=async_limit,
            preserve_mtime=options.get("preserve_mtime", False),
            sparse=options.get("sparse", False),
            restartable=restartable,
            last_modified=last_modified,
            headers=reading_headers(cast(HeadParameters, key)),
        )
