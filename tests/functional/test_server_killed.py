"""Servers that are killed during uploads, and the state that the next server finds in the same directory."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from server_client import ServerClient

from cosxfer._native import hashing
from cosxfer.limits import KIB, MIB
from cosxfer.server import RunningServer, ServerOptions

ROUNDS = 8
WRITERS = 4


@dataclass
class Expected:
    """The possible values of a key: the last acknowledged one, or the one that was in flight when the server died."""

    acknowledged: bytes | None = None
    in_flight: list[bytes | None] = field(default_factory=list)


class Writer(threading.Thread):
    """Changes one key with every operation until the server is killed."""

    def __init__(self, server: RunningServer, key: str, expected: Expected, seed: int, *, http2: bool) -> None:
        super().__init__(daemon=True)
        self.key = key
        self.changes = 0
        self.wrong: list[str] = []
        self._server = server
        self._expected = expected
        self._chance = random.Random(seed)
        self._http2 = http2

    def run(self) -> None:
        client = ServerClient(self._server, http2=self._http2)
        try:
            while True:
                self._change(client)
                self.changes += 1
        except httpx.TransportError:
            pass
        finally:
            client.close()

    def _change(self, client: ServerClient) -> None:
        body = self._chance.randbytes(self._chance.choice([0, 100, 70 * KIB, MIB + 5, 3 * MIB]))
        what = self._chance.choice(["put", "put", "parts", "append", "delete"])
        if what == "append":
            # Delete the object first, so that the append at position 0 is valid.
            self._attempt(client, None, lambda: client("DELETE", self.key).status)
            half = len(body) // 2
            params = {"append": "", "position": "0"}
            self._attempt(client, body[:half], lambda: client("POST", self.key, params=params, body=body[:half]).status)
            params = {"append": "", "position": str(half)}
            self._attempt(client, body, lambda: client("POST", self.key, params=params, body=body[half:]).status)
        elif what == "parts":
            upload_id = client.begin(self.key)
            pieces = [body[:MIB], body[MIB:]] if len(body) > MIB else [body]
            etags = [client.part(self.key, upload_id, n, piece).headers["etag"] for n, piece in enumerate(pieces, 1)]
            parts = list(enumerate(etags, 1))
            self._attempt(client, body, lambda: client.complete(self.key, upload_id, parts).status)
        elif what == "put":
            self._attempt(client, body, lambda: client("PUT", self.key, body=body).status)
        else:
            self._attempt(client, None, lambda: client("DELETE", self.key).status)

    def _attempt(self, client: ServerClient, outcome: bytes | None, send: Callable[[], int]) -> None:
        self._expected.in_flight = [outcome]
        status = send()
        if status not in (200, 204):
            self.wrong.append(f"{self.key}: {status}")
        self._expected.acknowledged, self._expected.in_flight = outcome, []


@pytest.mark.deep
def test_every_object_is_whole_and_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    chance = random.Random(20)
    expected = {f"writer/{number}": Expected() for number in range(WRITERS)}
    for number in range(ROUNDS):
        with server_on(tmp_path) as server:
            look(server, expected)
            writers = [
                Writer(server, key, expected[key], seed=chance.getrandbits(32), http2=http2)
                for key, http2 in zip(expected, [False, True] * WRITERS, strict=False)
            ]
            for writer in writers:
                writer.start()
            enough = chance.randrange(2, 12)
            while sum(writer.changes for writer in writers) < enough:
                assert any(writer.is_alive() for writer in writers), number
                time.sleep(0.001)
            # Kill the server at a random moment.
            time.sleep(chance.random() * 0.02)
            os.kill(server.pid, signal.SIGKILL)
            for writer in writers:
                writer.join(30)
                assert not writer.is_alive()
                assert writer.wrong == []
    with server_on(tmp_path) as server:
        look(server, expected)


def server_on(root: Path) -> RunningServer:
    return RunningServer(ServerOptions(root=root, secret_id="AKIDkilled", secret_key="killed"))


def look(server: RunningServer, expected: dict[str, Expected]) -> None:
    """Each key has one of its possible bodies, and the directory has only files of objects and parts."""
    client = ServerClient(server)
    listed = client("GET").texts("Key")
    for key, known in expected.items():
        got = client("GET", key)
        found = got.body if got.status == 200 else None
        assert (got.status, key in listed) in ((200, True), (404, False))
        if found is not None:
            assert got.headers["x-cos-hash-crc64ecma"] == str(hashing.crc64(found))
        assert digest(found) in [digest(body) for body in (known.acknowledged, *known.in_flight)], key
        known.acknowledged, known.in_flight = found, []
    for upload_id, key in uploads(client):
        assert client("DELETE", key, params={"uploadId": upload_id}).status == 204
    # Only many files are deleted in a thread; here are few.
    bodies = sum(path.stat().st_size for path in (server.root / "bodies").iterdir())
    assert bodies == sum(len(known.acknowledged or b"") for known in expected.values())
    assert list((server.root / "incoming").iterdir()) == []
    client.close()


def uploads(client: ServerClient) -> Iterator[tuple[str, str]]:
    page = client("GET", params={"uploads": ""})
    yield from zip(page.texts("UploadId"), page.texts("Key"), strict=True)


def digest(body: bytes | None) -> str:
    return "" if body is None else hashlib.sha256(body).hexdigest()
