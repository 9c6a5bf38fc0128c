"""The client's parameters for server-side encryption, against a server that responds as COS does."""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterator
from hashlib import md5
from pathlib import Path
from typing import Any

import pytest

import cosxfer
from cosxfer._native import hashing
from cosxfer.limits import MIB
from cosxfer.server import RunningServer, running
from tests.unit.files import content_of, write

pytestmark = pytest.mark.usefixtures("no_faults")

SSE = "x-cos-server-side-encryption"
KEY = b"0123456789ABCDEF0123456789ABCDEF"
KEY_MD5 = base64.b64encode(md5(KEY).digest()).decode()
CUSTOMER: dict[str, Any] = {
    "sse_customer_algorithm": "AES256",
    "sse_customer_key": base64.b64encode(KEY).decode(),
    "sse_customer_key_md5": KEY_MD5,
}
KINDS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "SSE-COS": ({"server_side_encryption": "AES256"}, {SSE: "AES256"}),
    "SSE-KMS": (
        {"server_side_encryption": "cos/kms", "sse_kms_key_id": "id", "sse_context": "eyJhIjoiYiJ9"},
        {SSE: "cos/kms", f"{SSE}-cos-kms-key-id": "id"},
    ),
    "SSE-C": (CUSTOMER, {f"{SSE}-customer-algorithm": "AES256", f"{SSE}-customer-key-md5": KEY_MD5}),
}
"""Parameters of the calls, and the expected headers of the responses."""
SIZE = 2 * MIB + 5


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running(tls=True) as server:
        yield server


@pytest.fixture(params=[("native", "1.1"), ("native", "2"), ("httpx", "1.1"), ("httpx", "2")], ids="-".join)
def client(server: RunningServer, request: pytest.FixtureRequest) -> Iterator[cosxfer.Client]:
    transport, version = request.param
    with cosxfer.Client(
        endpoint=server.endpoint,
        credentials=server.credentials,
        verify=str(server.ca_file),
        transport=transport,
        http_version=version,
    ) as client:
        yield client


def said(result: cosxfer.Result) -> dict[str, str]:
    return {name: value for name, value in result.headers.items() if name.startswith(SSE)}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_one_request_makes_an_encrypted_object(
    client: cosxfer.Client, server: RunningServer, kind: str, tmp_path: Path
) -> None:
    given, expected = KINDS[kind]
    assert said(client.put_object(server.bucket, "put", b"content", **given)) == expected
    assert said(client.post_object(server.bucket, "post", b"content", **given)) == expected
    small = client.upload_file(server.bucket, "small", write(tmp_path / "small", 5), expect="100-continue", **given)
    assert said(small) == expected
    assert (small.parts, small.verified_by) == (1, "crc64")


def test_a_file_in_parts_is_encrypted_and_verified(
    client: cosxfer.Client, server: RunningServer, kind: str, tmp_path: Path
) -> None:
    given, expected = KINDS[kind]
    path = write(tmp_path / "f", SIZE)
    for result in (
        client.upload_file(server.bucket, "file", path, part_size=MIB, upload_add_meta_md5=True, **given),
        client.slice_upload_file(server.bucket, "slices", path, slice_size=MIB, expect="100-continue", **given),
    ):
        assert said(result) == expected
        assert (result.parts, result.verified_by, result.crc64) == (3, "crc64", hashing.crc64(content_of(SIZE)))


def test_parts_by_hand_are_encrypted(client: cosxfer.Client, server: RunningServer, kind: str) -> None:
    given, expected = KINDS[kind]
    begun = client.multipart_init(server.bucket, "hand", **given)
    with_each = given if kind == "SSE-C" else {}
    bodies = [bytes(MIB), b"the rest"]
    parts = [
        client.multipart_upload(server.bucket, "hand", body, upload_id=begun.upload_id, part_number=n, **with_each)
        for n, body in enumerate(bodies, 1)
    ]
    done = client.multipart_complete(server.bucket, "hand", upload_id=begun.upload_id, parts=parts)
    for result in (begun, *parts, done):
        assert said(result) == expected
    assert done.crc64 == hashing.crc64(b"".join(bodies))


def test_an_object_without_a_customer_key_is_read_without_a_key(client: cosxfer.Client, server: RunningServer) -> None:
    for kind in ("SSE-COS", "SSE-KMS"):
        given, expected = KINDS[kind]
        client.put_object(server.bucket, kind, b"content", **given)
        got = client.get_object(server.bucket, kind)
        assert (got.body, got.verified) == (b"content", True)
        assert said(got) == said(client.head_object(server.bucket, kind)) == expected


def test_an_object_with_a_customer_key_is_read_with_that_key(
    client: cosxfer.Client, server: RunningServer, tmp_path: Path
) -> None:
    _, expected = KINDS["SSE-C"]
    client.put_object(server.bucket, "read", b"content", **CUSTOMER)
    got = client.get_object(server.bucket, "read", **CUSTOMER)
    assert (got.body, got.verified) == (b"content", True)
    saved = client.get_object(server.bucket, "read", output=tmp_path / "saved", **CUSTOMER)
    assert (Path(saved.path).read_bytes(), saved.verified) == (b"content", True)
    assert client.get_object(server.bucket, "read", byte_range=(3, 6), **CUSTOMER).body == b"tent"
    head = client.head_object(server.bucket, "read", **CUSTOMER)
    assert (head.size, head.crc64) == (7, hashing.crc64(b"content"))
    assert said(got) == said(saved) == said(head) == expected


def test_an_uploaded_file_is_read_back_with_its_customers_key(
    client: cosxfer.Client, server: RunningServer, tmp_path: Path
) -> None:
    client.upload_file(server.bucket, "back", write(tmp_path / "f", SIZE), part_size=MIB, **CUSTOMER)
    assert client.head_object(server.bucket, "back", **CUSTOMER).size == SIZE
    assert client.get_object(server.bucket, "back", **CUSTOMER).body == content_of(SIZE)


def test_an_object_with_a_customer_key_cannot_be_read_with_another_key_or_none(
    client: cosxfer.Client, server: RunningServer
) -> None:
    client.put_object(server.bucket, "locked", b"content", **CUSTOMER)
    another = {
        **CUSTOMER,
        "sse_customer_key": base64.b64encode(bytes(32)).decode(),
        "sse_customer_key_md5": base64.b64encode(md5(bytes(32)).digest()).decode(),
    }
    for given in ({}, another):
        with pytest.raises(cosxfer.ServerError, match="SsecDecryptHeaderInvalid"):
            client.get_object(server.bucket, "locked", **given)
        with pytest.raises(cosxfer.ServerError) as head:
            client.head_object(server.bucket, "locked", **given)
        assert head.value.status == 400
        # A response to HEAD has no body with a reason, so the error names the likely one: a missing key.
        assert "sse_customer_key" in "".join(getattr(head.value, "__notes__", []))


def test_the_customer_key_of_a_file_in_parts_may_be_given_as_headers(
    client: cosxfer.Client, server: RunningServer, tmp_path: Path
) -> None:
    server.set_faults([{"operation": "multipart_complete", "do": "reset", "at": "answer", "attempt": 1}])
    headers = {f"{SSE}-{name.replace('_', '-').removeprefix('sse-')}": value for name, value in CUSTOMER.items()}
    result = client.upload_file(
        server.bucket, "headers", write(tmp_path / "f", SIZE), part_size=MIB, async_limit=1, headers=headers
    )
    assert (result.parts, result.verified_by) == (3, "crc64")


def test_a_paused_upload_resumes_although_its_etags_are_opaque(
    client: cosxfer.Client, server: RunningServer, kind: str, tmp_path: Path
) -> None:
    given, expected = KINDS[kind]
    path = write(tmp_path / "f", SIZE)
    server.requests(clear=True)
    server.set_faults([{"operation": "multipart_upload", "part": 3, "do": "delay", "seconds": 60}])
    task = client.submit_upload_file(server.bucket, "paused", path, part_size=MIB, async_limit=1, **given)
    while parts_with_response(server) != [1, 2]:
        assert task.state not in ("error", "success")
    task.pause()
    server.set_faults([])
    task.restart()
    result = task.result()
    assert (said(result), result.verified_by) == (expected, "crc64")
    # If the response to the second part had not arrived before the pause, that part is sent again.
    assert parts_with_response(server).count(1) == 1


def parts_with_response(server: RunningServer) -> list[int]:
    return [r["part"] for r in server.requests() if r["operation"] == "multipart_upload" and r["status"]]


@pytest.mark.parametrize("fault", [{"do": "reset", "at": "answer", "attempt": 1}, {"do": "no_crc64"}])
def test_if_complete_is_unclear_the_object_is_checked_with_its_key(
    client: cosxfer.Client, server: RunningServer, kind: str, fault: dict[str, Any], tmp_path: Path
) -> None:
    given, _ = KINDS[kind]
    server.requests(clear=True)
    server.set_faults([{"operation": "multipart_complete", **fault}])
    result = client.upload_file(server.bucket, "lost", write(tmp_path / "f", SIZE), part_size=MIB, **given)
    assert result.verified_by == "crc64"
    assert [r["status"] for r in server.requests() if r["operation"] == "head_object"] == [200]


def test_no_logger_shows_the_key(
    client: cosxfer.Client, server: RunningServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    client.put_object(server.bucket, "logged", b"content", **CUSTOMER)
    client.get_object(server.bucket, "logged", **CUSTOMER)
    assert "PUT" in caplog.text
    assert CUSTOMER["sse_customer_key"] not in caplog.text
    assert "q-signature" not in caplog.text
    # The encoded headers would reveal the key too.
    assert not [record for record in caplog.records if record.name.startswith("hpack")]


def test_a_wrong_secret_key_is_reported(client: cosxfer.Client, server: RunningServer) -> None:
    wrong = {**CUSTOMER, "sse_customer_key_md5": base64.b64encode(bytes(16)).decode()}
    with pytest.raises(cosxfer.ServerError, match="InvalidArgument") as error:
        client.put_object(server.bucket, "wrong", b"content", **wrong)
    assert error.value.status == 400
    with pytest.raises(cosxfer.ServerError, match="SSEHeaderNotAllowed"):
        client.append_object(server.bucket, "wrong", b"content", position=0, **CUSTOMER)
