"""Bodies: their length and digests, whether they can be read again, and which are refused unread."""

from __future__ import annotations

import asyncio
import ctypes
import hashlib
import io
from array import array
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest

from cosxfer._native import hashing
from cosxfer.cos.requests import Body, can_be_sent_again
from cosxfer.engine.upload.bodies import PreparedBody, checked_body, in_memory, prepared
from cosxfer.engine.upload.stream_body import StreamBody
from cosxfer.errors import IntegrityError, SourceChangedError, TransportError, UsageError
from cosxfer.limits import GIB, KIB, MAX_PUT_BYTES
from cosxfer.models import PutObjectResult
from cosxfer.threads import Workers
from cosxfer.transport.request_body import body_views
from tests.unit.files import content_of, rewrite, write

SIZE = 300 * KIB + 5
CONTENT = content_of(SIZE)
Make = Callable[[Path, bytes], Any]


def pieces(content: bytes) -> Iterator[bytes]:
    yield from (content[first : first + 9_999] for first in range(0, len(content), 9_999))


async def async_pieces(content: bytes) -> AsyncIterator[bytes]:
    for piece in pieces(content):
        yield piece


def path_of(folder: Path, content: bytes) -> Path:
    path = folder / "body"
    path.write_bytes(content)
    return path


def later_in_a_file(folder: Path, content: bytes) -> io.BytesIO:
    file = io.BytesIO(b"before" + content)
    file.seek(6)
    return file


class Announces(io.BytesIO):
    """A file object that reports a wrong end."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return super().seek(offset, whence) if whence == 0 else super().seek(1)


AT_ONCE: dict[str, Make] = {
    "bytes": lambda folder, content: content,
    "bytearray": lambda folder, content: bytearray(content),
    "view": lambda folder, content: memoryview(content),
    "view of numbers": lambda folder, content: memoryview((ctypes.c_int8 * len(content)).from_buffer_copy(content)),
    "path": path_of,
    "open file": lambda folder, content: path_of(folder, content).open("rb"),
    "file object": lambda folder, content: io.BytesIO(content),
    "from its position": later_in_a_file,
}
"""Kinds whose length is known before they are read."""

IN_PIECES: dict[str, Make] = {
    "list": lambda folder, content: [*pieces(content)],
    "generator": lambda folder, content: pieces(content),
    "asynchronous generator": lambda folder, content: async_pieces(content),
    "wrong about its end": lambda folder, content: Announces(content),
}

KINDS = AT_ONCE | IN_PIECES

kinds = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS.keys())
Seen = tuple[PreparedBody, list[bytes]]


async def read(body: Body) -> bytes:
    return b"".join([bytes(view) async for view in body_views(body)])


def prepare(workers: Workers, body: Any, *, largest: int = MAX_PUT_BYTES, reads: int = 1, **options: Any) -> Seen:
    """Return the prepared body, and its content from each of ``reads`` reads."""

    async def main() -> Seen:
        async with prepared(body, workers, largest=largest, **options) as ready:
            return ready, [await read(ready.body) for _ in range(reads)]

    try:
        return asyncio.run(main())
    finally:
        if isinstance(body, io.IOBase):
            body.close()


def refused(workers: Workers, body: Any, **options: Any) -> UsageError:
    with pytest.raises(UsageError) as caught:
        prepare(workers, body, **options)
    return caught.value


# -- length and digests -----------------------------------------------------------------------------------------------


@kinds
@pytest.mark.parametrize("size", [0, 1, SIZE])
def test_a_body_of_any_kind_has_its_length_and_digests_and_can_be_read_again(
    workers: Workers, tmp_path: Path, make: Make, size: int
) -> None:
    content = content_of(size)
    ready, contents = prepare(workers, make(tmp_path, content), reads=2)
    assert ready.content_length == size
    assert ready.md5 == hashlib.md5(content).digest()
    assert ready.crc64 == hashing.crc64(content)
    assert contents == [content, content]
    assert can_be_sent_again(ready.body)


def test_text_is_its_utf8(workers: Workers) -> None:
    ready, contents = prepare(workers, "Grüße, 世界")
    assert contents == ["Grüße, 世界".encode()]
    assert ready.content_length == 15


@kinds
def test_the_right_length_is_accepted(workers: Workers, tmp_path: Path, make: Make) -> None:
    ready, contents = prepare(workers, make(tmp_path, CONTENT), content_length=SIZE)
    assert (ready.content_length, contents) == (SIZE, [CONTENT])


@kinds
def test_the_callers_md5_is_sent_and_the_crc64_is_still_computed(workers: Workers, tmp_path: Path, make: Make) -> None:
    ready, _ = prepare(workers, make(tmp_path, CONTENT), content_md5=bytes(range(16)))
    assert ready.md5 == bytes(range(16))
    assert ready.crc64 == hashing.crc64(CONTENT)


STREAMS = {name: make for name, make in IN_PIECES.items() if name != "wrong about its end"}
streams = pytest.mark.parametrize("make", STREAMS.values(), ids=STREAMS.keys())


@streams
def test_a_stream_with_a_length_is_not_buffered(workers: Workers, tmp_path: Path, make: Make) -> None:
    ready, contents = prepare(workers, make(tmp_path, CONTENT), content_length=SIZE, content_md5=bytes(16))
    assert isinstance(ready.body, StreamBody)
    assert (ready.md5, ready.crc64) == (bytes(16), None)
    assert ready.body.crc64 == hashing.crc64(CONTENT)
    assert contents == [CONTENT]
    assert not can_be_sent_again(ready.body)


@streams
@pytest.mark.parametrize("content", [b"", CONTENT])
def test_a_stream_that_must_be_repeatable_or_is_announced_as_empty_is_buffered(
    workers: Workers, tmp_path: Path, make: Make, content: bytes
) -> None:
    ready, contents = prepare(
        workers, make(tmp_path, content), reads=2, content_length=len(content), repeatable=bool(content)
    )
    assert contents == [content, content]
    assert (ready.md5, ready.crc64) == (hashlib.md5(content).digest(), hashing.crc64(content))


# -- bodies that are refused ------------------------------------------------------------------------------------------


@kinds
@pytest.mark.parametrize("length", [0, SIZE - 1, SIZE + 1])
def test_another_length_than_announced_is_refused(workers: Workers, tmp_path: Path, make: Make, length: int) -> None:
    error = refused(workers, make(tmp_path, CONTENT), content_length=length)
    assert error.name == "content_length"
    assert f"content_length is {length}, but the body " in str(error)


@kinds
def test_a_body_beyond_the_limit_of_one_request_is_refused(workers: Workers, tmp_path: Path, make: Make) -> None:
    error = refused(workers, make(tmp_path, CONTENT), largest=SIZE - 1)
    assert error.name == "body"
    assert prepare(workers, make(tmp_path, CONTENT), largest=SIZE)[0].content_length == SIZE


@kinds
@pytest.mark.parametrize("length", [5 * GIB + 1, -1, True, 1.5, "7"])
def test_an_impossible_length_is_refused_before_the_body_is_read(
    workers: Workers, tmp_path: Path, make: Make, length: object
) -> None:
    body = make(tmp_path, CONTENT)
    with pytest.raises(UsageError):
        asyncio.run(prepared(body, workers, largest=MAX_PUT_BYTES, content_length=length).__aenter__())  # type: ignore[arg-type]
    if isinstance(body, Iterator) and not isinstance(body, io.IOBase):
        assert next(body) == CONTENT[:9_999]
    if isinstance(body, io.IOBase):
        assert body.tell() in (0, 6)  # type: ignore[attr-defined]
        body.close()


@pytest.mark.parametrize("length", [None, SIZE])
def test_bytes_of_a_wrong_size_are_not_even_hashed(length: int | None) -> None:
    async def never(view: memoryview) -> hashing.PartDigest:
        raise AssertionError

    for largest, announced in ((SIZE - 1, length), (SIZE, SIZE + 1)):
        with pytest.raises(UsageError):
            asyncio.run(in_memory(CONTENT, never, content_length=announced, content_md5=None, largest=largest))


def test_a_file_object_that_announces_too_much_is_not_read(workers: Workers) -> None:
    reads: list[int | None] = []

    class Watched(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            reads.append(size)
            return super().read(size)

    refused(workers, Watched(CONTENT), largest=SIZE - 1)
    assert reads == [0]


def released() -> memoryview:
    view = memoryview(b"abc")
    view.release()
    return view


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (memoryview(b"a-b-c")[::2], "not contiguous"),
        (memoryview(b"abc")[::-1], "not contiguous"),
        (memoryview(numpy.zeros((2, 3), order="F")), "not contiguous"),
        (released(), "released"),
        (memoryview((ctypes.py_object * 2)(1, 2)), "a view of Python objects"),
        ([b"abc", "text"], "its pieces must be bytes"),
        (io.StringIO("text"), "text mode"),
        ("\udc80", "UTF-8"),
    ],
)
def test_a_body_without_defined_bytes_is_refused(workers: Workers, body: Any, says: str) -> None:
    assert says in str(refused(workers, body))


@pytest.mark.parametrize("body", [{b"a": b"b"}, 7, None, 1.5, object(), {}])
def test_a_value_without_bytes_is_refused(body: Any) -> None:
    with pytest.raises(UsageError, match=r"it must be bytes, a string, a pathlib\.Path"):
        checked_body(body)


@pytest.mark.parametrize("body", [array("I", [1, 2]), array("B", [1, 2])])
def test_an_array_is_refused_and_the_error_names_both_meanings(workers: Workers, body: Any) -> None:
    with pytest.raises(UsageError, match=r"pass memoryview\(body\) for its bytes .* or iter\(body\) for its items"):
        checked_body(body)
    assert prepare(workers, memoryview(body))[1] == [bytes(body)]


# -- a file that changes ----------------------------------------------------------------------------------------------

NOTE = "The server had already stored the earlier content of the file"


@pytest.mark.parametrize("fails", [False, True])
def test_the_error_of_a_changed_file_replaces_its_consequences(workers: Workers, tmp_path: Path, fails: bool) -> None:
    path = write(tmp_path / "f", SIZE)

    async def main() -> None:
        async with prepared(path, workers, largest=GIB):
            rewrite(path, b"x" * SIZE)
            if fails:
                raise TransportError("the connection broke", url="")

    with pytest.raises(SourceChangedError) as caught:
        asyncio.run(main())
    assert getattr(caught.value, "__notes__", []) == ([] if fails else [NOTE])


def test_the_error_of_a_file_that_did_not_change_stays_and_the_file_is_closed(workers: Workers, tmp_path: Path) -> None:
    path = write(tmp_path / "f", SIZE)
    bodies: list[Any] = []

    async def main() -> None:
        async with prepared(path, workers, largest=GIB) as ready:
            bodies.append(ready.body)
            raise TransportError("the connection broke", url="")

    with pytest.raises(TransportError, match="the connection broke"):
        asyncio.run(main())
    with pytest.raises(ValueError, match="closed"):
        [*bodies[0]]


# -- the proof afterwards ---------------------------------------------------------------------------------------------


def result(crc64: int | None) -> PutObjectResult:
    return PutObjectResult(
        status_code=200,
        headers={},
        request_id="",
        verified=False,
        verified_by="",
        etag='"e"',
        location="",
        version_id=None,
        crc64=crc64,
    )


def test_a_stream_is_compared_after_it_was_sent(workers: Workers) -> None:
    ready, _ = prepare(workers, pieces(CONTENT), content_length=SIZE)
    proven = ready.proven(result(hashing.crc64(CONTENT)), operation="PUT Object")
    assert (proven.verified, proven.verified_by) == (True, "crc64")
    assert ready.proven(result(None), operation="PUT Object") == result(None)
    with pytest.raises(IntegrityError, match="PUT Object: checksum mismatch: server CRC64 1, ") as caught:
        ready.proven(result(1), operation="PUT Object")
    assert not caught.value.retryable  # the stream has been consumed
    assert "the object on the server is not what was sent" in "".join(caught.value.__notes__)


def test_a_body_with_digests_is_compared_by_the_request(workers: Workers) -> None:
    ready, _ = prepare(workers, CONTENT)
    assert ready.proven(result(1), operation="PUT Object") == result(1)
