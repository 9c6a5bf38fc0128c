"""multipart_complete with a lost response: the client finds out what happened, or says that it does not know."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

import cosxfer
from cosxfer._native import hashing
from cosxfer.address import ObjectAddress
from cosxfer.config import ClientConfig
from cosxfer.cos.requests import HttpRequest
from cosxfer.cos.responses import HttpResponse
from cosxfer.credentials import Credentials, CredentialsResolver
from cosxfer.engine.multipart.completion import Completion
from cosxfer.errors import ConnectError, TransportError
from cosxfer.limits import MIB
from cosxfer.ops.outage import Transfer
from cosxfer.ops.session import Session
from tests.unit.fake_cos import (
    BUCKET,
    REGION,
    SECRET_ID,
    SECRET_KEY,
    Do,
    FakeCos,
    Stored,
    lose_request,
    lose_response,
    refuse,
)
from tests.unit.files import content_of
from tests.unit.virtual_time import run_in_virtual_time

CONTENT = content_of(2 * MIB + 5)
BODIES = {1: CONTENT[:MIB], 2: CONTENT[MIB : 2 * MIB], 5: CONTENT[2 * MIB :]}


def completed(cos: FakeCos, fault: Do, *, times: int = 1, listed: bool = False) -> cosxfer.MultipartCompleteResult:
    with cos.blocking_client() as client:
        upload_id = client.multipart_init(BUCKET, "k").upload_id
        parts: list[cosxfer.Part | cosxfer.MultipartUploadResult] = [
            client.multipart_upload(BUCKET, "k", body, upload_id=upload_id, part_number=number)
            for number, body in reversed(BODIES.items())
        ]
        if listed:
            parts = [*client.iter_multipart_list_part(BUCKET, "k", upload_id=upload_id)]
        cos.calls.clear()
        cos.fault("multipart_complete", fault, times=times)
        return client.multipart_complete(BUCKET, "k", upload_id=upload_id, parts=iter(parts))


def done_then(fault: Do) -> Do:
    """Create the object, but send another response."""

    def do(request: HttpRequest, proceed: Callable[[], HttpResponse]) -> HttpResponse:
        proceed()
        response = fault(request, proceed)
        assert isinstance(response, HttpResponse)
        return response

    return do


def notes(error: BaseException) -> str:
    return "; ".join(getattr(error, "__notes__", []))


LOST: dict[str, Do] = {
    "lost": lose_response,
    "503": done_then(refuse(503, "SlowDown")),
    "an error in a 200": done_then(refuse(200, "InternalError")),
}


@pytest.mark.parametrize("fault", LOST.values(), ids=LOST)
def test_after_a_lost_response_the_object_is_found_by_its_crc64(cos: FakeCos, fault: Do) -> None:
    result = completed(cos, fault)
    stored = cos.objects["k"]
    assert stored.content == CONTENT
    assert (result.etag, result.bucket, result.key) == (stored.etag, BUCKET, "k")
    assert result.location == f"{BUCKET}.cos.ap-guangzhou.myqcloud.com/k"
    assert cos.operations() == ["multipart_complete", "multipart_complete", "head_object"]


def test_the_object_is_found_even_if_every_response_is_lost(cos: FakeCos) -> None:
    first = [True]

    def lose(request: HttpRequest, proceed: Callable[[], HttpResponse]) -> HttpResponse:
        return (lose_response if first and first.pop() else lose_request)(request, proceed)

    assert completed(cos, lose, times=99).etag == cos.objects["k"].etag
    assert cos.operations()[-2:] == ["multipart_list_part", "head_object"]


def test_another_object_with_the_key_is_no_proof(cos: FakeCos) -> None:
    def overwritten(request: HttpRequest, proceed: Callable[[], HttpResponse]) -> HttpResponse:
        try:
            return lose_response(request, proceed)
        finally:
            cos.objects["k"] = Stored(CONTENT[::-1], {}, '"another"')

    with pytest.raises(cosxfer.NotFoundError, match="NoSuchUpload") as caught:
        completed(cos, overwritten)
    assert "so the object may exist; compare it (head_object)" in notes(caught.value)


def test_listed_parts_are_no_proof_and_the_error_says_so(cos: FakeCos) -> None:
    with pytest.raises(cosxfer.NotFoundError, match="NoSuchUpload") as caught:
        completed(cos, lose_response, listed=True)
    assert "so the object may exist; compare it (head_object)" in notes(caught.value)
    assert cos.operations() == ["multipart_complete", "multipart_complete"]


def test_an_upload_that_is_still_open_was_not_completed(cos: FakeCos) -> None:
    cos.objects["k"] = Stored(CONTENT, {}, '"old"')
    with pytest.raises(cosxfer.TransportError, match="the connection broke") as caught:
        completed(cos, lose_request, times=99)
    assert "completed" not in notes(caught.value)
    assert cos.operations().count("head_object") == 0


def test_an_unknown_upload_fails_at_once(cos: FakeCos) -> None:
    cos.objects["k"] = Stored(CONTENT, {}, '"old"')
    with pytest.raises(cosxfer.NotFoundError, match="NoSuchUpload") as caught:
        completed(cos, refuse(404, "NoSuchUpload"))
    assert notes(caught.value) == ""
    assert cos.operations() == ["multipart_complete"]


def test_a_refusal_is_raised_without_further_requests(cos: FakeCos) -> None:
    with pytest.raises(cosxfer.ServerError, match="InvalidPart"):
        completed(cos, refuse(400, "InvalidPart"))
    assert cos.operations() == ["multipart_complete"]


def test_a_404_from_another_server_does_not_prove_that_the_upload_is_gone(cos: FakeCos, session: Session) -> None:
    # An older object has the same content.
    cos.objects["k"] = Stored(CONTENT, {}, '"old"')
    cos.fault("multipart_list_part", lambda request, proceed: HttpResponse(status=404, headers={}, body=b"<html>"))
    lost = cosxfer.TransportError("the connection broke", url="")
    completion = Completion(
        session, ObjectAddress(BUCKET, "k"), upload_id="u", size=len(CONTENT), crc64=hashing.crc64(CONTENT)
    )
    assert asyncio.run(completion.found(lost)) is None
    found = asyncio.run(completion.found(lost))  # here COS itself responds NoSuchUpload
    assert found is not None
    assert found.etag == '"old"'


# -- copies of parts that arrive during Complete ----------------------------------------------------------------------


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cosxfer.engine.multipart.completion.WAITS_FOR_LATE_PARTS", (0.0, 0.0, 0.0))


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize("times", [1, 3])
def test_a_part_that_was_stored_twice_during_complete_does_not_fail_the_upload(
    cos: FakeCos, tmp_path: Path, times: int
) -> None:
    path = tmp_path / "f"
    path.write_bytes(CONTENT)
    cos.fault("multipart_complete", refuse(400, "InvalidPart"), times=times)
    with cos.blocking_client() as client:
        assert client.upload_file(BUCKET, "k", path, part_size=MIB).verified_by == "crc64"
    assert cos.objects["k"].content == CONTENT
    assert cos.count("multipart_complete") == times + 1


@pytest.mark.usefixtures("no_waiting")
def test_a_part_that_stays_invalid_fails_the_upload(cos: FakeCos, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(CONTENT)
    cos.fault("multipart_complete", refuse(400, "InvalidPart"), times=99)
    with cos.blocking_client() as client, pytest.raises(cosxfer.UploadError, match="InvalidPart"):
        client.upload_file(BUCKET, "k", path, part_size=MIB)
    assert cos.count("multipart_complete") == 4


@pytest.mark.usefixtures("no_waiting")
def test_parts_that_the_server_does_not_list_are_not_completed_again(cos: FakeCos, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(CONTENT)
    cos.fault("multipart_complete", refuse(400, "InvalidPart"), times=99)
    cos.fault("multipart_list_part", refuse(403, "AccessDenied"), times=99)
    with cos.blocking_client() as client, pytest.raises(cosxfer.UploadError, match="InvalidPart"):
        client.upload_file(BUCKET, "k", path, part_size=MIB)
    assert cos.count("multipart_complete") == 1


@pytest.mark.parametrize("seconds", [0.0, 60.0])
@pytest.mark.parametrize("resolving", ["multipart_list_part", "head_object"])
def test_what_finds_out_whether_the_object_exists_outlasts_an_outage(
    cos: FakeCos, monkeypatch: pytest.MonkeyPatch, resolving: str, seconds: float
) -> None:
    """Complete was done, its response was lost, and the server cannot be reached for half a minute."""
    monkeypatch.setattr("cosxfer.ops.session.asyncio", asyncio)
    keys = CredentialsResolver(Credentials(secret_id=SECRET_ID, secret_key=SECRET_KEY))
    config = ClientConfig(region=REGION, retry_for_seconds=seconds, max_attempts=2)
    session = Session(config=config, transport=cos.transport(), credentials=keys)
    address = ObjectAddress(BUCKET, "k")
    cos.objects["k"] = Stored(CONTENT, {}, '"etag"')

    def away(request: HttpRequest, proceed: Callable[[], HttpResponse]) -> HttpResponse:
        if asyncio.get_running_loop().time() < 30.0:
            raise ConnectError("refused")
        return proceed()

    cos.fault(resolving, away, times=999)

    async def main() -> cosxfer.MultipartCompleteResult | None:
        begun = session.observed(transfer=Transfer(begun=True))
        crc64 = hashing.crc64(CONTENT)
        completion = Completion(begun, address, upload_id="done", size=len(CONTENT), crc64=crc64)
        return await completion.found(TransportError("the response was lost"))

    found = run_in_virtual_time(main())
    assert (found is not None) is (seconds > 0)
