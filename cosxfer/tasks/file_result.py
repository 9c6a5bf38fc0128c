"""The outcome of one file of many."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Protocol, cast

from cosxfer.engine.upload.options import FileUpload
from cosxfer.engine.upload.short_result import ShortResult, full, size_of
from cosxfer.models import UploadResult
from cosxfer.records import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class FileResult:
    """The outcome of one file: either an error or a result."""

    error: Exception | None
    result: UploadResult | None
    options: FileUpload
    """The options of the file, as the caller gave them."""

    @property
    def size(self) -> int:
        """Bytes of the object; 0 if the upload failed."""
        return 0 if self.result is None else self.result.size

    @property
    def sent_before(self) -> bool:
        """Whether an interrupted run had sent the file already, so that this one has sent nothing of it."""
        return self.result is not None and not self.result.parts


class SentFiles(Protocol):
    """Files that an interrupted run has sent, by their index."""

    @property
    def sizes(self) -> Mapping[int, int]: ...

    def file(self, index: int) -> FileUpload:
        """Return the options of a file."""

    def result(self, index: int) -> UploadResult:
        """Return the result of a file."""


class _Later(FileResult):
    """An outcome that is made when it is read, and then turns into a plain `FileResult`.

    There may be a hundred thousand, and making their results would take half the time of the call. Until then the slot
    of the result has what it is made of: a tuple.
    """

    __slots__ = ()

    def _read(self) -> FileResult:
        source = _get_result(self)
        if type(source) is tuple:  # no other thread was faster
            self._make(source)
        object.__setattr__(self, "__class__", FileResult)
        return self

    def _make(self, source: Any) -> None:
        """Set the result last."""
        raise NotImplementedError

    @staticmethod
    def _size(source: Any) -> int:
        raise NotImplementedError

    @property
    def result(self) -> UploadResult | None:  # a slot of the base class
        return cast(UploadResult, _get_result(self._read()))

    @property
    def options(self) -> FileUpload:  # likewise
        return cast(FileUpload, _get_options(self._read()))

    @property
    def size(self) -> int:
        source = _get_result(self)
        return self._size(source) if type(source) is tuple else cast(int, source.size)

    def __eq__(self, other: object) -> bool:
        return self._read() == other

    __hash__ = None  # type: ignore[assignment] # the options are a dict

    def __reduce__(self) -> Any:
        return self._read().__reduce_ex__(2)


_get_result, _set_result = FileResult.__dict__["result"].__get__, FileResult.__dict__["result"].__set__
_get_options, _set_options = FileResult.__dict__["options"].__get__, FileResult.__dict__["options"].__set__
_set_error = FileResult.__dict__["error"].__set__


class _SentBefore(_Later):
    """A file that an interrupted run has sent. It is made of the files and the index of this one."""

    __slots__ = ()

    def _make(self, source: Any) -> None:
        files, index = source
        result = files.result(index)
        _set_options(self, files.file(index))
        _set_result(self, result)

    @staticmethod
    def _size(source: Any) -> int:
        return cast(int, source[0].sizes[source[1]])

    @property
    def sent_before(self) -> bool:
        return True


class _SentShortly(_Later):
    """A small file. It is made of its `ShortResult`; the options are there."""

    __slots__ = ()

    def _make(self, source: Any) -> None:
        _set_result(self, full(source))

    @staticmethod
    def _size(source: Any) -> int:
        return size_of(source)

    @property
    def options(self) -> FileUpload:
        return cast(FileUpload, _get_options(self))

    @property
    def sent_before(self) -> bool:
        return False


def sent_before(files: SentFiles, index: int) -> FileResult:
    """Return the outcome of a file that an interrupted run has sent."""
    outcome = object.__new__(_SentBefore)
    _set_error(outcome, None)
    _set_result(outcome, (files, index))
    return outcome


def sent_shortly(result: ShortResult, options: FileUpload) -> FileResult:
    """Return the outcome of a small file that was sent."""
    outcome = object.__new__(_SentShortly)
    _set_error(outcome, None)
    _set_result(outcome, result)
    _set_options(outcome, options)
    return outcome


class SentBefore:
    """The outcomes of files that an interrupted run has sent. Iterating makes them."""

    def __init__(self, files: SentFiles) -> None:
        self.size = sum(files.sizes.values())
        """Bytes of all the objects."""
        self._files = files

    def __len__(self) -> int:
        return len(self._files.sizes)

    def __iter__(self) -> Iterator[FileResult]:
        return map(partial(sent_before, self._files), self._files.sizes)


Outcomes = list[FileResult] | SentBefore
"""Outcomes of several files."""
