"""Controls for `_survive_moves.py`: each takes one protection away, and the judge must notice. See `_controls.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

import _survive
from _chaos import Trouble
from _moves import Move, MoveScenario

from cosxfer.cos.sink import BodySink
from cosxfer.engine.copy import copy, parts
from cosxfer.engine.download import download_file, recall
from cosxfer.engine.download.download_file import DownloadJob
from cosxfer.engine.download.recall import Recall
from cosxfer.limits import MIB
from cosxfer.targets import PartFile


@dataclass(frozen=True, kw_only=True)
class MoveControl:
    """``caught_by`` is the list of `_survive.Outcome` that must not be empty without the protection."""

    name: str
    caught_by: str
    scenario: MoveScenario
    without: Callable[[], Iterator[None]]


def _scenario(operation: Move, *sizes: int, **more: Any) -> MoveScenario:
    fields: dict[str, Any] = {"seed": 0, "number": 0, "part_bytes": MIB, "protocol": "http1", "transport": "native"}
    return MoveScenario(operation=operation, sizes=sizes, **{**fields, **more})


def _nothing_is_compared() -> Iterator[None]:
    with mock.patch.object(download_file, "check_crc64", return_value="crc64"):
        yield


def _no_timeouts() -> Iterator[None]:
    with mock.patch.object(_survive, "STALL_SECONDS", 1000.0):
        yield


def _no_retries() -> Iterator[None]:
    with mock.patch.object(_survive, "ATTEMPTS", 1), mock.patch.object(_survive, "RETRY_FOR_SECONDS", 0):
        yield


def _any_version_is_right() -> Iterator[None]:
    real = BodySink.__init__

    def init(self: BodySink, **fields: Any) -> None:
        real(self, **{**fields, "etag": ""})

    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(BodySink, "__init__", init))
        stack.enter_context(mock.patch.object(DownloadJob, "_check_version", return_value=None))
        yield from _nothing_is_compared()


def _the_file_has_its_name_at_once() -> Iterator[None]:
    real = DownloadJob._open

    def opened(self: DownloadJob, *arguments: Any) -> Any:
        found = real(self, *arguments)
        if found is not None:
            found[0]._target.unlink(missing_ok=True)
            found[0]._target.hardlink_to(found[0].path)
        return found

    with mock.patch.object(DownloadJob, "_open", opened):
        yield


def _the_journal_is_not_read() -> Iterator[None]:
    async def nothing(*_: Any) -> None:
        return None

    with mock.patch.object(Recall, "known", nothing), mock.patch.object(Recall, "found", nothing):
        yield


def _the_file_is_believed() -> Iterator[None]:
    real = recall._crc64_of

    def believed(fd: int, offset: int, length: int, *more: Any) -> Any:
        return _Anything(real(fd, offset, length, *more))

    with mock.patch.object(recall, "_crc64_of", believed):
        yield from _nothing_is_compared()


class _Anything(int):
    def __new__(cls, value: int | None) -> _Anything:
        return super().__new__(cls, value or 0)

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = int.__hash__


def _nothing_is_removed() -> Iterator[None]:
    with mock.patch.object(PartFile, "discard", PartFile.keep):
        yield


def _no_copy_is_aborted() -> Iterator[None]:
    async def abort(*_: Any, **__: Any) -> tuple[bool, str]:
        return True, "nothing is left on the server"

    with mock.patch.object(parts, "abort_upload", abort):
        yield


def _a_copy_is_believed() -> Iterator[None]:
    async def believed(*_: Any, **__: Any) -> None:
        return None

    real = parts.upload_part_copy

    async def shifted(*arguments: Any, byte_range: tuple[int, int], **more: Any) -> Any:
        first, last = byte_range
        return await real(*arguments, byte_range=(0, last - first), **more)

    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(copy, "_verify", believed))
        stack.enter_context(mock.patch.object(parts.Completion, "verify", _verified))
        stack.enter_context(mock.patch.object(parts, "upload_part_copy", shifted))
        yield


async def _verified(*_: Any, **__: Any) -> str:
    return "crc64"


_EVENT = Trouble(kind="event", way="down", at=5 * MIB)

MOVE_CONTROLS = (
    MoveControl(
        name="flipped bits: no CRC64",
        caught_by="wrong",
        scenario=_scenario("download", 4 * MIB, troubles=(Trouble(kind="flip", way="down", at=2 * MIB, bit=3),)),
        without=_nothing_is_compared,
    ),
    MoveControl(
        name="black holes: no timeout",
        caught_by="hangs",
        scenario=_scenario(
            "sync_down", 3 * MIB, troubles=(Trouble(kind="swallow", way="down", at=MIB),), limit_seconds=5.0
        ),
        without=_no_timeouts,
    ),
    MoveControl(
        name="resets: no retry",
        caught_by="unexpected",
        scenario=_scenario("batch", 50_000, 3 * MIB, troubles=(Trouble(kind="reset", way="down", at=2 * MIB),)),
        without=_no_retries,
    ),
    MoveControl(
        name="objects that are replaced: no version is checked",
        caught_by="wrong",
        scenario=_scenario(
            "download",
            24 * MIB,
            troubles=(_EVENT,),
            events=("replace_source",),
            concurrency=1,
        ),
        without=_any_version_is_right,
    ),
    MoveControl(
        name="failed downloads: the file has its name at once",
        caught_by="torn",
        scenario=_scenario(
            "download",
            4 * MIB,
            replaces=True,
            rules=({"operation": "get_object", "attempt": [2, 3, 4], "do": "error", "status": 403, "code": "Denied"},),
            allowed=("CosxferError",),
        ),
        without=_the_file_has_its_name_at_once,
    ),
    MoveControl(
        name="new clients: the journal is not read",
        caught_by="again",
        scenario=_scenario("download", 24 * MIB, troubles=(replace(_EVENT, at=20 * MIB),), events=("new_client",)),
        without=_the_journal_is_not_read,
    ),
    MoveControl(
        name="damaged files: what the journal claims is believed",
        caught_by="wrong",
        scenario=_scenario("download", 24 * MIB, troubles=(replace(_EVENT, at=20 * MIB),), events=("damage",)),
        without=_the_file_is_believed,
    ),
    MoveControl(
        name="failed downloads: the temporary file stays",
        caught_by="unreported",
        scenario=_scenario(
            "download",
            4 * MIB,
            journal=False,
            rules=({"operation": "get_object", "attempt": [3], "do": "error", "status": 403, "code": "Denied"},),
            allowed=("CosxferError",),
        ),
        without=_nothing_is_removed,
    ),
    MoveControl(
        name="failed copies: no abort",
        caught_by="unreported",
        scenario=_scenario(
            "copy",
            4 * MIB,
            rules=({"operation": "upload_part_copy", "do": "error", "status": 403, "code": "AccessDenied"},),
            allowed=("CosxferError",),
        ),
        without=_no_copy_is_aborted,
    ),
    MoveControl(
        name="copies: another range, and nothing is compared",
        caught_by="wrong",
        scenario=_scenario("copy", 4 * MIB),
        without=_a_copy_is_believed,
    ),
)


@contextmanager
def taken_away(control: MoveControl) -> Iterator[None]:
    """Run the block without the protection of ``control``."""
    with contextmanager(control.without)():
        yield
