"""Bodies of every kind over the network: their lengths, and which of them can be sent again after a failure."""

from __future__ import annotations

import asyncio
import gzip
import io
import os
import socket
import tarfile
import threading
import zipfile
from array import array
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import IO, Any, Literal, cast

import numpy
import pytest

import cosxfer
from cosxfer.config import HttpVersion
from cosxfer.limits import MAX_PUT_BYTES
from cosxfer.server import RunningServer, running
from cosxfer.transport.choose import is_built
from tests.functional.recorder import Recorder

pytestmark = pytest.mark.usefixtures("no_faults")

CONTENT = os.urandom(700_001)
ONCE = [{"operation": "put_object", "attempt": 1, "do": "error", "status": 500, "code": "InternalError"}]


class CannotBegin:
    def __iter__(self) -> Iterator[bytes]:
        raise RuntimeError("not today")


class ReadsAllAtOnce:
    """Almost a file object: its ``read`` takes no size."""

    def read(self) -> bytes:
        return CONTENT


class ReadsWhatItLikes:
    """Its ``read`` takes a size, ignores it, and returns the next line."""

    def __init__(self) -> None:
        self._lines = iter([b"first\n", b"second\n"])

    def read(self, size: int, /) -> bytes:
        return next(self._lines, b"")


class ReadsAsynchronously:
    """Has an asynchronous ``read``, like the uploaded files of web frameworks."""

    async def read(self, size: int = -1) -> bytes:
        return CONTENT


def pieces() -> Iterator[bytes]:
    yield from (CONTENT[start : start + 9_999] for start in range(0, len(CONTENT), 9_999))


async def async_pieces() -> AsyncIterator[bytes]:
    for piece in pieces():
        await asyncio.sleep(0)
        yield piece


class OnlyOnce:
    """A file object that cannot seek."""

    def __init__(self) -> None:
        self._left = io.BytesIO(CONTENT)

    def read(self, size: int, /) -> bytes:
        return self._left.read(size)


class GoesOnlyWhereItIsTold(io.BytesIO):
    """A file object whose ``seek`` takes an offset and nothing else."""

    def seek(self, offset: int, /) -> int:  # type: ignore[override]
        return super().seek(offset)


class BreaksOffOnTheWayToItsEnd(io.BytesIO):
    """Behaves like a decompressor with a damaged archive: it reads to the end before it fails."""

    def __init__(self, content: bytes, *, comes_back: bool) -> None:
        super().__init__(content)
        self._comes_back = comes_back

    def seek(self, offset: int, whence: int = 0, /) -> int:
        if whence == os.SEEK_END:
            super().seek(6)
            raise OSError("damaged")
        if not self._comes_back:
            raise OSError("only forwards")
        return super().seek(offset, whence)


def released() -> memoryview:
    view = memoryview(CONTENT)
    view.release()
    return view


def from_position() -> io.BytesIO:
    file = io.BytesIO(b"before" + CONTENT)
    file.seek(6)
    return file


def pipe() -> Any:
    ours, theirs = socket.socketpair()
    with ours:
        ours.sendall(b"through a pipe")
    file = theirs.makefile("rb")
    theirs.close()
    return file


REPEATABLE: dict[str, Callable[[], Any]] = {
    "bytes": lambda: CONTENT,
    "bytearray": lambda: bytearray(CONTENT),
    "memoryview": lambda: memoryview(CONTENT),
    "file object": from_position,
    "list": lambda: list(pieces()),
    "iterator": pieces,
    "async iterator": async_pieces,
    "unseekable file": OnlyOnce,
}


@pytest.mark.parametrize("kind", REPEATABLE)
@pytest.mark.parametrize("call", ["put", "post"])
def test_a_body_of_any_kind_is_sent_again_after_a_failure(
    client: cosxfer.Client, server: RunningServer, kind: str, call: str
) -> None:
    server.set_faults([{**ONCE[0], "operation": f"{call}_object"}])
    key = f"{call}/{kind}"
    send = client.put_object if call == "put" else client.post_object
    result = send(server.bucket, key, REPEATABLE[kind]())
    got = client.get_object(server.bucket, key)
    assert got.body == CONTENT
    assert got.crc64 == result.crc64


@pytest.mark.parametrize("kind", REPEATABLE)
def test_a_part_is_made_of_any_body(client: cosxfer.Client, server: RunningServer, kind: str) -> None:
    upload_id = client.multipart_init(server.bucket, kind).upload_id
    for length in (None, len(CONTENT)):
        part = client.multipart_upload(
            server.bucket, kind, REPEATABLE[kind](), upload_id=upload_id, part_number=1, content_length=length
        )
    client.multipart_complete(server.bucket, kind, upload_id=upload_id, parts=[part])
    assert client.get_object(server.bucket, kind).body == CONTENT


def test_a_path_and_a_real_file(client: cosxfer.Client, server: RunningServer, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    client.put_object(server.bucket, "path", path, content_length=len(CONTENT))
    assert client.get_object(server.bucket, "path").body == CONTENT
    with path.open("rb") as file:
        file.seek(700_000)
        client.put_object(server.bucket, "file", file)
    assert client.get_object(server.bucket, "file").body == CONTENT[-1:]


def test_pieces_may_be_views_of_any_kind(client: cosxfer.Client, server: RunningServer) -> None:
    numbers = memoryview(array("I", [1, 2, 3]))
    large = bytes(300_000)
    client.put_object(server.bucket, "views", iter([numbers, memoryview(b"a_b_c_")[::2], bytearray(b"x"), b"", large]))
    assert client.get_object(server.bucket, "views").body == numbers.tobytes() + b"abcx" + large


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0)])
def test_an_array_without_items_is_an_empty_body(
    client: cosxfer.Client, server: RunningServer, shape: tuple[int, ...]
) -> None:
    view = memoryview(numpy.zeros(shape))
    for body in (view, [view, b"x"]):
        client.put_object(server.bucket, "no items", body)
        assert client.get_object(server.bucket, "no items").body == (b"" if body is view else b"x")


@pytest.mark.parametrize("length", [None, 2000])
def test_a_file_object_that_has_nothing_to_read_yet_is_not_at_its_end(
    client: cosxfer.Client, server: RunningServer, length: int | None
) -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    with os.fdopen(reading, "rb", buffering=0) as file, os.fdopen(writing, "wb", buffering=0) as more:
        more.write(bytes(1000))
        with pytest.raises(cosxfer.UsageError, match=r"<FileIO> has nothing to read yet, .*non-blocking"):
            client.put_object(server.bucket, "not yet", file, content_length=length)
    with pytest.raises(cosxfer.NotFoundError):
        client.head_object(server.bucket, "not yet")


def test_text_is_utf8_and_a_pipe_is_read_to_its_end(client: cosxfer.Client, server: RunningServer) -> None:
    client.put_object(server.bucket, "text", "Grüße, 世界")
    assert client.get_object(server.bucket, "text").body == "Grüße, 世界".encode()
    with pipe() as file:
        client.put_object(server.bucket, "pipe", file)
    assert client.get_object(server.bucket, "pipe").body == b"through a pipe"


@pytest.mark.parametrize("body", [b"", "", io.BytesIO(), [], iter(())])
def test_an_empty_body_and_a_folder_key(client: cosxfer.Client, server: RunningServer, body: Any) -> None:
    client.put_object(server.bucket, "folder/", body)
    assert client.head_object(server.bucket, "folder/").size == 0


@pytest.mark.parametrize("make", [pieces, async_pieces])
def test_a_stream_with_a_known_length_is_not_buffered(
    client: cosxfer.Client, server: RunningServer, make: Callable[[], Any]
) -> None:
    seen: list[cosxfer.Progress] = []
    result = client.put_object(
        server.bucket, "stream", make(), content_length=len(CONTENT), on_progress=seen.append, content_type="a/b"
    )
    got = client.get_object(server.bucket, "stream")
    assert (got.body, got.crc64, got.content_type) == (CONTENT, result.crc64, "a/b")
    assert (seen[0].loaded, seen[-1].loaded) == (0, len(CONTENT))
    # It cannot be read twice, so it is not sent twice.
    server.set_faults([{**ONCE[0], "at": 1000}])
    with pytest.raises(cosxfer.ServerError, match="InternalError"):
        client.put_object(server.bucket, "stream once", make(), content_length=len(CONTENT))


@pytest.mark.parametrize("length", [0, 9_999, len(CONTENT) - 1, len(CONTENT) + 1])
@pytest.mark.parametrize(
    ("kind", "http_version"),
    [*((kind, "1.1") for kind in REPEATABLE), ("iterator", "2"), ("async iterator", "2"), ("unseekable file", "2")],
)
def test_a_wrong_length_is_an_error_and_creates_no_object(
    server: RunningServer, kind: str, length: int, http_version: Any
) -> None:
    with cosxfer.Client(endpoint=server.endpoint, credentials=server.credentials, http_version=http_version) as client:
        with pytest.raises(cosxfer.UsageError, match="content_length is"):
            client.put_object(server.bucket, "wrong", REPEATABLE[kind](), content_length=length)
        with pytest.raises(cosxfer.NotFoundError):
            client.head_object(server.bucket, "wrong")


def test_more_than_5_gib_is_refused_before_a_byte_is_sent(
    client: cosxfer.Client, server: RunningServer, tmp_path: Path
) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(MAX_PUT_BYTES + 1)
    server.requests(clear=True)
    for send in (client.put_object, client.post_object):
        with pytest.raises(cosxfer.UsageError, match="5 GiB"):
            send(server.bucket, "k", path)
    with pytest.raises(cosxfer.UsageError, match="5 GiB"), path.open("rb") as file:
        client.post_object(server.bucket, "k", file)
    with pytest.raises(cosxfer.UsageError, match="5 GiB"):
        client.post_object(server.bucket, "k", iter([b"a"]), content_length=MAX_PUT_BYTES + 1)
    with pytest.raises(cosxfer.UsageError, match="5 GiB"):
        client.append_object(server.bucket, "k", b"a", position=MAX_PUT_BYTES)
    assert server.requests() == []


@pytest.mark.parametrize(
    ("body", "match"),
    [
        (5, "body is int"),
        (None, "body is None"),
        ({"a": 1}, "body is dict"),
        (io.StringIO("text"), "text mode"),
        (["text"], "yields str"),
        (memoryview(b"abcd")[::2], "not contiguous"),
        # Ambiguous: its items, or their bytes?
        (array("I", [1, 2]), r"body is array; pass memoryview\(body\) for its bytes .* iter\(body\) for its items"),
        (memoryview(numpy.array([b"a"], dtype=object)), "view of Python objects"),
        ([memoryview(numpy.array([b"a"], dtype=object))], "view of Python objects"),
        (released(), "cannot be read: .* released"),
        ([released()], "cannot be read: .* released"),
        (CannotBegin(), "cannot be iterated over: RuntimeError: not today"),
        (ReadsAllAtOnce(), "cannot be read: .* takes 1 positional argument but 2 were given"),
        (ReadsWhatItLikes(), r"ignores its size argument: read\(0\) returned 6 bytes"),
        (ReadsAsynchronously(), "<ReadsAsynchronously> is read asynchronously"),
    ],
)
def test_a_value_that_is_not_a_body_is_refused(
    client: cosxfer.Client, server: RunningServer, body: Any, match: str
) -> None:
    with pytest.raises(cosxfer.UsageError, match=match):
        client.put_object(server.bucket, "k", body)


@pytest.mark.parametrize("file", [GoesOnlyWhereItIsTold(CONTENT), BreaksOffOnTheWayToItsEnd(CONTENT, comes_back=True)])
def test_a_file_object_that_cannot_seek_to_its_end_is_sent_from_its_position(
    client: cosxfer.Client, server: RunningServer, file: io.BytesIO
) -> None:
    client.put_object(server.bucket, "no end", file)
    assert client.get_object(server.bucket, "no end").body == CONTENT


@pytest.mark.parametrize("length", [None, len(CONTENT) - 6])
def test_a_file_object_that_cannot_seek_back_from_its_end_is_not_sent_in_part(
    client: cosxfer.Client, server: RunningServer, length: int | None
) -> None:
    file = BreaksOffOnTheWayToItsEnd(CONTENT, comes_back=False)
    with pytest.raises(cosxfer.SourceError, match=r"OSError: damaged.*cannot seek back to byte 0"):
        client.put_object(server.bucket, "rest", file, content_length=length)
    with pytest.raises(cosxfer.NotFoundError):
        client.head_object(server.bucket, "rest")


def test_a_damaged_archive_is_an_error_of_the_source(
    client: cosxfer.Client, server: RunningServer, tmp_path: Path
) -> None:
    cut, damaged, tar = tmp_path / "cut.gz", tmp_path / "damaged.zip", tmp_path / "cut.tar"
    cut.write_bytes(gzip.compress(CONTENT)[:-100])
    with zipfile.ZipFile(damaged, "w") as archive:
        archive.writestr("member", CONTENT)
    damaged.write_bytes(damaged.read_bytes().replace(CONTENT[1000:1010], bytes(10)))
    with tarfile.open(tar, "w") as archive:
        archive.add(damaged, "member")
    with gzip.open(cut) as unzipped, zipfile.ZipFile(damaged) as files, tarfile.open(tar) as members:
        broken: list[tuple[IO[bytes] | None, type[Exception]]] = [
            (cast(IO[bytes], unzipped), EOFError),
            (files.open("member"), zipfile.BadZipFile),
            (members.extractfile("member"), tarfile.ReadError),
        ]
        os.truncate(tar, 100_000)
        for file, reason in broken:
            assert file is not None
            with file, pytest.raises(cosxfer.SourceError, match=reason.__name__) as caught:
                client.put_object(server.bucket, "damaged", file)
            assert isinstance(caught.value.__cause__, reason)
    with pytest.raises(cosxfer.NotFoundError):
        client.head_object(server.bucket, "damaged")


def test_a_slow_file_object_does_not_delay_other_calls(server: RunningServer) -> None:
    others_go_on = threading.Event()
    went_on: list[bool] = []

    class LongWay(io.BytesIO):
        def seek(self, offset: int, whence: int = 0, /) -> int:
            if whence == os.SEEK_END:
                went_on.append(others_go_on.wait(30))
            return super().seek(offset, whence)

    async def main() -> bytes:
        async with cosxfer.AsyncClient(endpoint=server.endpoint, credentials=server.credentials) as client:
            long = asyncio.create_task(client.put_object(server.bucket, "long", LongWay(CONTENT)))
            await client.put_object(server.bucket, "other", b"x")
            others_go_on.set()
            await long
            return (await client.get_object(server.bucket, "long")).body

    assert asyncio.run(main()) == CONTENT
    assert went_on == [True]


def test_a_closed_file_is_refused(client: cosxfer.Client, server: RunningServer) -> None:
    file = io.BytesIO(b"a")
    file.close()
    with pytest.raises(cosxfer.UsageError, match="cannot be read"):
        client.put_object(server.bucket, "k", file)


@pytest.mark.parametrize("length", [None, 10])
def test_an_iterator_that_raises_ends_the_call_and_makes_no_object(
    client: cosxfer.Client, server: RunningServer, length: int | None
) -> None:
    def broken() -> Iterator[bytes]:
        yield b"a"
        raise OSError("the disk is gone")

    async def async_broken() -> AsyncIterator[bytes]:
        yield b"a"
        raise KeyError("no more")

    for body, reason in ((broken(), OSError), (async_broken(), KeyError)):
        with pytest.raises(cosxfer.SourceError, match="failed while it was read") as caught:
            client.put_object(server.bucket, "broken", body, content_length=length)
        assert isinstance(caught.value.__cause__, reason)
    with pytest.raises(cosxfer.NotFoundError):
        client.head_object(server.bucket, "broken")


def test_the_server_refuses_a_wrong_content_md5(client: cosxfer.Client, server: RunningServer) -> None:
    with (
        cosxfer.Client(endpoint=server.endpoint, credentials=server.credentials, max_attempts=1) as once,
        pytest.raises(cosxfer.ServerError) as caught,
    ):
        once.put_object(server.bucket, "md5", b"abc", content_md5="AAAAAAAAAAAAAAAAAAAAAA==")
    assert caught.value.code == "BadDigest"


# -- Expect: 100-continue ------------------------------------------------------------------------------------------


WAITING = [
    (transport, version, tls)
    for transport in ("native", "httpx")
    for version in ("auto", "1.1", "2")
    for tls in (False, True)
    if (transport, version) != ("httpx", "2")
]
"""Settings of a client that can wait. With only HTTP/2, httpx cannot."""


@pytest.mark.parametrize(("transport", "version", "tls"), WAITING)
def test_a_body_is_sent_when_the_server_agrees_and_not_when_it_refuses(
    transport: Literal["native", "httpx"], version: HttpVersion, tls: bool
) -> None:
    if transport == "native" and not is_built():
        pytest.skip("the native transport is not built")
    with (
        running(tls=tls) as server,
        cosxfer.Client(
            endpoint=server.endpoint,
            credentials=server.credentials,
            verify=str(server.ca_file) if tls else True,
            http_version=version,
            transport=transport,
        ) as client,
    ):
        for body in (CONTENT, pieces()):
            client.put_object(server.bucket, "expect", body, expect="100-continue", content_length=len(CONTENT))
            assert client.get_object(server.bucket, "expect").body == CONTENT
        with pytest.raises(cosxfer.NotFoundError, match="NoSuchBucket"):
            client.put_object("nosuch-1250000000", "expect", CONTENT, expect="100-continue")
        # The server may finish its request shortly after the client has the response.
        while not (refused := [request for request in server.requests() if request["status"] == 404]):
            pass
        assert [request["received"] for request in refused] == [0]


def test_a_stream_that_is_refused_before_it_was_read_is_sent_again(
    client: cosxfer.Client, server: RunningServer
) -> None:
    server.set_faults(ONCE)
    client.put_object(server.bucket, "whole", pieces(), content_length=len(CONTENT), expect="100-continue")
    assert client.get_object(server.bucket, "whole").body == CONTENT


def test_a_refused_body_is_never_sent(server: RunningServer) -> None:
    with (
        Recorder(server.port) as recorder,
        cosxfer.Client(
            endpoint=f"http://127.0.0.1:{recorder.port}/{{bucket}}", credentials=server.credentials
        ) as client,
    ):
        with pytest.raises(cosxfer.NotFoundError):
            client.put_object("nosuch-1250000000", "k", CONTENT, expect="100-continue")
        [request] = recorder.requests()
        assert (request.headers["expect"], request.body) == ("100-continue", b"")
        recorder.clear()
        # An empty body waits for no 100 response.
        client.put_object(server.bucket, "empty", b"", expect="100-continue")
        [request] = recorder.requests()
        assert "expect" not in request.headers


def test_an_unknown_expectation_is_refused(client: cosxfer.Client, server: RunningServer) -> None:
    with pytest.raises(cosxfer.UsageError, match="it can only be 100-continue"):
        client.put_object(server.bucket, "k", b"a", expect="200-ok")
