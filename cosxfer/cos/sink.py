"""The place that the body of a response goes to: memory or an open file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")
BLOCK_BYTES = 4096
"""Of a file system: a smaller hole saves nothing."""
_ZEROS = bytes(BLOCK_BYTES)

_NUMBER = re.compile(r"[0-9]{1,18}")


class BodySink:
    """The place of ``length`` bytes of an object from ``first`` on. Transports write there and count in `received`.

    Only bytes of that range are written: the response has to be a 206 with the range, or a 200 with the whole object if
    the request has no Range (``ranged``). ``shorter``: the object may end before the range does. ``etag``: what the
    response has to name; empty for anything. The bodies of other responses never come here.

    ``memory`` is writable and has at least ``length`` bytes. Without it, the bytes go to ``offset`` of the file ``fd``.

    ``sparse``: the file has a hole at this place, so blocks of zeros need not be written. That is true for the first
    attempt alone, because one that failed may have left wrong bytes behind those that it has counted.

    An attempt that fails keeps what it has received. The next one continues after these bytes, unless `restart` is
    called.
    """

    __slots__ = (
        "accepted",
        "crc64",
        "etag",
        "fd",
        "first",
        "length",
        "memory",
        "offset",
        "ranged",
        "received",
        "shorter",
        "sparse",
    )

    def __init__(
        self,
        *,
        length: int,
        first: int = 0,
        ranged: bool = True,
        shorter: bool = False,
        etag: str = "",
        memory: memoryview | None = None,
        fd: int = -1,
        offset: int = 0,
        sparse: bool = False,
    ) -> None:
        self.first = first
        self.length = length
        self.ranged = ranged
        self.shorter = shorter
        self.etag = etag
        self.memory = memory
        self.fd = fd
        self.offset = offset
        self.sparse = sparse
        self.accepted = False
        """Whether the last response was the range that was asked for."""
        self.received = 0
        """How many bytes of the range are in their place."""
        self.crc64 = 0
        """The CRC64 of these bytes."""

    def take_sparse(self) -> bool:
        """Whether the attempt that begins may leave out zeros. No later one may."""
        sparse, self.sparse = self.sparse, False
        return sparse

    def restart(self) -> None:
        """Forget what was received."""
        self.received = self.crc64 = 0

    def body_bytes(self, status: int, headers: Mapping[str, str]) -> int | None:
        """Return how many bytes the body of a success has; None if it is not what was asked for."""
        wanted, announced = self.length - self.received, headers.get("content-length")
        if self.etag and headers.get("etag") != self.etag:
            return None
        if announced is not None and not _NUMBER.fullmatch(announced):
            return None
        if status == 206 and self.ranged:
            found = _RANGE.fullmatch(headers.get("content-range", ""))
            if found is None:
                return None
            first, last, total = map(int, found.groups())
            size = last - first + 1
            if first != self.first + self.received or not 0 < size <= wanted or last >= total:
                return None
            if size < wanted and not (self.shorter and last == total - 1):
                return None
            return size if announced is None or int(announced) == size else None
        if status == 200 and (not self.ranged or self.shorter):
            # Without a range, or the server ignores it, as it may for an empty object: the whole object.
            if announced is None or "content-range" in headers or self.first + self.received:
                return None
            size = int(announced)
            return size if size == wanted or (size < wanted and self.shorter) else None
        return None


def stretches(data: memoryview, at: int) -> Iterator[tuple[bool, memoryview]]:
    """Yield the stretches of ``data`` that are blocks of zeros (True) or not. It begins at byte ``at`` of a file."""
    begin, end, zeros = 0, 0, False
    while end < len(data):
        block = data[end : end + BLOCK_BYTES - (at + end) % BLOCK_BYTES]
        empty = block == _ZEROS[: len(block)]
        if empty != zeros and end > begin:
            yield zeros, data[begin:end]
            begin = end
        zeros = empty
        end += len(block)
    if end > begin:
        yield zeros, data[begin:end]
