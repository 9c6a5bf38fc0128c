"""Files that are sent by sendfile: a bit that flips, and a file that changes between hashing and sending, are found.

The kernel reads such a body from the page cache while it sends it. So other bytes may be sent than were hashed, and
only the digests that go with them show that.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import cosxfer
from cosxfer.cos.requests import CosRequest
from cosxfer.engine.upload.part_body import PartBody
from cosxfer.limits import MIB
from cosxfer.ops.session import Session
from cosxfer.server import RunningServer

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))

from _chaos import Trouble, chaos

PART = 2 * MIB
DATA = random.Random(11).randbytes(3 * PART + 12_345)
AT = 2 * PART + 777_777
"""A byte of the third part."""

pytestmark = pytest.mark.parametrize("version", ["1.1", "2"])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    return path


@contextmanager
def connected(server: RunningServer, version: str, **more: Any) -> Iterator[cosxfer.Client]:
    settings: dict[str, Any] = {"endpoint": server.endpoint, "retry_for_seconds": 0, **more}
    with cosxfer.Client(credentials=server.credentials, http_version=version, **settings) as client:
        yield client


def before_sending(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> list[object]:
    """Call ``act`` once: after the third part was hashed, before it is sent."""
    done: list[object] = []
    real = PartBody.mapped

    def mapped(self: PartBody) -> memoryview | None:
        if self._part.number == 3 and not done:
            done.append(act())
        return real(self)

    monkeypatch.setattr(PartBody, "mapped", mapped)
    return done


def flip(path: Path, at: int = AT) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 4]))


def test_an_undisturbed_file_arrives(version: str, server: RunningServer, path: Path) -> None:
    with connected(server, version) as client:
        assert client.upload_file(server.bucket, "k", path, part_size=PART).verified
        assert client.get_object(server.bucket, "k").body == DATA


@pytest.mark.parametrize("restored", [False, True], ids=["written", "mtime restored"])
def test_a_bit_that_flips_in_the_source_after_hashing_is_found(
    version: str, server: RunningServer, path: Path, monkeypatch: pytest.MonkeyPatch, restored: bool
) -> None:
    before = path.stat()

    def act() -> None:
        flip(path)
        if restored:
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    done = before_sending(monkeypatch, act)
    server.requests(clear=True)
    with connected(server, version) as client, pytest.raises(cosxfer.SourceChangedError) as caught:
        client.upload_file(server.bucket, "flipped", path, part_size=PART)
    assert done
    assert caught.value.changed == ("content" if restored else "mtime")
    assert "CompleteMultipartUpload" not in {request["operation"] for request in server.requests()}


@pytest.mark.parametrize("size", [AT, 2 * PART, 2 * PART + 4096, len(DATA) - 1])
def test_a_file_that_is_truncated_after_hashing_is_found(
    version: str, server: RunningServer, path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    done = before_sending(monkeypatch, lambda: os.truncate(path, size))
    with connected(server, version) as client, pytest.raises(cosxfer.SourceChangedError) as caught:
        client.upload_file(server.bucket, "cut", path, part_size=PART)
    assert done
    assert caught.value.changed == "size"
    with connected(server, version) as client, pytest.raises(cosxfer.NotFoundError):
        client.head_object(server.bucket, "cut")


@pytest.mark.parametrize("bit", [0, 7])
def test_a_bit_that_flips_on_the_wire_is_found_and_the_part_is_sent_again(
    version: str, server: RunningServer, path: Path, bit: int
) -> None:
    trouble = Trouble(kind="flip", at=500_000, bit=bit, marker=DATA[2 * PART : 2 * PART + 16])
    with (
        chaos(server.port, [trouble]) as proxy,
        connected(server, version, endpoint=f"http://127.0.0.1:{proxy.port}/{{bucket}}") as client,
    ):
        server.requests(clear=True)
        assert client.upload_file(server.bucket, "k", path, part_size=PART).verified
        assert proxy.happened == [trouble]
        assert [request["code"] for request in server.requests() if request["status"] == 400] == ["BadDigest"]
        assert client.get_object(server.bucket, "k").body == DATA


def test_a_bit_that_differs_in_the_store_is_found(
    version: str, server: RunningServer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without Content-MD5 the server stores what arrives; the digests that it returns are those of its bytes."""
    real = Session.call

    async def call(self: Session, request: CosRequest, **given: Any) -> Any:
        headers = {name: value for name, value in request.headers.items() if name != "content-md5"}
        return await real(self, replace(request, headers=headers), **given)

    monkeypatch.setattr(Session, "call", call)
    trouble = Trouble(kind="flip", at=500_000, marker=DATA[2 * PART : 2 * PART + 16])
    with (
        chaos(server.port, [trouble]) as proxy,
        connected(server, version, endpoint=f"http://127.0.0.1:{proxy.port}/{{bucket}}", max_attempts=1) as client,
        pytest.raises(cosxfer.IntegrityError, match="checksum mismatch"),
    ):
        client.upload_file(server.bucket, "stored", path, part_size=PART)
    assert proxy.happened == [trouble]
