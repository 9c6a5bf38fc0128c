"""Connections that the server accepts."""

from __future__ import annotations

import asyncio
import socket

import pytest

from cosxfer.server.front import _accept


@pytest.mark.parametrize("steps", range(5))
def test_a_connection_that_comes_while_its_wait_is_cancelled_is_not_lost(steps: int) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            waiting = asyncio.create_task(_accept(listener))
            await asyncio.sleep(0)
            with socket.create_connection(listener.getsockname()) as client:
                for _ in range(steps):  # the loop sees the connection, wakes the task, and runs it
                    await asyncio.sleep(0)
                if not waiting.done():
                    waiting.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await waiting
                    waiting = asyncio.create_task(_accept(listener))
                async with asyncio.timeout(30):
                    connection, address = await waiting
                with connection:
                    assert address == client.getsockname()
                    assert not connection.getblocking()

    asyncio.run(main())
