"""The local files of a benchmark: how much space they need, how they are made and compared."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from cosxfer.benchmark.records import BenchmarkCase, Direction
from cosxfer.errors import CosxferError
from cosxfer.events import ProgressMeter
from cosxfer.figures import human_bytes
from cosxfer.limits import MIB
from cosxfer.models import Progress

BLOCK_BYTES = 4 * MIB
SPARE_BYTES = 64 * MIB
"""What stays free on the disk."""
FILE_BYTES = 4096
"""What a file may take besides its bytes."""

Report = Callable[[str, Progress], None]
"""Gets an activity and its progress."""


def needed_bytes(cases: Iterable[BenchmarkCase], directions: Collection[Direction]) -> int:
    """Return the space for the local files. Those of one case exist at a time."""
    copies = 2 if "download" in directions else 1
    return max((copies * (case.size + FILE_BYTES * case.objects) for case in cases), default=0) + SPARE_BYTES


def check_space(folder: Path, needed: int) -> None:
    """Raise `CosxferError` if ``folder`` has less space than ``needed``."""
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise CosxferError(f"the free space of {str(folder)!r} cannot be read: {_reason(error)}") from error
    if free < needed:
        raise CosxferError(
            f"the benchmark needs {human_bytes(needed)} in {str(folder)!r}, but only {human_bytes(free)} are free; "
            "use smaller or fewer objects, or a folder on a larger disk"
        )


def make_files(folder: Path, case: BenchmarkCase, report: Report | None) -> list[Path]:
    """Write the files of a case: random bytes, so that nothing on the way can compress them."""
    meter = ProgressMeter(case.size)
    digits = len(str(case.objects - 1))
    paths = [folder / f"{number:0{digits}}.bin" for number in range(case.objects)]
    done = 0
    try:
        folder.mkdir()
        for path in paths:
            with path.open("wb") as file:
                left = case.object_bytes
                while left:
                    written = file.write(os.urandom(min(BLOCK_BYTES, left)))
                    left, done = left - written, done + written
                    if report is not None and (progress := meter.update(done, time.monotonic())) is not None:
                        report("making", progress)
        if report is not None:
            report("making", meter.finish(time.monotonic()))
    except OSError as error:
        raise CosxferError(f"the files for the benchmark cannot be written to {str(folder)!r}: {_reason(error)}") from (
            error
        )
    return paths


def are_equal(first: Path, second: Path) -> bool:
    """Whether both files have the same bytes. One that cannot be read is not equal."""
    try:
        with first.open("rb") as one, second.open("rb") as other:
            while True:
                block = one.read(BLOCK_BYTES)
                if block != other.read(BLOCK_BYTES):
                    return False
                if not block:
                    return True
    except OSError:
        return False


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
