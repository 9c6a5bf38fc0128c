"""A server of one object over HTTP/1.1 that a test can make fail at a chosen request."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable

from cosxfer._native import hashing
from tests.functional.peer_raw import Peer

Do = Callable[["Get"], Awaitable[bool]]
"""Returns whether it has answered the request."""


class Get:
    """One request for a range of the object."""

    def __init__(self, served: ServedObject, peer: Peer, number: int, first: int, last: int, head: str) -> None:
        self.served = served
        self.peer = peer
        self.number = number
        """Of the request, from 0."""
        self.first = first
        self.last = last
        self.head = head

    @property
    def body(self) -> bytes:
        return self.served.content[self.first : self.last + 1]

    def response(self, body: bytes | None = None, **more: str) -> bytes:
        """The right response, or one with another body or other headers."""
        served = self.served
        body = self.body if body is None else body
        headers = {
            "content-length": str(len(self.body)),
            "content-range": f"bytes {self.first}-{self.last}/{len(served.content)}",
            "etag": served.etag,
            "x-cos-hash-crc64ecma": str(hashing.crc64(served.content)) if served.with_crc64 else "",
            "x-cos-request-id": "r",
            **served.headers,
            **{name.replace("_", "-"): value for name, value in more.items()},
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if value)
        return f"HTTP/1.1 206 Partial Content\r\n{lines}\r\n".encode() + body

    async def refuse(self, status: str, code: str) -> bool:
        body = f"<Error><Code>{code}</Code><Message>m</Message></Error>".encode()
        await self.peer.say(
            f"HTTP/1.1 {status}\r\nx-cos-request-id: r\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body
        )
        return True


class ServedObject:
    """``do`` is asked first at each request."""

    def __init__(self, content: bytes, do: Do | None = None) -> None:
        self.content = content
        self.etag = f'"{hashlib.md5(content).hexdigest()}"'
        self.with_crc64 = True
        self.headers: dict[str, str] = {}
        self.do = do
        self.gets: list[Get] = []

    def replace(self, content: bytes) -> None:
        self.content = content
        self.etag = f'"{hashlib.md5(content).hexdigest()}"'

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """The ranges that were requested."""
        return [(get.first, get.last) for get in self.gets]

    async def __call__(self, peer: Peer) -> None:
        while True:
            head = (await peer.head()).decode()
            found = re.search(r"\r\nrange: bytes=(\d+)-(\d+)\r\n", head)
            assert found is not None, head
            first, last = int(found[1]), min(int(found[2]), len(self.content) - 1)
            get = Get(self, peer, len(self.gets), first, last, head)
            self.gets.append(get)
            if self.do is not None and await self.do(get):
                continue
            condition = re.search(r"\r\nif-match: (\S+)\r\n", head)
            if condition is not None and condition[1] != self.etag:
                await get.refuse("412 Precondition Failed", "PreconditionFailed")
            else:
                await peer.say(get.response())


async def forever() -> None:
    await asyncio.Event().wait()
