"""The outcome of one file of many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from cosxfer.engine.upload.options import FileUpload
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


class _Later:
    """A result that is made when somebody reads it."""

    __slots__ = ("make", "size")

    def __init__(self, size: int, make: Callable[[], UploadResult]) -> None:
        self.size = size
        self.make = make


class _SentBefore(FileResult):
    """A file that an interrupted run has sent. It turns into a plain `FileResult` when its result is read.

    There may be a hundred thousand, and making their results would take half the time of the call.
    """

    __slots__ = ()

    @property
    def result(self) -> UploadResult | None:  # a slot of the base class
        later = _result_slot.__get__(self)
        if isinstance(later, _Later):  # no other thread was faster
            _result_slot.__set__(self, later.make())
            object.__setattr__(self, "__class__", FileResult)
        return cast(UploadResult, _result_slot.__get__(self))

    @property
    def size(self) -> int:
        return cast(int, _result_slot.__get__(self).size)  # also once it is an `UploadResult`

    @property
    def sent_before(self) -> bool:
        return True

    def __eq__(self, other: object) -> bool:
        _ = self.result
        return self == other

    __hash__ = None  # type: ignore[assignment] # the options are a dict

    def __reduce__(self) -> Any:
        _ = self.result
        return self.__reduce_ex__(2)


_result_slot: Any = FileResult.__dict__["result"]


def sent_before(size: int, make: Callable[[], UploadResult], options: FileUpload) -> FileResult:
    """Return the outcome of a file that an interrupted run has sent. ``make`` returns its result."""
    outcome = FileResult(error=None, result=cast(Any, _Later(size, make)), options=options)
    object.__setattr__(outcome, "__class__", _SentBefore)
    return outcome
