"""The main job against the official SDK: one large file in parts of 8 MiB over 4 connections to a local sink.

Each run is a process of its own. Its CPU time is user + system of the upload, without the start-up. The file is in the
page cache, and the sink (`cosxfer serve --discard`) keeps and checks nothing. The client limits a run, and on few cores
the sink too. cosxfer sends the MD5 of each part and compares the response. The SDK does so with EnableMD5; without it,
it sends no digest.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import _report

from cosxfer.limits import MIB
from cosxfer.server import RunningServer, running

PART_BYTES = 8 * MIB
CONNECTIONS = 4

CLIENTS = {
    "cosxfer HTTP/1.1": {"http_version": "1.1"},
    "cosxfer h2c": {"http_version": "2"},
    "SDK with EnableMD5": {"EnableMD5": True},
    "SDK": {"EnableMD5": False},
}


def main() -> None:
    parser = _report.arguments((__doc__ or "").splitlines()[0])
    parser.add_argument("--worker", nargs=3, metavar=("CLIENT", "PORT", "FILE"), help=_report.argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(*options.worker)
        return
    size, rounds = (256 * MIB, 3) if options.quick else (2048 * MIB, 7)
    with tempfile.TemporaryDirectory() as folder, running(discard=True) as server:
        path = Path(folder, "file")
        with path.open("wb") as file:
            for _ in range(size // (8 * MIB)):
                file.write(os.urandom(8 * MIB))
        seconds: dict[str, list[float]] = {}
        cpu: dict[str, list[float]] = {}
        runs = {name: measured(name, server, path, seconds, cpu) for name in CLIENTS}
        _report.interleave(runs, rounds)
    for values in (*seconds.values(), *cpu.values()):
        del values[0]  # the warm-up
    _report.publish(
        figures(size, seconds, cpu), as_json=options.json, note="Rates are those of this run, ratios carry over."
    )
    if options.plot:
        plot(options.plot, size, seconds, cpu)


def measured(
    name: str, server: RunningServer, path: Path, seconds: dict[str, list[float]], cpu: dict[str, list[float]]
) -> Callable[[], float]:
    def run() -> float:
        done = subprocess.run(
            [sys.executable, __file__, "--worker", name, str(server.port), str(path)],
            stdout=subprocess.PIPE,
            check=True,
        )
        figures = json.loads(done.stdout)
        seconds.setdefault(name, []).append(figures["seconds"])
        cpu.setdefault(name, []).append(figures["cpu_seconds"])
        return float(figures["cpu_seconds"])

    return run


def work(name: str, port: str, path: str) -> None:
    """Upload once, and print seconds and CPU seconds."""
    upload = (sdk if name.startswith("SDK") else ours)(CLIENTS[name], port, path)
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    upload()
    seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_SELF)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps({"seconds": seconds, "cpu_seconds": used}))


def ours(settings: dict[str, object], port: str, path: str) -> Callable[[], object]:
    import cosxfer

    client = cosxfer.Client(
        endpoint=f"http://127.0.0.1:{port}/{{bucket}}",
        secret_id="id",
        secret_key="key",
        concurrency=CONNECTIONS,
        **settings,  # type: ignore[arg-type]
    )

    def upload() -> None:
        result = client.upload_file("examplebucket-1250000000", "k", path, part_size=PART_BYTES)
        assert result.verified

    return upload


def sdk(settings: dict[str, object], port: str, path: str) -> Callable[[], object]:
    import logging

    from qcloud_cos import CosConfig, CosS3Client

    logging.disable(logging.CRITICAL)
    config = CosConfig(Region="ap-guangzhou", SecretId="id", SecretKey="key", Scheme="http", Domain=f"127.0.0.1:{port}")
    client = CosS3Client(config)
    return lambda: client.upload_file(
        Bucket="examplebucket-1250000000",
        Key="k",
        LocalFilePath=path,
        PartSize=PART_BYTES // MIB,
        MAXThread=CONNECTIONS,
        **settings,
    )


def figures(size: int, seconds: dict[str, list[float]], cpu: dict[str, list[float]]) -> list[_report.Figure]:
    found = []
    for name in CLIENTS:
        rates = [size / value / 1e6 for value in seconds[name]]
        per_cpu = [size / value / 1e6 for value in cpu[name]]
        found.append(_report.absolute(f"{name}: rate", rates, "MB/s"))
        found.append(_report.absolute(f"{name}: per CPU second", per_cpu, "MB/cpu-s"))
    for name in ("cosxfer HTTP/1.1", "cosxfer h2c"):
        for peer in ("SDK with EnableMD5", "SDK"):
            # More bytes per CPU second means fewer CPU seconds for the same bytes.
            found.append(_report.ratio(f"{name} / {peer}, bytes per CPU second", cpu[peer], cpu[name]))
            found.append(_report.ratio(f"{name} / {peer}, rate", seconds[peer], seconds[name]))
    return found


def plot(file: str, size: int, seconds: dict[str, list[float]], cpu: dict[str, list[float]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(10, 3.5), sharey=True)
    for axis, values, title in ((axes[0], seconds, "MB/s"), (axes[1], cpu, "MB per CPU second of the client")):
        axis.barh(list(CLIENTS), [size / _report.median(values[name]) / 1e6 for name in CLIENTS])
        axis.set_title(title)
    axes[0].invert_yaxis()
    figure.tight_layout()
    figure.savefig(file)


if __name__ == "__main__":
    main()
