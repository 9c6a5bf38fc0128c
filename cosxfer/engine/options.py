"""What the uploading calls have in common: what a caller may say of a file, and how the engine takes it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Required, TypedDict, cast

from cosxfer.cos.requests import ObjectHeaders
from cosxfer.models import Progress, UploadResult


class FileCallbacks(TypedDict, total=False):
    """Called in a thread of the client's, one after another; a slow or raising one never stalls a transfer."""

    on_task_ready: Callable[[str], None] | None
    """Gets the task's id. Called at once and in the caller's own thread, before anything is sent."""
    on_hash_progress: Callable[[Progress], None] | None
    """How far the hashing has come, several times a second, at least at start and end."""
    on_progress: Callable[[Progress], None] | None
    """How far the sending has come."""
    on_file_finish: Callable[[Exception | None, UploadResult | None, FileUpload], None] | None
    """Gets what became of the file, its error or its result, and what was asked for."""


class SendOptions(ObjectHeaders, total=False):
    """How a file is sent."""

    async_limit: int | None
    """Parts in flight, 1 to 256; by default the client's ``concurrency``."""
    upload_add_meta_md5: bool
    """Store the file's MD5 as x-cos-meta-md5, for which the file is hashed before the first byte is sent."""
    abort_on_failure: bool
    """Whether a failed upload's parts are deleted from the server (the default), or kept for `restart_task`."""
    region: str | None


class SliceFileOptions(SendOptions, FileCallbacks, total=False):
    """Parameters of `slice_upload_file` besides ``slice_size``."""

    content_length: int | None
    """The file's size, for whoever knows it: a file of another size is refused before anything is sent."""


class DirectoryOptions(SendOptions, total=False):
    """What holds for every file of `upload_directory`."""

    part_size: int | None
    """Bytes, 1 MiB to 5 GiB; by default 8 MiB, or more where 10,000 parts need it."""


class FileOptions(SliceFileOptions, DirectoryOptions, total=False):
    """Parameters of `upload_file` besides ``slice_size``."""


class FileUpload(FileOptions, total=False):
    """One file of `upload_files`: where it is and where it goes, and what else `upload_file` may be told."""

    bucket: Required[str]
    key: Required[str]
    path: Required[str | os.PathLike[str]]


@dataclass(frozen=True, kw_only=True, slots=True)
class UploadOptions:
    """How a file is uploaded; each field is the keyword of the same name of `upload_file` and `slice_upload_file`."""

    part_size: int | None = None
    part_size_name: str = "part_size"
    """What the caller calls it, for messages."""
    async_limit: int | None = None
    upload_add_meta_md5: bool = False
    abort_on_failure: bool = True
    content_length: int | None = None
    region: str | None = None
    given: ObjectHeaders = field(default_factory=ObjectHeaders)

    @classmethod
    def of(cls, options: FileOptions, *, part_size_name: str = "part_size") -> UploadOptions:
        """Take the headers of the object apart from the rest."""
        given = {name: value for name, value in options.items() if name not in _NOT_HEADERS}
        return cls(
            part_size=options.get("part_size"),
            part_size_name=part_size_name,
            async_limit=options.get("async_limit"),
            upload_add_meta_md5=options.get("upload_add_meta_md5", False),
            abort_on_failure=options.get("abort_on_failure", True),
            content_length=options.get("content_length"),
            region=options.get("region"),
            given=cast(ObjectHeaders, given),
        )


_NOT_HEADERS = FileUpload.__annotations__.keys() - ObjectHeaders.__annotations__.keys()
