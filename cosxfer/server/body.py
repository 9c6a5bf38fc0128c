"""The body of a request. It is read in bounded pieces; a thread hashes and writes one while the next arrives."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from cosxfer.limits import KIB, MIB
from cosxfer.server.checks import check_size
from cosxfer.server.http import ClientGone, CosError
from cosxfer.server.store.files import BlobWriter
from cosxfer.server.write_together import WriteTogether
from cosxfer.threads import finished, settled

Receive = Callable[[], Awaitable[Mapping[str, Any]]]

BATCH_BYTES = 1 * MIB
"""Bytes per job of a thread. A request holds at most two such batches. Starting a job costs about 0.1 ms."""
INLINE_BYTES = 64 * KIB
"""A body up to this size is hashed and written on the event loop, which is faster than starting a job."""


class Body:
    def __init__(self, receive: Receive, *, together: WriteTogether, declared: int | None, expected: bool) -> None:
        """``declared`` is Content-Length. ``expected`` is False if the head says that there is no body."""
        self._receive = receive
        self._together = together
        self._declared = declared
        self._gate: tuple[int, Callable[[], Awaitable[None]]] | None = None
        self.received = 0
        self.complete = not expected

    def set_gate(self, at_bytes: int, action: Callable[[], Awaitable[None]]) -> None:
        """Call ``action`` once, before anything beyond the first ``at_bytes`` bytes is read."""
        self._gate = (at_bytes, action)

    async def read(self) -> bytes:
        """Return the next piece, which may be empty. Raises `ClientGone` if the client disconnected."""
        if self._gate is not None and self.received >= self._gate[0]:
            action, self._gate = self._gate[1], None
            await action()
        message = await self._receive()
        if message["type"] != "http.request":
            raise ClientGone
        chunk: bytes = message.get("body", b"")
        self.received += len(chunk)
        if not message.get("more_body", False):
            self.complete = True
            if self._declared is not None and self.received != self._declared:
                raise CosError(
                    "IncompleteBody", f"Content-Length is {self._declared}, but {self.received} bytes were sent."
                )
        return chunk

    async def read_all(self, *, limit: int) -> bytes:
        """Return the whole body of a document. Raises XMLSizeLimit if it exceeds ``limit`` bytes."""
        pieces = []
        while not self.complete:
            pieces.append(await self.read())
            if self.received > limit:
                raise CosError("XMLSizeLimit", f"The document is larger than {limit} bytes.")
        return b"".join(pieces)

    async def write_to(self, writer: BlobWriter, *, limit: int) -> None:
        """Hash and write the whole body. Raises EntityTooLarge if it exceeds ``limit`` bytes."""
        batch: list[bytes] = []
        batched = 0
        writing: asyncio.Future[None] | None = None
        try:
            while not self.complete:
                chunk = await self.read()
                check_size(self.received, limit=limit)
                if chunk:
                    batch.append(chunk)
                    batched += len(chunk)
                if batched >= BATCH_BYTES:
                    if writing is not None:
                        await finished(writing)
                    writing = self._together.begin(writer, batch)
                    batch, batched = [], 0
            if writing is not None:
                await finished(writing)
            if batched > INLINE_BYTES:
                writing = self._together.begin(writer, batch)
                await finished(writing)
            elif batch:
                writer.write(batch)
        finally:
            if writing is not None:
                # The file must stay open while the thread uses it.
                await settled(writing)

    async def drain(self, *, limit: int, seconds: float) -> None:
        """Read and drop the rest, within limits, so that a client that is still sending can read its response."""
        try:
            async with asyncio.timeout(seconds):
                end = self.received + limit
                while not self.complete and self.received < end:
                    await self.read()
        except (ClientGone, CosError, TimeoutError):
            return
