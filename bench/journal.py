"""What the journal costs: the size of its file, the time to open it, its CPU, and the resume of a large directory.

The CPU of uploads is that of the client's process (user + system, all threads), from the call to the end of ``close``,
which writes what is left. Runs with and without the journal alternate. The sink is another process (`cosxfer serve
--discard --checksum`: only an object whose CRC64 is known enters the journal). The resume is that of a tree in which
one file of a hundred is not done, by the command and by `upload_directory`, each in a process of its own. Their CPU
contains the start of Python, and the upload of the files that are not done.
"""

from __future__ import annotations

import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _report

from cosxfer.config import ClientConfig
from cosxfer.engine.upload.recall import finished_content
from cosxfer.journal import Journal
from cosxfer.journal_database import open_database
from cosxfer.journal_rows import TARGET_BYTES, FinishedObject, fingerprint, target_of
from cosxfer.limits import MIB
from cosxfer.server import RunningServer, running
from cosxfer.sources import SourceIdentity

BUCKET = "examplebucket-1250000000"
PART_BYTES = 8 * MIB
SMALL_BYTES = 16 << 10
FINISHED_AT_ONCE = 2_000
"""Finished objects of one transaction, about what a tenth of a second has."""
FOLDER_FILES = 1_000
PREFIX = "many"


def main() -> None:
    parser = _report.arguments((__doc__ or "").splitlines()[0])
    parser.add_argument("--worker", nargs=2, metavar=("WORK", "ORDER"), help=_report.argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(WORK[options.worker[0]](**json.loads(options.worker[1]))))
        return
    quick = options.quick
    with tempfile.TemporaryDirectory(prefix="journal-bench-") as name:
        folder = Path(name)
        figures = [
            *of_file(folder, objects=100_000 if quick else 1_000_000),
            *of_uploads(folder, size=256 * MIB if quick else 2048 * MIB, files=2_000 if quick else 10_000, quick=quick),
            *of_resume(folder, files=10_000 if quick else 100_000, rounds=1 if quick else 3),
        ]
    _report.publish(figures, as_json=options.json, note=__doc__ or "")


def in_process(work: str, **order: Any) -> Any:
    """Do ``work`` in a process of its own."""
    command = [sys.executable, __file__, "--worker", work, json.dumps(order)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=environment(order.get("state", os.devnull)))
    return json.loads(done.stdout)


def environment(state: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("COS")}
    return {**clean, "COSXFER_STATE_DIR": state}


def cpu_seconds(who: int = resource.RUSAGE_SELF) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


# -- the file ----------------------------------------------------------------------------------------------------------


def of_file(folder: Path, *, objects: int) -> list[_report.Figure]:
    """Measure a journal of many finished objects, as transactions of many uploads leave it."""
    path = folder / "large"
    fill(path, objects)
    size = sum(each.stat().st_size for each in folder.glob("large*") if each.is_file())
    times = [float(in_process("open", path=str(path))) for _ in range(7)]
    path.unlink()
    return [
        _report.Figure(
            name=f"{objects:,} finished objects, bytes each", value=size / objects, unit="B", must=100, better="lower"
        ),
        _report.Figure(
            name=f"{objects:,} finished objects, file", value=size / 1e6, unit="MB", must=objects / 1e4, better="lower"
        ),
        _report.absolute(f"{objects:,} finished objects, open", times, "s", must=0.2, better="lower"),
    ]


def fill(path: Path, objects: int) -> None:
    rng = random.Random(14)
    database = open_database(path, may_replace=False)
    for first in range(0, objects, FINISHED_AT_ONCE):
        some = [
            (
                rng.randbytes(TARGET_BYTES),
                FinishedObject(
                    content=rng.randbytes(8),
                    batch=1,
                    size=rng.randrange(1 << 40),
                    crc64=rng.getrandbits(64),
                    etag=f'"{rng.randbytes(16).hex()}"',
                ),
            )
            for _ in range(min(FINISHED_AT_ONCE, objects - first))
        ]
        with database.transaction():
            database.add_objects(some)
    database.close()


def opened(path: str) -> float:
    """Return the seconds until a journal has answered its first question."""
    journal = Journal(Path(path), may_replace=False)
    began = time.perf_counter()
    journal.objects([bytes(TARGET_BYTES)]).result()
    seconds = time.perf_counter() - began
    journal.close()
    return seconds


# -- the CPU of uploads ------------------------------------------------------------------------------------------------


def of_uploads(folder: Path, *, size: int, files: int, quick: bool) -> list[_report.Figure]:
    """Compare uploads with and without the journal."""
    large = folder / "file"
    with large.open("wb") as file:
        for _ in range(size // PART_BYTES):
            file.write(os.urandom(PART_BYTES))
    small = folder / "small"
    small.mkdir()
    for number in range(files):
        (small / f"{number:06}").write_bytes(os.urandom(SMALL_BYTES))
    figures = []
    with running(discard=True, checksum=True) as server:
        for path, what, must, aim, rounds in (
            (large, f"{size // MIB} MiB in 8 MiB parts", 1.03, 1.02, 3 if quick else 15),
            (small, f"{files:,} files of 16 KiB", 1.15, 1.10, 5 if quick else 11),
        ):
            sides = {True: uploading(path, server, folder), False: uploading(path, server, None)}
            values = _report.interleave({str(on): run for on, run in sides.items()}, rounds)
            name = f"client CPU with the journal / without, {what}"
            figures.append(_report.ratio(name, values["True"], values["False"], must=must, aim=aim, better="lower"))
            figures.append(_report.absolute(f"client CPU without the journal, {what}", values["False"], "cpu-s"))
    return figures


def uploading(path: Path, server: RunningServer, journals: Path | None) -> Callable[[], float]:
    """Return a run that uploads ``path``, with a new journal in ``journals`` if that is given."""

    def run() -> float:
        with tempfile.TemporaryDirectory(dir=journals) as name:
            journal = None if journals is None else f"{name}/journal"
            return float(in_process("upload", path=str(path), port=server.port, journal=journal))

    return run


def upload(path: str, port: int, journal: str | None) -> float:
    """Upload a file or a folder; return the CPU seconds."""
    import cosxfer

    client = cosxfer.Client(
        endpoint=f"http://127.0.0.1:{port}/{{bucket}}", secret_id="id", secret_key="key", journal=journal
    )
    with client:
        client.put_object(BUCKET, "first", b"first")
        before = cpu_seconds()
        if Path(path).is_file():
            assert client.upload_file(BUCKET, "k", path, part_size=PART_BYTES, async_limit=4).verified
        else:
            results = client.upload_files(
                {"bucket": BUCKET, "key": entry.name, "path": entry} for entry in sorted(Path(path).iterdir())
            )
            assert all(result.result is not None and result.result.verified for result in results)
    return cpu_seconds() - before


# -- the resume of a directory -----------------------------------------------------------------------------------------


def of_resume(folder: Path, *, files: int, rounds: int) -> list[_report.Figure]:
    """Measure the next call after one that was interrupted when one file of a hundred was left."""
    tree = folder / "tree"
    missing = {str(path.relative_to(tree)) for path in make_tree(tree, files) if int(path.name) % 100 == 0}
    sides: dict[str, list[float]] = {"cp -r": [], "upload_directory": []}
    asked = 0
    with running() as server:
        for _ in range(rounds):
            for side, used in sides.items():
                with tempfile.TemporaryDirectory(dir=folder) as state:
                    journal = Path(state, "journal")
                    in_process("interrupt", tree=str(tree), journal=str(journal), endpoint=server.endpoint)
                    server.requests(clear=True)
                    before = cpu_seconds(resource.RUSAGE_CHILDREN)
                    resume[side](server, tree, journal)
                    used.append(cpu_seconds(resource.RUSAGE_CHILDREN) - before)
                    keys = {request["key"].removeprefix(f"{PREFIX}/") for request in server.requests()}
                    assert missing <= keys, "not every file that was left was sent"
                    asked += len(keys - missing)
    what = f"of {files:,} files of which {files - len(missing):,} are done"
    command = _report.absolute(f"cp -r {what}: CPU", sides["cp -r"], "s", must=5, aim=3, better="lower")
    call = _report.absolute(f"upload_directory {what}: CPU", sides["upload_directory"], "s", better="lower")
    figures = [command, call]
    runs = rounds * len(sides)
    figures.append(
        _report.Figure(name=f"requests for those, {runs} runs", value=asked, unit="", must=0, aim=0, better="lower")
    )
    return figures


def make_tree(tree: Path, files: int) -> list[Path]:
    paths = []
    for first in range(0, files, FOLDER_FILES):
        folder = tree / f"{first:06}"
        folder.mkdir(parents=True)
        for number in range(first, min(first + FOLDER_FILES, files)):
            path = folder / f"{number}"
            path.write_bytes(b"x")
            paths.append(path)
    return paths


def interrupt(tree: str, journal: str, endpoint: str) -> int:
    """Write what an interrupted upload of the tree leaves: an open batch, and the finished objects."""
    owner = Journal(Path(journal), may_replace=False)
    endpoint = ClientConfig(endpoint=endpoint).endpoint
    number = owner.open_batch(fingerprint("directory", endpoint, "", BUCKET, PREFIX, tree)).result().number
    done = [path for path in sorted(Path(tree).rglob("*")) if path.is_file() and int(path.name) % 100]
    for path in done:
        content = finished_content(
            str(path), SourceIdentity.of(path.stat()), {"content-type": "application/octet-stream"}, add_md5=False
        )
        found = FinishedObject(content=content, batch=number, size=1, crc64=1, etag=f'"{bytes(16).hex()}"')
        owner.finished(target_of(endpoint, "", BUCKET, f"{PREFIX}/{path.relative_to(tree)}"), found)
    owner.close()
    return len(done)


def by_command(server: RunningServer, tree: Path, journal: Path) -> None:
    keys = {
        "COS_SECRET_ID": server.credentials.secret_id,
        "COS_SECRET_KEY": server.credentials.secret_key,
        "COS_ENDPOINT": server.endpoint,
    }
    command = [sys.executable, "-m", "cosxfer", "cp", "-r", str(tree), f"cos://{BUCKET}/{PREFIX}"]
    subprocess.run(
        [*command, "--journal", str(journal)],
        env=environment(os.devnull) | keys,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def by_call(server: RunningServer, tree: Path, journal: Path) -> None:
    keys = server.credentials
    in_process(
        "directory",
        tree=str(tree),
        journal=str(journal),
        endpoint=server.endpoint,
        secret_id=keys.secret_id,
        secret_key=keys.secret_key,
    )


def directory(tree: str, **settings: Any) -> int:
    """Upload a directory; return how many of its files an earlier call had sent."""
    import cosxfer

    with cosxfer.Client(**settings) as client:
        results = client.upload_directory(BUCKET, PREFIX, tree)
    assert all(result.result is not None and result.result.verified for result in results)
    return sum(result.result is not None and result.result.resumed_bytes > 0 for result in results)


resume = {"cp -r": by_command, "upload_directory": by_call}
WORK: dict[str, Callable[..., Any]] = {
    "open": opened,
    "upload": upload,
    "interrupt": interrupt,
    "directory": directory,
}


if __name__ == "__main__":
    main()
