"""One upload in a process of its own, by cosxfer or by another client: its seconds, CPU seconds and peak memory.

Each client is called as its users call it. What is not installed is left out.
"""

from __future__ import annotations

import atexit
import importlib.util
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MIB = 1 << 20
_STATE = tempfile.TemporaryDirectory()
"""The state of cosxfer: that of the user is neither read nor written."""
BUCKET = "examplebucket-1250000000"
Upload = Callable[[], object]


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one upload took. ``seconds`` begins when the client is ready: imports and start-up do not count."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    """Of resident memory, mapped pages of the file included."""
    finished: bool
    """False: it was stopped after ``limit_seconds``."""


def upload(client: str, port: int, path: Path, *, limit_seconds: float = 600, **settings: Any) -> Run:
    """Upload ``path``, a file or the files of a folder, with the client's own defaults and these settings."""
    order = {"client": client, "port": port, "path": str(path), "limit": limit_seconds, "settings": settings}
    command = [sys.executable, __file__, json.dumps(order)]
    environment = {**os.environ, "COSXFER_STATE_DIR": _STATE.name}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    return Run(**json.loads(done.stdout))


def installed(client: str) -> bool:
    """Whether the package of ``client`` can be imported."""
    return importlib.util.find_spec(CLIENTS[client][0]) is not None


def make_file(path: Path, size: int) -> Path:
    """Write random bytes; afterwards they are in the page cache."""
    with path.open("wb") as file:
        for offset in range(0, size, 8 * MIB):
            file.write(os.urandom(min(8 * MIB, size - offset)))
    return path


# -- in the process of the run -----------------------------------------------------------------------------------------


def main() -> None:
    order = json.loads(sys.argv[1])
    send = CLIENTS[order["client"]][1](order["port"], Path(order["path"]), order["settings"])
    failures: list[BaseException] = []

    def run() -> None:
        try:
            send()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    thread.start()
    thread.join(order["limit"])
    seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_SELF)
    if failures:
        raise failures[0]
    result = {
        "seconds": seconds,
        "cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "peak_bytes": _peak_bytes(),
        "finished": not thread.is_alive(),
    }
    print(json.dumps(result), flush=True)
    if thread.is_alive():
        os._exit(0)  # without waiting for an upload that was stopped


def _peak_bytes() -> int:
    # Not ru_maxrss: after a fork it counts the memory of the parent.
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status has no VmHWM")


def ours(port: int, path: Path, settings: dict[str, Any]) -> Upload:
    import cosxfer

    part_size = {"part_size": settings.pop("part_size")} if "part_size" in settings else {}
    client = cosxfer.Client(
        endpoint=f"http://127.0.0.1:{port}/{{bucket}}", secret_id="id", secret_key="key", **settings
    )

    atexit.register(client.close)

    def file() -> None:
        assert client.upload_file(BUCKET, "k", path, **part_size).verified

    def files() -> None:
        results = client.upload_files(
            {"bucket": BUCKET, "key": entry.name, "path": entry} for entry in sorted(path.iterdir())
        )
        assert all(result.error is None for result in results)

    return files if path.is_dir() else file


def sdk(port: int, path: Path, settings: dict[str, Any]) -> Upload:
    import logging

    from qcloud_cos import CosConfig, CosS3Client

    logging.disable(logging.CRITICAL)
    config = CosConfig(Region="ap-guangzhou", SecretId="id", SecretKey="key", Scheme="http", Domain=f"127.0.0.1:{port}")
    client = CosS3Client(config)
    return lambda: client.upload_file(Bucket=BUCKET, Key="k", LocalFilePath=str(path), **settings)


def obstore(port: int, path: Path, settings: dict[str, Any]) -> Upload:
    import obstore
    from obstore.store import S3Store

    store = S3Store(
        BUCKET,
        endpoint=f"http://127.0.0.1:{port}",
        access_key_id="id",
        secret_access_key="key",
        region="ap-guangzhou",
        client_options={"allow_http": True},
    )
    return lambda: obstore.put(store, "k", path, **settings)


def boto3(port: int, path: Path, settings: dict[str, Any]) -> Upload:
    import boto3

    client = boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        aws_access_key_id="id",
        aws_secret_access_key="key",
        region_name="ap-guangzhou",
    )
    return lambda: client.upload_file(str(path), BUCKET, "k", **settings)


CLIENTS: dict[str, tuple[str, Callable[[int, Path, dict[str, Any]], Upload]]] = {
    "cosxfer": ("cosxfer", ours),
    "cos-python-sdk-v5": ("qcloud_cos", sdk),
    "obstore": ("obstore", obstore),
    "boto3": ("boto3", boto3),
}
"""The package of each client, and how it uploads."""
PEERS = tuple(name for name in CLIENTS if name != "cosxfer")


if __name__ == "__main__":
    main()
