"""Failures of a multipart upload: what is retried, what is fatal, what stays on the server, and what the error says."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import cosxfer
from cosxfer.cos.requests import HttpRequest
from cosxfer.cos.responses import HttpResponse
from cosxfer.limits import MIB
from tests.unit.fake_cos import (
    BUCKET,
    Do,
    FakeCos,
    Hang,
    Stored,
    change,
    document,
    error,
    lose_request,
    lose_response,
    refuse,
)
from tests.unit.files import content_of, rewrite, write

SIZE = 3 * MIB + 5
PARTS = 4


def upload(cos: FakeCos, path: Path, **options: object) -> cosxfer.UploadResult:
    async def main() -> cosxfer.UploadResult:
        # Failed tasks leave the list at once and cannot be restarted, so their parts are deleted at once.
        # With a fixed concurrency, no part is given up after a 503 and sent again.
        async with cos.client(max_finished_tasks=0, concurrency=8) as client:
            return await client.slice_upload_file(BUCKET, "k", path, slice_size=MIB, **options)  # type: ignore[arg-type]

    return asyncio.run(main())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "f", SIZE)


def fails(cos: FakeCos, path: Path, **options: object) -> cosxfer.UploadError:
    with pytest.raises(cosxfer.UploadError) as caught:
        upload(cos, path, **options)
    assert "k" not in cos.objects
    return caught.value


# -- a part is sent again ---------------------------------------------------------------------------------------------

TRANSIENT: dict[str, Do] = {
    "the request is lost": lose_request,
    "the response is lost": lose_response,
    "500": refuse(500, "InternalError"),
    "503": refuse(503, "SlowDown", headers={"retry-after": "3"}),
    "the body was damaged": refuse(400, "BadDigest"),
    "the body was cut": refuse(400, "IncompleteBody"),
    "an error in a 200": refuse(200, "InternalError"),
    "another part of the same number is under way": refuse(409, "UploadConflict"),
    "another ETag": change(etag='"00000000000000000000000000000000"'),
    "another CRC64": change(x_cos_hash_crc64ecma="1"),
    "no ETag": change(etag=None),
    "a CRC64 that is no number": change(x_cos_hash_crc64ecma="12x"),
    "not COS": lambda request, proceed: HttpResponse(status=502, headers={}, body=b"<html>Bad Gateway</html>"),
}


@pytest.mark.parametrize("fault", TRANSIENT.values(), ids=TRANSIENT.keys())
@pytest.mark.parametrize("part", [1, PARTS])
def test_a_part_that_fails_is_sent_again_and_the_progress_is_right_at_the_end(
    cos: FakeCos, path: Path, waits: list[float], fault: Do, part: int
) -> None:
    reports: list[cosxfer.Progress] = []
    cos.fault("multipart_upload", fault, part=part, times=2)
    result = upload(cos, path, on_progress=reports.append)
    assert cos.objects["k"].content == content_of(SIZE)
    assert cos.count("multipart_upload", part) == 3
    assert cos.count("multipart_upload") == PARTS + 2
    assert result.retries == 2
    assert result.verified
    assert len(waits) == 2
    loaded = [report.loaded for report in reports]
    assert loaded == sorted(loaded)
    assert loaded[-1] == SIZE


def test_a_part_that_an_earlier_attempt_stored_is_not_sent_again(cos: FakeCos, path: Path) -> None:
    def stored(request: HttpRequest, proceed: Callable[[], HttpResponse]) -> HttpResponse:
        proceed()
        return error(409, "UploadConflict")

    reports: list[cosxfer.Progress] = []
    cos.fault("multipart_upload", stored, part=2)
    result = upload(cos, path, on_progress=reports.append)
    assert cos.objects["k"].content == content_of(SIZE)
    assert cos.count("multipart_upload", 2) == 1
    assert cos.count("multipart_list_part") == 1
    assert (result.retries, result.verified, result.http_version) == (0, True, "HTTP/1.1")
    assert reports[-1].loaded == SIZE


def test_an_etag_that_is_no_md5_verifies_nothing_without_a_crc64(cos: FakeCos, path: Path) -> None:
    # The bucket encrypts by default, and the response headers say so.
    cos.with_crc64 = False
    cos.fault("multipart_upload", change(etag='"opaque"', x_cos_server_side_encryption="cos/kms"), times=PARTS)

    def complete(request: HttpRequest, proceed: Callable[[], HttpResponse]) -> HttpResponse:
        cos.objects["k"] = Stored(content_of(SIZE), {}, '"opaque-4"')
        return document("CompleteMultipartUploadResult", [("ETag", '"opaque-4"')])

    cos.fault("multipart_complete", complete)
    result = upload(cos, path)
    assert (result.verified, result.verified_by) == (False, "")
    assert cos.count("multipart_upload") == PARTS


def test_the_bytes_of_a_failed_attempt_are_subtracted_from_progress(
    cos: FakeCos, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []
    monkeypatch.setattr("cosxfer.engine.report.Reporter.add", lambda self, amount: counted.append(amount))
    cos.fault("multipart_upload", change(etag='"0"'), part=2, times=2)
    upload(cos, path)
    # Hashing and sending each count the whole file. The two failed attempts are added and subtracted.
    assert sum(counted) == 2 * SIZE
    assert counted.count(-MIB) == 2


def test_the_pause_is_at_least_retry_after(cos: FakeCos, path: Path, waits: list[float]) -> None:
    cos.fault("multipart_upload", refuse(503, "SlowDown", headers={"retry-after": "7"}), part=1)
    upload(cos, path)
    assert waits == [7.0]


def test_a_retry_is_logged(cos: FakeCos, path: Path) -> None:
    cos.fault("multipart_upload", lose_request, part=1)
    upload(cos, path)
    first, second = (call.request.headers for call in cos.calls if call.part == 1)
    assert "x-cos-sdk-retry" not in first
    assert second["x-cos-sdk-retry"] == "true"


@pytest.mark.parametrize("operation", ["multipart_init", "multipart_complete", "put_object"])
def test_other_requests_are_retried_too(cos: FakeCos, tmp_path: Path, path: Path, operation: str) -> None:
    cos.fault(operation, refuse(503, "ServiceUnavailable"))
    upload(cos, write(tmp_path / "empty", 0) if operation == "put_object" else path)
    assert cos.count(operation) == 2
    assert "k" in cos.objects


# -- an upload fails --------------------------------------------------------------------------------------------------


def test_a_part_that_fails_permanently_aborts_the_upload(cos: FakeCos, path: Path) -> None:
    cos.fault("multipart_upload", refuse(403, "AccessDenied"), part=3, times=9)
    failure = fails(cos, path)
    assert failure.part_number == 3
    assert failure.upload_id == "upload-1"
    assert failure.aborted
    assert isinstance(failure.__cause__, cosxfer.AccessDeniedError)
    for told in (str(path), f"{BUCKET}/k", "part 3 of 4", "AccessDenied", "upload-1 was aborted", "id-1"):
        assert told in str(failure)
    assert cos.count("multipart_upload", 3) == 1
    assert cos.count("multipart_abort") == 1
    assert cos.count("multipart_complete") == 0
    assert not cos.uploads


def test_the_error_says_how_often_a_failing_part_was_sent(cos: FakeCos, path: Path, waits: list[float]) -> None:
    cos.fault("multipart_upload", lose_request, part=2, times=99)
    failure = fails(cos, path)
    assert cos.count("multipart_upload", 2) == 5
    assert "sent 5 times" in str(failure)
    assert failure.part_number == 2
    assert isinstance(failure.__cause__, cosxfer.TransportError)
    assert len(waits) == 4


def test_an_upload_with_repeatedly_corrupted_parts_is_never_completed(cos: FakeCos, path: Path) -> None:
    cos.fault("multipart_upload", change(x_cos_hash_crc64ecma="1"), part=2, times=99)
    failure = fails(cos, path)
    assert isinstance(failure.__cause__, cosxfer.IntegrityError)
    assert failure.__cause__.actual == 1
    assert cos.count("multipart_complete") == 0


def test_an_abort_that_fails_is_reported(cos: FakeCos, path: Path) -> None:
    cos.fault("multipart_upload", refuse(403, "AccessDenied"), part=1)
    cos.fault("multipart_abort", refuse(403, "AccessDenied"), times=9)
    failure = fails(cos, path)
    assert not failure.aborted
    assert failure.upload_id in cos.uploads
    for told in ("upload-1", "could not be aborted", "Abort Multipart Upload", "cost money"):
        assert told in str(failure)


def test_an_abort_that_hangs_times_out(cos: FakeCos, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cosxfer.engine.multipart.abort.ABORT_SECONDS", 0.0)

    cos.fault("multipart_upload", refuse(403, "AccessDenied"), part=1)
    cos.fault("multipart_abort", Hang())
    failure = fails(cos, path)
    assert not failure.aborted
    assert "no response in 0 s" in str(failure)


def test_aborting_a_missing_upload_counts_as_success(cos: FakeCos, path: Path) -> None:
    cos.fault("multipart_upload", refuse(404, "NoSuchUpload"), part=2, times=9)
    cos.fault("multipart_abort", refuse(404, "NoSuchUpload"))
    failure = fails(cos, path, async_limit=1)  # without a confirmed part, the id itself may be wrong
    assert failure.aborted
    assert "no longer on the server" in str(failure)


def test_the_parts_are_kept_on_request(cos: FakeCos, path: Path) -> None:
    cos.fault("multipart_upload", refuse(403, "AccessDenied"), part=4)
    failure = fails(cos, path, abort_on_failure=False, async_limit=1)
    assert not failure.aborted
    assert cos.count("multipart_abort") == 0
    assert set(cos.uploads[failure.upload_id].parts) == {1, 2, 3}
    assert "upload-1 and its 3 parts were kept on the server" in str(failure)


def test_a_failing_initiate_leaves_nothing_to_abort(cos: FakeCos, path: Path) -> None:
    cos.fault("multipart_init", refuse(404, "NoSuchBucket"))
    with pytest.raises(cosxfer.NotFoundError, match="check the bucket's name"):
        upload(cos, path)
    assert cos.operations() == ["multipart_init"]


@pytest.mark.parametrize("response", [b"", b"<a/>", b"<InitiateMultipartUploadResult/>", b"\xff", b"<!DOCTYPE a><a/>"])
def test_an_initiate_without_an_upload_id_is_a_protocol_error(cos: FakeCos, path: Path, response: bytes) -> None:
    cos.fault("multipart_init", change(body=lambda _: response))
    with pytest.raises(cosxfer.ProtocolError, match="Initiate Multipart Upload"):
        upload(cos, path)


# -- Complete ---------------------------------------------------------------------------------------------------------


def test_a_lost_response_to_complete_is_a_success_if_the_object_exists(cos: FakeCos, path: Path) -> None:
    cos.fault("multipart_complete", lose_response)
    result = upload(cos, path)
    assert result.verified_by == "crc64"
    assert result.etag == cos.objects["k"].etag
    assert cos.count("multipart_abort") == 0
    assert cos.operations()[-1] == "head_object"


def test_losing_all_responses_to_complete_is_a_success_if_the_object_exists(cos: FakeCos, path: Path) -> None:
    first = [True]

    def lose(request: HttpRequest, proceed: Callable[[], HttpResponse]) -> HttpResponse:
        return (lose_response if first and first.pop() else lose_request)(request, proceed)

    cos.fault("multipart_complete", lose, times=99)
    result = upload(cos, path)
    assert result.verified
    assert cos.count("multipart_complete") == 5


def test_a_lost_response_to_complete_is_a_failure_if_the_upload_is_still_open(cos: FakeCos, path: Path) -> None:
    # An older object has the same content, which proves nothing.
    cos.fault("multipart_complete", lose_request, times=99)
    cos.objects["k"] = Stored(content_of(SIZE), {}, '"old"')
    with pytest.raises(cosxfer.UploadError) as caught:
        upload(cos, path)
    assert isinstance(caught.value.__cause__, cosxfer.TransportError)
    assert caught.value.part_number is None
    assert caught.value.aborted
    assert cos.objects["k"].etag == '"old"'
    assert cos.count("multipart_list_part") == 1


def test_an_upload_that_vanished_during_complete_is_not_reported_as_aborted(cos: FakeCos, path: Path) -> None:
    cos.fault("multipart_complete", lose_response)
    cos.fault("head_object", lose_request, times=99)
    with pytest.raises(cosxfer.UploadError, match="so the object may exist") as caught:
        upload(cos, path)
    assert not caught.value.aborted


def test_a_lost_response_to_initiate_is_logged(cos: FakeCos, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cos.fault("multipart_init", lose_response)
    result = upload(cos, path)
    assert result.retries == 1
    assert len(cos.uploads) == 1
    assert "an empty multipart upload of this key may stay on the server" in caplog.text


def test_the_customer_key_is_sent_with_every_request_that_needs_it(cos: FakeCos, path: Path) -> None:
    cos.with_crc64 = False
    upload(cos, path, sse_customer_algorithm="AES256", sse_customer_key="a2V5", sse_customer_key_md5="bWQ1")
    for call in cos.calls:
        if call.operation in ("multipart_init", "multipart_upload", "head_object"):
            assert call.request.headers["x-cos-server-side-encryption-customer-key"] == "a2V5"
    assert cos.count("head_object") == 1


def test_a_part_repeats_the_headers_that_apply_to_parts(cos: FakeCos, path: Path) -> None:
    upload(cos, path, headers={"X-Cos-Traffic-Limit": "819200", "x-cos-meta-a": "b"})
    for call in cos.calls:
        limited = "x-cos-traffic-limit" in call.request.headers
        assert limited == (call.operation in ("multipart_init", "multipart_upload"))
        assert ("x-cos-meta-a" in call.request.headers) == (call.operation == "multipart_init")


def test_another_object_with_the_key_is_not_mistaken_for_ours(cos: FakeCos, path: Path) -> None:
    def overwritten(request: HttpRequest, proceed: Callable[[], HttpResponse]) -> HttpResponse:
        proceed()
        cos.objects["k"] = Stored(b"x" * SIZE, {}, '"theirs"')
        return lose_request(request, proceed)

    cos.fault("multipart_complete", overwritten)
    with pytest.raises(cosxfer.UploadError, match="NoSuchUpload") as caught:
        upload(cos, path)
    assert caught.value.upload_id == "upload-1"
    assert "was completed" not in str(caught.value)


@pytest.mark.parametrize("spaces", [0, 3, 511, 512, 100_000])
def test_an_error_inside_a_200_is_an_error_however_late_it_comes(cos: FakeCos, path: Path, spaces: int) -> None:
    late = error(200, "EntityTooSmall").body
    cos.fault(
        "multipart_complete", lambda request, proceed: HttpResponse(status=200, headers={}, body=b" " * spaces + late)
    )
    with pytest.raises(cosxfer.UploadError) as caught:
        upload(cos, path)
    cause = caught.value.__cause__
    assert isinstance(cause, cosxfer.ServerError)
    assert cause.code == "EntityTooSmall"
    assert cos.count("multipart_complete") == 1


@pytest.mark.parametrize("code", ["InternalError", "SlowDown"])
def test_an_error_inside_a_200_after_the_object_was_made_is_resolved(cos: FakeCos, path: Path, code: str) -> None:
    done: list[HttpResponse] = []

    def do(request: HttpRequest, proceed: Callable[[], HttpResponse]) -> HttpResponse:
        if not done:
            done.append(proceed())
        return error(200, code)

    cos.fault("multipart_complete", do, times=99)
    result = upload(cos, path)
    assert result.verified
    assert cos.count("multipart_complete") == 5
    assert cos.count("multipart_abort") == 0


@pytest.mark.parametrize("cut", [lambda body: body[:-30], lambda body: b"", lambda body: b"   ", lambda body: b"<a/>"])
def test_a_truncated_response_to_complete_is_checked_with_head(
    cos: FakeCos, path: Path, cut: Callable[[bytes], bytes]
) -> None:
    cos.fault("multipart_complete", change(body=cut))
    result = upload(cos, path)
    # The retry finds no upload, and HEAD shows that the object is the file.
    assert cos.operations()[-3:] == ["multipart_complete", "multipart_complete", "head_object"]
    assert result.verified


def test_truncated_responses_to_complete_without_an_object_are_a_failure(cos: FakeCos, path: Path) -> None:
    response = document("CompleteMultipartUploadResult", [("Key", "k")])
    cos.fault("multipart_complete", lambda request, proceed: response, times=99)
    failure = fails(cos, path)
    assert isinstance(failure.__cause__, cosxfer.ProtocolError)
    assert failure.aborted


def test_an_object_with_another_crc64_is_an_error(cos: FakeCos, path: Path) -> None:
    cos.fault("multipart_complete", change(x_cos_hash_crc64ecma="17"))
    with pytest.raises(cosxfer.UploadError, match="checksum mismatch: server CRC64 17") as caught:
        upload(cos, path)
    assert not caught.value.aborted
    assert caught.value.upload_id == "upload-1"
    assert isinstance(caught.value.__cause__, cosxfer.IntegrityError)
    assert caught.value.__cause__.actual == 17


def test_a_crc64_in_the_body_of_complete_is_compared_too(cos: FakeCos, path: Path) -> None:
    cos.fault(
        "multipart_complete",
        change(x_cos_hash_crc64ecma=None, body=lambda body: body.replace(b"</Comp", b"<CRC64>17</CRC64></Comp")),
    )
    with pytest.raises(cosxfer.UploadError, match="checksum mismatch: server CRC64 17"):
        upload(cos, path)


def test_without_a_crc64_in_complete_the_client_sends_head(cos: FakeCos, path: Path) -> None:
    cos.fault("multipart_complete", change(x_cos_hash_crc64ecma=None))
    assert upload(cos, path).verified_by == "crc64"
    assert cos.operations()[-1] == "head_object"


def test_the_error_of_an_object_that_cannot_be_checked_names_its_upload(cos: FakeCos, path: Path) -> None:
    cos.fault("multipart_complete", change(x_cos_hash_crc64ecma=None))
    cos.fault("head_object", refuse(403, "AccessDenied"))
    with pytest.raises(cosxfer.UploadError, match="was completed, but") as caught:
        upload(cos, path)
    assert caught.value.upload_id == "upload-1"
    assert isinstance(caught.value.__cause__, cosxfer.AccessDeniedError)


# -- the source changes -----------------------------------------------------------------------------------------------


def changing(how: Callable[[], object]) -> Do:
    def do(request: HttpRequest, proceed: Callable[[], HttpResponse]) -> HttpResponse:
        response = proceed()
        how()
        return response

    return do


@pytest.mark.parametrize(
    ("how", "changed"),
    [
        (lambda path: rewrite(path, b"x" * SIZE), "mtime size"),
        (lambda path: path.write_bytes(b"x"), "size"),
        (lambda path: path.open("ab").write(b"x"), "size"),
        (lambda path: (path.with_name("g").write_bytes(b"x" * SIZE), path.with_name("g").replace(path)), "inode"),
        (lambda path: path.unlink(), "inode"),
    ],
    ids=["rewritten", "cut", "longer", "replaced", "deleted"],
)
@pytest.mark.parametrize("part", [1, PARTS])
@pytest.mark.filterwarnings("ignore:unclosed file")
def test_a_file_that_changes_between_parts_ends_the_upload_and_aborts_it(
    cos: FakeCos, path: Path, how: Callable[[Path], object], changed: str, part: int
) -> None:
    cos.fault("multipart_upload", changing(lambda: how(path)), part=part)
    with pytest.raises(cosxfer.SourceChangedError) as caught:
        upload(cos, path, async_limit=1)
    assert caught.value.changed in changed.split()
    assert cos.count("multipart_upload") == part
    assert str(path) in str(caught.value)
    assert not cos.uploads
    assert "k" not in cos.objects
    assert cos.count("multipart_complete") == 0
    assert "upload-1 was aborted" in " ".join(caught.value.__notes__)


def test_if_the_file_changed_a_failing_part_is_reported_as_the_change(cos: FakeCos, path: Path) -> None:
    def do(request: HttpRequest, proceed: Callable[[], HttpResponse]) -> HttpResponse:
        rewrite(path, b"y" * SIZE)
        return error(400, "BadDigest")

    cos.fault("multipart_upload", do, part=2, times=99)
    with pytest.raises(cosxfer.SourceChangedError):
        upload(cos, path)
    assert cos.count("multipart_upload", 2) == 1
    assert not cos.uploads


# -- cancellation -----------------------------------------------------------------------------------------------------


def others() -> set[asyncio.Task[object]]:
    current = asyncio.current_task()
    return {task for task in asyncio.all_tasks() if task is not current}


@pytest.mark.parametrize("operation", ["multipart_upload", "multipart_complete"])
def test_a_cancelled_upload_is_aborted_and_leaves_nothing_running(cos: FakeCos, path: Path, operation: str) -> None:
    async def main() -> None:
        hang = Hang()
        cos.fault(operation, hang, times=2)
        # The memory of the endpoint is read in a thread, for the client and not for this upload.
        client = cos.client(endpoint_memory=False)
        task = asyncio.create_task(client.slice_upload_file(BUCKET, "k", path, slice_size=MIB, async_limit=2))
        await hang.arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0)  # the garbage collector closes generators in a new task
        await asyncio.sleep(0)
        assert not others()
        assert cos.operations()[-1] == "multipart_abort"
        assert not cos.uploads
        await client.aclose()

    asyncio.run(main())
    for thread in threading.enumerate():
        if thread.name.startswith("cosxfer") and not thread.name.startswith(
            "cosxfer-thread"
        ):  # a shared thread that is idle
            thread.join(10)
            assert not thread.is_alive()


def test_a_cancelled_upload_that_cannot_be_aborted_says_so_in_the_log(
    cos: FakeCos, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        hang = Hang()
        cos.fault("multipart_upload", hang, times=9)
        cos.fault("multipart_abort", refuse(403, "AccessDenied"), times=9)
        async with cos.client() as client:
            task = asyncio.create_task(client.slice_upload_file(BUCKET, "k", path, slice_size=MIB))
            await hang.arrived.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())
    assert "upload-1 could not be aborted" in caplog.text


def test_a_failure_leaves_no_task_and_no_lost_exception(cos: FakeCos, path: Path) -> None:
    lost: list[object] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: lost.append(context))
        async with cos.client(max_finished_tasks=0, endpoint_memory=False) as client:
            cos.fault("multipart_upload", refuse(403, "AccessDenied"), times=99)
            with pytest.raises(cosxfer.UploadError):
                await client.slice_upload_file(BUCKET, "k", path, slice_size=MIB, async_limit=2)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert not others()

    asyncio.run(main())
    assert not lost


def test_the_limit_of_parts_in_flight_is_respected(cos: FakeCos, tmp_path: Path) -> None:
    path = write(tmp_path / "g", 9 * MIB)
    now = most = 0

    async def slow(request: HttpRequest, proceed: Callable[[], HttpResponse]) -> HttpResponse:
        nonlocal now, most
        now += 1
        most = max(most, now)
        for _ in range(5):
            await asyncio.sleep(0)
        now -= 1
        return proceed()

    cos.fault("multipart_upload", slow, times=99)
    upload(cos, path, async_limit=3)
    assert most == 3
