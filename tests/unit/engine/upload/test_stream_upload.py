"""Streams of any length: sent in one request or in parts, their memory, and their failures."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

import cosxfer
from cosxfer.cos.requests import HttpRequest
from cosxfer.cos.responses import HttpResponse
from cosxfer.engine.upload import stream_parts
from cosxfer.limits import MIB
from cosxfer.planning import StreamPlan
from cosxfer.threads import Workers
from tests.unit.fake_cos import BUCKET, FakeCos, change, lose_response, refuse
from tests.unit.files import content_of, write

LONG = 3 * MIB + 7


def pieces(content: bytes, size: int = 100_000) -> Iterator[bytes]:
    for first in range(0, len(content), size):
        yield content[first : first + size]


async def async_pieces(content: bytes) -> AsyncIterator[bytes]:
    for piece in pieces(content):
        await asyncio.sleep(0)
        yield piece


def reused_buffer(content: bytes) -> Iterator[bytearray]:
    """A producer that reuses one buffer, as many do."""
    buffer = bytearray(300_000)
    for piece in pieces(content, len(buffer)):
        buffer[: len(piece)] = piece
        yield buffer if len(piece) == len(buffer) else buffer[: len(piece)]


class Unseekable(io.RawIOBase):
    """A pipe as a file object."""

    def __init__(self, content: bytes) -> None:
        self._content = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        return self._content.readinto(memoryview(buffer)[:70_000])


KINDS: dict[str, Callable[[bytes], object]] = {
    "generator": pieces,
    "asynchronous generator": async_pieces,
    "list": lambda content: list(pieces(content)),
    "one large piece": lambda content: iter([content]),
    "views": lambda content: (memoryview(piece) for piece in pieces(content)),
    "a buffer that is used again": reused_buffer,
    "pipe": Unseekable,
    "file object": io.BytesIO,
}


def upload(cos: FakeCos, stream: object, **options: object) -> cosxfer.UploadResult:
    with cos.blocking_client() as client:
        return client.upload_stream(BUCKET, "k", stream, **{"part_size": MIB, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS.keys())
@pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB, MIB + 1, 3 * MIB, LONG])
def test_a_stream_of_any_kind_and_length_is_stored_whole(
    cos: FakeCos, make: Callable[[bytes], object], size: int
) -> None:
    content = content_of(size)
    result = upload(cos, make(content))
    assert cos.objects["k"].content == content
    assert (result.size, result.verified, result.verified_by) == (size, True, "crc64")
    parts = max(1, -(-size // MIB))
    assert result.parts == parts
    if size < MIB:
        assert (result.upload_id, result.part_size_bytes) == ("", size)
        assert cos.count("put_object") == 1
        assert cos.count("multipart_init") == 0
    else:
        assert cos.count("multipart_upload") == parts
        assert result.part_size_bytes == MIB
        assert not cos.uploads


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS.keys())
@pytest.mark.parametrize("length", [0, MIB, LONG])
def test_a_stream_with_a_length_has_parts_of_one_size(
    cos: FakeCos, make: Callable[[bytes], object], length: int
) -> None:
    content = content_of(length)
    result = upload(cos, make(content), content_length=length)
    assert cos.objects["k"].content == content
    assert result.parts == max(1, -(-length // MIB))
    assert (result.upload_id == "") == (length <= MIB)


@pytest.mark.parametrize(
    ("length", "actual"), [(LONG - 1, f"more than {LONG - 1}"), (LONG + 1, str(LONG)), (5, "more than 5")]
)
def test_a_stream_of_another_length_makes_no_object(cos: FakeCos, length: int, actual: str) -> None:
    with pytest.raises(cosxfer.UsageError, match=rf"content_length is {length}, but .* is {actual} bytes"):
        upload(cos, pieces(content_of(LONG)), content_length=length)
    assert "k" not in cos.objects
    assert not cos.uploads


def test_put_object_sends_a_long_stream_in_parts_and_a_short_one_in_one_request(
    cos: FakeCos, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "cosxfer.engine.upload.stream_upload.plan_stream", lambda *_, **__: StreamPlan(first_part_bytes=MIB)
    )
    with cos.blocking_client() as client:
        short = client.put_object(BUCKET, "short", pieces(content_of(1000)))
        long = client.put_object(BUCKET, "k", pieces(content_of(LONG)), metadata={"colour": "red"})
    assert cos.objects["short"].content == content_of(1000)
    assert cos.objects["k"].content == content_of(LONG)
    assert cos.objects["k"].headers["x-cos-meta-colour"] == "red"
    assert (short.verified_by, long.verified_by) == ("crc64", "crc64")
    assert cos.count("multipart_upload") == 4


def test_a_part_that_fails_is_sent_again_with_the_same_bytes(cos: FakeCos) -> None:
    cos.fault("multipart_upload", lose_response, part=2)
    cos.fault("multipart_upload", change(x_cos_hash_crc64ecma="1"), part=4)
    result = upload(cos, reused_buffer(content_of(LONG)))
    assert cos.objects["k"].content == content_of(LONG)
    assert result.retries == 2


def test_a_stream_that_fails_leaves_nothing_on_the_server(cos: FakeCos) -> None:
    def breaks() -> Iterator[bytes]:
        yield content_of(2 * MIB)
        raise LookupError("the camera is gone")

    with pytest.raises(cosxfer.SourceError, match=r"<generator> failed.*LookupError: the camera is gone") as caught:
        upload(cos, breaks())
    assert "was aborted" in "".join(caught.value.__notes__)
    assert not cos.uploads
    assert "k" not in cos.objects


def test_a_refused_part_leaves_nothing_on_the_server(cos: FakeCos) -> None:
    cos.fault("multipart_upload", refuse(403, "AccessDenied"), part=2)
    with pytest.raises(cosxfer.AccessDeniedError) as caught:
        upload(cos, pieces(content_of(LONG)))
    assert isinstance(caught.value, cosxfer.UploadError)
    assert caught.value.aborted
    assert not cos.uploads


def test_a_caller_that_is_cancelled_leaves_nothing_on_the_server(cos: FakeCos) -> None:
    async def main() -> None:
        begun = asyncio.Event()

        async def endless() -> AsyncIterator[bytes]:
            while True:
                yield bytes(MIB)
                if cos.count("multipart_upload") >= 2:
                    begun.set()
                await asyncio.sleep(0)

        async with cos.client() as client:
            task = asyncio.create_task(client.upload_stream(BUCKET, "k", endless(), part_size=MIB))
            await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not cos.uploads, "they are deleted before the caller goes on"

    asyncio.run(main())
    assert cos.count("multipart_abort") == 1
    assert "k" not in cos.objects


def test_pausing_a_stream_is_an_error(cos: FakeCos) -> None:
    async def main() -> None:
        begun = asyncio.Event()

        async def waits() -> AsyncIterator[bytes]:
            begun.set()
            yield b"x"
            await asyncio.Event().wait()

        async with cos.client() as client:
            task = client.submit_upload_stream(BUCKET, "k", waits())
            await begun.wait()
            with pytest.raises(cosxfer.UsageError, match="can be read only once"):
                await task.pause()
            await task.cancel()

    asyncio.run(main())


def test_memory_is_bounded_for_any_length_and_a_slow_server(cos: FakeCos) -> None:
    read, most = 0, 0

    def counted() -> Iterator[bytes]:
        nonlocal read, most
        for _ in range(40):
            read += 1
            stored = sum(len(upload.parts) for upload in cos.uploads.values())
            most = max(most, read - stored)
            yield bytes(MIB)

    with cos.blocking_client(memory_budget_bytes=16 * MIB) as client:
        assert client.upload_stream(BUCKET, "k", counted(), part_size=MIB, async_limit=32).size == 40 * MIB
    # Four parts are held, a quarter of the budget; the producer holds one piece, and one response may be in transit.
    assert 4 <= most <= 6


def test_a_stream_beyond_10000_parts_is_refused_with_advice(cos: FakeCos, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_parts, "MAX_PART_NUMBER", 3)
    with pytest.raises(cosxfer.UsageError, match="Give a larger part_size"):
        upload(cos, pieces(content_of(4 * MIB)))
    assert not cos.uploads


def test_progress_has_no_total_until_the_end_is_seen(cos: FakeCos) -> None:
    reports: list[cosxfer.Progress] = []
    upload(cos, pieces(content_of(LONG)), on_progress=reports.append)
    assert reports[0].total == 0
    assert reports[0].percent == 0.0
    assert (reports[-1].loaded, reports[-1].total, reports[-1].percent) == (LONG, LONG, 1.0)
    loaded = [report.loaded for report in reports]
    assert loaded == sorted(loaded)


def test_progress_of_a_file_object_has_a_total_from_the_start(cos: FakeCos) -> None:
    reports: list[cosxfer.Progress] = []
    upload(cos, io.BytesIO(content_of(LONG)), on_progress=reports.append)
    assert reports[0].total == LONG


@pytest.mark.parametrize("body", ["text", b"bytes", memoryview(b"view"), 17, None])
def test_a_value_that_is_no_stream_is_refused(cos: FakeCos, body: object) -> None:
    with pytest.raises(cosxfer.UsageError, match=r"stream|body"):
        upload(cos, body)
    assert not cos.calls


def test_a_stream_that_uploads_another_stream_does_not_deadlock(cos: FakeCos) -> None:
    with cos.blocking_client(concurrency=1, file_parallel_limit=1) as client:

        def outer() -> Iterator[bytes]:
            yield bytes(MIB)
            client.upload_stream(BUCKET, "inner", pieces(content_of(LONG)), part_size=MIB)
            yield bytes(MIB)

        client.upload_stream(BUCKET, "k", outer(), part_size=MIB)
    assert cos.objects["inner"].content == content_of(LONG)
    assert cos.objects["k"].content == bytes(2 * MIB)


@pytest.mark.parametrize("grows", [False, True])
def test_a_file_object_whose_file_is_written_to_makes_no_object_unless_it_only_grows(
    cos: FakeCos, tmp_path: Path, grows: bool
) -> None:
    path = write(tmp_path / "f", LONG)

    def written(request: HttpRequest, proceed: Callable[[], HttpResponse]) -> HttpResponse:
        with path.open("ab" if grows else "r+b") as file:
            file.write(b"x")
        status = path.stat()
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000_000))
        return proceed()

    cos.fault("multipart_upload", written, part=3)
    with path.open("rb") as file:
        if grows:
            assert upload(cos, file, async_limit=1).size >= LONG
            return
        with pytest.raises(cosxfer.SourceChangedError, match="was written to"):
            upload(cos, file, async_limit=1)
    assert "k" not in cos.objects
    assert not cos.uploads


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview])
def test_a_large_piece_is_not_copied_again_for_each_part(make: Callable[[bytes], bytes]) -> None:
    workers = Workers()
    content = content_of(5 * MIB + 3)

    async def main() -> None:
        plan = StreamPlan(first_part_bytes=MIB)
        source = stream_parts.StreamParts(
            iter([make(content)]), plan, executor=workers, name="<list>", most_bytes=3 * MIB, on_end=lambda size: None
        )
        held: list[object] = []
        seen = b""
        async for part in source.parts(done=(), window=lambda: 1):
            seen += bytes(part.body)  # type: ignore[arg-type]
            if source._rest:
                held.append(source._rest.obj)
            source.stored(part)
        assert seen == content
        assert len(held) == 5
        assert all(kept is held[0] for kept in held)
        assert source._rest.obj is not held[0]  # even an empty view would keep the piece alive

    asyncio.run(main())
    workers.end()
