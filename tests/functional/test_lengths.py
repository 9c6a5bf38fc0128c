"""Bodies whose announced length is wrong: either all bytes are sent, or an error is raised.

Also bodies that are already at their end and give no bytes: a warning is logged.
"""

from __future__ import annotations

import asyncio
import http.client
import io
import itertools
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import cosxfer
from cosxfer.limits import MIB
from cosxfer.server import RunningServer, running
from tests.functional.signing import before_each_request

CONTENT = os.urandom(2 * MIB + 7)
PROC = Path("/proc/sys/kernel/hostname")
SYS = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running() as server:
        yield server


@pytest.fixture(autouse=True)
def no_faults(server: RunningServer) -> Iterator[None]:
    yield
    server.set_faults([])


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[cosxfer.Client]:
    with cosxfer.Client(endpoint=server.endpoint, credentials=server.credentials) as client:
        yield client


def put(client: cosxfer.Client, bucket: str, body: Any, **options: Any) -> bytes:
    client.put_object(bucket, "k", body, **options)
    return client.get_object(bucket, "k").body


def put_asynchronously(client: cosxfer.Client, bucket: str, body: Any, **options: Any) -> bytes:
    async def main() -> None:
        config = client.config
        async with cosxfer.AsyncClient(endpoint=config.endpoint, credentials=credentials_of(client)) as other:
            await other.put_object(bucket, "k", body, **options)

    asyncio.run(main())
    return client.get_object(bucket, "k").body


def credentials_of(client: cosxfer.Client) -> Any:
    async def credentials() -> cosxfer.Credentials | None:
        return await client._client._session.credentials()

    return client._run(credentials())


def post(client: cosxfer.Client, bucket: str, body: Any, **options: Any) -> bytes:
    client.post_object(bucket, "k", body, **options)
    return client.get_object(bucket, "k").body


def append_to_a_new_one(client: cosxfer.Client, bucket: str, body: Any, **options: Any) -> bytes:
    key = f"appended-{os.urandom(8).hex()}"
    client.append_object(bucket, key, body, position=0, **options)
    return client.get_object(bucket, key).body


def part(client: cosxfer.Client, bucket: str, body: Any, **options: Any) -> bytes:
    upload_id = client.multipart_init(bucket, "k").upload_id
    sent = client.multipart_upload(bucket, "k", body, upload_id=upload_id, part_number=1, **options)
    client.multipart_complete(bucket, "k", upload_id=upload_id, parts=[sent])
    return client.get_object(bucket, "k").body


WAYS = [put, put_asynchronously, post, append_to_a_new_one, part]


class Says(io.BytesIO):
    """A file object whose ``seek`` and ``tell`` report a wrong length."""

    def __init__(self, announced: int, content: bytes = CONTENT) -> None:
        super().__init__(content)
        self._announced = announced
        self._at_end = False

    def seek(self, offset: int, whence: int = 0, /) -> int:
        self._at_end = whence == os.SEEK_END
        return self._announced if self._at_end else super().seek(offset, whence)

    def tell(self) -> int:
        return self._announced if self._at_end else super().tell()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("announced", [0, 1, len(CONTENT) - 1, len(CONTENT) + 1, 100 * MIB])
@pytest.mark.parametrize("with_length", [False, True])
def test_a_file_object_is_read_to_its_end_whatever_it_announces(
    client: cosxfer.Client, server: RunningServer, way: Callable[..., bytes], announced: int, with_length: bool
) -> None:
    options = {"content_length": len(CONTENT)} if with_length else {}
    assert way(client, server.bucket, Says(announced), **options) == CONTENT


@pytest.mark.parametrize("announced", [0, 5, 100])
@pytest.mark.parametrize("operation", ["put_object", "post_object"])
def test_a_file_object_with_a_wrong_announced_length_is_sent_again_after_a_failure(
    client: cosxfer.Client, server: RunningServer, announced: int, operation: str
) -> None:
    server.set_faults([{"operation": operation, "attempt": 1, "do": "error", "status": 500, "code": "InternalError"}])
    way = put if operation == "put_object" else post
    assert way(client, server.bucket, Says(announced, b"exactly this")) == b"exactly this"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("announced", [0, 3, 12, 100])
def test_a_wrong_content_length_is_refused_even_if_the_file_object_announces_it(
    client: cosxfer.Client, server: RunningServer, way: Callable[..., bytes], announced: int
) -> None:
    for wrong in {announced, 11, 13} - {12}:
        with pytest.raises(cosxfer.UsageError, match=f"content_length is {wrong}, but the body is 12 bytes"):
            way(client, server.bucket, Says(announced, b"exactly this"), content_length=wrong)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("path", [PROC, SYS], ids=["proc", "sys"])
@pytest.mark.parametrize("buffering", [0, -1])
def test_files_of_proc_and_sys_are_stored_as_they_read(
    client: cosxfer.Client, server: RunningServer, way: Callable[..., bytes], path: Path, buffering: int
) -> None:
    if not path.exists():
        pytest.skip(f"there is no {path}")
    with path.open("rb", buffering=buffering) as file:
        assert way(client, server.bucket, file) == path.read_bytes() != b""


@pytest.mark.parametrize("path", [PROC, SYS], ids=["proc", "sys"])
def test_paths_of_proc_and_sys_are_refused_and_the_error_suggests_a_call(
    client: cosxfer.Client, server: RunningServer, path: Path
) -> None:
    if not path.exists():
        pytest.skip(f"there is no {path}")
    for call in (
        lambda: client.upload_file(server.bucket, "refused", path),
        lambda: client.slice_upload_file(server.bucket, "refused", path),
        lambda: put(client, server.bucket, path),
        lambda: post(client, server.bucket, path),
        lambda: append_to_a_new_one(client, server.bucket, path),
        lambda: part(client, server.bucket, path),
    ):
        with pytest.raises(
            cosxfer.SourceError, match=r"put_object\(bucket, key, open\('/.*', 'rb'\)\) sends"
        ) as caught:
            call()
        assert not isinstance(caught.value, cosxfer.SourceChangedError)
        assert "changed" not in str(caught.value)
    uploads = client.multipart_list(server.bucket, prefix="refused").uploads
    assert not uploads


class Grows(io.BytesIO):
    """A file object that grows while it is read."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self._grown = 0

    def read(self, size: int | None = -1, /) -> bytes:
        if size and self._grown < 3:
            self._grown += 1
            position = super().tell()
            super().seek(0, os.SEEK_END)
            super().write(b"more")
            super().seek(position)
        return super().read(size)


class IsCut(io.BytesIO):
    def __init__(self, content: bytes, *, at_read: int) -> None:
        super().__init__(content)
        self._reads = at_read

    def read(self, size: int | None = -1, /) -> bytes:
        if size:
            self._reads -= 1
            if not self._reads:
                self.truncate(1000)
        return super().read(size)


@pytest.mark.parametrize("way", WAYS)
def test_a_file_object_that_grows_is_sent_to_its_end(
    client: cosxfer.Client, server: RunningServer, way: Callable[..., bytes]
) -> None:
    assert way(client, server.bucket, Grows(CONTENT)) == CONTENT + b"more" * 3


@pytest.mark.parametrize("at_read", [2, 5])
@pytest.mark.parametrize("way", [put, post, part])
def test_a_file_object_that_is_truncated_is_an_error(
    client: cosxfer.Client, server: RunningServer, way: Callable[..., bytes], at_read: int
) -> None:
    with pytest.raises(cosxfer.SourceChangedError, match="changed during the upload: it "):
        way(client, server.bucket, IsCut(CONTENT, at_read=at_read))


class OnlyForwards:
    """A stream that claims to be seekable, but is not."""

    def __init__(self, announced: int) -> None:
        self._left = io.BytesIO(b"exactly this")
        self._announced = announced
        self._position = 0

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0, /) -> int:
        self._position = self._announced if whence else offset
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, size: int = -1, /) -> bytes:
        return self._left.read(size)


@pytest.mark.parametrize("announced", [5, 12, 100])
@pytest.mark.parametrize("way", [put, post, part])
def test_a_stream_that_only_claims_to_be_seekable_is_an_error(
    client: cosxfer.Client, server: RunningServer, way: Callable[..., bytes], announced: int
) -> None:
    with pytest.raises(cosxfer.SourceError, match="cannot read <OnlyForwards> twice: it gave 12 bytes") as caught:
        way(client, server.bucket, OnlyForwards(announced))
    assert not isinstance(caught.value, cosxfer.SourceChangedError)


def test_a_file_object_that_stays_at_its_end_is_an_error(client: cosxfer.Client, server: RunningServer) -> None:
    class Stays(io.BytesIO):
        def seek(self, offset: int, whence: int = 0, /) -> int:
            return super().seek(offset, whence) if whence else super().tell()

    with pytest.raises(cosxfer.SourceError, match=r"seek\(\) did not return to byte 0"):
        put(client, server.bucket, Stays(b"exactly this"))


def test_a_file_object_that_returns_more_than_requested_goes_to_a_temporary_file(
    client: cosxfer.Client, server: RunningServer
) -> None:
    class Generous(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(-1 if size else 0)

    for way in WAYS:
        assert way(client, server.bucket, Generous(CONTENT)) == CONTENT


def test_a_file_object_that_returns_text_is_refused(client: cosxfer.Client, server: RunningServer) -> None:
    class Text(io.BytesIO):
        def read(self, size: int | None = -1, /) -> Any:
            data = super().read(size)
            return data.decode() if size else data

    with pytest.raises(cosxfer.UsageError, match="text mode"):
        put(client, server.bucket, Text(b"words"))


@pytest.mark.parametrize("way", [put, post, append_to_a_new_one, part])
def test_an_error_for_a_file_that_changes_says_what_the_server_has_stored(
    server: RunningServer, tmp_path: Path, way: Callable[..., bytes]
) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"exactly this")
    times = itertools.count(1)
    touching = before_each_request(server.credentials, lambda: os.utime(path, (time := next(times), time)))
    with (
        cosxfer.Client(endpoint=server.endpoint, credentials=touching) as client,
        pytest.raises(cosxfer.SourceChangedError) as caught,
    ):
        way(client, server.bucket, path)
    assert caught.value.__notes__ == ["The server had already stored the earlier content of the file"]


# -- at its end -------------------------------------------------------------------------------------------------------


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


@pytest.mark.parametrize("way", WAYS)
def test_a_file_object_that_is_given_twice_warns_the_second_time(
    client: cosxfer.Client,
    server: RunningServer,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    way: Callable[..., bytes],
) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"exactly this")
    with path.open("rb") as file:
        assert way(client, server.bucket, file) == b"exactly this"
        assert not warnings(caplog)
        server.set_faults(
            [{"operation": "put_object", "attempt": 1, "do": "error", "status": 500, "code": "InternalError"}]
        )
        assert way(client, server.bucket, file) == b""
        [warning] = warnings(caplog)
        assert warning == (
            f"the file object {path} is at its end (byte 12), so an empty body is sent; call seek(0) before the "
            "upload to send all of it"
        )
        file.seek(0)
        assert way(client, server.bucket, file) == b"exactly this"
    assert len(warnings(caplog)) == 1


def test_a_buffer_that_was_just_written_warns(
    client: cosxfer.Client, server: RunningServer, caplog: pytest.LogCaptureFixture
) -> None:
    file = io.BytesIO()
    file.write(b"exactly this")
    assert put(client, server.bucket, file) == b""
    assert "at its end (byte 12)" in warnings(caplog)[0]


def generator() -> Iterator[bytes]:
    yield b"exactly this"


async def async_generator() -> AsyncIterator[bytes]:
    yield b"exactly this"


class Once:
    def __init__(self) -> None:
        self._left = io.BytesIO(b"exactly this")

    def read(self, size: int = -1, /) -> bytes:
        return self._left.read(size)


@pytest.mark.parametrize(
    "make", [generator, async_generator, lambda: iter([b"exactly this"]), lambda: map(bytes, [b"exactly this"]), Once]
)
@pytest.mark.parametrize("way", [put, post, part])
def test_a_body_that_can_be_read_once_warns_the_second_time(
    client: cosxfer.Client,
    server: RunningServer,
    caplog: pytest.LogCaptureFixture,
    make: Callable[[], Any],
    way: Callable[..., bytes],
) -> None:
    body = make()
    assert way(client, server.bucket, body) == b"exactly this"
    assert not warnings(caplog)
    assert way(client, server.bucket, body) == b""
    [warning] = warnings(caplog)
    assert warning == (
        f"the body <{type(body).__name__}> has no bytes, so an empty body is sent; an iterator or a stream gives its "
        "bytes only once"
    )
    with pytest.raises(cosxfer.UsageError, match="content_length is 12"):
        way(client, server.bucket, body, content_length=12)


@pytest.mark.parametrize("body", [b"", "", [], io.BytesIO(), memoryview(b"")])
def test_an_empty_body_does_not_warn(
    client: cosxfer.Client, server: RunningServer, caplog: pytest.LogCaptureFixture, body: Any
) -> None:
    assert put(client, server.bucket, body) == b""
    assert put(client, server.bucket, iter(()), content_length=0) == b""
    assert not warnings(caplog)


def test_a_file_object_at_its_end_does_not_warn_if_the_caller_expects_an_empty_body(
    client: cosxfer.Client, server: RunningServer, caplog: pytest.LogCaptureFixture
) -> None:
    file = io.BytesIO(b"exactly this")
    file.read()
    assert put(client, server.bucket, file, content_length=0) == b""
    assert not warnings(caplog)


# -- responses that are cut off ---------------------------------------------------------------------------------------


@contextmanager
def response_of(reply: bytes) -> Iterator[http.client.HTTPResponse]:
    """A response of the standard library's client, from a connection that closes after the bytes of ``reply``."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(reply)
        theirs.shutdown(socket.SHUT_WR)
        response = http.client.HTTPResponse(ours)
        response.begin()
        with response:
            yield response


@pytest.mark.parametrize("way", WAYS)
def test_a_truncated_response_as_body_is_an_error(
    client: cosxfer.Client, server: RunningServer, way: Callable[..., bytes]
) -> None:
    client.put_object(server.bucket, "k", b"older")
    with (
        response_of(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nexact") as response,
        pytest.raises(cosxfer.SourceError, match="<HTTPResponse> ended 7 bytes early"),
    ):
        way(client, server.bucket, response)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nexactly this",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nc\r\nexactly this\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nexactly this",
    ],
)
def test_a_complete_response_as_body_is_sent(
    client: cosxfer.Client, server: RunningServer, way: Callable[..., bytes], reply: bytes
) -> None:
    with response_of(reply) as response:
        assert way(client, server.bucket, response) == b"exactly this"
