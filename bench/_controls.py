"""Controls: each takes one protection away from the client, and `_survive.py` must notice.

A control is a scenario that is clean, and is not clean any more without the protection. So the zeros in
the table of `survival.py` are not those of a blind judge.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from unittest import mock

import _survive
from _chaos import Trouble
from _flips import without_content_md5
from _scenario import Operation, Scenario

from cosxfer.cos import responses
from cosxfer.cos.requests import CosRequest
from cosxfer.cos.responses import HttpResponse
from cosxfer.engine.multipart.checkpoint import Checkpoint
from cosxfer.engine.multipart.completion import Completion
from cosxfer.engine.upload.append import Append
from cosxfer.engine.upload.opening import Opener
from cosxfer.engine.upload.recall import FileJournal
from cosxfer.errors import TransportError
from cosxfer.limits import MIB
from cosxfer.ops import multipart_complete, multipart_upload, session
from cosxfer.ops.session import Session
from cosxfer.sources import FileSource
from cosxfer.tasks.batch import OpenBatch
from cosxfer.tasks.unfinished import DirectoryBatch


@dataclass(frozen=True, kw_only=True)
class Control:
    """``caught_by`` is the list of `_survive.Outcome` that must not be empty without the protection."""

    name: str
    caught_by: str
    scenario: Scenario
    without: Callable[[], Iterator[None]]


def _scenario(operation: Operation, *sizes: int, **more: Any) -> Scenario:
    fields: dict[str, Any] = {"seed": 0, "number": 0, "body": "path", "part_bytes": MIB, "protocol": "http1"}
    return Scenario(operation=operation, sizes=sizes, **{**fields, "transport": "native", **more})


def _no_verification(stack: ExitStack) -> None:
    async def verify(self: Completion, *_: Any, **__: Any) -> str:
        return "crc64"

    stack.enter_context(mock.patch.object(Completion, "verify", verify))


def _no_digests() -> Iterator[None]:
    with ExitStack() as stack:
        stack.enter_context(without_content_md5())
        stack.enter_context(mock.patch.object(multipart_upload, "check_crc64", return_value=None))
        stack.enter_context(mock.patch.object(responses, "etag_is_md5", return_value=False))
        _no_verification(stack)
        yield


def _no_timeouts() -> Iterator[None]:
    with mock.patch.object(_survive, "STALL_SECONDS", 1000.0):
        yield


def _no_retries() -> Iterator[None]:
    with mock.patch.object(_survive, "ATTEMPTS", 1), mock.patch.object(_survive, "RETRY_FOR_SECONDS", 0):
        yield


def _lost_is_done() -> Iterator[None]:
    real = Session.call

    async def call(self: Session, request: CosRequest, **given: Any) -> HttpResponse:
        try:
            return await real(self, request, **given)
        except TransportError:
            return HttpResponse(status=200, headers={"etag": '"lost"', "x-cos-request-id": "lost"})

    with mock.patch.object(_survive, "ATTEMPTS", 1), mock.patch.object(Session, "call", call):
        yield


def _a_part_is_missing() -> Iterator[None]:
    real = Checkpoint.to_complete
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(Checkpoint, "to_complete", lambda self: real(self)[:-1]))
        _no_verification(stack)
        yield


def _an_error_is_a_success() -> Iterator[None]:
    real = responses.error_of
    with ExitStack() as stack:
        stack.enter_context(
            mock.patch.object(session, "error_of", lambda r, **more: None if r.status == 200 else real(r, **more))
        )
        stack.enter_context(mock.patch.object(multipart_complete, "_check", return_value=None))
        stack.enter_context(
            mock.patch.object(responses, "document", lambda r, _, **__: multipart_complete.xml.parse(r.body))
        )
        _no_verification(stack)
        yield


def _nothing_is_resumed() -> Iterator[None]:
    real = Checkpoint.keep_listed

    def keep_listed(self: Checkpoint, listed: Any) -> Any:
        real(self, listed)
        return real(self, ())[0], {}

    with mock.patch.object(Checkpoint, "keep_listed", keep_listed):
        yield


def _the_journal_is_not_read() -> Iterator[None]:
    async def recall(self: FileJournal, *_: Any, **__: Any) -> None:
        return None

    with mock.patch.object(FileJournal, "recall", recall):
        yield


def _a_directory_begins_anew() -> Iterator[None]:
    with mock.patch.object(DirectoryBatch, "of_all", return_value=OpenBatch()):
        yield


def _nothing_is_aborted() -> Iterator[None]:
    async def abort(*_: Any, **__: Any) -> tuple[bool, str]:
        return True, "nothing is left on the server"

    with mock.patch("cosxfer.engine.multipart.abort.abort_upload", abort):
        yield


def _the_source_is_not_checked() -> Iterator[None]:
    async def check(self: Opener, _: Any) -> bool:
        return True

    with mock.patch.object(Opener, "check", check), mock.patch.object(FileSource, "check", return_value=True):
        yield


def _appends_are_believed() -> Iterator[None]:
    async def look(self: Append, _: Any) -> Any:
        end = self._position + self._body.content_length
        return SimpleNamespace(size=end, crc64=None, etag="", status_code=200, headers={}, request_id="")

    async def is_there(self: Append, *_: Any) -> bool:
        return True

    with mock.patch.object(Append, "_look", look), mock.patch.object(Append, "_is_there", is_there):
        yield


_HALF_DONE: dict[str, Any] = {"troubles": (Trouble(kind="event", at=12 * MIB),), "concurrency": 4}
"""An event after which some parts are confirmed: at most 4 of the 12 are in flight."""

CONTROLS = (
    Control(
        name="flipped bits: no Content-MD5, no ETag, no CRC64",
        caught_by="wrong",
        scenario=_scenario(
            "slice",
            3 * MIB,
            troubles=(Trouble(kind="flip", at=3 * MIB // 2, bit=3),),
        ),
        without=_no_digests,
    ),
    Control(
        name="black holes: no timeout",
        caught_by="hangs",
        scenario=_scenario(
            "slice", 3 * MIB, troubles=(Trouble(kind="swallow", way="down", at=900),), limit_seconds=6.0
        ),
        without=_no_timeouts,
    ),
    Control(
        name="resets: no retry",
        caught_by="unexpected",
        scenario=_scenario("file", 3 * MIB, troubles=(Trouble(kind="reset", at=MIB),)),
        without=_no_retries,
    ),
    Control(
        name="lost requests: a reset is a success",
        caught_by="wrong",
        scenario=_scenario("put", 100_000, rules=({"operation": "put_object", "do": "reset", "times": 1},)),
        without=_lost_is_done,
    ),
    Control(
        name="Complete without a part",
        caught_by="wrong",
        scenario=_scenario("slice", 3 * MIB),
        without=_a_part_is_missing,
    ),
    Control(
        name="an error inside a 200 is a success",
        caught_by="wrong",
        scenario=_scenario(
            "slice",
            3 * MIB,
            rules=(
                {"operation": "multipart_complete", "do": "error", "status": 200, "code": "InternalError", "times": 1},
            ),
        ),
        without=_an_error_is_a_success,
    ),
    Control(
        name="pauses: a restart forgets the parts",
        caught_by="again",
        scenario=_scenario("slice", 24 * MIB, events=("pause",), **_HALF_DONE),
        without=_nothing_is_resumed,
    ),
    Control(
        name="new clients: the journal is not read",
        caught_by="again",
        scenario=_scenario("slice", 24 * MIB, events=("new_client",), **_HALF_DONE),
        without=_the_journal_is_not_read,
    ),
    Control(
        name="new clients: a directory begins anew",
        caught_by="again",
        scenario=_scenario("directory", *(50_000,) * 6, 24 * MIB, events=("new_client",), **_HALF_DONE),
        without=_a_directory_begins_anew,
    ),
    Control(
        name="failed uploads: no abort",
        caught_by="unreported",
        scenario=_scenario(
            "stream",  # the parts of a file are kept for the next call
            3 * MIB,
            body="pieces",
            rules=({"operation": "multipart_complete", "do": "error", "status": 403, "code": "AccessDenied"},),
            allowed=("AccessDeniedError",),
        ),
        without=_nothing_is_aborted,
    ),
    Control(
        name="sources that change: no check",
        caught_by="unexpected",
        scenario=_scenario(
            "slice",
            48 * MIB,
            troubles=(Trouble(kind="event", at=MIB),),
            events=("change_source",),
            allowed=("SourceError",),
        ),
        without=_the_source_is_not_checked,
    ),
    Control(
        name="lost appends: no look at the object",
        caught_by="wrong",
        scenario=_scenario("append", 1000, 2000, rules=({"operation": "append_object", "do": "reset", "attempt": 2},)),
        without=_appends_are_believed,
    ),
)


@contextmanager
def taken_away(control: Control) -> Iterator[None]:
    """Run the block without the protection of ``control``."""
    with contextmanager(control.without)():
        yield
