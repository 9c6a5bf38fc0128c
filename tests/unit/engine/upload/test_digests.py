"""The digests of bodies in memory, one at a time and in parallel lanes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest

from cosxfer._native import hashing
from cosxfer.engine.upload import digests
from cosxfer.engine.upload.digests import HASHED_AT_ONCE, SMALL_BYTES, Digests
from tests.unit.files import content_of

T = TypeVar("T")


def with_digests(work: Callable[[Digests], Awaitable[T]]) -> T:
    async def main() -> T:
        with ThreadPoolExecutor(1) as executor:
            return await work(Digests(executor))

    return asyncio.run(main())


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of bodies in each call of the hasher."""
    counts: list[int] = []
    hash_parts = hashing.hash_parts

    def counted(buffers: list[memoryview]) -> list[hashing.PartDigest]:
        counts.append(len(buffers))
        return hash_parts(buffers)

    monkeypatch.setattr(digests.hashing, "hash_parts", counted)
    return counts


@pytest.mark.parametrize("size", [0, 1, 16384, SMALL_BYTES, SMALL_BYTES + 1])
def test_one_body_has_its_digests(size: int) -> None:
    content = content_of(size)
    digest = with_digests(lambda digests: digests.of(memoryview(content)))
    assert digest == hashing.PartDigest(hashing.md5(content), hashing.crc64(content), size)


def test_bodies_of_one_turn_are_hashed_together(batches: list[int]) -> None:
    contents = [content_of(100 + number) for number in range(2 * HASHED_AT_ONCE + 1)]

    async def all_of_them(digests: Digests) -> list[hashing.PartDigest]:
        return await asyncio.gather(*(digests.of(memoryview(content)) for content in contents))

    found = with_digests(all_of_them)
    assert batches == [HASHED_AT_ONCE, HASHED_AT_ONCE, 1]
    assert [digest.md5 for digest in found] == [hashing.md5(content) for content in contents]


def test_a_body_waits_for_another_turn_if_the_last_ones_came_together(batches: list[int]) -> None:
    async def some(digests: Digests) -> None:
        async def later(content: bytes) -> None:
            await asyncio.sleep(0)
            await digests.of(memoryview(content))

        await asyncio.gather(digests.of(memoryview(b"a")), digests.of(memoryview(b"b")))
        await asyncio.gather(digests.of(memoryview(b"c")), later(b"d"))
        await digests.of(memoryview(b"e"))
        await asyncio.gather(digests.of(memoryview(b"f")), later(b"g"))

    with_digests(some)
    assert batches == [2, 2, 1, 1, 1]


def test_a_body_whose_caller_was_cancelled_is_not_hashed(batches: list[int]) -> None:
    async def give_one_up(digests: Digests) -> hashing.PartDigest:
        first = asyncio.ensure_future(digests.of(memoryview(b"first")))
        second = asyncio.ensure_future(digests.of(memoryview(b"second")))
        await asyncio.sleep(0)
        first.cancel()
        return await second

    assert with_digests(give_one_up).md5 == hashing.md5(b"second")
    assert batches == [1]


def test_an_error_of_the_hashing_reaches_every_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(buffers: list[memoryview]) -> list[hashing.PartDigest]:
        raise MemoryError

    monkeypatch.setattr(digests.hashing, "hash_parts", fail)

    async def all_of_them(digests: Digests) -> list[object]:
        return await asyncio.gather(*(digests.of(memoryview(b"x")) for _ in range(3)), return_exceptions=True)

    assert [type(outcome) for outcome in with_digests(all_of_them)] == [MemoryError] * 3
