"""A failed multipart upload: when its parts are deleted, and what the error says about them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cosxfer.address import ObjectAddress
from cosxfer.cos.responses import HttpResponse
from cosxfer.engine.limiter import Limiter
from cosxfer.engine.multipart import abort
from cosxfer.engine.multipart.abort import Leaving, abort_checkpoint, abort_upload, kept, leave
from cosxfer.engine.multipart.checkpoint import Checkpoint
from cosxfer.engine.multipart.lifecycle import MultipartUpload
from cosxfer.engine.multipart.source import HashedPart
from cosxfer.engine.report import Reporter
from cosxfer.engine.upload.file_parts import FileParts
from cosxfer.engine.upload.opening import Opener
from cosxfer.errors import NotFoundError, ServerError, SourceChangedError, SourceError, TransportError
from cosxfer.ops.session import Session
from cosxfer.planning import PartRange, Plan
from cosxfer.sources import FileSource
from cosxfer.threads import Workers
from tests.unit.fake_cos import BUCKET, FakeCos, Hang, Upload, lose_request, lose_response, refuse
from tests.unit.files import write

ADDRESS = ObjectAddress(BUCKET, "k")
ID = "upload-7"
PLAN = Plan(size=300, part_size_bytes=100)

ABORTED = f"The multipart upload {ID} was aborted; nothing is left on the server"
GONE = f"The multipart upload {ID} is no longer on the server"


@pytest.fixture
def cos(cos: FakeCos) -> FakeCos:
    cos.uploads[ID] = Upload("k", {})
    return cos


def begun(parts: int = 2, *, completing: bool = False) -> Checkpoint:
    checkpoint = Checkpoint()
    checkpoint.begin(ID, PLAN, None)
    for number in range(1, parts + 1):
        place = PartRange(number=number, offset=100 * (number - 1), length=100)
        checkpoint.add(HashedPart(range=place, md5=bytes(16), crc64=0), '"e"')
    if completing:
        checkpoint.begin_completion()
    return checkpoint


def leaving(*, abort_on_failure: bool = True, restartable: bool = False) -> Leaving:
    return Leaving(abort_on_failure=abort_on_failure, restartable=restartable)


def not_found(code: str) -> NotFoundError:
    return NotFoundError("gone", status=404, code=code, resource="", request_id="", trace_id="", headers={})


BROKEN = TransportError("the connection broke", url="")
CHANGED = SourceChangedError("it changed", path="f", changed="mtime")


# -- whether the parts are deleted ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "abort_on_failure", "restartable", "deleted"),
    [
        (BROKEN, True, False, True),
        (BROKEN, True, True, False),
        (BROKEN, False, False, False),
        (BROKEN, False, True, False),
        (ValueError("a fault of ours"), True, False, True),
        (ValueError("a fault of ours"), True, True, False),
        (SourceError("it cannot be read", path="f"), True, True, False),
        # A later run cannot use these parts, because the content changed.
        (CHANGED, True, True, True),
        (CHANGED, True, False, True),
        # With abort_on_failure=False these parts are kept too.
        (CHANGED, False, True, False),
        (not_found("NoSuchUpload"), True, True, True),
        (not_found("NoSuchUpload"), False, False, False),
        (not_found("NoSuchKey"), True, True, False),
        (not_found(""), True, True, False),
    ],
)
def test_the_parts_are_deleted_unless_a_later_run_may_use_them(
    cos: FakeCos, session: Session, error: Exception, abort_on_failure: bool, restartable: bool, deleted: bool
) -> None:
    checkpoint = begun()
    how = leaving(abort_on_failure=abort_on_failure, restartable=restartable)
    gone, said = asyncio.run(leave(session, ADDRESS, checkpoint, how, error))
    assert gone == deleted
    assert cos.count("multipart_abort") == deleted
    assert (ID in cos.uploads) == (not deleted)
    assert said == (ABORTED if deleted else kept(begun(), for_later=not abort_on_failure))
    assert (checkpoint.upload_id, len(checkpoint.done)) == (("", 0) if deleted else (ID, 2))


@pytest.mark.parametrize(("parts", "count"), [(0, "0 parts"), (1, "1 part"), (2, "2 parts")])
def test_the_note_says_how_many_parts_are_kept_and_until_when(parts: int, count: str) -> None:
    begins = f"The multipart upload {ID} and its {count} "
    assert kept(begun(parts), for_later=True) == f"{begins}were kept on the server"
    assert kept(begun(parts), for_later=False) == (
        f"{begins}stay on the server for restart_task, until the task is cancelled or leaves the task list, or the "
        "client is closed"
    )


DAMAGED = f"If its id was damaged on the way, an empty multipart upload of {ADDRESS} may stay on the server"


@pytest.mark.parametrize("parts", [0, 1])
@pytest.mark.parametrize("code", ["", "NoSuchUpload"])
@pytest.mark.parametrize("keep", [False, True])
def test_an_id_that_the_server_never_confirmed_may_be_damaged(
    cos: FakeCos, session: Session, parts: int, code: str, keep: bool
) -> None:
    """Bits of the response to Initiate, and of the 404, may have flipped."""
    proxy = HttpResponse(status=404, headers={}, body=f"<Error><Code>{code}</Code></Error>".encode() if code else b"?")
    cos.fault("multipart_abort", lambda request, proceed: proxy)
    how = leaving(abort_on_failure=not keep)
    _, said = asyncio.run(leave(session, ADDRESS, begun(parts), how, not_found(code)))
    assert (DAMAGED in said) == (not parts)


def test_another_error_says_nothing_of_a_damaged_id(cos: FakeCos, session: Session) -> None:
    _, said = asyncio.run(leave(session, ADDRESS, begun(0), leaving(abort_on_failure=False), BROKEN))
    assert DAMAGED not in said


# -- deleting them ----------------------------------------------------------------------------------------------------


def test_an_upload_that_never_began_needs_no_abort(cos: FakeCos, session: Session) -> None:
    outcome = asyncio.run(abort_checkpoint(session, ADDRESS, Checkpoint()))
    assert outcome == (True, "nothing was left on the server")
    assert cos.calls == []


def test_an_aborted_upload_is_forgotten(cos: FakeCos, session: Session) -> None:
    checkpoint = begun(completing=True)
    assert asyncio.run(abort_checkpoint(session, ADDRESS, checkpoint)) == (True, ABORTED)
    assert (checkpoint.upload_id, checkpoint.plan, len(checkpoint.done), checkpoint.completing) == ("", None, 0, False)
    assert asyncio.run(abort_checkpoint(session, ADDRESS, checkpoint))[0]
    assert cos.operations() == ["multipart_abort"]


def test_an_abort_that_fails_can_be_repeated(cos: FakeCos, session: Session) -> None:
    cos.fault("multipart_abort", refuse(403, "AccessDenied"))
    checkpoint = begun()
    gone, said = asyncio.run(abort_checkpoint(session, ADDRESS, checkpoint))
    assert not gone
    assert "AccessDenied" in said
    assert said.endswith(
        "its parts stay on the server and cost money until you call multipart_abort with this upload id"
    )
    assert (checkpoint.upload_id, len(checkpoint.done)) == (ID, 2)
    assert asyncio.run(abort_checkpoint(session, ADDRESS, checkpoint)) == (True, ABORTED)


def test_an_abort_is_retried_and_a_lost_response_is_not_a_failure(cos: FakeCos, session: Session) -> None:
    cos.fault("multipart_abort", lose_request)
    cos.fault("multipart_abort", lose_response)
    # The second attempt did the abort, so the third finds no upload.
    assert asyncio.run(abort_upload(session, ADDRESS, upload_id=ID)) == (True, GONE)
    assert cos.count("multipart_abort") == 3


def test_a_broken_connection_during_an_abort_is_reported_and_raises_nothing(cos: FakeCos, session: Session) -> None:
    cos.fault("multipart_abort", lose_request, times=99)
    gone, said = asyncio.run(abort_upload(session, ADDRESS, upload_id=ID))
    assert not gone
    assert f"The multipart upload {ID} could not be aborted (the connection broke" in said


@pytest.mark.parametrize("code", ["NoSuchUpload", "NoSuchBucket"])
def test_an_upload_that_is_gone_may_be_an_object_if_complete_was_sent(
    cos: FakeCos, session: Session, code: str
) -> None:
    cos.fault("multipart_abort", refuse(404, code), times=2)
    assert asyncio.run(abort_checkpoint(session, ADDRESS, begun())) == (True, GONE)
    checkpoint = begun(completing=True)
    gone, said = asyncio.run(abort_checkpoint(session, ADDRESS, checkpoint))
    assert not gone
    assert said.startswith(f"{GONE}, so the object may exist; compare it")
    assert checkpoint.upload_id == ID


@pytest.mark.parametrize("completing", [False, True])
def test_a_404_from_another_server_does_not_mean_that_the_parts_are_gone(
    cos: FakeCos, session: Session, completing: bool
) -> None:
    proxy = HttpResponse(status=404, headers={}, body=b"<html>Not Found</html>")
    cos.fault("multipart_abort", lambda request, proceed: proxy)
    checkpoint = begun(completing=completing)
    gone, said = asyncio.run(abort_checkpoint(session, ADDRESS, checkpoint))
    assert not gone
    assert "could not be aborted" in said
    assert "404" in said
    assert (ID in cos.uploads, checkpoint.upload_id) == (True, ID)


# -- time and cancellation --------------------------------------------------------------------------------------------


def test_an_abort_without_a_response_times_out(cos: FakeCos, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(abort, "ABORT_SECONDS", 0.0)
    cos.fault("multipart_abort", Hang())
    checkpoint = begun()
    gone, said = asyncio.run(abort_checkpoint(session, ADDRESS, checkpoint))
    assert not gone
    assert f"The multipart upload {ID} could not be aborted (no response in 0 s)" in said
    assert checkpoint.upload_id == ID


def test_an_abort_can_be_cancelled_and_repeated(cos: FakeCos, session: Session) -> None:
    checkpoint = begun()

    async def main() -> tuple[bool, str]:
        hang = Hang()
        cos.fault("multipart_abort", hang)
        task = asyncio.ensure_future(abort_checkpoint(session, ADDRESS, checkpoint))
        await hang.arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert checkpoint.upload_id == ID
        return await abort_checkpoint(session, ADDRESS, checkpoint)

    assert asyncio.run(main()) == (True, ABORTED)


# -- resuming from them -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("code", "forgotten"), [("", False), ("NoSuchUpload", True)])
def test_only_a_response_of_cos_means_that_the_parts_of_an_earlier_run_are_gone(
    cos: FakeCos, session: Session, workers: Workers, tmp_path: Path, code: str, forgotten: bool
) -> None:
    response = refuse(404, code) if code else lambda request, proceed: HttpResponse(status=404, headers={}, body=b"no")
    cos.fault("multipart_list_part", response)
    cos.fault("multipart_init", refuse(403, "AccessDenied"))
    checkpoint = begun()
    path = write(tmp_path / "f", 300)

    async def main() -> None:
        with FileSource.open(path) as file, Limiter(tasks=1, slots=1).share(1, usual=1) as share:
            await MultipartUpload(
                session,
                FileParts(file, PLAN, executor=workers, opener=Opener(), on_hash_progress=None),
                address=ADDRESS,
                headers={},
                checkpoint=checkpoint,
                share=share,
                leaving=leaving(restartable=True),
                reporter=Reporter(None, 300),
            ).run()

    with pytest.raises(ServerError):
        asyncio.run(main())
    assert (checkpoint.upload_id, len(checkpoint.done)) == (("", 0) if forgotten else (ID, 2))
    assert cos.count("multipart_init") == forgotten
