"""kill -9 at random moments of an upload, for `survival.py`: what the next run of the same call sends again.

Each run is a process of its own with the same journal. It is killed at a moment of its upload, drawn from the seed as a
share of the time that a whole upload takes, and the next run goes on, until one comes to its end. The server's log
says what was sent: bytes of a part that was never stored, because its process died, and bytes of a part that was
stored before. Both are "sent again".
"""

from __future__ import annotations

import json
import mmap
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from _survive import KEYS, Direct

import cosxfer
from cosxfer.limits import MIB
from cosxfer.server import RunningServer, running

PART_BYTES = 8 * MIB
CONNECTIONS = 4
WINDOW_BYTES = CONNECTIONS * PART_BYTES
KEY = "k"
CHUNK_BYTES = 4 * MIB


@dataclass(kw_only=True)
class Kills:
    """What became of the killed runs."""

    size: int
    again: list[int] = field(default_factory=list)
    """Bytes that were sent again because of each kill."""
    objects: int = 0
    differ: int = 0
    """Objects that are not the file."""
    left: int = 0
    """Uploads with parts that no run has continued."""


@dataclass(kw_only=True)
class _Object:
    """The object that is being sent."""

    stored: set[int] = field(default_factory=set)
    vain: int | None = None
    """Bytes of parts that were not stored, which the last run had sent when it was killed."""


class Killer:
    """Kills uploads of one file. Close the server after use."""

    def __init__(self, server: RunningServer, folder: Path, *, size: int, seed: int) -> None:
        self._server = server
        self._path = folder / "file"
        self._journal = folder / "journal"
        self._rng = random.Random(f"kills {seed}")
        self.kills = Kills(size=size)
        with self._path.open("wb") as file:
            data = random.Random(f"data {seed}")
            for first in range(0, size, CHUNK_BYTES):
                file.write(data.randbytes(min(CHUNK_BYTES, size - first)))

    def run(self, count: int) -> Kills:
        """Kill ``count`` runs."""
        whole = self._whole_seconds()
        while len(self.kills.again) < count:
            self._one_object(count, whole)
        return self.kills

    def _whole_seconds(self) -> float:
        process = self._start()
        began = time.monotonic()
        assert process.wait() == 0, "the upload that nobody kills has failed"
        seconds = time.monotonic() - began
        self._clear()
        return seconds

    def _one_object(self, count: int, whole: float) -> None:
        state, done = _Object(), False
        kills = len(self.kills.again)
        while not done:
            process = self._start()
            try:
                done = process.wait(self._rng.uniform(0, whole) if kills < count else None) == 0
                assert done, "an upload that nobody killed has failed"
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                self._quiet()
                # If the object is there, the upload was over. The same call would rightly send it again.
                done = Direct(self._server)("HEAD", KEY)[0] == 200
                kills += not done
            self._account(state, killed=not done)
        self.kills.objects += 1
        self.kills.differ += not self._is_equal()
        self._clear()

    def _start(self) -> subprocess.Popen[str]:
        """Start a run; returns when its upload begins."""
        keys = self._server.credentials
        order = {
            "path": str(self._path),
            "bucket": self._server.bucket,
            "client": {
                "endpoint": self._server.endpoint,
                "secret_id": keys.secret_id,
                "secret_key": keys.secret_key,
                "journal": str(self._journal),
                "concurrency": CONNECTIONS,
            },
        }
        process = subprocess.Popen([sys.executable, __file__, json.dumps(order)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        with process.stdout as output:
            assert output.readline() == "begin\n"
        return process

    def _quiet(self) -> None:
        """Wait until the server has ended the requests of a process that was killed."""
        before = -1
        while before != (before := len(self._server.requests())):
            time.sleep(0.05)

    def _account(self, state: _Object, *, killed: bool) -> None:
        """Count what the run has sent again. What a killed run has sent in vain is that of its own kill."""
        again = vain = 0
        for request in self._server.requests(clear=True):
            if request["operation"] != "multipart_upload":
                continue
            part = request["part"]
            if part in state.stored:
                again += request["received"]
            elif request["status"] == 200:
                state.stored.add(part)
            else:
                vain += request["received"]
        if state.vain is not None:
            self.kills.again.append(state.vain + again)
        state.vain = vain if killed else None

    def _is_equal(self) -> bool:
        """Compare the object with the file, by another HTTP client."""
        content = Direct(self._server).content(KEY)
        with self._path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as expected:
            return content is not None and len(content) == len(expected) and expected[:] == content

    def _clear(self) -> None:
        with cosxfer.Client(endpoint=self._server.endpoint, credentials=self._server.credentials) as client:
            client.delete_object(self._server.bucket, KEY)
            for upload in client.iter_multipart_list(self._server.bucket):
                # Killed between the response to Initiate and its row in the journal: nothing was sent into it.
                parts = list(client.iter_multipart_list_part(self._server.bucket, KEY, upload_id=upload.upload_id))
                self.kills.left += bool(parts)
                client.multipart_abort(self._server.bucket, KEY, upload_id=upload.upload_id)
        self._server.requests(clear=True)


def kill(count: int, *, size: int, seed: int) -> Kills:
    """Kill ``count`` uploads of a file of ``size`` bytes."""
    with (
        tempfile.TemporaryDirectory(prefix="kills-") as folder,
        running(root=f"{folder}/server", secret_id=KEYS.secret_id, secret_key=KEYS.secret_key) as server,
    ):
        return Killer(server, Path(folder), size=size, seed=seed).run(count)


def main() -> None:
    """Upload once, in the process that is killed."""
    order = json.loads(sys.argv[1])
    with cosxfer.Client(**order["client"]) as client:
        print("begin", flush=True)
        assert client.upload_file(order["bucket"], KEY, order["path"], part_size=PART_BYTES).verified


if __name__ == "__main__":
    main()
