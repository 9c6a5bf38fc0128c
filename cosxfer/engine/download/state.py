"""What a download has done so far. The next run of its task continues from here."""

from __future__ import annotations

from array import array

from cosxfer._native import hashing
from cosxfer.cos.sink import BodySink
from cosxfer.models import HeadObjectResult
from cosxfer.planning import PartRange, Plan
from cosxfer.records import dataclass
from cosxfer.targets import PartFile


@dataclass(frozen=True, kw_only=True)
class ObjectVersion:
    """What all ranges of a download have to belong to."""

    head: HeadObjectResult
    """The head of the first response, with the size of the whole object."""
    etag: str
    size: int
    crc64: int | None


class DownloadState:
    """The ranges of one version of an object, in one temporary file."""

    def __init__(self, version: ObjectVersion, plan: Plan, target: PartFile) -> None:
        self.version = version
        self.plan = plan
        self.target = target
        self._crc64s = array("Q", bytes(8 * plan.count))
        self._done = bytearray(plan.count)
        self._begun: dict[int, BodySink] = {}
        self.loaded = 0
        """Bytes of the ranges that are complete."""

    def missing(self) -> list[PartRange]:
        """Return the ranges that are not complete."""
        return [self.plan.part(number) for number, done in enumerate(self._done, start=1) if not done]

    def sink(self, part: PartRange) -> BodySink:
        """Return the place of a range, which may hold some of it already."""
        sink = self._begun.get(part.number)
        if sink is None:
            sink = self._begun[part.number] = BodySink(
                first=part.offset,
                length=part.length,
                etag=self.version.etag,
                fd=self.target.fd,
                offset=part.offset,
            )
        return sink

    def complete(self, part: PartRange) -> None:
        """A range is complete."""
        sink = self._begun.pop(part.number)
        self._done[part.number - 1] = 1
        self._crc64s[part.number - 1] = sink.crc64
        self.loaded += part.length

    def received(self) -> int:
        """Return how many bytes are in the file, of complete and of begun ranges."""
        return self.loaded + sum(sink.received for sink in self._begun.values())

    def crc64(self) -> int:
        """Return the CRC64 of the whole object. All ranges are complete."""
        whole = 0
        for number, crc64 in enumerate(self._crc64s, start=1):
            assert self._done[number - 1]
            whole = hashing.crc64_combine(whole, crc64, self.plan.length(number))
        return whole
