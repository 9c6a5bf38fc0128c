"""MD5 and CRC-64/XZ on native kernels; ``cosxfer._native.pure_hashing`` is the twin in Python.

Lengths, sizes and positions are bytes. A buffer is anything contiguous with the buffer protocol; it must not change
while it is hashed. Large work gives up the GIL.
"""

from collections.abc import Sequence
from typing import NamedTuple

from typing_extensions import Buffer

class PartDigest(NamedTuple):
    """The digests of one buffer: MD5 (16 bytes, what Content-MD5 holds in base64), CRC-64/XZ, length in bytes."""

    md5: bytes
    crc64: int
    length: int

class Md5:
    """One MD5 stream; hashlib's interface without the options.

    Raises ``RuntimeError`` while another thread is inside ``update`` or a ``PartHasher`` holds the stream.
    """

    digest_size: int
    block_size: int
    name: str
    def __init__(self, data: Buffer | None = None) -> None: ...
    @property
    def length(self) -> int:
        """Bytes hashed so far."""
    def update(self, data: Buffer) -> None: ...
    def digest(self) -> bytes:
        """16 bytes; the stream may go on afterwards."""
    def hexdigest(self) -> str: ...
    def copy(self) -> Md5: ...

def md5(data: Buffer) -> bytes:
    """The MD5 of one buffer: 16 bytes."""

def crc64(data: Buffer, value: int = 0) -> int:
    """CRC-64/XZ (COS's x-cos-hash-crc64ecma) of ``data``, continuing ``value``, the CRC of what came before."""

def crc64_combine(crc1: int, crc2: int, length2: int) -> int:
    """The CRC of A followed by B, from A's CRC, B's CRC and B's length. O(log length2)."""

def hash_parts(buffers: Sequence[Buffer], *, threads: int = 1) -> list[PartDigest]:
    """MD5 and CRC64 of each buffer in one pass over memory, many buffers at a time."""

def md5_many(buffers: Sequence[Buffer], *, threads: int = 1) -> list[bytes]:
    """The MD5 of each of many buffers, 16 bytes each."""

class PartHasher:
    """Hashes many buffers at once, in rounds.

    ``whole`` adds the MD5 of whole files in the same read: the stream (``Md5``) that a buffer continues, one for each
    buffer, ``None`` where there is none; a single ``Md5`` means that all the buffers continue it. Buffers of the same
    stream are hashed one after another in the order given, different streams side by side. A stream is taken when the
    hasher is made and given back, advanced, when it is ``done``; a hasher dropped before that leaves it as it was. So
    a file's parts may be spread over several hashers, one after another. A stream is a chain: it runs at the speed of
    one lane.

    ``mapped`` means that all buffers lie in read-only shared mappings of files. Their pages are then released from the
    process when the lanes have left them, a huge page (2 MiB) at a time. The twin cannot do that (see ``releases``):
    advance by some MiB, then release what lies behind ``positions``. Prefetching ahead of it does not pay where the
    file is in the page cache.

    ``threads`` bounds how many threads a call of ``advance`` uses. An object serves one caller at a time.
    """

    def __init__(
        self,
        buffers: Sequence[Buffer],
        *,
        crc64: bool = True,
        whole: Md5 | Sequence[Md5 | None] | None = None,
        threads: int = 1,
        mapped: bool = False,
    ) -> None: ...
    @property
    def releases(self) -> bool:
        """Whether it releases pages itself."""
    def advance(self, max_bytes: int) -> int:
        """Hash about ``max_bytes`` more, over all buffers together, without the GIL; returns ``hashed_bytes``."""
    @property
    def hashed_bytes(self) -> int: ...
    @property
    def total_bytes(self) -> int: ...
    @property
    def done(self) -> bool: ...
    def positions(self) -> list[int]:
        """The bytes of each buffer that were read and will not be read again."""
    def digests(self) -> list[PartDigest]:
        """One per buffer, in order; ``RuntimeError`` before ``done``. With ``crc64=False`` the CRC is 0."""

digest_function: object
"""A C function for `cosxfer._native.files` in a capsule: computes both digests of a buffer. None in the twin."""
crc64_function: object
"""The C function of `crc64` for `cosxfer._native.wire` in a capsule. None in the twin."""

def kernels() -> tuple[str, ...]:
    """The native kernels that this machine can run, best first."""

def kernel() -> str:
    """The kernel in use."""

def use_kernel(name: str) -> None:
    """Use another kernel for what is started from now on (tests and benchmarks; ``ValueError`` if it is not there)."""

def lanes() -> int:
    """How many MD5 streams the kernel in use advances at a time."""

def limit_lanes(count: int) -> None:
    """Use at most so many lanes per thread (benchmarks compare widths); 0 takes the limit away."""
