"""`get_object` into memory of the caller, over both transports."""

from __future__ import annotations

import array
from typing import Any

import numpy as np
import pytest

import cosxfer
from cosxfer.limits import MIB
from tests.functional.object_peer import Get, ServedObject
from tests.functional.peer_raw import in_loop, serving
from tests.functional.test_download import BUCKET, CONTENT


class Whole(ServedObject):
    """Answers requests without a range as COS does."""

    async def __call__(self, peer: Any) -> None:
        while True:
            head = (await peer.head()).decode()
            if "\r\nrange:" in head:
                first, last = map(int, head.partition("\r\nrange: bytes=")[2].partition("\r\n")[0].split("-"))
                get = Get(self, peer, len(self.gets), first, min(last, len(self.content) - 1), head)
                text = get.response()
            else:
                get = Get(self, peer, len(self.gets), 0, len(self.content) - 1, head)
                text = get.response(content_range="").replace(b"206 Partial Content", b"200 OK", 1)
            self.gets.append(get)
            if self.do is None or not await self.do(get):
                await peer.say(text)


@pytest.fixture(params=["native", "httpx"])
def transport(request: pytest.FixtureRequest) -> Any:
    return request.param


def client_of(server: Any, transport: Any) -> cosxfer.AsyncClient:
    return cosxfer.AsyncClient(
        endpoint=f"http://127.0.0.1:{server.port}", anonymous=True, transport=transport, endpoint_memory=False
    )


@pytest.mark.parametrize(
    "buffer",
    [
        bytearray(len(CONTENT)),
        bytearray(len(CONTENT) + 5),
        memoryview(bytearray(len(CONTENT) + 9))[4:],
        np.zeros(len(CONTENT) // 8 + 1, dtype=np.float64),
        array.array("I", bytes(len(CONTENT) // 4 * 4 + 4)),
    ],
    ids=["bytearray", "longer", "part of a view", "numpy", "array"],
)
@in_loop
async def test_the_content_goes_into_the_buffer(transport: Any, buffer: Any) -> None:
    async with serving(Whole(CONTENT)) as server, client_of(server, transport) as client:
        result = await client.get_object(BUCKET, "k", into=buffer)
    assert isinstance(result, cosxfer.GetObjectIntoResult)
    assert (result.size, result.verified, result.body) == (len(CONTENT), True, None)
    assert memoryview(buffer).cast("B")[: result.size] == CONTENT
    assert not any(memoryview(buffer).cast("B")[result.size :])


@in_loop
async def test_a_range_goes_into_the_buffer(transport: Any) -> None:
    buffer = bytearray(2000)
    async with serving(Whole(CONTENT)) as server, client_of(server, transport) as client:
        result = await client.get_object(BUCKET, "k", into=buffer, byte_range=(1000, 1999))
        assert (result.size, result.verified) == (1000, False)
        assert result.content_range == f"bytes 1000-1999/{len(CONTENT)}"
        assert buffer == CONTENT[1000:2000] + bytes(1000)
        result = await client.get_object(BUCKET, "k", into=buffer, byte_range=(len(CONTENT) - 10, len(CONTENT) + 500))
        assert (result.size, buffer[:10]) == (10, CONTENT[-10:])


@in_loop
async def test_a_buffer_that_is_too_small_is_an_error_before_the_content_is_read(transport: Any) -> None:
    buffer, served = bytearray(MIB), Whole(CONTENT)
    async with serving(served) as server, client_of(server, transport) as client:
        with pytest.raises(cosxfer.UsageError, match=f"has {len(CONTENT)} bytes, but into has {MIB}") as raised:
            await client.get_object(BUCKET, "k", into=buffer)
        assert raised.value.name == "into"
        assert (len(served.gets), any(buffer)) == (1, False)
        with pytest.raises(cosxfer.UsageError, match="byte_range has 11 bytes, but into has 10"):
            await client.get_object(BUCKET, "k", into=bytearray(10), byte_range=(0, 10))
        assert len(served.gets) == 1


@pytest.mark.parametrize("size", [0, 1])
@in_loop
async def test_an_empty_object(transport: Any, size: int) -> None:
    async with serving(Whole(b"")) as server, client_of(server, transport) as client:
        assert (await client.get_object(BUCKET, "k", into=bytearray(size))).size == 0


@in_loop
async def test_a_flipped_byte_and_a_cut_are_retried(transport: Any) -> None:
    async def do(get: Get) -> bool:
        body = get.body if get.number else bytes([get.body[0] ^ 1]) + get.body[1:]
        if get.number > 1:
            return False
        head = get.response(body, content_range="").replace(b"206 Partial Content", b"200 OK", 1)
        await get.peer.say(head if not get.number else head[: len(head) // 2])
        if get.number:
            get.peer.writer.close()
        return True

    buffer = bytearray(len(CONTENT))
    served = Whole(CONTENT, do)
    async with serving(served) as server, client_of(server, transport) as client:
        assert (await client.get_object(BUCKET, "k", into=buffer)).verified
    assert buffer == CONTENT
    assert len(served.gets) == 3


@pytest.mark.parametrize(
    ("into", "message"),
    [
        (b"bytes", "read-only"),
        (memoryview(bytearray(20))[::2], "not contiguous"),
        (np.zeros(3, dtype=object), "Python objects"),
        ("text", "writable buffer"),
        (5, "writable buffer"),
    ],
)
def test_what_cannot_be_written_is_refused(into: Any, message: str) -> None:
    with (
        cosxfer.Client(endpoint="http://127.0.0.1:9", anonymous=True) as client,
        pytest.raises(cosxfer.UsageError, match=message),
    ):
        client.get_object(BUCKET, "k", into=into)


def test_output_and_into_exclude_each_other() -> None:
    with (
        cosxfer.Client(endpoint="http://127.0.0.1:9", anonymous=True) as client,
        pytest.raises(cosxfer.UsageError, match="output and into"),
    ):
        client.get_object(BUCKET, "k", output="f", into=bytearray(5))  # type: ignore[call-overload]
