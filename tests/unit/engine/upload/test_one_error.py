"""The same cause raises the same class of error for files of any size."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

import cosxfer
from cosxfer.cli.failures import error_object
from cosxfer.limits import MIB
from tests.unit.fake_cos import BUCKET, Do, FakeCos, change, lose_request, refuse
from tests.unit.files import content_of, write

SMALL, LARGE = 1000, 2 * MIB + 5
OPERATIONS = ("put_object", "multipart_init", "multipart_upload", "multipart_complete")

REFUSED: dict[str, tuple[Do, type[cosxfer.CosxferError]]] = {
    "403": (refuse(403, "AccessDenied"), cosxfer.AccessDeniedError),
    "404": (refuse(404, "NoSuchBucket"), cosxfer.NotFoundError),
    "409": (refuse(409, "OperationAborted"), cosxfer.ServerError),
    "503": (refuse(503, "SlowDown"), cosxfer.ThrottledError),
    "lost": (lose_request, cosxfer.TransportError),
}


def failure_of(path: Path, call: str, cos: FakeCos) -> cosxfer.CosxferError:
    async def main() -> BaseException | None:
        async with cos.client(max_finished_tasks=0) as client:
            if call == "upload_file":
                return await raised(client.upload_file(BUCKET, "k", path))
            if call == "slice_upload_file":
                return await raised(client.slice_upload_file(BUCKET, "k", path))
            if call == "upload_files":
                [result] = await client.upload_files([cosxfer.FileUpload(bucket=BUCKET, key="k", path=path)])
                return result.error
            if call == "put_object":
                return await raised(client.put_object(BUCKET, "k", content_of(SMALL)))
            return await raised(client.submit_upload_file(BUCKET, "k", path).result())

    error = asyncio.run(main())
    assert isinstance(error, cosxfer.CosxferError)
    return error


async def raised(work: object) -> BaseException | None:
    try:
        await work  # type: ignore[misc]
    except cosxfer.CosxferError as error:
        return error
    return None


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_class_of_the_cause_is_caught_at_every_step_of_an_upload(
    cos: FakeCos, tmp_path: Path, operation: str, name: str
) -> None:
    do, kind = REFUSED[name]
    cos.fault(operation, do, times=99)
    path = write(tmp_path / "f", SMALL if operation == "put_object" else LARGE)
    error = failure_of(path, "upload_file", cos)
    assert isinstance(error, kind)
    assert isinstance(error, cosxfer.UploadError)
    assert type(error).__name__ == type(error.__cause__).__name__
    assert isinstance(error.__cause__, kind)
    assert error.retryable == error.__cause__.retryable
    assert bool(error.upload_id) == (operation in OPERATIONS[2:])
    assert error.aborted == bool(error.upload_id)


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize(
    "call", ["upload_file", "slice_upload_file", "upload_files", "submit_upload_file", "put_object"]
)
def test_a_refusal_has_the_same_attributes_for_any_size_and_call(
    cos: FakeCos, tmp_path: Path, call: str, size: int
) -> None:
    for operation in OPERATIONS:
        cos.fault(operation, refuse(403, "AccessDenied", headers={"x-proxy": "p1"}), times=99)
    error = failure_of(write(tmp_path / "f", size), call, cos)
    assert isinstance(error, cosxfer.AccessDeniedError)
    assert (error.status, error.code) == (403, "AccessDenied")
    assert error.headers["x-proxy"] == "p1"
    assert error.request_id
    shown = error_object(error)
    assert (shown["type"], shown["status"], shown["code"]) == ("AccessDeniedError", 403, "AccessDenied")


def test_the_error_of_a_refused_part_says_what_happened_to_the_parts(cos: FakeCos, tmp_path: Path) -> None:
    cos.fault("multipart_upload", refuse(403, "AccessDenied"), times=99)
    error = failure_of(write(tmp_path / "f", LARGE), "upload_file", cos)
    assert isinstance(error, cosxfer.UploadError)
    assert (error.upload_id, error.aborted) == ("upload-1", True)
    assert error.part_number is not None
    assert error_object(error)["aborted"] is True


def wrong_crc64(cos: FakeCos) -> None:
    cos.fault("put_object", change(x_cos_hash_crc64ecma="17"), times=99)
    cos.fault("multipart_complete", change(x_cos_hash_crc64ecma="17"), times=99)


def wrong_part(cos: FakeCos) -> None:
    cos.fault("put_object", change(x_cos_hash_crc64ecma="1"), times=99)
    cos.fault("multipart_upload", change(x_cos_hash_crc64ecma="1"), times=99)


@pytest.mark.parametrize("break_it", [wrong_crc64, wrong_part])
@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_corrupted_bytes_are_an_integrity_error_for_any_size(
    cos: FakeCos, tmp_path: Path, size: int, break_it: Callable[[FakeCos], None]
) -> None:
    break_it(cos)
    error = failure_of(write(tmp_path / "f", size), "upload_file", cos)
    assert isinstance(error, cosxfer.IntegrityError)
    assert error.expected != error.actual
    # Not an error of the server, but it has the same attributes, for handlers that read them.
    assert isinstance(error, cosxfer.UploadError)
    assert (error.status, error.code, error.request_id, dict(error.headers)) == (0, "", "", {})
    assert "status" not in error_object(error)


def test_a_failed_check_of_the_completed_object_has_the_class_of_its_cause(cos: FakeCos, tmp_path: Path) -> None:
    cos.fault("multipart_complete", change(x_cos_hash_crc64ecma=None))
    cos.fault("head_object", refuse(403, "AccessDenied"), times=99)
    error = failure_of(write(tmp_path / "f", LARGE), "upload_file", cos)
    assert isinstance(error, cosxfer.AccessDeniedError)
    assert "was completed, but" in str(error)


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("name", REFUSED)
def test_the_error_can_be_pickled_with_all_its_attributes(cos: FakeCos, tmp_path: Path, name: str, size: int) -> None:
    do, _ = REFUSED[name]
    cos.fault("put_object", do, times=99)
    cos.fault("multipart_upload", do, times=99)
    error = failure_of(write(tmp_path / "f", size), "upload_file", cos)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        back = pickle.loads(pickle.dumps(error, protocol))
        assert type(back) is type(error)
        assert (str(back), vars(back)) == (str(error), vars(error))
        assert type(back.__cause__) is type(error.__cause__)
