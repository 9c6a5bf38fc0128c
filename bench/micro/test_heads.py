"""pytest-benchmark over request heads, from the request to its signed bytes, and over the checks of response heads.

Asserts nothing about time.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from cosxfer.address import ObjectAddress
from cosxfer.config import ClientConfig
from cosxfer.cos import responses
from cosxfer.cos.requests import CosRequest, HttpRequest
from cosxfer.cos.responses import HttpResponse
from cosxfer.cos.sink import BodySink
from cosxfer.credentials import Credentials, CredentialsResolver
from cosxfer.ops.begun_get import Gets
from cosxfer.ops.begun_put import Puts
from cosxfer.ops.proof import check_proof
from cosxfer.ops.put_object import put_request
from cosxfer.ops.session import Session
from cosxfer.transport.native_head import head_of

BUCKET = "examplebucket-1250000000"
BODY = bytes(16 << 10)
MD5 = hashlib.md5(BODY).digest()
HEADERS = {"content-type": "application/octet-stream"}
RESPONSE = HttpResponse(
    status=200,
    headers={
        "content-length": "0",
        "connection": "keep-alive",
        "date": "Fri, 02 Jan 2026 03:04:05 GMT",
        "etag": f'"{MD5.hex()}"',
        "server": "tencent-cos",
        "x-cos-hash-crc64ecma": "16749565679157681890",
        "x-cos-request-id": "NWFjMzQ0MDZfOTBmYTUw",
    },
)


class Transport:
    """Keeps the last request, and sends nothing."""

    last: HttpRequest
    stored = 0

    def begin(self, request: HttpRequest, then: Callable[[Any], None]) -> Any:
        self.last = request
        return SimpleNamespace(cancel=lambda: None)

    def store(self, like: HttpRequest, head: bytes, body: bytes, store: object) -> bool:
        self.stored += 1
        return True


@pytest.fixture
def transport() -> Transport:
    return Transport()


@pytest.fixture
def session(transport: Transport) -> Session:
    keys = CredentialsResolver(Credentials(secret_id="AKIDexample", secret_key="example"))
    found = Session(config=ClientConfig(region="ap-guangzhou"), transport=transport, credentials=keys)
    found = found.observed(counted=True)
    asyncio.run(found.credentials())
    return found


@pytest.fixture
def numbers() -> count[int]:
    return count()


def put(number: int) -> CosRequest:
    address = ObjectAddress(BUCKET, f"folder/object-{number}.bin")
    return put_request(address, memoryview(BODY), content_length=len(BODY), md5=MD5, crc64=1, headers=HEADERS)


def part(number: int) -> CosRequest:
    return CosRequest(
        method="PUT",
        operation=f"Upload Part {number}",
        address=ObjectAddress(BUCKET, "large.bin"),
        params={"partNumber": str(number), "uploadId": "1585130821cbb7df1d11846c073ad648e8f33b087cec2381df43"},
        headers={"content-md5": "XrY7u+Ae7tCTyyK7j1rNww=="},
        content_length=8 << 20,
    )


@pytest.mark.parametrize("request_of", [put, part])
def test_head_of_a_request(
    benchmark: BenchmarkFixture, session: Session, numbers: count[int], request_of: Callable[[int], CosRequest]
) -> None:
    keys = session.keys.at_hand(session.now())
    assert keys is not None
    head = benchmark(lambda: head_of(session.outgoing(request_of(next(numbers)), keys[0])))
    assert b"q-signature=" in head


def test_begin_a_put_of_a_batch(
    benchmark: BenchmarkFixture, session: Session, transport: Transport, numbers: count[int]
) -> None:
    puts = Puts(session)

    def once() -> object:
        return puts.begin(
            ObjectAddress(BUCKET, f"folder/object-{next(numbers)}.bin"),
            BODY,
            md5=MD5,
            crc64=1,
            headers=HEADERS,
            on_sent=None,
            owner=SimpleNamespace(),  # type: ignore[arg-type]
        )

    once()  # it prepares the others
    once()  # it is the first one that finds what was prepared
    assert benchmark(once) is not None
    assert transport.stored


def test_begin_a_get_of_a_batch(
    benchmark: BenchmarkFixture, session: Session, transport: Transport, numbers: count[int]
) -> None:
    gets, memory, headers = Gets(session), memoryview(bytearray(1024)), {}

    def once() -> object:
        return gets.begin(
            ObjectAddress(BUCKET, f"folder/object-{next(numbers)}.bin"),
            BodySink(length=1024, shorter=True, memory=memory),
            version_id=None,
            headers=headers,
            on_received=lambda _: None,
            then=lambda _: None,
        )

    once()  # the first one prepares the others
    assert benchmark(once) is not None
    assert transport.last.head is not None


def test_response_to_a_put_proves_its_bytes(benchmark: BenchmarkFixture) -> None:
    def once() -> str:
        assert responses.error_of(RESPONSE, operation="PUT Object 'k'") is None
        check_proof("PUT Object 'k'", RESPONSE, md5=MD5, crc64=16749565679157681890)
        return responses.etag(RESPONSE, operation="PUT Object 'k'")

    assert benchmark(once) == f'"{MD5.hex()}"'
