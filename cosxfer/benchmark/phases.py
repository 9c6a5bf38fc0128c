"""The measured part of a benchmark: one direction of one case, by a client of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from cosxfer.address import ObjectAddress
from cosxfer.arguments import NumberOrAuto
from cosxfer.benchmark.files import Report, are_equal
from cosxfer.benchmark.records import Direction, PhaseResult
from cosxfer.benchmark.usage import Meter, Usage
from cosxfer.client import Client
from cosxfer.config import MAX_CONCURRENCY
from cosxfer.engine.limiter import Observed
from cosxfer.models import DownloadResult, Progress, UploadResult, Verdict
from cosxfer.tasks.downloads import DownloadedFile
from cosxfer.tasks.file_result import FileResult
from cosxfer.verdict import SHORTEST_SECONDS

T = TypeVar("T")
Keys = Mapping[Path, str]
"""Local files and the keys of their objects."""


def upload(
    connect: Callable[[], Client], bucket: str, keys: Keys, *, part_size: NumberOrAuto, report: Report | None
) -> tuple[PhaseResult, list[FileResult]]:
    """Upload the files. Returns what it took, and the outcome of each file. No object is replaced."""

    def transfer(client: Client) -> list[FileResult]:
        return client.upload_files(
            [
                {
                    "bucket": bucket,
                    "key": key,
                    "path": path,
                    "part_size": part_size,
                    "forbid_overwrite": True,
                    "abort_on_failure": True,
                }
                for path, key in keys.items()
            ],
            on_progress=_reporting(report, "sending"),
        )

    outcomes, usage, verdict = _measured(connect, bucket, transfer)
    arrived = [outcome.result for outcome in outcomes if outcome.result is not None]
    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    return _result("upload", arrived, errors, usage=usage, verdict=verdict), outcomes


def download(
    connect: Callable[[], Client],
    bucket: str,
    keys: Keys,
    folder: Path,
    *,
    part_size: NumberOrAuto,
    report: Report | None,
) -> PhaseResult:
    """Download the objects into ``folder``. Then compare the files with what was uploaded, which is not measured."""

    def transfer(client: Client) -> list[DownloadedFile]:
        return client.download_files(
            [
                {"bucket": bucket, "key": key, "path": folder / path.name, "part_size": part_size}
                for path, key in keys.items()
            ],
            on_progress=_reporting(report, "receiving"),
        )

    outcomes, usage, verdict = _measured(connect, bucket, transfer)
    arrived = [outcome.result for outcome in outcomes if outcome.result is not None]
    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    sent = {str(folder / path.name): path for path in keys}
    differing = sum(not are_equal(Path(result.path), sent[result.path]) for result in arrived)
    return _result("download", arrived, errors, usage=usage, verdict=verdict, differing=differing)


def _measured(
    connect: Callable[[], Client], bucket: str, transfer: Callable[[Client], list[T]]
) -> tuple[list[T], Usage, Verdict | None]:
    with connect() as client:
        observed = client._run(_observe(client, bucket))
        meter = Meter()
        outcomes = transfer(client)
        usage = meter.read()
        verdict = None
        if observed is not None and usage.seconds >= SHORTEST_SECONDS:
            verdict = client._run(_judge(observed))
    return outcomes, usage, verdict


async def _observe(client: Client, bucket: str) -> Observed | None:
    """Begin to observe all transfers of the client. On its event loop, where the scheduler counts."""
    observe = client._client._transfers.limiter.observe
    return None if observe is None else observe(ObjectAddress(bucket, ""), size=None, limit=MAX_CONCURRENCY)


async def _judge(observed: Observed) -> Verdict:
    verdict = observed.judge(parts=0)
    observed.end(None)
    return verdict


def _result(
    direction: Direction,
    arrived: Sequence[UploadResult | DownloadResult],
    errors: Sequence[Exception],
    *,
    usage: Usage,
    verdict: Verdict | None,
    differing: int = 0,
) -> PhaseResult:
    proofs = Counter(result.verified_by for result in arrived if result.verified)
    return PhaseResult(
        direction=direction,
        objects=len(arrived),
        size=sum(result.size for result in arrived),
        failed=len(errors),
        error=errors[0] if errors else None,
        seconds=usage.seconds,
        cpu_seconds=usage.cpu_seconds,
        peak_bytes=usage.peak_bytes,
        retries=sum(result.retries for result in arrived),
        hedges=sum(result.hedges for result in arrived if isinstance(result, UploadResult)),
        http_version=next((result.http_version for result in arrived if isinstance(result, UploadResult)), ""),
        verified_by=dict(proofs),
        unverified=sum(not result.verified for result in arrived),
        differing=differing,
        verdict=verdict,
    )


def _reporting(report: Report | None, activity: str) -> Callable[[Progress], None] | None:
    return None if report is None else partial(report, activity)
