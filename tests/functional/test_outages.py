"""Servers that go away during a transfer and return."""

from __future__ import annotations

import logging
import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

import cosxfer
from cosxfer.limits import MIB
from cosxfer.server import RunningServer, ServerOptions, ServerStartError

TRANSPORTS = ("native", "httpx")


class Host:
    """A server that can be killed and started again at the same port with the same data."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()
        # Not one that the system gives to others: while the server is down, any connection could get it.
        for port in random.sample(range(10_000, 30_000), 20):
            with suppress(ServerStartError):  # it is in use
                self.server = RunningServer(ServerOptions(root=root, port=port))
                break
        else:
            pytest.fail("no server could be started at any of 20 ports")
        self.endpoint, self.port = self.server.endpoint, self.server.port

    def kill(self) -> None:
        with self._lock:
            os.kill(self.server.pid, signal.SIGKILL)
            self.server.stop()

    def start(self) -> None:
        """Start it again, after a `kill` in another thread has ended: until then the port is in use."""
        keys = self.server.credentials
        with self._lock:
            self.server = RunningServer(
                ServerOptions(root=self._root, port=self.port, secret_id=keys.secret_id, secret_key=keys.secret_key)
            )


class Waiting(logging.Handler):
    """Sets `seen` when a request waits for its turn."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if "waits for its turn" in record.getMessage():
            self.seen.set()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path / "server")
    yield host
    host.server.stop()


@pytest.fixture
def waiting(caplog: pytest.LogCaptureFixture) -> Iterator[Waiting]:
    handler = Waiting()
    with caplog.at_level(logging.DEBUG, "cosxfer"):
        logging.getLogger("cosxfer").addHandler(handler)
        yield handler
        logging.getLogger("cosxfer").removeHandler(handler)


def client_of(host: Host, transport: str, **settings: object) -> cosxfer.Client:
    given = {"max_attempts": 1, "concurrency": 4, "part_size": MIB, "journal": None, **settings}
    return cosxfer.Client(
        endpoint=host.endpoint,
        credentials=host.server.credentials,
        transport=transport,  # type: ignore[arg-type]
        **given,  # type: ignore[arg-type]
    )


class KillAt:
    """A callback that kills the server once ``loaded`` bytes were sent."""

    def __init__(self, host: Host, loaded: int) -> None:
        self._host, self._loaded = host, loaded
        self.done = threading.Event()

    def __call__(self, progress: cosxfer.Progress) -> None:
        if progress.loaded >= self._loaded and not self.done.is_set():
            self.done.set()
            self._host.kill()


def upload(client: cosxfer.Client, bucket: str, source: Path, operation: str, kill: KillAt) -> None:
    if operation == "file":
        client.upload_file(bucket, "k", source, on_progress=kill)
    elif operation == "stream":
        with source.open("rb") as stream:
            pieces = iter(lambda: stream.read(MIB), b"")
            client.upload_stream(bucket, "k", pieces, on_progress=kill)
    else:
        results = client.upload_directory(bucket, "d", source.parent, include=["small-*"], on_progress=kill)
        assert [result.error for result in results] == [None] * len(results)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    folder.mkdir()
    for index in range(40):
        (folder / f"small-{index}").write_bytes(os.urandom(300_000))
    path = folder / "file"
    path.write_bytes(os.urandom(12 * MIB))
    return path


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("operation", ["file", pytest.param("stream", marks=pytest.mark.deep), "directory"])
def test_a_transfer_outlasts_a_server_that_is_killed_and_returns(
    host: Host, waiting: Waiting, source: Path, operation: str, transport: str
) -> None:
    kill = KillAt(host, 3 * MIB)
    # A limit that lets the server die in the middle.
    with (
        client_of(host, transport, retry_for_seconds=60, max_bytes_per_second=8e6) as client,
        ThreadPoolExecutor() as threads,
    ):
        work = threads.submit(upload, client, host.server.bucket, source, operation, kill)
        assert waiting.seen.wait(60), work.exception(0) if work.done() else "no request waits"
        host.start()
        work.result(60)
        if operation == "directory":
            stored = [client.get_object(host.server.bucket, f"d/small-{index}").body for index in range(40)]
            assert stored == [(source.parent / f"small-{index}").read_bytes() for index in range(40)]
        else:
            assert client.get_object(host.server.bucket, "k").body == source.read_bytes()
            assert client.multipart_list(host.server.bucket).uploads == ()


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("operation", ["file", "stream"])
def test_a_server_that_does_not_return_in_time_is_an_error_that_says_so(
    host: Host, source: Path, operation: str, transport: str
) -> None:
    kill = KillAt(host, 3 * MIB)
    with client_of(host, transport, retry_for_seconds=1.0, max_bytes_per_second=8e6) as client:
        with pytest.raises(cosxfer.UploadError, match=r"\(sent \d+ times in \d+ s\)") as caught:
            upload(client, host.server.bucket, source, operation, kill)
        assert isinstance(caught.value, cosxfer.TransportError)
        assert caught.value.upload_id


@pytest.mark.parametrize("call", ["put_object", "upload_file", "multipart_init", "head_object"])
def test_a_call_that_has_begun_nothing_does_not_wait(host: Host, source: Path, call: str) -> None:
    host.kill()
    calls: dict[str, Callable[[cosxfer.Client], object]] = {
        "put_object": lambda client: client.put_object(host.server.bucket, "k", b"content"),
        "upload_file": lambda client: client.upload_file(host.server.bucket, "k", source),
        "multipart_init": lambda client: client.multipart_init(host.server.bucket, "k"),
        "head_object": lambda client: client.head_object(host.server.bucket, "k"),
    }
    with client_of(host, "native", max_attempts=2) as client:
        with pytest.raises(cosxfer.ConnectError) as caught:
            calls[call](client)
        assert "sent 2 times" in getattr(caught.value, "__notes__", [])


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_part_and_a_complete_by_hand_outlast_an_outage(host: Host, waiting: Waiting, transport: str) -> None:
    bucket = host.server.bucket
    with client_of(host, transport, retry_for_seconds=60) as client, ThreadPoolExecutor() as threads:
        upload_id = client.multipart_init(bucket, "k").upload_id
        first = client.multipart_upload(bucket, "k", b"a" * MIB, upload_id=upload_id, part_number=1)
        host.kill()
        sending = threads.submit(client.multipart_upload, bucket, "k", b"b", upload_id=upload_id, part_number=2)
        assert waiting.seen.wait(30)
        host.start()
        second = sending.result(60)
        waiting.seen.clear()
        host.kill()
        completing = threads.submit(client.multipart_complete, bucket, "k", upload_id=upload_id, parts=[first, second])
        assert waiting.seen.wait(30)
        host.start()
        completing.result(60)
        assert client.get_object(bucket, "k").body == b"a" * MIB + b"b"
