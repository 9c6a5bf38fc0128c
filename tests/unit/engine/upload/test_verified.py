"""``verified`` in the result of a single request says what the response proved."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import cosxfer
from cosxfer._native import hashing
from cosxfer.cos.requests import HttpRequest
from cosxfer.cos.responses import HttpResponse
from cosxfer.transport.memory import MemoryTransport
from tests.unit.fake_cos import BUCKET, FakeCos, change, lose_response
from tests.unit.files import content_of, write

CONTENT = content_of(1000)


def pieces() -> Iterator[bytes]:
    yield CONTENT


async def async_pieces() -> AsyncIterator[bytes]:
    yield CONTENT


BODIES: dict[str, Callable[[Path], tuple[Any, dict[str, Any]]]] = {
    "bytes": lambda path: (CONTENT, {}),
    "path": lambda path: (write(path / "f", 1000), {}),
    "file object": lambda path: (io.BytesIO(CONTENT), {}),
    "iterator": lambda path: (pieces(), {}),
    "stream": lambda path: (pieces(), {"content_length": 1000}),
    "async stream": lambda path: (async_pieces(), {"content_length": 1000}),
}

Way = Callable[[cosxfer.AsyncClient, Any, dict[str, Any]], Awaitable[Any]]


async def put(client: cosxfer.AsyncClient, body: Any, options: dict[str, Any]) -> Any:
    return await client.put_object(BUCKET, "k", body, **options)


async def append(client: cosxfer.AsyncClient, body: Any, options: dict[str, Any]) -> Any:
    return await client.append_object(BUCKET, "k", body, position=0, **options)


async def part(client: cosxfer.AsyncClient, body: Any, options: dict[str, Any]) -> Any:
    upload_id = (await client.multipart_init(BUCKET, "k")).upload_id
    return await client.multipart_upload(BUCKET, "k", body, upload_id=upload_id, part_number=1, **options)


WAYS = {"put_object": put, "append_object": append, "multipart_upload": part}


def send(cos: FakeCos, way: Way, body: Any, options: dict[str, Any]) -> Any:
    async def main() -> Any:
        async with cos.client() as client:
            return await way(client, body, options)

    return asyncio.run(main())


@pytest.mark.parametrize("kind", BODIES)
@pytest.mark.parametrize("operation", WAYS)
def test_a_matching_crc64_verifies(cos: FakeCos, tmp_path: Path, operation: str, kind: str) -> None:
    body, options = BODIES[kind](tmp_path)
    result = send(cos, WAYS[operation], body, options)
    assert (result.verified, result.verified_by) == (True, "crc64")
    assert result.crc64 == hashing.crc64(CONTENT)


@pytest.mark.parametrize("kind", BODIES)
@pytest.mark.parametrize("operation", ["put_object", "multipart_upload"])
def test_without_a_crc64_an_etag_equal_to_the_md5_verifies(tmp_path: Path, operation: str, kind: str) -> None:
    cos = FakeCos(with_crc64=False)
    body, options = BODIES[kind](tmp_path)
    result = send(cos, WAYS[operation], body, options)
    # The MD5 of an unbuffered stream is not known.
    expected = (False, "") if "stream" in kind else (True, "etag")
    assert (result.verified, result.verified_by) == expected


@pytest.mark.parametrize("operation", ["put_object", "append_object"])
def test_an_etag_that_is_no_md5_verifies_nothing(cos: FakeCos, operation: str) -> None:
    cos.fault(operation, change(x_cos_hash_crc64ecma=None, etag='"not-the-md5"'))
    result = send(cos, WAYS[operation], CONTENT, {})
    assert (result.verified, result.verified_by) == (False, "")


OTHER_MD5 = f'"{"0" * 32}"'


async def upload(client: cosxfer.AsyncClient, body: Any, options: dict[str, Any]) -> Any:
    return await client.upload_file(BUCKET, "k", body, **options)


@pytest.mark.parametrize("way", [put, upload])
def test_without_a_crc64_an_md5_that_differs_is_an_error(cos: FakeCos, tmp_path: Path, way: Way) -> None:
    cos.fault("put_object", change(x_cos_hash_crc64ecma=None, etag=OTHER_MD5), times=99)
    with pytest.raises(cosxfer.IntegrityError, match=f"server ETag {'0' * 32}, local {hashing.md5(CONTENT).hex()}"):
        send(cos, way, write(tmp_path / "f", 1000), {})
    assert cos.count("put_object") == 5


@pytest.mark.parametrize("way", [put, upload])
def test_a_matching_crc64_verifies_even_if_the_etag_differs(cos: FakeCos, tmp_path: Path, way: Way) -> None:
    cos.fault("put_object", change(etag=OTHER_MD5))
    result = send(cos, way, write(tmp_path / "f", 1000), {})
    assert (result.verified, result.verified_by) == (True, "crc64")


@pytest.mark.parametrize(
    "encryption",
    [
        {"x_cos_server_side_encryption": "cos/kms"},
        {"x_cos_server_side_encryption_customer_algorithm": "AES256"},
    ],
)
def test_the_etag_of_an_encrypted_object_is_not_compared(cos: FakeCos, encryption: dict[str, str]) -> None:
    cos.fault("put_object", change(x_cos_hash_crc64ecma=None, etag=OTHER_MD5, **encryption))
    assert not send(cos, put, CONTENT, {}).verified


@pytest.mark.parametrize("kind", BODIES)
@pytest.mark.parametrize("operation", WAYS)
def test_a_crc64_that_differs_is_an_error(cos: FakeCos, tmp_path: Path, operation: str, kind: str) -> None:
    cos.fault(operation, change(x_cos_hash_crc64ecma="1"), times=9)
    body, options = BODIES[kind](tmp_path)
    with pytest.raises(cosxfer.IntegrityError):
        send(cos, WAYS[operation], body, options)


def test_an_append_after_the_start_is_verified_only_by_comparison(cos: FakeCos) -> None:
    async def main() -> None:
        async with cos.client() as client:
            first = await client.append_object(BUCKET, "k", CONTENT, position=0)
            second = await client.append_object(BUCKET, "k", CONTENT, position=first.next_append_position)
            assert (first.verified, second.verified, second.verified_by) == (True, False, "")
            cos.fault("append_object", lose_response)
            third = await client.append_object(BUCKET, "k", CONTENT, position=second.next_append_position)
            assert (third.verified, third.verified_by) == (True, "crc64")

    asyncio.run(main())


def test_a_form_is_verified_too() -> None:
    def response(crc64: str | None) -> Callable[[HttpRequest, bytes], HttpResponse]:
        def do(request: HttpRequest, body: bytes) -> HttpResponse:
            headers = {"etag": f'"{hashing.md5(CONTENT).hex()}"', "x-cos-request-id": "1"}
            if crc64 is not None:
                headers["x-cos-hash-crc64ecma"] = crc64
            return HttpResponse(status=204, headers=headers)

        return do

    async def main(crc64: str | None) -> cosxfer.PostObjectResult:
        async with FakeCos().client(transport=MemoryTransport(response(crc64))) as client:
            return await client.post_object(BUCKET, "k", CONTENT)

    by_crc64 = asyncio.run(main(str(hashing.crc64(CONTENT))))
    by_etag = asyncio.run(main(None))
    assert (by_crc64.verified, by_crc64.verified_by) == (True, "crc64")
    assert (by_etag.verified, by_etag.verified_by) == (True, "etag")
