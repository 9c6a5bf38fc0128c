"""Downloads whose zeros become holes, over both transports."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

import cosxfer
from cosxfer.cos.sink import BLOCK_BYTES, BodySink, stretches
from cosxfer.limits import MIB
from tests.functional.object_peer import Get, ServedObject
from tests.functional.peer_raw import in_loop
from tests.functional.test_download import BUCKET, downloading

NOISE = random.Random(9).randbytes(64 * 1024)
CONTENT = b"".join(
    [
        NOISE,
        bytes(3 * MIB - 5),
        NOISE[:4097],
        bytes(4095),  # less than a block, or not at its boundary
        b"x",
        bytes(MIB),
        *(NOISE[:1] + bytes(BLOCK_BYTES) for _ in range(40)),
        bytes(2 * MIB + 77),
    ]
)


@pytest.fixture(params=["native", "httpx"])
def transport(request: pytest.FixtureRequest) -> Any:
    return request.param


def taken(path: Path) -> int:
    return path.stat().st_blocks * 512


@in_loop
async def test_zeros_become_holes(transport: Any, tmp_path: Path) -> None:
    served = ServedObject(CONTENT)
    async with downloading(served, transport) as client:
        result = await client.download_file(BUCKET, "k", tmp_path / "sparse", sparse=True)
        await client.download_file(BUCKET, "k", tmp_path / "whole")
    assert (tmp_path / "sparse").read_bytes() == (tmp_path / "whole").read_bytes() == CONTENT
    assert result.verified_by == "crc64"
    assert taken(tmp_path / "whole") >= len(CONTENT)
    # The noise, 40 blocks that are not empty with their neighbours, and blocks at the ends of stretches.
    assert taken(tmp_path / "sparse") < len(NOISE) + 100 * 2 * BLOCK_BYTES


@pytest.mark.parametrize("content", [bytes(3 * MIB), bytes(2 * MIB) + b"end", bytes(500)])
@in_loop
async def test_objects_of_zeros(transport: Any, content: bytes, tmp_path: Path) -> None:
    async with downloading(ServedObject(content), transport) as client:
        await client.download_file(BUCKET, "k", tmp_path / "f", sparse=True)
    assert (tmp_path / "f").read_bytes() == content


@in_loop
async def test_a_range_that_breaks_is_whole_in_the_end(transport: Any, tmp_path: Path) -> None:
    async def do(get: Get) -> bool:
        if get.number not in (1, 3):
            return False
        await get.peer.say(get.response(get.body[: MIB // 2 + 7]))
        get.peer.writer.close()
        return True

    served = ServedObject(CONTENT, do)
    async with downloading(served, transport) as client:
        await client.download_file(BUCKET, "k", tmp_path / "f", sparse=True)
    assert (tmp_path / "f").read_bytes() == CONTENT


@in_loop
async def test_bytes_of_a_wrong_attempt_do_not_stay_where_zeros_belong(transport: Any, tmp_path: Path) -> None:
    """The first attempt sends noise for zeros, and is found by the checksum of the whole object."""
    wrong = True

    async def do(get: Get) -> bool:
        nonlocal wrong
        if not wrong or get.number != 2:
            return False
        wrong = False
        await get.peer.say(get.response(bytes([7]) * len(get.body)))
        return True

    served = ServedObject(CONTENT, do)
    async with downloading(served, transport) as client:
        assert (await client.download_file(BUCKET, "k", tmp_path / "f", sparse=True)).verified
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_only_the_first_attempt_leaves_out_zeros() -> None:
    sink = BodySink(length=5, fd=1, sparse=True)
    assert [sink.take_sparse(), sink.take_sparse()] == [True, False]


@pytest.mark.parametrize("at", [0, 1, 4095, 4096, 70_000])
@pytest.mark.parametrize("seed", range(5))
def test_stretches_are_the_data(at: int, seed: int) -> None:
    rng = random.Random(seed)
    pieces = [
        bytes(rng.randrange(9000)) if rng.random() < 0.5 else rng.randbytes(rng.randrange(9000)) for _ in range(20)
    ]
    data = memoryview(b"".join(pieces))
    found = list(stretches(data, at))
    assert b"".join(piece for _, piece in found) == data
    assert all(not any(piece) for zeros, piece in found if zeros)
    for zeros, piece in found[:-1]:
        at += len(piece)
        assert at % BLOCK_BYTES == 0, zeros


def test_it_is_a_flag(tmp_path: Path) -> None:
    with (
        cosxfer.Client(endpoint="http://127.0.0.1:9", anonymous=True) as client,
        pytest.raises(cosxfer.UsageError, match="sparse"),
    ):
        client.download_file(BUCKET, "k", tmp_path / "f", sparse="yes")  # type: ignore[arg-type]
