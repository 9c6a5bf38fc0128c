"""Small files that are hashed together arrive as they are, and a bit that flips in one of them is found in that one."""

from __future__ import annotations

import os
import random
import threading
from pathlib import Path
from typing import Any

import pytest

import cosxfer
from cosxfer.engine.upload import hash_together
from cosxfer.engine.upload.hash_ahead import HashAhead
from cosxfer.engine.upload.hash_together import HashTogether
from cosxfer.limits import KIB, MIB
from cosxfer.server import RunningServer
from cosxfer.sources import FileSource

COUNT = 24


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    draw = random.Random(31)
    found = []
    for number in range(COUNT):
        found.append(tmp_path / f"file-{number:02d}")
        found[-1].write_bytes(draw.randbytes(draw.randrange(300 * KIB, 3 * MIB)))
    return found


def upload(server: RunningServer, paths: list[Path], version: str) -> dict[str, Any]:
    wanted = [{"bucket": server.bucket, "key": path.name, "path": path} for path in paths]
    with cosxfer.Client(
        endpoint=server.endpoint, credentials=server.credentials, http_version=version, retry_for_seconds=0
    ) as client:
        results = client.upload_files(wanted, slice_size=MIB)
        found = {path.name: result for path, result in zip(paths, results, strict=True)}
        for path in paths:
            if found[path.name].error is None:
                assert client.get_object(server.bucket, path.name).body == path.read_bytes()
        return found


@pytest.fixture
def grouped(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were hashed together. The first file is not hashed before some others wait for it."""
    names: list[str] = []
    several = threading.Event()
    real_group, real_hash, real_batch = hash_together._hash_group, HashTogether.hash, HashAhead._hash_batch
    waiting: list[str] = []

    def hash_group(group: list[Any]) -> Any:
        names.extend(Path(wanted.source.path).name for wanted in group)
        return real_group(group)

    async def hash_one(self: HashTogether, source: FileSource, *rest: Any) -> Any:
        if self._running:
            waiting.append(source.path)
            if len(waiting) == 5:
                several.set()
        return await real_hash(self, source, *rest)

    def hash_batch(self: HashAhead, *arguments: Any) -> Any:
        assert several.wait(60)
        return real_batch(self, *arguments)

    monkeypatch.setattr(hash_together, "_hash_group", hash_group)
    monkeypatch.setattr(hash_together, "FEWEST_LANES", 0)
    monkeypatch.setattr(FileSource, "is_cached", lambda self, offsets: True)
    monkeypatch.setattr(HashTogether, "hash", hash_one)
    monkeypatch.setattr(HashAhead, "_hash_batch", hash_batch)
    return names


@pytest.mark.parametrize("version", ["1.1", "2"])
def test_files_that_are_hashed_together_arrive(
    server: RunningServer, paths: list[Path], version: str, grouped: list[str]
) -> None:
    found = upload(server, paths, version)
    assert all(result.error is None and result.result.verified for result in found.values())
    assert len(grouped) >= 5


def flip_source(wanted: Any, hashed: Any) -> None:
    """Flip a bit of the file after it was hashed, without a trace in its mtime."""
    path = Path(wanted.source.path)
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(100_000)
        byte = file.read(1)[0]
        file.seek(100_000)
        file.write(bytes([byte ^ 16]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def flip_digest(wanted: Any, hashed: Any) -> None:
    """Flip a bit of a digest in memory."""
    first = hashed.digests[0]
    hashed.digests[0] = first._replace(md5=bytes([first.md5[0] ^ 1]) + first.md5[1:])


@pytest.mark.parametrize("flip", [flip_source, flip_digest])
def test_a_flipped_bit_is_found_in_its_file_alone(
    server: RunningServer, paths: list[Path], grouped: list[str], flip: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    guilty: list[str] = []
    real = hash_together._hash_group

    def hash_group(group: list[Any]) -> Any:
        result = real(group)
        if not guilty:
            flip(group[0], result[0])
            guilty.append(Path(group[0].source.path).name)
        return result

    monkeypatch.setattr(hash_together, "_hash_group", hash_group)
    found = upload(server, paths, "1.1")
    assert [name for name, result in found.items() if result.error is not None] == guilty
    error = found[guilty[0]].error
    assert isinstance(error, cosxfer.ServerError | cosxfer.SourceChangedError | cosxfer.IntegrityError)
