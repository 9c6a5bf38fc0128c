"""File objects whose file changes during the upload. As for a path, only a change of the content is an error."""

from __future__ import annotations

import asyncio
import io
import os
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import IO, Any

import pytest

import cosxfer
from cosxfer.cos.requests import HttpRequest
from cosxfer.cos.responses import HttpResponse
from cosxfer.limits import KIB, MIB
from cosxfer.transport.memory import MemoryTransport
from tests.unit.fake_cos import BUCKET, Do, FakeCos, error
from tests.unit.files import content_of, rewrite, write

Way = Callable[[cosxfer.AsyncClient, Any], Awaitable[object]]

WAYS: dict[str, Way] = {
    "put_object": lambda client, body: client.put_object(BUCKET, "k", body),
    "append_object": lambda client, body: client.append_object(BUCKET, "k", body, position=0),
    "multipart_upload": lambda client, body: client.multipart_upload(BUCKET, "k", body, upload_id="u", part_number=1),
    "post_object": lambda client, body: client.post_object(BUCKET, "k", body),
}


def send(cos: FakeCos, way: str, path: Path, **settings: object) -> None:
    async def main() -> None:
        async with cos.client(**settings) as client:
            if way == "multipart_upload":
                assert (await client.multipart_init(BUCKET, "k")).upload_id == "upload-1"
                cos.uploads["u"] = cos.uploads.pop("upload-1")
            with path.open("rb") as file:
                await WAYS[way](client, file)
                assert file.tell() == SIZE

    asyncio.run(main())


SIZE = 100 * KIB


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "f", SIZE)


@pytest.mark.parametrize("code", ["BadDigest", "InternalError"])
@pytest.mark.parametrize("way", WAYS)
def test_a_rewritten_file_is_sent_once(path: Path, waits: list[float], way: str, code: str) -> None:
    sent: list[str] = []

    def response(request: HttpRequest, body: bytes) -> HttpResponse:
        if request.method == "HEAD":
            return error(404, "NoSuchKey")
        sent.append(request.method)
        rewrite(path, b"x" * SIZE)
        return error(400 if code == "BadDigest" else 500, code)

    async def main() -> None:
        async with FakeCos().client(transport=MemoryTransport(response)) as client:
            with path.open("rb") as file:
                await WAYS[way](client, file)

    with pytest.raises(cosxfer.SourceChangedError, match="changed during the upload: it was written to") as caught:
        asyncio.run(main())
    assert caught.value.changed == "content"
    assert caught.value.path == str(path)
    assert len(sent) == 1
    assert not waits


STORED = [way for way in WAYS if way != "post_object"]


def then(how: Callable[[Path], object], path: Path) -> Do:
    def do(request: HttpRequest, proceed: Callable[[], HttpResponse]) -> HttpResponse:
        response = proceed()
        how(path)
        return response

    return do


@pytest.mark.parametrize("way", STORED)
@pytest.mark.parametrize("size", [SIZE, SIZE + 1])
def test_a_file_rewritten_after_its_request_says_what_the_server_has(
    cos: FakeCos, path: Path, way: str, size: int
) -> None:
    cos.fault(way, then(lambda path: rewrite(path, b"x" * size), path))
    with pytest.raises(cosxfer.SourceChangedError) as caught:
        send(cos, way, path)
    assert caught.value.__notes__ == ["The server had already stored the earlier content of the file"]


def grow(path: Path) -> None:
    rewrite(path, path.read_bytes() + b"a line more")


@pytest.mark.parametrize("how", [grow, lambda path: path.chmod(0o600), lambda path: rewrite(path, content_of(SIZE))])
@pytest.mark.parametrize("way", STORED)
def test_a_file_with_unchanged_bytes_is_sent(
    cos: FakeCos, path: Path, waits: list[float], way: str, how: Callable[[Path], object]
) -> None:
    def fails(request: HttpRequest, proceed: Callable[[], HttpResponse]) -> HttpResponse:
        how(path)
        return error(500, "InternalError")

    cos.fault(way, fails)
    cos.fault(way, then(how, path))
    send(cos, way, path)
    assert cos.count(way) == 2
    content = cos.uploads["u"].parts[1] if way == "multipart_upload" else cos.objects["k"].content
    assert content == content_of(SIZE)


def test_a_file_rewritten_while_it_is_hashed_is_an_error(cos: FakeCos, tmp_path: Path) -> None:
    path = write(tmp_path / "g", 3 * MIB)

    class Watched(io.FileIO):
        rewritten = False

        def read(self, size: int | None = -1, /) -> bytes:
            block = super().read(size)
            if size and not self.rewritten:
                self.rewritten = True
                rewrite(path, b"x" * (3 * MIB))
            return block or b""

    async def main() -> None:
        async with cos.client() as client:
            with Watched(path) as file:
                await client.put_object(BUCKET, "k", file)

    with pytest.raises(cosxfer.SourceChangedError):
        asyncio.run(main())


def files(path: Path) -> dict[str, Callable[[], IO[bytes]]]:
    def part_of_a_larger_one() -> IO[bytes]:
        file = path.open("rb")
        file.seek(10)
        return file

    return {"unbuffered": lambda: path.open("rb", buffering=0), "from the middle": part_of_a_larger_one}


@pytest.mark.parametrize("kind", files(Path()))
def test_the_comparison_begins_at_the_position_of_the_body(cos: FakeCos, path: Path, kind: str) -> None:
    cos.fault("put_object", then(lambda path: os.utime(path, (1, 1)), path))

    async def main() -> None:
        async with cos.client() as client:
            with files(path)[kind]() as file:
                await client.put_object(BUCKET, "k", file)
                assert file.tell() == SIZE

    asyncio.run(main())
    assert content_of(SIZE).endswith(cos.objects["k"].content)


def test_a_spooled_file_in_memory_is_not_written_to_disk(cos: FakeCos) -> None:
    async def main() -> None:
        async with cos.client() as client:
            with tempfile.SpooledTemporaryFile(max_size=MIB) as file:
                file.write(b"exactly this")
                file.seek(0)
                await client.put_object(BUCKET, "k", file)
                assert not file._rolled  # type: ignore[attr-defined] # no other way shows it

    asyncio.run(main())
    assert cos.objects["k"].content == b"exactly this"
