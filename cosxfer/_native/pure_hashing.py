"""The twin of ``hashing`` in Python: the same names and results, for where no native module was built.

MD5 is hashlib's. CRC-64 takes numpy for what is long: the data is cut into equal columns, a table step is made on all
columns at once, and the columns' CRCs are combined.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Buffer

_POLYNOMIAL = 0xC96C5795D7870F42  # ECMA-182, reflected
_MASK = 0xFFFF_FFFF_FFFF_FFFF
_COLUMNS = 4096
_VECTOR_BYTES = 64 * 1024  # below it, the loop over bytes is as fast
_BLOCK_BYTES = 1024 * 1024

digest_function: object = None
crc64_function: object = None


class PartDigest(NamedTuple):
    """The digests of one buffer: MD5 (16 bytes), CRC-64/XZ, length in bytes."""

    md5: bytes
    crc64: int
    length: int


class Md5:
    """One MD5 stream; see ``hashing.pyi``."""

    digest_size = 16
    block_size = 64
    name = "md5"

    def __init__(self, data: Buffer | None = None) -> None:
        self._hash = hashlib.md5(usedforsecurity=False)
        self._length = 0
        self._busy = False
        if data is not None:
            self.update(data)

    def _check_free(self) -> None:
        if self._busy:
            raise RuntimeError("this MD5 stream is in use by another thread or by a PartHasher that is not done")

    @property
    def length(self) -> int:
        """Bytes hashed so far."""
        return self._length

    def update(self, data: Buffer) -> None:
        self._check_free()
        self._hash.update(data)
        self._length += memoryview(data).nbytes

    def digest(self) -> bytes:
        self._check_free()
        return self._hash.digest()

    def hexdigest(self) -> str:
        return self.digest().hex()

    def copy(self) -> Md5:
        self._check_free()
        return self._copy()

    def _copy(self) -> Md5:
        other = Md5()
        other._hash = self._hash.copy()
        other._length = self._length
        return other


def md5(data: Buffer) -> bytes:
    """The MD5 of one buffer: 16 bytes."""
    return hashlib.md5(data, usedforsecurity=False).digest()


@cache
def _byte_table() -> list[int]:
    table = []
    for value in range(256):
        crc = value
        for _ in range(8):
            crc = (crc >> 1) ^ (_POLYNOMIAL if crc & 1 else 0)
        table.append(crc)
    return table


@cache
def _word_table() -> NDArray:  # type: ignore[type-arg]  # uint64, two bytes per look-up
    import numpy as np

    low = np.array(_byte_table(), dtype=np.uint64)
    words = np.arange(65536, dtype=np.uint64)
    after_one = low[(words & 0xFF).astype(np.intp)] ^ (words >> np.uint64(8))
    return low[(after_one & np.uint64(0xFF)).astype(np.intp)] ^ (after_one >> np.uint64(8))


def _bytewise(crc: int, data: memoryview) -> int:
    table = _byte_table()
    for byte in data:
        crc = (crc >> 8) ^ table[(crc ^ byte) & 0xFF]
    return crc


def _columns(crc: int, data: memoryview) -> int:
    """The raw CRC (no inversion) of data whose length is a multiple of two rows."""
    import numpy as np

    table = _word_table()
    rows = np.ascontiguousarray(np.frombuffer(data, dtype="<u2").reshape(_COLUMNS, -1).T)
    state = np.zeros(_COLUMNS, dtype=np.uint64)
    state[0] = crc
    for row in rows:
        state = table[((state ^ row) & np.uint64(0xFFFF)).astype(np.intp)] ^ (state >> np.uint64(16))
    # Halve the columns: the left one of each pair moves over the length of the right one.
    length = data.nbytes // _COLUMNS
    while state.size > 1:
        state = _shift(state[0::2], length) ^ state[1::2]
        length *= 2
    return int(state[0])


def _shift(crcs: NDArray, length: int) -> NDArray:  # type: ignore[type-arg]  # uint64
    """Each CRC followed by ``length`` zero bytes: a linear map, so it is the sum of the images of the bits set."""
    import numpy as np

    result = np.zeros_like(crcs)
    factor = _power(length)
    for bit in range(63, -1, -1):  # bit 63 is x^0
        result ^= np.where((crcs >> np.uint64(bit)) & np.uint64(1), np.uint64(factor), np.uint64(0))
        factor = (factor >> 1) ^ (_POLYNOMIAL if factor & 1 else 0)
    return result


def crc64(data: Buffer, value: int = 0) -> int:
    """CRC-64/XZ of ``data``, continuing ``value``."""
    view = memoryview(data).cast("B")
    crc = (value & _MASK) ^ _MASK
    done = 0
    while view.nbytes - done >= _VECTOR_BYTES:
        take = min(view.nbytes - done, _BLOCK_BYTES) // (2 * _COLUMNS) * (2 * _COLUMNS)
        crc = _columns(crc, view[done : done + take])
        done += take
    return _bytewise(crc, view[done:]) ^ _MASK


def _multiply(a: int, b: int) -> int:
    """The product of two reflected polynomials over GF(2), modulo P."""
    product = 0
    for bit in range(63, -1, -1):
        if a >> bit & 1:
            product ^= b
        b = (b >> 1) ^ (_POLYNOMIAL if b & 1 else 0)
    return product


@cache
def _power(length: int) -> int:
    """x^(8 * length) mod P."""
    result, square = 1 << 63, 1 << 55
    while length:
        if length & 1:
            result = _multiply(result, square)
        square = _multiply(square, square)
        length >>= 1
    return result


def crc64_combine(crc1: int, crc2: int, length2: int) -> int:
    """The CRC of A followed by B, from A's CRC, B's CRC and B's length."""
    if length2 < 0:
        raise OverflowError("a length is not negative")
    return _multiply(_power(length2), crc1) ^ crc2


class PartHasher:
    """Hashes many buffers, one after another, in rounds; see ``hashing.pyi``."""

    def __init__(
        self,
        buffers: Sequence[Buffer],
        *,
        crc64: bool = True,
        whole: Md5 | Sequence[Md5 | None] | None = None,
        threads: int = 1,
        mapped: bool = False,
    ) -> None:
        if threads < 1:
            raise ValueError("threads must be at least 1")
        self._views = [memoryview(buffer).cast("B") for buffer in buffers]
        streams = [whole] * len(self._views) if whole is None or isinstance(whole, Md5) else list(whole)
        if len(streams) != len(self._views):
            raise ValueError("whole must name one stream, or one for each buffer")
        self._whole = streams
        self._held = list(dict.fromkeys(stream for stream in streams if stream is not None))
        for stream in self._held:
            stream._check_free()
        for stream in self._held:
            stream._busy = True
        self._work = {stream: stream._copy() for stream in self._held}
        self._crc64 = crc64
        self._lock = threading.Lock()
        self._positions = [0] * len(self._views)
        self._digests: list[PartDigest] = []
        self._md5, self._crc = Md5(), 0
        self._hashed = 0
        self._total = sum(view.nbytes for view in self._views)
        self._settle()

    def __del__(self) -> None:
        for stream in getattr(self, "_held", ()):
            stream._busy = False

    @property
    def releases(self) -> bool:
        return False

    @property
    def hashed_bytes(self) -> int:
        return self._hashed

    @property
    def total_bytes(self) -> int:
        return self._total

    @property
    def done(self) -> bool:
        return len(self._digests) == len(self._views)

    def _settle(self) -> None:
        """Take the digests of the parts that are complete; give the streams back after the last."""
        while not self.done and self._positions[len(self._digests)] == self._views[len(self._digests)].nbytes:
            self._digests.append(PartDigest(self._md5.digest(), self._crc, self._views[len(self._digests)].nbytes))
            self._md5, self._crc = Md5(), 0
        if self.done:
            for stream in self._held:
                stream._hash, stream._length = self._work[stream]._hash, self._work[stream]._length
                stream._busy = False
            self._held = []

    def advance(self, max_bytes: int) -> int:
        if not self._lock.acquire(blocking=False):
            raise RuntimeError("another thread is inside advance()")
        try:
            self._advance(max(0, max_bytes))
        finally:
            self._lock.release()
        return self._hashed

    def _advance(self, budget: int) -> None:
        while budget and not self.done:
            index = len(self._digests)
            start = self._positions[index]
            piece = self._views[index][start : start + min(budget, _BLOCK_BYTES)]
            self._md5.update(piece)
            if self._crc64:
                self._crc = crc64(piece, self._crc)
            stream = self._whole[index]
            if stream is not None:
                self._work[stream].update(piece)
            self._positions[index] += piece.nbytes
            self._hashed += piece.nbytes
            budget -= piece.nbytes
            self._settle()

    def positions(self) -> list[int]:
        return list(self._positions)

    def digests(self) -> list[PartDigest]:
        if not self.done:
            raise RuntimeError("the digests are known when all is hashed: see done")
        return list(self._digests)


def hash_parts(buffers: Sequence[Buffer], *, threads: int = 1) -> list[PartDigest]:
    """MD5 and CRC64 of each buffer."""
    hasher = PartHasher(buffers, threads=threads)
    hasher.advance(hasher.total_bytes)
    return hasher.digests()


def md5_many(buffers: Sequence[Buffer], *, threads: int = 1) -> list[bytes]:
    """The MD5 of each of many buffers, 16 bytes each."""
    if threads < 1:
        raise ValueError("threads must be at least 1")
    return [md5(buffer) for buffer in buffers]


def kernels() -> tuple[str, ...]:
    return ("pure",)


def kernel() -> str:
    return "pure"


def use_kernel(name: str) -> None:
    if name != "pure":
        raise ValueError(f"no kernel {name!r} in pure Python; there is pure")


def lanes() -> int:
    return 1


def limit_lanes(count: int) -> None:
    """There is one lane; nothing to limit."""
