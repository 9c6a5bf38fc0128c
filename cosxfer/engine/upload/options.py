"""Options of the calls that upload files: those of the public calls, and those of the engine."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import field
from functools import cache
from pathlib import PurePath
from types import UnionType
from typing import Any, Required, TypedDict, Union, cast, get_args, get_origin, get_type_hints

from cosxfer.arguments import NumberOrAuto, as_number, as_number_or_auto, check_names, wrong_type
from cosxfer.cos.requests import ObjectHeaders
from cosxfer.errors import UsageError
from cosxfer.foreign import shorten
from cosxfer.models import Progress, UploadResult
from cosxfer.records import dataclass


class FileCallbacks(TypedDict, total=False):
    """A thread of the client calls these one after another. One that is slow or raises never stops a transfer."""

    on_task_ready: Callable[[str], None] | None
    """Gets the task's id. Called at once in the caller's own thread, before anything is sent."""
    on_hash_progress: Callable[[Progress], None] | None
    """Gets the progress of the hashing several times a second, at least at the start and the end."""
    on_progress: Callable[[Progress], None] | None
    """Gets the progress of the sending."""
    on_file_finish: Callable[[Exception | None, UploadResult | None, FileUpload], None] | None
    """Gets the error or the result of the file, and its mapping."""


class SendOptions(ObjectHeaders, total=False):
    """How a file is sent."""

    async_limit: int | str | None
    """The most parts in flight, 1 to 256, or ``"auto"``: the client chooses. Default: the client's ``concurrency``."""
    upload_add_meta_md5: bool
    """Store the file's MD5 as x-cos-meta-md5. The file is then hashed before the first byte is sent."""
    abort_on_failure: bool | None
    """Whether the parts of an upload that fails or is interrupted are deleted from the server. None (the default): they
    are kept if the journal has the upload and a later call may succeed, and else deleted. True deletes them when the
    task can no longer be restarted: it is cancelled or leaves the task list, or the client is closed. False keeps
    them."""
    region: str | None


class SliceFileOptions(SendOptions, FileCallbacks, total=False):
    """Parameters of `slice_upload_file` besides ``slice_size``."""

    content_length: int | str | None
    """The expected size of the file. A file of another size is refused before anything is sent."""


class ResumeOptions(FileCallbacks, total=False):
    """Parameters of `resume`. All else is in the token."""

    async_limit: int | str | None
    """As in `SendOptions`."""
    abort_on_failure: bool
    """Whether the parts are deleted if the upload fails. Default: False, so that the token stays of use."""


class DirectoryOptions(SendOptions, total=False):
    """Options that apply to every file of `upload_directory`."""

    part_size: int | str | None
    """Bytes, 1 MiB to 5 GiB, or ``"auto"``: the client chooses. Default: the client's ``part_size``."""


class FileOptions(SliceFileOptions, DirectoryOptions, total=False):
    """Parameters of `upload_file` besides ``slice_size``."""


class FileUpload(FileOptions, total=False):
    """One file of `upload_files`: its path, bucket and key, and any other parameter of `upload_file`."""

    bucket: Required[str]
    key: Required[str]
    path: Required[str | os.PathLike[str]]
    slice_size: int | str | None
    """Up to this many bytes the file is sent in a single PUT; by default the ``slice_size`` of the call."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UploadOptions:
    """How a file is uploaded; each field is the keyword of the same name of `upload_file` and `slice_upload_file`."""

    part_size: NumberOrAuto | None = None
    part_size_name: str = "part_size"
    """The name of that parameter in the caller's call, for messages."""
    async_limit: NumberOrAuto | None = None
    upload_add_meta_md5: bool = False
    abort_on_failure: bool | None = None
    restartable: bool = False
    """Whether a failed run leaves the parts on the server. `FileJob.abort` deletes them later."""
    content_length: int | None = None
    region: str | None = None
    parameters: ObjectHeaders = field(default_factory=ObjectHeaders)

    @classmethod
    def of(cls, options: FileOptions, *, part_size_name: str = "part_size", restartable: bool = False) -> UploadOptions:
        """Make the options from those of a call, with the headers of the object apart from the rest."""
        parameters = {name: value for name, value in options.items() if name not in _NOT_HEADERS}
        return cls(
            part_size=as_number_or_auto(options.get("part_size")),
            part_size_name=part_size_name,
            async_limit=as_number_or_auto(options.get("async_limit")),
            upload_add_meta_md5=options.get("upload_add_meta_md5", False),
            abort_on_failure=options.get("abort_on_failure"),
            restartable=restartable,
            content_length=as_number(options.get("content_length")),
            region=options.get("region"),
            parameters=cast(ObjectHeaders, parameters),
        )


PLAIN = UploadOptions()
RESTARTABLE = UploadOptions(restartable=True)
"""The options of a file that is given by its path, bucket and key alone."""

_NOT_HEADERS = FileUpload.__annotations__.keys() - ObjectHeaders.__annotations__.keys()


_NEEDED = ("bucket", "key", "path")


def check_file(entry: FileUpload, index: int) -> None:
    """Raise `UsageError` if a file of `upload_files` lacks a name, has an unknown one, or a value of a wrong type.

    Such an entry is a bug of the calling program. Errors of the file or its values (a key that is too long, a missing
    file) end that file alone.
    """
    if type(entry) is dict and len(entry) == 3:  # most files have nothing but texts for the three names
        get = entry.get
        if type(get("bucket")) is type(get("key")) is type(get("path")) is str:
            return
    if not isinstance(entry, Mapping):
        raise UsageError(
            f"file {index} is {shorten(entry)}; it must be a mapping with bucket, key and path", name="files"
        )
    check_names(entry, FileUpload.__annotations__, hint="; pass other headers in headers={…}", where=f"file {index}: ")
    for name in _NEEDED:
        if name not in entry:
            raise UsageError(f"file {index} has no {name!r}; it needs bucket, key and path", name=name)
    types = _types()
    for name, value in entry.items():
        plain, hint = types[name]
        if type(value) in plain or (name == "path" and isinstance(value, PurePath)):
            continue
        if not _fits(value, hint):
            raise wrong_type(name, value, _wanted(hint), where=f"file {index}: ")


@cache
def _types() -> dict[str, tuple[frozenset[Any], Any]]:
    """Return by name: the plain types that fit, and the declared type."""
    hints = {**get_type_hints(FileUpload), "path": str | bytes | os.PathLike}
    return {name: (_PLAIN.intersection(get_args(hint) or (hint,)), hint) for name, hint in hints.items()}


_PLAIN = frozenset({str, bytes, int, bool, type(None)})


def _fits(value: object, hint: Any) -> bool:
    """Whether ``value`` has the type ``hint``. The keys and values of a mapping are checked too."""
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, part) for part in get_args(hint))
    if origin is Mapping:
        return isinstance(value, Mapping) and all(
            _fits(part, kind) for pair in value.items() for part, kind in zip(pair, get_args(hint), strict=True)
        )
    if origin is Callable:
        return callable(value)
    if isinstance(value, bool) and hint is int:
        return False
    return isinstance(value, hint)


def _wanted(hint: Any) -> str:
    """Return the type in words."""
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return ", or ".join(_wanted(part) for part in get_args(hint))
    return _WORDS[origin or hint]


_WORDS: dict[Any, str] = {
    str: "a string",
    bytes: "bytes",
    int: "a whole number",
    bool: "True or False",
    type(None): "None",
    os.PathLike: "a path",
    Mapping: "a mapping from names to strings or whole numbers",
    Callable: "a function",
}
