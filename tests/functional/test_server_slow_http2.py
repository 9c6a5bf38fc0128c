"""HTTP/2 clients that are slow or never finish: the server limits their time and memory.

The server's limits of two minutes are set to one second.
"""

from __future__ import annotations

import re
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import pytest
from h2.settings import SettingCodes

import cosxfer
from cosxfer.limits import MIB

BUCKET = "examplebucket-1250000000"
PATIENCE_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 60.0
SHORT = f"""
from cosxfer.server import patience, listener
patience.PAUSE_SECONDS = patience.IDLE_SECONDS = {PATIENCE_SECONDS}
patience.SWEEP_SECONDS = 0.1
from dataclasses import replace
listener._HTTP2_ALONE = replace(listener._HTTP2_ALONE, keep_alive_interval=1000, keep_alive_timeout=1)
from cosxfer.server import ServerOptions, serve
"""


class Victim:
    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.pid = process.pid
        self.port = port

    def memory_mib(self) -> int:
        found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{self.pid}/status").read_text())
        assert found
        return int(found[1]) // 1024

    def connections(self) -> int:
        """Number of open sockets."""
        held = 0
        for link in Path(f"/proc/{self.pid}/fd").iterdir():
            with suppress(OSError):
                held += link.readlink().name.startswith("socket:")
        return held

    def client(self) -> cosxfer.Client:
        return cosxfer.Client(
            endpoint=f"http://127.0.0.1:{self.port}/{{bucket}}", secret_id="id", secret_key="key", http_version="2"
        )

    def serves(self) -> None:
        with self.client() as client:
            client.put_object(BUCKET, "others", b"served")
            assert client.head_object(BUCKET, "others").size == 6


@contextmanager
def victim(folder: Path, options: str) -> Iterator[Victim]:
    code = f"{SHORT}serve(ServerOptions(root={str(folder)!r}, secret_id='id', secret_key='key', {options}))"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            found = re.search(r"://[^:]+:(\d+)", process.stdout.readline().decode())
            assert found
            yield Victim(process, int(found[1]))
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    with victim(tmp_path_factory.mktemp("victim") / "root", "allow_anonymous=True") as server:
        yield server


@pytest.fixture(scope="module")
def sink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    with victim(tmp_path_factory.mktemp("sink") / "root", "discard=True") as server:
        yield server


class Attacker:
    """An HTTP/2 connection that sends exactly what a test says."""

    def __init__(self, server: Victim, settings: dict[SettingCodes, int] | None = None) -> None:
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=LONGEST_WAIT_SECONDS)
        self.http2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self.http2.initiate_connection()
        if settings:
            self.http2.update_settings(settings)
        self.flush()

    def flush(self) -> None:
        self.socket.sendall(self.http2.data_to_send())

    def read(self) -> list[h2.events.Event]:
        data = self.socket.recv(1 << 20)
        if not data:
            raise ConnectionResetError
        return self.http2.receive_data(data)

    def greet(self) -> int:
        """Wait for the server's settings; return its stream limit."""
        while not any(isinstance(event, h2.events.RemoteSettingsChanged) for event in self.read()):
            pass
        return self.http2.remote_settings.max_concurrent_streams

    def begin(self, method: str, path: str, *, end: bool) -> int:
        stream = self.http2.get_next_available_stream_id()
        head = [(":method", method), (":scheme", "http"), (":authority", f"{BUCKET}.localhost"), (":path", path)]
        length = [] if end else [("content-length", "100")]
        self.http2.send_headers(stream, [*head, *length], end_stream=end)
        return stream

    def ends(self) -> bool:
        """Read until the server closes the connection."""
        with suppress(ConnectionError):
            while self.socket.recv(1 << 16):
                pass
        return True

    def close(self) -> None:
        self.socket.close()


@contextmanager
def attacking(server: Victim, settings: dict[SettingCodes, int] | None = None) -> Iterator[Attacker]:
    attacker = Attacker(server, settings)
    try:
        yield attacker
    finally:
        attacker.close()


def test_a_client_that_sends_only_the_preface_is_disconnected(server: Victim, sink: Victim) -> None:
    for one in (server, sink):
        with attacking(one) as attacker:
            assert attacker.ends()
        one.serves()


def test_a_client_with_an_endless_head_is_disconnected(server: Victim) -> None:
    with attacking(server) as attacker:
        attacker.begin("GET", "/" + "k" * 10_000, end=True)
        for byte in attacker.http2.data_to_send():
            try:
                attacker.socket.send(bytes([byte]))
            except ConnectionError:
                break
            # Send a byte now and then until the server closes the connection.
            if select.select([attacker.socket], [], [], PATIENCE_SECONDS / 10)[0] and not attacker.socket.recv(1 << 16):
                break
        else:
            pytest.fail("the whole head was taken")
    server.serves()


def test_pings_do_not_keep_a_connection_open(server: Victim) -> None:
    with attacking(server) as attacker, suppress(ConnectionError):
        while True:
            attacker.http2.ping(bytes(8))
            attacker.flush()
            attacker.read()
    server.serves()


@pytest.mark.parametrize("begun", [b"", b"some of it"])
def test_a_body_that_never_ends_times_out(server: Victim, sink: Victim, begun: bytes) -> None:
    for one in (server, sink):
        with attacking(one) as attacker:
            attacker.greet()
            stream = attacker.begin("PUT", "/unended", end=False)
            if begun:
                attacker.http2.send_data(stream, begun)
            attacker.flush()
            with suppress(ConnectionError):
                while not any(
                    isinstance(event, h2.events.StreamReset | h2.events.StreamEnded) for event in attacker.read()
                ):
                    pass
        with one.client() as client:
            if one is server:
                with pytest.raises(cosxfer.NotFoundError):
                    client.head_object(BUCKET, "unended")
        one.serves()


def test_a_client_that_reads_no_response_is_disconnected_and_uses_bounded_memory(
    server: Victim, tmp_path: Path
) -> None:
    (tmp_path / "large").write_bytes(bytes(64 * MIB))
    with server.client() as client:
        # In short requests, because this server does not wait for a client that the machine holds up for a second.
        client.slice_upload_file(BUCKET, "large", tmp_path / "large", slice_size=MIB)
    held, before = server.connections(), server.memory_mib()
    with attacking(server, {SettingCodes.INITIAL_WINDOW_SIZE: 0}) as attacker:
        streams = attacker.greet()
        for _ in range(streams):
            attacker.begin("GET", "/large", end=True)
        attacker.flush()
        highest = before
        with suppress(ConnectionError):
            while True:
                highest = max(highest, server.memory_mib())
                if select.select([attacker.socket], [], [], 0.05)[0]:
                    attacker.read()
    assert streams <= 128
    assert highest - before < 3 * streams
    while server.connections() > held:
        pass
    server.serves()


def test_ten_thousand_idle_streams_are_refused_or_end(server: Victim, sink: Victim) -> None:
    for one in (server, sink):
        before = one.memory_mib()
        with attacking(one) as attacker:
            streams = attacker.greet()
            # h2 respects the server's limit; this client must not.
            attacker.http2.remote_settings.update({SettingCodes.MAX_CONCURRENT_STREAMS: 1 << 30})
            attacker.http2.remote_settings.acknowledge()
            with suppress(ConnectionError, h2.exceptions.H2Error):
                for number in range(10_000):
                    attacker.begin("PUT", f"/idle-{number}", end=False)
                    attacker.flush()
                assert attacker.ends()
        assert streams <= 128
        assert one.memory_mib() - before < 100
        one.serves()


@pytest.mark.deep
def test_a_rapid_reset_ends_the_connection(server: Victim, sink: Victim) -> None:
    for one in (server, sink):
        before = one.memory_mib()
        with attacking(one) as attacker:
            attacker.greet()
            ended = False
            try:
                for number in range(20_000):
                    stream = attacker.begin("GET", f"/reset-{number}", end=True)
                    attacker.http2.reset_stream(stream)
                    attacker.flush()
            except ConnectionError:
                ended = True
            assert ended or attacker.ends()
        assert one.memory_mib() - before < 100
        one.serves()
