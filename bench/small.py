"""Small objects against the official SDK: 16 KiB each in one PUT, with the public calls and MD5.

Each run is a process of its own. It warms up, then counts objects for a second of its own CPU (user and system, all
threads) and for a second of the wall clock. Both sides send Content-MD5 to the same nginx, which reads the
whole body and responds. cosxfer also computes a CRC64 to compare. On few cores nginx shares the wall clock.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import _report
from _wire_peers import peers

BUCKET = "examplebucket-1250000000"
SMALL_BYTES = 16 << 10
IN_FLIGHT = 32
POOL = 8
"""Threads of the SDK's pool, and files that cosxfer sends at a time."""
FILES = 2000

Work = Callable[[int], object]
"""Sends this many objects."""


def main() -> None:
    parser = _report.arguments((__doc__ or "").splitlines()[0])
    parser.add_argument("--worker", nargs=3, metavar=("CLIENT", "PORT", "FOLDER"), help=_report.argparse.SUPPRESS)
    options = parser.parse_args()
    count, rounds = (FILES // 5, 3) if options.quick else (FILES, 7)
    if options.worker:
        work(*options.worker, count)
        return
    rates: dict[str, list[float]] = {}
    per_cpu: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name, peers(Path(name)) as at:
        for path in paths(Path(name), count):
            path.write_bytes(os.urandom(SMALL_BYTES))

        def measured(client: str) -> Callable[[], float]:
            command = [sys.executable, __file__, "--worker", client, str(at.http1), name]

            def run() -> float:
                done = subprocess.run(command + ["--quick"] * options.quick, stdout=subprocess.PIPE, check=True)
                figures = json.loads(done.stdout)
                rates.setdefault(client, []).append(count / figures["seconds"])
                per_cpu.setdefault(client, []).append(count / figures["cpu_seconds"])
                return per_cpu[client][-1]

            return run

        _report.interleave({client: measured(client) for client in CLIENTS}, rounds)
    for values in (*rates.values(), *per_cpu.values()):
        del values[0]  # the warm-up
    _report.publish(figures(rates, per_cpu), as_json=options.json, note=__doc__ or "")


def figures(rates: dict[str, list[float]], per_cpu: dict[str, list[float]]) -> list[_report.Figure]:
    found = []
    for ours, theirs in PAIRS:
        found.append(_report.ratio(f"{ours} / {theirs}, objects per cpu-s", per_cpu[ours], per_cpu[theirs]))
        found.append(_report.ratio(f"{ours} / {theirs}, objects/s", rates[ours], rates[theirs]))
    for client in rates:
        found.append(_report.absolute(f"{client}: per CPU second", per_cpu[client], "1/cpu-s"))
        found.append(_report.absolute(f"{client}: rate", rates[client], "1/s"))
    return found


def paths(folder: Path, count: int) -> Iterator[Path]:
    return (folder / f"object-{number}.bin" for number in range(count))


# -- one run -----------------------------------------------------------------------------------------------------------


def work(client: str, port: str, folder: str, count: int) -> None:
    """Send the objects, and print seconds and CPU seconds."""
    send = CLIENTS[client](port, Path(folder))
    send(count // 10)
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    send(count)
    seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_SELF)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps({"seconds": seconds, "cpu_seconds": used}))


def asynchronous(port: str, folder: Path) -> Work:
    import asyncio

    import cosxfer

    client = cosxfer.AsyncClient(endpoint=f"http://127.0.0.1:{port}/{{bucket}}", secret_id="id", secret_key="key")
    body = os.urandom(SMALL_BYTES)
    loop = asyncio.new_event_loop()

    async def put(numbers: Iterator[int]) -> None:
        for number in numbers:
            await client.put_object(BUCKET, f"object-{number}.bin", body)

    async def put_all(count: int) -> None:
        numbers = iter(range(count))
        await asyncio.gather(*(put(numbers) for _ in range(IN_FLIGHT)))

    return lambda count: loop.run_until_complete(put_all(count))


def blocking(port: str, folder: Path) -> Work:
    import cosxfer

    client = cosxfer.Client(endpoint=f"http://127.0.0.1:{port}/{{bucket}}", secret_id="id", secret_key="key")
    body = os.urandom(SMALL_BYTES)

    def put_all(count: int) -> None:
        for number in range(count):
            client.put_object(BUCKET, f"object-{number}.bin", body)

    return put_all


def threads(port: str, folder: Path) -> Work:
    from concurrent.futures import ThreadPoolExecutor

    import cosxfer

    client = cosxfer.Client(endpoint=f"http://127.0.0.1:{port}/{{bucket}}", secret_id="id", secret_key="key")
    body = os.urandom(SMALL_BYTES)

    def put(numbers: Iterator[int]) -> None:
        for number in numbers:
            client.put_object(BUCKET, f"object-{number}.bin", body)

    def put_all(count: int) -> None:
        with ThreadPoolExecutor(IN_FLIGHT) as pool:
            each = [iter(range(first, count, IN_FLIGHT)) for first in range(IN_FLIGHT)]
            assert len(list(pool.map(put, each))) == IN_FLIGHT

    return put_all


def batch(port: str, folder: Path) -> Work:
    import cosxfer

    client = cosxfer.Client(
        endpoint=f"http://127.0.0.1:{port}/{{bucket}}", secret_id="id", secret_key="key", file_parallel_limit=POOL
    )

    def put_all(count: int) -> None:
        results = client.upload_files(
            {"bucket": BUCKET, "key": path.name, "path": path} for path in paths(folder, count)
        )
        assert all(result.error is None for result in results)

    return put_all


def sdk(port: str, folder: Path, *, threads: int, files: bool) -> Work:
    import logging

    from qcloud_cos import CosConfig, CosS3Client
    from qcloud_cos.cos_threadpool import SimpleThreadPool

    logging.disable(logging.CRITICAL)
    config = CosConfig(Region="ap-guangzhou", SecretId="id", SecretKey="key", Scheme="http", Domain=f"127.0.0.1:{port}")
    client = CosS3Client(config)
    body = os.urandom(SMALL_BYTES)

    def put(path: Path) -> None:
        content = path.read_bytes() if files else body
        client.put_object(Bucket=BUCKET, Key=path.name, Body=content, EnableMD5=True)

    def put_all(count: int) -> None:
        if threads == 1:
            for path in paths(folder, count):
                put(path)
            return
        pool = SimpleThreadPool(threads)
        for path in paths(folder, count):
            pool.add_task(put, path)
        pool.wait_completion()
        assert pool.get_result()["success_all"]

    return put_all


CLIENTS: dict[str, Callable[[str, Path], Work]] = {
    "AsyncClient.put_object": asynchronous,
    "Client.put_object": blocking,
    "Client.put_object, 32 threads": threads,
    "upload_files": batch,
    "SDK put_object": lambda port, folder: sdk(port, folder, threads=1, files=False),
    "SDK pool, 32 threads": lambda port, folder: sdk(port, folder, threads=IN_FLIGHT, files=False),
    "SDK pool": lambda port, folder: sdk(port, folder, threads=POOL, files=False),
    "SDK pool, files": lambda port, folder: sdk(port, folder, threads=POOL, files=True),
}

PAIRS = (
    ("AsyncClient.put_object", "SDK pool"),
    ("Client.put_object", "SDK put_object"),
    ("Client.put_object, 32 threads", "SDK pool, 32 threads"),
    ("upload_files", "SDK pool, files"),
)


if __name__ == "__main__":
    main()
