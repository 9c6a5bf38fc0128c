"""``cosxfer bench``: measures uploads and downloads, prints what they took, and deletes what it has made."""

from __future__ import annotations

import platform
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import typer

from cosxfer import __version__
from cosxfer._native import KERNEL
from cosxfer.arguments import NumberOrAuto
from cosxfer.benchmark import Benchmark, BenchmarkCase, CaseResult, Cleanup, PhaseResult
from cosxfer.benchmark.records import Direction
from cosxfer.benchmark.run import DIRECTIONS
from cosxfer.cli.connection import Connection
from cosxfer.cli.cp import VERDICT_SECONDS, report, verdict_words
from cosxfer.cli.failures import FAILED, error_object, message_of
from cosxfer.cli.interrupts import cleans_up
from cosxfer.cli.notices import show
from cosxfer.cli.output import printable, say
from cosxfer.cli.progress import display
from cosxfer.engine.scheduler import usable_cores
from cosxfer.errors import UsageError
from cosxfer.figures import counted, human_bytes, human_rate
from cosxfer.foreign import foreign, shorten, shown_path
from cosxfer.limits import KIB, MIB
from cosxfer.records import dataclass

DEFAULT_SIZES = (16 * KIB, 8 * MIB, 256 * MIB)
DEFAULT_BYTES = 256 * MIB
"""Of all objects of a case."""
DEFAULT_MOST_OBJECTS = 1000

_STOPPING = "stopping and deleting what the benchmark has made. A second Ctrl-C ends at once and leaves it"
_CLEANED = "what the benchmark has made was deleted, unless a line above says otherwise"
_STOPPING_KEPT = "stopping; what the benchmark has made is kept. A second Ctrl-C ends at once"


@dataclass(frozen=True, kw_only=True)
class BenchOptions:
    """The arguments of ``bench``."""

    bucket: str
    prefix: str
    cases: Sequence[BenchmarkCase]
    directions: Sequence[Direction]
    keep: bool
    folder: Path | None
    connection: Connection
    part_size: NumberOrAuto
    as_json: bool


def cases_of(sizes: Sequence[int], counts: Sequence[int]) -> list[BenchmarkCase]:
    """Return the cases of these options. Raises `UsageError` if their numbers do not fit."""
    sizes = sizes or DEFAULT_SIZES
    if len(counts) > 1 and len(counts) != len(sizes):
        raise UsageError(
            f"--count is given {len(counts)} times for {counted(len(sizes), 'size')}; give it once, or once for each "
            "--size",
            name="--count",
        )
    for name, values in (("--size", sizes), ("--count", counts)):
        if any(value < 1 for value in values):
            raise UsageError(f"{name} is {min(values)}; it has to be 1 or more", name=name, value=min(values))
    cases = []
    for number, size in enumerate(sizes):
        objects = max(1, min(DEFAULT_MOST_OBJECTS, DEFAULT_BYTES // size))
        if counts:
            objects = counts[0] if len(counts) == 1 else counts[number]
        cases.append(BenchmarkCase(object_bytes=size, objects=objects))
    return cases


def directions_of(text: str) -> Sequence[Direction]:
    """Read ``--direction``. Raises `UsageError`."""
    if text == "both":
        return DIRECTIONS
    for direction in DIRECTIONS:
        if text == direction:
            return (direction,)
    raise UsageError(
        f"--direction is {shorten(text)}; it can be upload, download or both", name="--direction", value=text
    )


def run(options: BenchOptions) -> None:
    """Run all cases and print the results. Exits with 1 if something failed, is not verified, or could not be deleted.

    If objects of a case do not arrive, the next cases are not run.
    """
    began = time.time()
    with tempfile.TemporaryDirectory(prefix="cosxfer-bench-") as state:
        # The CPU of the journal counts, so there is one. It is deleted with the folder.
        connection = replace(options.connection, journal=str(Path(state, "journal")))
        benchmark = Benchmark(
            connection.client,
            options.bucket,
            options.prefix,
            folder=options.folder,
            part_size=options.part_size,
            keep=options.keep,
        )
        results = _run_cases(benchmark, options, Path(state))
    cleanup = benchmark.clean_up()
    good = cleanup.complete and all(result.good for result in results) and len(results) == len(options.cases)
    figures = _as_json(benchmark, options, results, cleanup, began) if options.as_json else None
    report(figures, summary=_summary(benchmark, options, cleanup), good=good)
    if not good:
        raise typer.Exit(FAILED)


def _run_cases(benchmark: Benchmark, options: BenchOptions, state: Path) -> list[CaseResult]:
    """Run the cases and clean up, whatever happens. ``state`` is the folder of the journal."""
    results: list[CaseResult] = []
    cleans_up(
        lambda: [*_left_now(benchmark, options), *_left_here(benchmark, state)],
        stopping=_STOPPING_KEPT if options.keep else _STOPPING,
        became="the objects below the prefix are kept" if options.keep else _CLEANED,
    )
    try:
        with benchmark:
            needed = benchmark.check(options.cases, options.directions)
            if not options.as_json:
                say(_plan(benchmark, options, needed))
            for case in options.cases:
                with _shown(benchmark, options.directions):
                    result = benchmark.run(case, options.directions)
                results.append(result)
                for phase in result.phases:
                    _tell_failures(phase)
                    if not options.as_json:
                        say(_line(case, phase))
                if any(phase.failed for phase in result.phases):
                    break
    finally:
        if benchmark.cleanup is not None:
            _tell_left(benchmark, options, benchmark.cleanup)
    return results


@contextmanager
def _shown(benchmark: Benchmark, directions: Sequence[Direction]) -> Iterator[None]:
    """Show the progress of a case."""
    activities = ("making", "sending", "receiving") if "download" in directions else ("making", "sending")
    with display(activities=activities) as shown:
        benchmark.on_progress = shown.update
        yield
    benchmark.on_progress = None


# -- for people --------------------------------------------------------------------------------------------------------


def _plan(benchmark: Benchmark, options: BenchOptions, needed: int) -> str:
    objects = sum(case.objects for case in options.cases)
    size = human_bytes(sum(case.size for case in options.cases))
    moved = f"{size} to send" + (f", {size} to receive" if "download" in options.directions else "")
    return printable(
        f"{counted(objects, 'object')} below cos://{benchmark.bucket}/{benchmark.prefix}: {moved}; up to "
        f"{human_bytes(needed)} of space for files"
    )


def _line(case: BenchmarkCase, phase: PhaseResult) -> str:
    """Return the lines about one direction of a case."""
    per_gb = phase.cpu_seconds_per_gb
    words = [human_rate(phase.size, phase.seconds), f"{phase.objects_per_second:,.1f} objects/s"]
    words += [] if per_gb is None else [f"{per_gb:.2f} CPU s/GB"]
    words += [] if phase.peak_bytes is None else [f"peak of memory {human_bytes(phase.peak_bytes)}"]
    lines = [f"{phase.direction} of {human_bytes(case.object_bytes)} x {case.objects:,}: {', '.join(words)}"]
    lines.append(f"  {', '.join(_proofs(phase))}")
    if phase.verdict is None or phase.seconds < VERDICT_SECONDS:
        lines.append(f"  {phase.seconds:.2f} s, too short to tell what bounded it; use more objects or larger ones")
    else:
        lines.append(f"  {phase.seconds:.1f} s; {verdict_words(phase.verdict)}")
    return "\n".join(lines)


def _proofs(phase: PhaseResult) -> list[str]:
    names = {"crc64": "CRC64", "etag": "MD5"}
    words = [phase.http_version] * bool(phase.http_version)
    words.append(f"{phase.retries:,} sent again")
    words += [f"{count:,} verified by {names.get(name, name)}" for name, count in sorted(phase.verified_by.items())]
    words += [
        f"{count:,} {what}"
        for count, what in (
            (phase.unverified, "NOT verified"),
            (phase.differing, "DIFFERENT from what was sent"),
            (phase.failed, "FAILED"),
        )
        if count
    ]
    if phase.direction == "download" and phase.objects and not phase.differing:
        words.append("equal to what was sent")
    return words


def _summary(benchmark: Benchmark, options: BenchOptions, cleanup: Cleanup) -> str:
    place = f"cos://{benchmark.bucket}/{benchmark.prefix}"
    if cleanup.kept:
        command = options.connection.command("rm", "-r", "--versions", "--force", place)
        return printable(f"kept what is below {place}. To delete it: {command}")
    words = [f"deleted {counted(cleanup.deleted_objects, 'object')}"]
    if cleanup.aborted_uploads:
        words.append(f"{counted(cleanup.aborted_uploads, 'unfinished upload')}")
    if not cleanup.complete:
        words.append("NOT ALL: see above")
    return ", ".join(words)


def _tell_failures(phase: PhaseResult) -> None:
    if phase.error is not None:
        more = f" ({phase.failed - 1:,} more failed)" if phase.failed > 1 else ""
        show(f"{phase.direction}: {message_of(phase.error)}{more}")
    if phase.differing:
        show(f"{counted(phase.differing, 'downloaded file')} DIFFERENT from what was sent")
    if phase.unverified:
        show(f"{phase.direction}: the server sent no digest to verify {counted(phase.unverified, 'object')} with")


def _tell_left(benchmark: Benchmark, options: BenchOptions, cleanup: Cleanup) -> None:
    """Say what could not be deleted, and how to delete it."""
    if cleanup.complete:
        return
    what = [counted(len(cleanup.left), "object")] * bool(cleanup.left)
    what += [counted(len(cleanup.left_uploads), "unfinished upload")] * bool(cleanup.left_uploads)
    reasons = "; ".join(foreign(reason) for reason in cleanup.reasons)
    place = f"cos://{benchmark.bucket}/{benchmark.prefix}"
    show(f"{' and '.join(what) or 'something'} may be left below {place}: {reasons}. To delete what is left:")
    for line in _commands(benchmark, options):
        show(line)


def _left_now(benchmark: Benchmark, options: BenchOptions) -> list[str]:
    """Return what is left if the process ends now, for people."""
    if not benchmark.sent or (benchmark.cleanup is not None and benchmark.cleanup.complete):
        return []
    place = f"cos://{benchmark.bucket}/{benchmark.prefix}"
    return [f"objects and parts of uploads may be left below {place}. To delete them:", *_commands(benchmark, options)]


def _left_here(benchmark: Benchmark, state: Path) -> list[str]:
    """Return which local folders are left if the process ends now, for people."""
    folders = [folder for folder in (state, benchmark.local_folder) if folder is not None and folder.is_dir()]
    return [f"a local folder is left; delete it: {shown_path(str(folder))}" for folder in folders]


def _commands(benchmark: Benchmark, options: BenchOptions) -> list[str]:
    place = f"cos://{benchmark.bucket}/{benchmark.prefix}"
    command = options.connection.command
    return [
        f"  {command('rm', '-r', '--versions', '--force', place)}",
        f"  {command('uploads', 'abort', place, '--all')}",
    ]


# -- for programs ------------------------------------------------------------------------------------------------------


def _as_json(
    benchmark: Benchmark, options: BenchOptions, results: Sequence[CaseResult], cleanup: Cleanup, began: float
) -> dict[str, object]:
    """Return the object that ``--json`` prints: sizes in bytes, times in seconds."""
    connection = options.connection
    return {
        "bucket": benchmark.bucket,
        "prefix": benchmark.prefix,
        "began": round(began, 3),
        "machine": {
            "cpus": usable_cores(),
            "architecture": platform.machine(),
            "system": f"{platform.system()} {platform.release()}",
            "python": platform.python_version(),
            "cosxfer": __version__,
            "kernel": KERNEL,
        },
        "settings": {
            "concurrency": connection.concurrency,
            "files": connection.files,
            "part_size": options.part_size,
            "http_version": connection.http_version,
        },
        "cases": [
            {
                "object_bytes": result.case.object_bytes,
                "objects": result.case.objects,
                "upload": None if result.upload is None else _phase_as_json(result.upload),
                "download": None if result.download is None else _phase_as_json(result.download),
            }
            for result in results
        ],
        "cases_not_run": len(options.cases) - len(results),
        "cleanup": {
            "kept": cleanup.kept,
            "deleted_objects": cleanup.deleted_objects,
            "aborted_uploads": cleanup.aborted_uploads,
            "left_objects": len(cleanup.left),
            "left_uploads": len(cleanup.left_uploads),
            "reasons": list(cleanup.reasons),
        },
    }


def _phase_as_json(phase: PhaseResult) -> dict[str, object]:
    per_gb = phase.cpu_seconds_per_gb
    return {
        "objects": phase.objects,
        "bytes": phase.size,
        "failed": phase.failed,
        "seconds": round(phase.seconds, 6),
        "bytes_per_second": round(phase.bytes_per_second, 1),
        "objects_per_second": round(phase.objects_per_second, 3),
        "cpu_seconds": round(phase.cpu_seconds, 6),
        "cpu_seconds_per_gb": None if per_gb is None else round(per_gb, 6),
        "peak_memory_bytes": phase.peak_bytes,
        "retries": phase.retries,
        "hedges": phase.hedges,
        "http_version": phase.http_version or None,
        "verified_by": phase.verified_by,
        "unverified": phase.unverified,
        "differing": phase.differing,
        "verdict": None if phase.verdict is None else asdict(phase.verdict),
        "error": None if phase.error is None else error_object(phase.error),
    }
