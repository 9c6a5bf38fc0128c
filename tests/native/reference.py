"""Slow, simple implementations to compare the kernels with."""

from __future__ import annotations

import ctypes
import hashlib
import mmap
import random

MASK = 0xFFFF_FFFF_FFFF_FFFF


def crc64_bitwise(data: bytes, value: int = 0) -> int:
    """CRC-64/XZ, bit by bit, from its definition: reflected, initial value and final XOR all ones."""
    crc = value ^ MASK
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0xC96C5795D7870F42 if crc & 1 else 0)
    return crc ^ MASK


def md5(data: bytes) -> bytes:
    return hashlib.md5(data).digest()


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed * 1_000_003 + size).randbytes(size)


class Guarded:
    """Memory between two unreadable pages."""

    def __init__(self, size: int) -> None:
        page = mmap.PAGESIZE
        self.inner = -(-size // page) * page
        self.size = size
        self.map = mmap.mmap(-1, self.inner + 2 * page)
        self._bytes = (ctypes.c_char * len(self.map)).from_buffer(self.map)
        address = ctypes.addressof(self._bytes)
        mprotect = ctypes.CDLL(None, use_errno=True).mprotect
        mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        for offset in (0, page + self.inner):
            if mprotect(address + offset, page, 0):
                raise OSError(ctypes.get_errno(), "mprotect")

    def at_end(self, data: bytes) -> memoryview:
        """``data``, placed directly before the unreadable page."""
        return self._place(data, mmap.PAGESIZE + self.inner - len(data))

    def at_start(self, data: bytes) -> memoryview:
        return self._place(data, mmap.PAGESIZE)

    def _place(self, data: bytes, offset: int) -> memoryview:
        view = memoryview(self.map)[offset : offset + len(data)]
        view[:] = data
        return view
