"""Responses that leave the outcome open, by script. An object is reported done exactly if it is.

Other cases of parts, Complete and 409: `test_main_job.py`. Other cases of appends: `test_append.py`.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

import cosxfer
from cosxfer.config import HttpVersion
from cosxfer.limits import MIB
from cosxfer.server import RunningServer

AFTER_THE_WORK: dict[str, dict[str, Any]] = {
    "reset": {"do": "reset"},
    "stalled": {"do": "stall", "seconds": 600},
    "500": {"do": "error", "status": 500, "code": "InternalError"},
    "503": {"do": "error", "status": 503, "code": "ServiceUnavailable"},
    "error in a 200": {"do": "error", "status": 200, "code": "InternalError"},
}
GONE: dict[str, Any] = {"do": "error", "status": 404, "code": "NoSuchUpload"}
WAYS = [("1.1", "native"), ("2", "native"), ("1.1", "httpx"), ("2", "httpx")]


DEEP = [pytest.param(way, marks=pytest.mark.deep) for way in WAYS[1:3]]


@pytest.fixture(params=[WAYS[0], *DEEP, WAYS[3]], ids=[f"{transport}-{version}" for version, transport in WAYS])
def client(server: RunningServer, no_faults: None, request: pytest.FixtureRequest) -> Iterator[cosxfer.Client]:
    version: HttpVersion
    transport: Literal["native", "httpx"]
    version, transport = request.param
    server.requests(clear=True)
    with cosxfer.Client(
        endpoint=server.endpoint,
        credentials=server.credentials,
        http_version=version,
        transport=transport,
        max_attempts=2,
        retry_for_seconds=0,
        stall_timeout_seconds=0.5,
        complete_timeout_seconds=0.5,
    ) as client:
        yield client


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(random.Random(14).randbytes(3 * MIB))
    return path


def script(server: RunningServer, operation: str, fault: dict[str, Any], **more: Any) -> None:
    server.set_faults([{"operation": operation, "attempt": 1, "at": "answer", **fault, **more}])


def sent(server: RunningServer, operation: str) -> int:
    return [request["operation"] for request in server.requests()].count(operation)


@pytest.mark.parametrize("fault", AFTER_THE_WORK)
def test_a_put_that_was_stored_but_not_confirmed_is_sent_again(
    server: RunningServer, client: cosxfer.Client, fault: str
) -> None:
    script(server, "put_object", AFTER_THE_WORK[fault])
    assert client.put_object(server.bucket, "put", b"x" * 1000).verified
    # The log has the requests that have ended.
    assert sent(server, "put_object") == (1 if fault == "stalled" else 2)
    assert client.get_object(server.bucket, "put").body == b"x" * 1000


@pytest.mark.parametrize("fault", ["reset", "stalled"])
def test_a_put_of_a_body_that_is_read_once_says_that_it_may_be_stored(
    server: RunningServer, client: cosxfer.Client, fault: str
) -> None:
    script(server, "put_object", AFTER_THE_WORK[fault])
    with pytest.raises(cosxfer.TransportError) as raised:
        client.put_object(server.bucket, f"once {fault}", iter([b"x" * 1000]), content_length=1000)
    assert any("The server may have stored it" in note for note in raised.value.__notes__)
    assert client.get_object(server.bucket, f"once {fault}").body == b"x" * 1000


def test_a_put_of_a_body_that_is_read_once_and_that_the_server_refuses_is_not_stored(
    server: RunningServer, client: cosxfer.Client
) -> None:
    server.set_faults([{"operation": "put_object", "do": "error", "status": 500, "code": "InternalError"}])
    with pytest.raises(cosxfer.ServerError) as raised:
        client.put_object(server.bucket, "refused", iter([b"x" * 1000]), content_length=1000)
    assert not any("may have stored" in note for note in getattr(raised.value, "__notes__", []))


@pytest.mark.parametrize("fault", AFTER_THE_WORK)
def test_an_initiate_that_was_not_confirmed_is_reported(
    server: RunningServer, client: cosxfer.Client, source: Path, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    script(server, "multipart_init", AFTER_THE_WORK[fault])
    with caplog.at_level(logging.WARNING, "cosxfer"):
        assert client.upload_file(server.bucket, "initiated", source, part_size=MIB).verified
    [left] = client.multipart_list(server.bucket).uploads
    assert left.key == "initiated"
    told = [record.getMessage() for record in caplog.records if "an empty multipart upload" in record.getMessage()]
    assert len(told) == 1
    assert "initiated" in told[0]
    client.multipart_abort(server.bucket, left.key, upload_id=left.upload_id)


@pytest.mark.parametrize("fault", AFTER_THE_WORK)
def test_a_part_that_was_stored_but_not_confirmed_is_counted_once(
    server: RunningServer, client: cosxfer.Client, source: Path, fault: str
) -> None:
    script(server, "multipart_upload", AFTER_THE_WORK[fault], part=2)
    result = client.upload_file(server.bucket, "part", source, part_size=MIB)
    assert (result.verified, result.parts) == (True, 3)
    assert client.get_object(server.bucket, "part").body == source.read_bytes()


@pytest.mark.parametrize("fault", [*AFTER_THE_WORK, "gone"])
def test_a_complete_that_was_done_but_not_confirmed_is_a_success(
    server: RunningServer, client: cosxfer.Client, source: Path, fault: str
) -> None:
    script(server, "multipart_complete", GONE if fault == "gone" else AFTER_THE_WORK[fault])
    assert client.upload_file(server.bucket, "completed", source, part_size=MIB).verified
    assert client.get_object(server.bucket, "completed").body == source.read_bytes()
    assert client.multipart_list(server.bucket).uploads == ()


@pytest.mark.parametrize("fault", AFTER_THE_WORK)
def test_an_append_that_was_done_but_not_confirmed_is_done_once(
    server: RunningServer, client: cosxfer.Client, fault: str, request: pytest.FixtureRequest
) -> None:
    key = f"appended {request.node.name}"
    client.append_object(server.bucket, key, b"first", position=0)
    script(server, "append_object", AFTER_THE_WORK[fault])
    assert client.append_object(server.bucket, key, b"second", position=5).next_append_position == 11
    assert client.get_object(server.bucket, key).body == b"firstsecond"


@pytest.mark.parametrize("fault", AFTER_THE_WORK)
def test_a_stream_of_which_a_part_and_complete_were_not_confirmed_is_whole(
    server: RunningServer, client: cosxfer.Client, source: Path, fault: str
) -> None:
    rule = {"attempt": 1, "at": "answer", **AFTER_THE_WORK[fault]}
    server.set_faults(
        [{"operation": "multipart_upload", "part": 2, **rule}, {"operation": "multipart_complete", **rule}]
    )
    with source.open("rb") as stream:
        pieces = iter(lambda: stream.read(MIB), b"")
        assert client.upload_stream(server.bucket, "streamed", pieces, part_size=MIB).verified
    assert client.get_object(server.bucket, "streamed").body == source.read_bytes()
    assert client.multipart_list(server.bucket).uploads == ()


@pytest.mark.parametrize("fault", [*AFTER_THE_WORK, "gone"])
def test_a_part_and_a_complete_by_hand_that_were_not_confirmed_are_successes(
    server: RunningServer, client: cosxfer.Client, fault: str
) -> None:
    upload_id = client.multipart_init(server.bucket, "by hand").upload_id
    if fault != "gone":
        script(server, "multipart_upload", AFTER_THE_WORK[fault])
    part = client.multipart_upload(server.bucket, "by hand", b"part", upload_id=upload_id, part_number=1)
    script(server, "multipart_complete", GONE if fault == "gone" else AFTER_THE_WORK[fault])
    try:
        client.multipart_complete(server.bucket, "by hand", upload_id=upload_id, parts=[part])
    except cosxfer.NotFoundError:
        assert fault == "gone"  # it is the answer to the first attempt, so the id may be a wrong one
    assert client.get_object(server.bucket, "by hand").body == b"part"


@pytest.mark.parametrize("fault", AFTER_THE_WORK)
def test_a_form_that_was_stored_but_not_confirmed_is_stored(
    server: RunningServer, client: cosxfer.Client, fault: str
) -> None:
    script(server, "post_object", AFTER_THE_WORK[fault])
    client.post_object(server.bucket, "form", b"content", filename="f")
    assert client.get_object(server.bucket, "form").body == b"content"


@pytest.mark.parametrize("at", ["head", "answer"])
@pytest.mark.parametrize("operation", ["multipart_upload", "multipart_complete"])
def test_a_conflict_ends_done_and_whole(
    server: RunningServer, client: cosxfer.Client, source: Path, operation: str, at: str
) -> None:
    conflict = {
        "do": "error",
        "status": 409,
        "code": "UploadConflict" if operation == "multipart_upload" else "PathConflict",
    }
    server.set_faults([{"operation": operation, "attempt": 1, **conflict, "at": at}])
    assert client.upload_file(server.bucket, "conflict", source, part_size=MIB).verified
    assert client.get_object(server.bucket, "conflict").body == source.read_bytes()
    assert client.multipart_list(server.bucket).uploads == ()


@pytest.mark.deep
@pytest.mark.parametrize("fault", [*AFTER_THE_WORK, "gone"])
def test_a_complete_that_never_works_is_no_success(
    server: RunningServer, client: cosxfer.Client, source: Path, fault: str
) -> None:
    server.set_faults([{"operation": "multipart_complete", **(GONE if fault == "gone" else AFTER_THE_WORK[fault])}])
    client.put_object(server.bucket, f"never {fault}", b"an older object")
    with pytest.raises(cosxfer.UploadError):
        client.upload_file(server.bucket, f"never {fault}", source, part_size=MIB)
    assert client.get_object(server.bucket, f"never {fault}").body == b"an older object"
