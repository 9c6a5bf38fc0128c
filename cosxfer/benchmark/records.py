"""The records of a benchmark. Sizes are bytes."""

from __future__ import annotations

from dataclasses import field
from typing import Literal, TypeAlias

from cosxfer.models import Verdict
from cosxfer.records import dataclass

Direction: TypeAlias = Literal["upload", "download"]


@dataclass(frozen=True, kw_only=True)
class BenchmarkCase:
    """What is transferred together: ``objects`` files of ``object_bytes`` each."""

    object_bytes: int
    objects: int

    @property
    def size(self) -> int:
        """Bytes of all objects."""
        return self.object_bytes * self.objects


@dataclass(frozen=True, kw_only=True)
class PhaseResult:
    """One direction of a case. Rates count the objects that arrived."""

    direction: Direction
    objects: int
    """Objects that arrived."""
    size: int
    """Their bytes."""
    failed: int
    """Objects that did not."""
    error: Exception | None
    """The first failure."""
    seconds: float
    """From the call to its end. The connections are opened in this time."""
    cpu_seconds: float
    """User and system time of this process, all threads."""
    peak_bytes: int | None
    """The most resident memory, mapped pages of files included. None if the system does not tell."""
    retries: int
    """Requests that were sent again, for the objects that arrived."""
    hedges: int
    """Parts that were sent a second time because they straggled."""
    http_version: str
    """Empty for downloads."""
    verified_by: dict[str, int]
    """How many objects were verified by ``"crc64"`` and by ``"etag"``."""
    unverified: int
    """Objects that arrived and whose server sent no digest."""
    differing: int
    """Downloaded files that are not equal to what was uploaded."""
    verdict: Verdict | None
    """What bounded the transfer; None if it took less than 0.3 s, which is too short to tell."""

    @property
    def good(self) -> bool:
        """Whether all objects arrived and are proven."""
        return not (self.failed or self.unverified or self.differing)

    @property
    def bytes_per_second(self) -> float:
        return self.size / self.seconds if self.seconds else 0.0

    @property
    def objects_per_second(self) -> float:
        return self.objects / self.seconds if self.seconds else 0.0

    @property
    def cpu_seconds_per_gb(self) -> float | None:
        """CPU seconds for 10⁹ bytes; None if no byte arrived."""
        return self.cpu_seconds / self.size * 1e9 if self.size else None


@dataclass(frozen=True, kw_only=True)
class CaseResult:
    """The outcome of a case. A direction that was not measured is None."""

    case: BenchmarkCase
    upload: PhaseResult | None = None
    download: PhaseResult | None = None

    @property
    def phases(self) -> list[PhaseResult]:
        """The directions that were measured."""
        return [phase for phase in (self.upload, self.download) if phase is not None]

    @property
    def good(self) -> bool:
        """Whether all objects arrived in each direction and are proven."""
        return all(phase.good for phase in self.phases)


@dataclass(frozen=True, kw_only=True)
class Cleanup:
    """What became of the objects that a benchmark has made."""

    kept: bool
    """Nothing was to be deleted."""
    deleted_objects: int = 0
    """Objects, or versions of them, that were deleted."""
    aborted_uploads: int = 0
    """Unfinished multipart uploads that were deleted."""
    left: tuple[str, ...] = ()
    """Keys that could not be deleted, or of which it is not known."""
    left_uploads: tuple[str, ...] = ()
    """Keys of unfinished multipart uploads that could not be deleted."""
    reasons: tuple[str, ...] = field(default=())
    """Why: each reason once."""

    @property
    def complete(self) -> bool:
        """Whether nothing is left that was to be deleted."""
        return not (self.left or self.left_uploads or self.reasons)
