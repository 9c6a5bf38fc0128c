"""Writes response bodies to their place, for transports in Python. The native transport does it in C."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from cosxfer._native import hashing
from cosxfer.cos.sink import BodySink, stretches
from cosxfer.errors import ProtocolError, TargetError
from cosxfer.threads import finished, in_thread

BATCH_BYTES = 512 * 1024
"""A thread writes to a file when this much has arrived."""


class SinkWriter:
    """Writes one body to ``sink`` and reports the bytes that are in their place to ``on_received``.

    Threads write to files. What was not written when a transfer fails is dropped.
    """

    def __init__(self, sink: BodySink, on_received: Callable[[int], None] | None) -> None:
        self._sink = sink
        self._sparse = sink.take_sparse()
        self._on_received = on_received
        self._left = 0
        self._pieces: list[bytes] = []
        self._size = 0

    def accept(self, status: int, headers: Mapping[str, str]) -> bool:
        """Whether the body is what was asked for. Otherwise do not read it."""
        size = self._sink.body_bytes(status, headers)
        self._sink.accepted = size is not None
        self._left = size or 0
        return self._sink.accepted

    async def write(self, piece: bytes, url: str) -> None:
        """Take the next piece. Raises `ProtocolError` if the body is longer than announced."""
        if len(piece) > self._left:
            raise ProtocolError(f"the response from {url} is longer than its range", url=url)
        self._left -= len(piece)
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size >= BATCH_BYTES or self._sink.memory is not None:
            await self._flush()

    async def finish(self, url: str) -> None:
        """Write the rest. Raises `ProtocolError` if the body was shorter than announced."""
        await self._flush()
        if self._left:
            raise ProtocolError(f"the response from {url} is {self._left} bytes shorter than its range", url=url)

    async def _flush(self) -> None:
        pieces, size, self._pieces, self._size = self._pieces, self._size, [], 0
        if not size:
            return
        if self._sink.memory is None:
            await finished(in_thread(None, _write_file, self._sink, b"".join(pieces), self._sparse))
        else:
            for piece in pieces:
                at = self._sink.received
                self._sink.memory[at : at + len(piece)] = piece
                _note(self._sink, piece)
        if self._on_received is not None:
            self._on_received(size)


def _note(sink: BodySink, data: bytes | memoryview) -> None:
    sink.crc64 = hashing.crc64(data, sink.crc64)
    sink.received += len(data)


def _write_file(sink: BodySink, data: bytes, sparse: bool) -> None:
    whole = memoryview(data)
    for zeros, piece in stretches(whole, sink.offset + sink.received) if sparse else ((False, whole),):
        if zeros:
            _note(sink, piece)
        else:
            _write_piece(sink, piece)


def _write_piece(sink: BodySink, rest: memoryview) -> None:
    while rest:
        try:
            count = os.pwrite(sink.fd, rest, sink.offset + sink.received)
        except OSError as error:
            raise TargetError(f"cannot write: {error.strerror}", errno=error.errno or 0) from error
        _note(sink, rest[:count])
        rest = rest[count:]
