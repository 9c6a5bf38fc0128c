"""Streams of any length over real sockets: bounded memory, no temporary file, and the object equals the stream."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

import cosxfer
from cosxfer.limits import GIB, MIB
from cosxfer.server.process import RunningServer, running
from tests.unit.files import content_of

deep = [pytest.mark.deep, pytest.mark.timeout(900)]


def pieces(size: int, piece: int = 1_000_000) -> Iterator[bytes]:
    """``size`` bytes; each piece differs from the others."""
    for first in range(0, size, piece):
        yield (b"%015d " % first * (piece // 16 + 1))[: min(piece, size - first)]


@pytest.mark.parametrize("http_version", ["1.1", "2"])
def test_a_stream_in_parts_reads_back_equal(server: RunningServer, http_version: str) -> None:
    content = content_of(5 * MIB + 3)
    with cosxfer.Client(endpoint=server.endpoint, credentials=server.credentials, http_version=http_version) as client:  # type: ignore[arg-type]
        result = client.upload_stream(server.bucket, "streamed", iter([content]), part_size=MIB)
        assert (result.parts, result.verified_by) == (6, "crc64")
        assert client.get_object(server.bucket, "streamed").body == content


def test_an_asynchronous_stream_reads_back_equal(server: RunningServer) -> None:
    content = content_of(3 * MIB + 3)

    async def given() -> AsyncIterator[bytes]:
        for first in range(0, len(content), 65_536):
            await asyncio.sleep(0)
            yield content[first : first + 65_536]

    async def main() -> None:
        async with cosxfer.AsyncClient(endpoint=server.endpoint, credentials=server.credentials) as client:
            result = await client.upload_stream(server.bucket, "asynchronous", given(), part_size=MIB)
            assert result.verified_by == "crc64"
            assert (await client.get_object(server.bucket, "asynchronous")).body == content

    asyncio.run(main())


def test_put_object_sends_a_pipe_beyond_its_first_part_in_parts(client: cosxfer.Client, server: RunningServer) -> None:
    content = content_of(9 * MIB)
    end, other = os.pipe()

    def feed() -> None:
        with os.fdopen(other, "wb") as file:
            file.write(content)

    thread = threading.Thread(target=feed)
    thread.start()
    server.requests(clear=True)
    with os.fdopen(end, "rb") as file:
        result = client.put_object(server.bucket, "piped", file)
    thread.join()
    assert result.verified_by == "crc64"
    assert client.get_object(server.bucket, "piped").body == content
    asked = [request["operation"] for request in server.requests()]
    assert asked.count("multipart_upload") > 1  # how many depends on what was measured of the link
    assert not client.multipart_list(server.bucket).uploads


@pytest.mark.parametrize("gib", [pytest.param(1, marks=deep), pytest.param(20, marks=deep)])
def test_a_long_pipe_takes_little_memory_and_no_temporary_file(tmp_path: Path, gib: int) -> None:
    """Runs the command in a process whose directory for temporary files does not exist."""
    code = (
        "import pathlib, re, runpy, sys\n"
        "try:\n"
        "    runpy.run_module('cosxfer', run_name='__main__')\n"
        "finally:\n"
        "    print(re.search(r'VmHWM:\\s*(\\d+)', pathlib.Path('/proc/self/status').read_text())[1], file=sys.stderr)\n"
    )
    with running(discard=True, checksum=True) as server:
        command = [sys.executable, "-c", code, "cp", "-", "cos://examplebucket-1250000000/long", "--json"]
        environment = {**os.environ, "TMPDIR": str(tmp_path / "none"), "COS_ENDPOINT": server.endpoint}
        with subprocess.Popen(["head", "-c", str(gib * GIB), "/dev/zero"], stdout=subprocess.PIPE) as source:
            done = subprocess.run(
                command,
                stdin=source.stdout,
                capture_output=True,
                text=True,
                check=False,
                env={**environment, "COS_SECRET_ID": "id", "COS_SECRET_KEY": "key"},
            )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["bytes"], result["verified_by"]) == (gib * GIB, "crc64")
    assert not list(tmp_path.iterdir())
    peak = int(re.findall(r"^(\d+)$", done.stderr, re.MULTILINE)[-1])
    assert peak * 1024 < 200 * MIB


@pytest.mark.parametrize("size", [40 * MIB + 1, pytest.param(6 * GIB + 1, marks=deep)])
def test_a_long_iterator_reads_back_equal(tmp_path: Path, size: int) -> None:
    with (
        running(root=tmp_path / "root") as server,
        cosxfer.Client(endpoint=server.endpoint, credentials=server.credentials) as client,
    ):
        result = client.upload_stream(server.bucket, "iterated", pieces(size))
        assert (result.size, result.verified_by) == (size, "crc64")
        client.get_object(server.bucket, "iterated", output=tmp_path / "back")
    with (tmp_path / "back").open("rb") as file:
        for piece in pieces(size):
            assert file.read(len(piece)) == piece
        assert file.read(1) == b""
