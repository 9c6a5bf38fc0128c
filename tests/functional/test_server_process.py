"""The server as a process: it starts, reports its address, stops on request, and ends with its parent."""

from __future__ import annotations

import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from server_client import ServerClient

from cosxfer.credentials import Credentials
from cosxfer.errors import UsageError
from cosxfer.server import ServerOptions, ServerStartError, running
from tests.forked import real_starts

SERVE = "import sys; from cosxfer.server import ServerOptions, serve; serve(ServerOptions({}))"


@pytest.fixture(autouse=True)
def _real_starts() -> Iterator[None]:
    with real_starts():
        yield


@pytest.fixture
def spawn(tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    # A directory of this test alone: any server that starts removes what killed servers left in the shared one.
    environment = {**os.environ, "TMPDIR": str(tmp_path)}

    def start(code: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_prints_one_line_and_stops_on_a_signal(
    spawn: Callable[[str], subprocess.Popen[str]], tmp_path: Path, number: signal.Signals
) -> None:
    process = spawn(SERVE.format(f"root={str(tmp_path / 'root')!r}"))
    line = line_of(process)
    match = re.fullmatch(
        r"cosxfer server ready at http://127\.0\.0\.1:(\d+) \(bucket examplebucket-1250000000; keys in (.*)\)\n", line
    )
    assert match
    # The server must already accept connections.
    with socket.create_connection(("127.0.0.1", int(match[1]))) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert connection.makefile("rb").readline() == b"HTTP/1.1 403 Forbidden\r\n"
    assert stat.S_IMODE(Path(match[2]).stat().st_mode) == 0o600
    assert "COS_SECRET_KEY=" in Path(match[2]).read_text()
    process.send_signal(number)
    assert process.communicate(timeout=30) == ("", "")
    assert process.returncode == 0


def test_serve_with_tls_prints_the_path_of_its_authority(
    spawn: Callable[[str], subprocess.Popen[str]], tmp_path: Path
) -> None:
    process = spawn(SERVE.format(f"root={str(tmp_path)!r}, tls=True, secret_id='a', secret_key='b'"))
    match = re.search(r"ready at https://127\.0\.0\.1:\d+ \(.*; CA file ([^;)]+)\)", line_of(process))
    assert match
    assert Path(match[1]).read_text().startswith("-----BEGIN CERTIFICATE-----")
    keys = list(tmp_path.glob("tls/*.key"))
    assert [stat.S_IMODE(key.stat().st_mode) for key in keys] == [0o600]


def test_a_running_request_does_not_delay_the_stop(
    spawn: Callable[[str], subprocess.Popen[str]],
) -> None:
    process = spawn(SERVE.format("allow_anonymous=True"))
    match = re.search(r":(\d+) ", line_of(process))
    assert match
    with socket.create_connection(("127.0.0.1", int(match[1]))) as connection:
        connection.sendall(b"PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=30)[1] == ""
    assert process.returncode == 0


def test_a_temporary_directory_is_removed(spawn: Callable[[str], subprocess.Popen[str]]) -> None:
    process = spawn(SERVE.format(""))
    match = re.search(r"keys in (.*)/credentials.env", line_of(process))
    assert match
    assert Path(match[1]).is_dir()
    process.terminate()
    process.communicate(timeout=30)
    assert not Path(match[1]).exists()


def test_a_used_port_is_one_clear_error() -> None:
    with running() as server:
        message = f"cannot listen on 127.0.0.1 port {server.port}: Address already in use"
        with pytest.raises(ServerStartError, match=message), running(port=server.port):
            pass


def test_only_one_server_may_use_a_directory(tmp_path: Path) -> None:
    with (
        running(root=tmp_path),
        pytest.raises(ServerStartError, match="in use by another server"),
        running(root=tmp_path),
    ):
        pass


def test_a_directory_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ServerStartError, match=r"the directory .*/file/root cannot be used: Not a directory"):
        running(root=tmp_path / "file" / "root").__enter__()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"buckets": ["Wrong"]}, "bucket name"),
        ({"buckets": []}, "at least one"),
        ({"port": 70_000}, "port is 70000"),
        ({"secret_id": "alone"}, "give both"),
        ({"discard": True, "fault_script": "x"}, "exclude each other"),
        ({"region": "cos.ap-x"}, "region"),
        ({"root": ""}, "root is empty"),
        ({"host": ""}, "host is empty"),
    ],
)
def test_invalid_options_are_refused(options: dict[str, object], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        ServerOptions(**options)  # type: ignore[arg-type] # that is the point


def test_running_returns_what_a_client_needs(tmp_path: Path) -> None:
    with running(
        root=tmp_path, buckets=["a-1250000000", "b-1250000000"], secret_id="id", secret_key="key", token="token"
    ) as server:
        assert server.endpoint == f"http://127.0.0.1:{server.port}/{{bucket}}"
        assert server.url == f"http://127.0.0.1:{server.port}"
        assert (server.bucket, server.buckets) == ("a-1250000000", ("a-1250000000", "b-1250000000"))
        assert server.credentials == Credentials(secret_id="id", secret_key="key", token="token")
        assert (server.root, server.ca_file, server.region) == (tmp_path, None, "ap-guangzhou")
        command = Path(f"/proc/{server.pid}/cmdline").read_bytes()
        environment = Path(f"/proc/{server.pid}/environ").read_bytes()
        assert b"key" not in command.split(b"cosxfer.server")[1]
        assert b"=key" not in environment
        client = ServerClient(server)
        assert client("HEAD", bucket="b-1250000000").status == 200
        client.close()
    assert server.exit_status == 0
    server.stop()


def test_generated_keys_differ() -> None:
    with running() as first, running() as second:
        assert first.credentials != second.credentials
        assert first.credentials.secret_key not in repr(first.credentials)


@pytest.mark.parametrize("forked", [False, True])
def test_a_server_ends_with_its_parent(spawn: Callable[[str], subprocess.Popen[str]], forked: bool) -> None:
    """Also after kill -9, and even if a forked child of the parent survives."""
    fork = "child = os.fork()\nif not child:\n    os.close(1); os.close(2); time.sleep(60)" if forked else "child = 0"
    parent = spawn(
        "import os, time\nfrom cosxfer.server import running\n"
        f"with running() as server:\n    {fork.replace(chr(10), chr(10) + '    ')}\n"
        "    print(server.pid, server.root, child, flush=True)\n    time.sleep(60)"
    )
    pid, root, child = line_of(parent).split()
    parent.kill()
    parent.wait()
    while _is_alive(int(pid)):
        time.sleep(0.02)
    if forked:
        os.kill(int(child), signal.SIGKILL)
    assert Path(root).is_dir()
    subprocess.run(["rm", "-r", root], check=True)


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_a_full_disk_is_an_error_of_the_servers() -> None:
    with running() as server:
        client = ServerClient(server)
        incoming = server.root / "incoming"
        incoming.rmdir()
        incoming.write_text("")
        response = client("PUT", "x", body=b"x")
        assert (response.status, response.code) == (500, "InternalError")
        assert "disk" in response.text("Message")
        assert client("HEAD").status == 200
        client.close()


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("http2", [False, True])
def test_a_discarding_server_returns_plausible_responses(tls: bool, http2: bool) -> None:
    with running(discard=True, tls=tls) as server:
        client = ServerClient(server, http2=http2)
        md5 = {"content-md5": "1B2M2Y8AsgTpgAmY7PhCfg=="}
        put = client("PUT", "a ü", body=b"x" * 100_000, headers=md5, signed=False)
        assert (put.status, put.headers["etag"]) == (200, '"d41d8cd98f00b204e9800998ecf8427e"')
        assert "x-cos-hash-crc64ecma" not in put.headers
        assert client("HEAD", "a ü").headers["content-length"] == "100000"
        upload_id = client.begin("big")
        assert len(upload_id) > 20
        for number in (1, 2):
            assert client.part("big", upload_id, number, b"y" * 1000).headers["etag"]
        assert client("GET", "big", params={"uploadId": upload_id}).text("IsTruncated") == "false"
        done = client.complete("big", upload_id, [(1, "x"), (2, "y")])
        assert (done.text("Bucket"), done.text("Key")) == (server.bucket, "big")
        assert client("HEAD", "big").headers["content-length"] == "2000"
        assert client("DELETE", "big", params={"uploadId": upload_id}).status == 204
        assert client("GET", params={"uploads": ""}).text("IsTruncated") == "false"
        assert (
            client("POST", "log", params={"append": "", "position": "3"}, body=b"abc").headers[
                "x-cos-next-append-position"
            ]
            == "6"
        )
        assert client("GET", "big").code == "NoSuchKey"
        assert client("HEAD").status == 200
        client.close()
    with pytest.raises(ServerStartError, match="has stopped"):
        server.set_faults([])
