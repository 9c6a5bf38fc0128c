"""Walking and comparing two local trees: entries per second of CPU, and the memory for a million entries.

An entry is one file of one tree. All files are equal, which is the usual case of a sync. The walk asks the file system
for size and times of each file, and that is most of the CPU. The memory is the peak (ru_maxrss) of a process that does
nothing else. ``flat`` is the worst case: all files are in one folder.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import _report

from cosxfer.sorted_tree import sorted_blocks
from cosxfer.sync.compare import joined
from cosxfer.sync.rules import Rules, Verdict

FOLDER_FILES = 1_000


def main() -> None:
    parser = _report.arguments((__doc__ or "").splitlines()[0])
    parser.add_argument("--worker", metavar="DIR", help=_report.argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(compared(Path(options.worker))))
        return
    count = 20_000 if options.quick else 500_000
    with tempfile.TemporaryDirectory(prefix="sync-bench-", dir="/dev/shm") as name:
        figures = [
            *measured(make(Path(name, "tree"), count, FOLDER_FILES), "tree", rounds=1 if options.quick else 3),
            *measured(make(Path(name, "flat"), count, count), "flat", rounds=1),
        ]
    _report.publish(figures, as_json=options.json, note=__doc__ or "")


def make(root: Path, count: int, per_folder: int) -> Path:
    """Create two equal trees of ``count`` files each."""
    for side in ("source", "target"):
        for first in range(0, count, per_folder):
            folder = root / side / f"folder-{first // per_folder:05}"
            folder.mkdir(parents=True)
            for number in range(per_folder):
                os.close(os.open(folder / f"file-{number:06}.dat", os.O_CREAT | os.O_WRONLY))
    return root


def measured(root: Path, shape: str, *, rounds: int) -> list[_report.Figure]:
    runs = []
    for _ in range(rounds):
        command = [sys.executable, __file__, "--worker", str(root)]
        runs.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    name = f"walk and compare, both sides local, {shape} of {runs[0]['entries']:,} entries"
    bounds = {"must": 150_000, "aim": 300_000} if shape == "tree" else {}
    memory = {"must": 200, "aim": 100} if shape == "tree" else {"must": 200}
    return [
        _report.absolute(name, [run["entries"] / run["cpu"] for run in runs], "/cpu-s", **bounds),
        _report.absolute(f"memory of it, {shape}", [run["mib"] for run in runs], "MiB", better="lower", **memory),
    ]


def compared(root: Path) -> dict[str, float]:
    """Walk and compare both trees of ``root``."""
    rules = Rules(direction="upload")
    began = time.process_time()
    keys = same = 0
    for rows in joined(sorted_blocks(str(root / "source")), sorted_blocks(str(root / "target"))):
        for row in rows:
            keys += 1
            same += rules.verdict(row) in (Verdict.SAME, Verdict.CHECK)
    cpu = time.process_time() - began
    assert keys == same > 0
    return {
        "entries": 2 * keys,
        "cpu": cpu,
        "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


if __name__ == "__main__":
    main()
