"""The parts that the server has, in plain arrays: 41 bytes for each, and its ETag only if that is not its MD5.

`array` and not numpy: parts are added one at a time and read one after another. `array` does that as fast, and numpy
takes 0.1 s to import.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterator

from cosxfer.cos.identifiers import bare_etag
from cosxfer.engine.multipart.source import HashedPart
from cosxfer.planning import PartRange

_MD5_BYTES = 16


class PartTable(Collection[int]):
    """The parts by their numbers, from 1. Whatever reads the table gets them in the order of the numbers."""

    __slots__ = ("_count", "_crc64s", "_etags", "_known", "_lengths", "_md5s", "_offsets", "size")

    def __init__(self) -> None:
        self.size = 0
        """Bytes of all parts together."""
        self._count = 0
        self._known = bytearray()
        """1 for each part that is there."""
        self._offsets = array("Q")
        self._lengths = array("Q")
        self._crc64s = array("Q")
        self._md5s = bytearray()
        self._etags: dict[int, str] = {}
        """The ETags that are not written as the MD5 of their part."""

    def add(self, part: HashedPart, etag: str) -> None:
        """Add a part. It replaces one of the same number."""
        place, md5 = part.range, part.md5
        assert len(md5) == _MD5_BYTES
        number, row = place.number, place.number - 1
        self.remove(number)
        if number > len(self._known):
            self._grow(number)
        self._known[row] = 1
        self._offsets[row] = place.offset
        self._lengths[row] = place.length
        self._crc64s[row] = part.crc64
        self._md5s[row * _MD5_BYTES : number * _MD5_BYTES] = md5
        if etag != f'"{md5.hex()}"':
            self._etags[number] = etag
        self._count += 1
        self.size += place.length

    def remove(self, number: int) -> None:
        """Forget a part, if it is there."""
        if number in self:
            self._known[number - 1] = 0
            self._etags.pop(number, None)
            self._count -= 1
            self.size -= self._lengths[number - 1]

    def _grow(self, rows: int) -> None:
        more = rows - len(self._known)
        self._known.extend(bytes(more))
        self._md5s.extend(bytes(more * _MD5_BYTES))
        for column in (self._offsets, self._lengths, self._crc64s):
            column.frombytes(bytes(more * column.itemsize))

    def __contains__(self, number: object) -> bool:
        return isinstance(number, int) and 0 < number <= len(self._known) and self._known[number - 1] == 1

    def __iter__(self) -> Iterator[int]:
        return (number for number, known in enumerate(self._known, start=1) if known)

    def __len__(self) -> int:
        return self._count

    def places(self) -> Iterator[tuple[int, int, int, int]]:
        """The number, offset, length and CRC64 of each part."""
        columns = zip(self._known, self._offsets, self._lengths, self._crc64s, strict=True)
        for number, (known, offset, length, crc64) in enumerate(columns, start=1):
            if known:
                yield number, offset, length, crc64

    def etags(self) -> Iterator[tuple[int, int, str]]:
        """The number, length and ETag of each part."""
        digits, each = self._md5s.hex(), 2 * _MD5_BYTES
        for number in self:
            etag = self._etags.get(number)
            if etag is None:
                etag = f'"{digits[(number - 1) * each : number * each]}"'
            yield number, self._lengths[number - 1], etag

    def hashed(self) -> Iterator[HashedPart]:
        """Each part as it was hashed."""
        for number, offset, length, crc64 in self.places():
            place = PartRange(number=number, offset=offset, length=length)
            yield HashedPart(range=place, md5=self._md5(number), crc64=crc64)

    def etags_are_md5s(self) -> bool:
        """Whether the ETag of each part is its MD5."""
        return all(bare_etag(etag) == self._md5(number).hex() for number, etag in self._etags.items())

    def _md5(self, number: int) -> bytes:
        return bytes(self._md5s[(number - 1) * _MD5_BYTES : number * _MD5_BYTES])
