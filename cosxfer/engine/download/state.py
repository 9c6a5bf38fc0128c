"""What a download has done so far. The next run of its task continues from here."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

from cosxfer._native import hashing
from cosxfer.cos.sink import BodySink
from cosxfer.journal_downloads import DownloadEntry, JournalRange
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

    def __init__(
        self, version: ObjectVersion, plan: Plan, target: PartFile, entry: DownloadEntry | None = None
    ) -> None:
        """``entry`` is what the journal has of it."""
        self.version = version
        self.plan = plan
        self.target = target
        self.entry = entry
        self.sparse = False
        """Whether the file is a hole where nothing was received."""
        self.resumed = 0
        """Bytes that were in the file when the current run began."""
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
                sparse=self.sparse,
            )
        return sink

    def complete(self, part: PartRange) -> None:
        """A range is complete."""
        sink = self._begun.pop(part.number)
        self._done[part.number - 1] = 1
        self._crc64s[part.number - 1] = sink.crc64
        self.loaded += part.length

        if self.entry is not None:
            self.entry.add(JournalRange(part.number, part.length, sink.crc64))

    def restore(self, ranges: Iterable[JournalRange]) -> None:
        """These ranges, or their beginnings, are in the file. Their bytes were compared with their CRC64s."""
        for number, length, crc64 in ranges:
            part = self.plan.part(number)
            sink = self.sink(part)
            sink.received, sink.crc64 = length, crc64
            if length == part.length:
                del self._begun[number]
                self._done[number - 1] = 1
                self._crc64s[number - 1] = crc64
                self.loaded += length
        self.resumed = self.received()

    def note_begun(self) -> None:
        """Give the journal the beginnings of ranges. Nothing is received any more."""
        if self.entry is not None:
            for number, sink in self._begun.items():
                if sink.received:
                    self.entry.add(JournalRange(number, sink.received, sink.crc64))

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


@dataclass(frozen=True, kw_only=True)
class LeftFile:
    """A temporary file that is closed."""

    path: str
    received: int
    size: int
    entry: DownloadEntry | None

    @classmethod
    def of(cls, state: DownloadState) -> LeftFile:
        return cls(path=str(state.target.path), received=state.received(), size=state.plan.size, entry=state.entry)
