"""Responses to requests without an asyncio task make their headers late, and are the same as all others."""

from __future__ import annotations

import asyncio

import pytest

from cosxfer.cos.responses import HttpResponse, unpacked
from tests.functional.peer_raw import Peer, in_loop, native, serving

MD5 = bytes(range(16))
CRC64 = 2**64 - 1
PROVING = f'etag: "{MD5.hex()}"'
CRC = f"x-cos-hash-crc64ecma: {CRC64}"
RESPONSES: dict[str, tuple[str, list[str], bool]] = {
    "MD5 as ETag": ("200 OK", [PROVING, "server: x"], True),
    "CRC64": ("200 OK", ['etag: "of an encrypted object"', CRC], True),
    "an empty CRC64": ("200 OK", [PROVING, "x-cos-hash-crc64ecma:"], True),
    "names in capitals": ("200 OK", [PROVING.replace("etag", "ETag"), CRC.replace("hash", "HASH")], True),
    "another CRC64": ("200 OK", [PROVING, "x-cos-hash-crc64ecma: 1"], False),
    "a CRC64 with a zero before it": ("200 OK", [PROVING, "x-cos-hash-crc64ecma: 01"], False),
    "another MD5": ("200 OK", [PROVING.replace("0f", "f0")], False),
    "an MD5 without quotation marks": ("200 OK", [PROVING.replace('"', "")], False),
    "an MD5 in capitals": ("200 OK", [PROVING.replace("0f", "0F")], False),
    "no ETag": ("200 OK", [CRC], False),
    "an empty ETag": ("200 OK", ["etag:", CRC], False),
    "no headers of COS": ("200 OK", [], False),
    "another status": ("204 No Content", [PROVING, CRC], False),
    "bytes that are not UTF-8": ("200 OK", [PROVING, "x: \xff\xe9", "y: \xc3\xa9"], True),
    "repeated headers of others": ("200 OK", [PROVING, "x: 1", "x: 2", "X: 3"], True),
}


async def response_to(raw: bytes) -> tuple[HttpResponse, HttpResponse]:
    """What the transport returns for a response: late, and at once."""

    async def serve(peer: Peer) -> None:
        while True:
            await peer.head()
            await peer.say(raw)

    async with serving(serve) as server, native() as transport:
        usual = await transport.send(server.request("PUT"))  # it also makes the connection
        late: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        assert transport.begin(server.request("PUT"), late.set_result) is not None
        found = await late
        assert isinstance(found, HttpResponse)
        return found, usual


def raw_of(status: str, headers: list[str], body: bytes = b"") -> bytes:
    length = [f"content-length: {len(body)}"] if not status.startswith("204") else []
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, *length, "", ""]).encode("latin-1") + body


@pytest.mark.parametrize("name", RESPONSES)
@in_loop
async def test_a_late_response_proves_what_the_usual_one_does(name: str) -> None:
    status, headers, proves = RESPONSES[name]
    late, usual = await response_to(raw_of(status, headers))
    assert late.proves(CRC64, MD5) is usual.proves(CRC64, MD5) is proves
    for header in ("etag", "x-cos-hash-crc64ecma", "missing"):
        assert late.header(header) == usual.header(header)
    assert "headers" not in vars(late)
    packed = late.packed_headers()
    assert isinstance(packed, bytes)
    assert unpacked(packed) == unpacked(usual.packed_headers()) == usual.headers == late.headers
    assert (late.status, late.body, late.http_version) == (usual.status, usual.body, usual.http_version)
    assert late.request_id == usual.request_id


@in_loop
async def test_a_body_or_a_repeated_header_proves_nothing() -> None:
    late, _ = await response_to(raw_of("200 OK", [PROVING, CRC], b"<Error/>"))
    assert not late.proves(CRC64, MD5)
    for repeated in (PROVING, CRC):
        late, usual = await response_to(raw_of("200 OK", [PROVING, CRC, repeated]))
        assert not late.proves(CRC64, MD5)
        name = repeated.partition(":")[0]
        assert late.header(name) == ""
        assert late.headers == usual.headers
        assert ", " in late.headers[name]


@in_loop
async def test_a_late_response_has_no_other_attributes() -> None:
    late, _ = await response_to(raw_of("200 OK", []))
    with pytest.raises(AttributeError, match="no attribute 'other'"):
        _ = late.other  # type: ignore[attr-defined]
