"""Waking the I/O threads: once in a turn of the event loop for all requests of the turn."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

pytest.importorskip("cosxfer._native.wire")

from cosxfer._native import wire
from cosxfer.transport.native_begin import Quiet


class IoThread:
    def __init__(self) -> None:
        self.woken = 0

    def announce(self) -> None:
        self.woken += 1


def test_a_thread_is_woken_once_in_a_turn() -> None:
    async def main() -> None:
        quiet, one, other = Quiet(), IoThread(), IoThread()
        for expected in (1, 2):
            for io_thread in (one, other, one, one):
                quiet.add(cast(wire.IoThread, io_thread))
            assert (one.woken, other.woken) == (expected - 1, expected - 1)
            await asyncio.sleep(0)
            assert (one.woken, other.woken) == (expected, expected)
        await asyncio.sleep(0)
        assert (one.woken, other.woken) == (2, 2)

    asyncio.run(main())
