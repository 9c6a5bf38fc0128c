"""An append whose response was lost checks the object."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import cosxfer
from cosxfer._native import hashing
from cosxfer.cos.requests import HttpRequest
from cosxfer.cos.responses import HttpResponse
from cosxfer.errors import TransportError
from tests.unit.fake_cos import BUCKET, Do, FakeCos, Stored, lose_response

KEY = {"sse_customer_algorithm": "AES256", "sse_customer_key": "a2V5", "sse_customer_key_md5": "bWQ1"}
SSE = "x-cos-server-side-encryption-customer"
HEADERS = {f"{SSE}-algorithm": "AES256", f"{SSE}-key": "a2V5", f"{SSE}-key-md5": "bWQ1"}


def appended(cos: FakeCos, **given: Any) -> None:
    async def main() -> None:
        async with cos.client() as client:
            await client.append_object(BUCKET, "log", b"one", position=0, **given)
            cos.fault("append_object", lose_response)
            result = await client.append_object(BUCKET, "log", b" two", position=3, **given)
            assert result.next_append_position == 7

    asyncio.run(main())


def test_the_object_is_checked_with_its_customer_key(cos: FakeCos) -> None:
    for given in (KEY, {"headers": HEADERS}):
        cos.objects.clear()
        cos.calls.clear()
        appended(cos, **given)
        assert cos.operations() == ["append_object", "append_object", "head_object", "get_object"]
        for call in cos.calls:
            assert {name: value for name, value in call.request.headers.items() if name.startswith(SSE)} == HEADERS
        assert cos.objects["log"].content == b"one two"


def test_the_object_is_checked_without_a_key_if_none_is_given(cos: FakeCos) -> None:
    appended(cos, metadata={"a": "b"}, traffic_limit=819_200)
    for call in cos.calls[2:]:
        assert not any(name.startswith(SSE) or "meta" in name or "limit" in name for name in call.request.headers)


def lost_while_others_append(cos: FakeCos, other: bytes) -> Do:
    """Do the append and another client's append, then lose the response to the first."""

    def do(request: HttpRequest, proceed: Callable[[], HttpResponse]) -> HttpResponse:
        assert proceed().status == 200
        cos.objects["log"].content += other
        raise TransportError("the connection broke", url=request.url)

    return do


@pytest.mark.parametrize("before", [b"", b"one"])
def test_an_append_followed_by_others_is_found(cos: FakeCos, before: bytes) -> None:
    if before:
        cos.objects["log"] = Stored(before, {}, '"opaque"')
    cos.fault("append_object", lost_while_others_append(cos, b" three"))
    with cos.blocking_client() as client:
        result = client.append_object(BUCKET, "log", b" two", position=len(before))
    assert cos.objects["log"].content == before + b" two three"
    # The result has the current length and checksum of the object.
    assert result.next_append_position == len(before) + 10
    assert result.crc64 == hashing.crc64(before + b" two three")
    assert cos.count("append_object") == 1


@pytest.mark.parametrize("theirs", [b" 2", b" TWO", b" TWO three", b"one two"])
def test_bytes_of_another_client_at_the_position_are_an_error(cos: FakeCos, theirs: bytes) -> None:
    cos.objects["log"] = Stored(b"one", {}, '"opaque"')

    def overtaken(request: HttpRequest, proceed: Callable[[], HttpResponse]) -> HttpResponse:
        cos.objects["log"].content += theirs
        raise TransportError("the connection broke", url=request.url)

    cos.fault("append_object", overtaken)
    with cos.blocking_client() as client, pytest.raises(cosxfer.AppendPositionError) as caught:
        client.append_object(BUCKET, "log", b" two", position=3)
    assert caught.value.position == 3 + len(theirs)
    assert cos.count("append_object") == 1


def test_a_long_append_is_compared_piece_by_piece(cos: FakeCos, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cosxfer.engine.upload.append.COMPARED_AT_ONCE", 1000)
    cos.objects["log"] = Stored(b"one", {}, '"opaque"')
    cos.fault("append_object", lost_while_others_append(cos, b"three"))
    body = bytes(range(256)) * 10
    with cos.blocking_client() as client:
        assert client.append_object(BUCKET, "log", body, position=3).next_append_position == 3 + 2560 + 5
    ranges = [call.request.headers["range"] for call in cos.calls if call.operation == "get_object"]
    assert ranges == ["bytes=3-1002", "bytes=1003-2002", "bytes=2003-2562"]
