"""``cosxfer demo``: uploads a file of random bytes to an embedded server, verifies it, reads it back and compares."""

from __future__ import annotations

import filecmp
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cosxfer._native import KERNEL
from cosxfer.cli.failures import FAILED
from cosxfer.cli.output import say
from cosxfer.cli.progress import display
from cosxfer.client import Client
from cosxfer.errors import CosxferError
from cosxfer.events import ProgressMeter
from cosxfer.figures import human_bytes, human_rate
from cosxfer.limits import MIB
from cosxfer.models import UploadResult

if TYPE_CHECKING:
    from cosxfer.server import RunningServer

KEY = "demo/random.bin"


def run(*, size: int) -> None:
    """Do the main job with a file of ``size`` random bytes; everything is in a temporary folder, removed at the end."""
    # Imported here: the server needs the extra of that name.
    from cosxfer.server import running
    from cosxfer.server.temporary import temporary_folder

    with temporary_folder("cosxfer-demo-") as folder:
        # The file, the stored parts, and the copy that is read back.
        _check_space(folder, 3 * size + 64 * MIB)
        source, copy = folder / "random.bin", folder / "copy.bin"
        say(f"Starting the embedded server (TLS) and making a file of {human_bytes(size)} of random bytes …")
        _make_file(source, size)
        with running(root=folder / "server", tls=True) as server:
            say(f"  server       {server.url}, bucket {server.bucket}")
            with (
                Client(
                    endpoint=server.endpoint,
                    credentials=server.credentials,
                    verify=str(server.ca_file),
                    http_version="2",
                ) as client,
                display(activities=("hashing", "sending")) as shown,
            ):
                cpu_began = time.process_time()
                result = client.upload_file(
                    server.bucket,
                    KEY,
                    source,
                    on_hash_progress=lambda progress: shown.update("hashing", progress),
                    on_progress=lambda progress: shown.update("sending", progress),
                )
                cpu_seconds = time.process_time() - cpu_began
            read_seconds = _read_back(server, copy)
            equal = filecmp.cmp(source, copy, shallow=False)
            _tell(result, cpu_seconds=cpu_seconds, read_seconds=read_seconds, equal=equal)
    if not (equal and result.verified and result.http_version == "HTTP/2"):
        say("The demo FAILED: see above.")
        raise typer.Exit(FAILED)
    say("Cleaned up. All checks passed.")


def _read_back(server: RunningServer, copy: Path) -> float:
    # A new client, over HTTP/1.1: independent of the client that uploaded.
    with Client(
        endpoint=server.endpoint, credentials=server.credentials, verify=str(server.ca_file), http_version="1.1"
    ) as client:
        began = time.monotonic()
        client.get_object(server.bucket, KEY, output=copy)
        return time.monotonic() - began


def _tell(result: UploadResult, *, cpu_seconds: float, read_seconds: float, equal: bool) -> None:
    """``cpu_seconds`` is the CPU time of the client's process; the server runs in another one."""
    size = result.size
    hashed, sent = result.hash_seconds, result.send_seconds
    say(f"  hashed       {human_rate(size, hashed)}, {hashed:.2f} s (MD5 and CRC64 in one pass, kernel {KERNEL})")
    say(f"  sent         {human_rate(size, sent)}, {sent:.2f} s, over {result.http_version}; hashing ran alongside")
    say(f"  parts        {result.parts} of {human_bytes(result.part_size_bytes)}, {result.retries} sent again")
    say(f"  total        {result.seconds:.2f} s, {human_rate(size, result.seconds)}")
    per_cpu = size / 1e9 / max(cpu_seconds, 1e-9)
    say(f"  client CPU   {cpu_seconds:.2f} s: {per_cpu:.2f} GB per CPU second, hashing, TLS and progress included")
    say(f"  ETag         {result.etag}")
    say(f"  CRC64        {result.crc64}, verified: {'yes' if result.verified else 'NO'} (by {result.verified_by})")
    say(f"  read back    {human_rate(size, read_seconds)}, equal to the source: {'yes' if equal else 'NO'}")
    say("  (client and server share this machine's processors and disk, so the rates are no benchmark)")


def _make_file(path: Path, size: int) -> None:
    meter = ProgressMeter(size)
    with display(activities=("making",)) as shown, path.open("wb") as file:
        done = 0
        while done < size:
            done += file.write(os.urandom(min(8 * MIB, size - done)))
            if (progress := meter.update(done, time.monotonic())) is not None:
                shown.update("making", progress)


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise CosxferError(
            f"the demo needs {human_bytes(needed)} in {folder.parent}, but only {human_bytes(free)} are free; "
            "set TMPDIR to a larger disk or use a smaller --size"
        )
