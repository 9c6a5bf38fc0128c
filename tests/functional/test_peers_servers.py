"""The native transport against other servers: nginx, h2o, nghttpd, haproxy (from Debian), granian.

They respond early, open tiny windows, close connections often, when idle and by reloads during bodies, and send
100 Continue. The other files test_peers_….py script, frame by frame, what none of these servers does on command.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from cosxfer.config import ClientConfig, HttpVersion
from cosxfer.cos.endpoint import resolve_endpoint
from cosxfer.cos.requests import HttpRequest
from cosxfer.errors import TransportError
from cosxfer.limits import MIB
from cosxfer.transport.native import NativeTransport
from tests.functional.peer_raw import in_loop

pytestmark = [pytest.mark.deep, pytest.mark.timeout(300)]

BODY = random.Random(5).randbytes(6 * MIB + 11)

NGINX = """
user root; daemon off; master_process {master}; pid {folder}/nginx.pid; error_log stderr crit;
events {{ worker_connections 1024; }}
http {{
  access_log off; client_max_body_size 100m; client_body_buffer_size {buffer}; client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  keepalive_requests {requests}; keepalive_timeout {idle}; {more}
  ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;
  server {{ listen unix:{folder}/answer.sock; return 200 "got $http_x_length"; }}
  server {{
    listen 127.0.0.1:{http1}; listen 127.0.0.1:{h2c} http2; listen 127.0.0.1:{tls} ssl http2;
    location / {{
      proxy_pass http://unix:{folder}/answer.sock; proxy_pass_request_body off;
      proxy_set_header Content-Length ""; proxy_set_header X-Length $request_length;
    }}
    location /refuse {{ return 403 "no"; }}
    location /small {{ client_max_body_size 1k; return 200; }}
  }}
}}
"""

H2O = """
listen: {{ host: 127.0.0.1, port: {http1} }}
http2-idle-timeout: {idle}
http1-request-timeout: {idle}
listen:
  host: 127.0.0.1
  port: {tls}
  ssl: {{ certificate-file: {folder}/cert.pem, key-file: {folder}/key.pem }}
hosts:
  default:
    paths:
      "/refuse":
        mruby.handler: |
          lambda {{ |env| [403, {{}}, ["no"]] }}
      "/":
        mruby.handler: |
          lambda {{ |env| [200, {{}}, [env['rack.input'].read.length.to_s]] }}
"""

HAPROXY = """
global
  tune.h2.initial-window-size {window}
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend all
  bind 127.0.0.1:{http1}
  bind 127.0.0.1:{h2c} proto h2
  bind 127.0.0.1:{tls} ssl crt {folder}/both.pem alpn h2,http/1.1
  http-request deny deny_status 403 if {{ path /refuse }}
  default_backend sink
backend sink
  server sink 127.0.0.1:{behind}
"""

GRANIAN = """
async def app(scope, receive, send):
    length, more, refused = 0, True, scope["path"] == "/refuse"
    while more and not refused:
        message = await receive()
        length, more = length + len(message["body"]), message["more_body"]
    await send({"type": "http.response.start", "status": 403 if refused else 200, "headers": []})
    await send({"type": "http.response.body", "body": b"no" if refused else b"%d" % length})
"""


@dataclass(frozen=True, kw_only=True)
class Ports:
    http1: int
    h2c: int
    tls: int
    behind: int = 0


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in sockets]


def program(name: str, package: str) -> str:
    found = shutil.which(name) or shutil.which(f"/usr/sbin/{name}")
    assert found, f"{name} is not installed: .ci/deep/wire_peers.sh installs it (Debian: {package})"
    return found


@contextlib.contextmanager
def started(command: list[str], *ports: int) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        for port in ports:
            while True:
                assert process.poll() is None, process.communicate()[1].decode()
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
        yield
    finally:
        process.terminate()
        process.communicate()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("peers")
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(str(path / "ca.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(path / "cert.pem"))
    certificate.private_key_pem.write_to_path(str(path / "key.pem"))
    certificate.private_key_and_cert_chain_pem.write_to_path(str(path / "both.pem"))
    return path


@contextlib.contextmanager
def nginx(
    folder: Path, *, buffer: str = "16m", requests: int = 1000, idle: str = "60s", master: str = "off", more: str = ""
) -> Iterator[Ports]:
    http1, h2c, tls = free_ports(3)
    config = folder / f"nginx-{http1}.conf"
    (folder / "answer.sock").unlink(missing_ok=True)
    config.write_text(
        NGINX.format(
            folder=folder,
            http1=http1,
            h2c=h2c,
            tls=tls,
            buffer=buffer,
            requests=requests,
            idle=idle,
            master=master,
            more=more,
        )
    )
    command = [program("nginx", "nginx-light"), "-c", str(config), "-p", str(folder)]
    with started(command, http1, h2c, tls):
        yield Ports(http1=http1, h2c=h2c, tls=tls)


def ways(ports: Ports) -> list[tuple[str, int, HttpVersion, str]]:
    every: list[tuple[str, int, HttpVersion, str]] = [
        ("http", ports.http1, "1.1", "HTTP/1.1"),
        ("http", ports.h2c, "2", "HTTP/2"),
        ("https", ports.tls, "1.1", "HTTP/1.1"),
        ("https", ports.tls, "auto", "HTTP/2"),
    ]
    return [way for way in every if way[1]]


async def put_many(
    folder: Path, way: tuple[str, int, HttpVersion, str], *, count: int, path: str = "/object", body: bytes = BODY,
    width: int = 4, status: int = 200, expect: bool = False, pause: float = 0,
) -> list[bytes]:  # fmt: skip
    scheme, port, version, expected = way
    endpoint = resolve_endpoint(f"{scheme}://127.0.0.1:{port}", bucket="examplebucket-1250000000", region=None)
    transport = NativeTransport(ClientConfig(http_version=version, verify=str(folder / "ca.pem")))
    responses: list[bytes] = []
    numbers = iter(range(count))

    async def work() -> None:
        for _ in numbers:
            headers = {"host": endpoint.authority, "content-length": str(len(body))}
            if expect:
                headers["expect"] = "100-continue"
            if pause:
                await asyncio.sleep(pause)
            response = await transport.send(
                HttpRequest(
                    method="PUT",
                    endpoint=endpoint,
                    target=path,
                    headers=headers,
                    body=body,
                    content_length=len(body),
                    expect_continue=expect,
                )
            )
            assert (response.status, response.http_version) == (status, expected)
            responses.append(response.body)

    try:
        await asyncio.gather(*(work() for _ in range(width)))
    finally:
        await transport.aclose()
    return responses


@in_loop
async def test_nginx_in_every_protocol(folder: Path) -> None:
    with nginx(folder) as ports:
        for way in ways(ports):
            assert len(await put_many(folder, way, count=20)) == 20
            assert len(await put_many(folder, way, count=300, body=b"x" * 100, width=32)) == 300


@in_loop
async def test_nginx_that_refuses_before_it_reads(folder: Path) -> None:
    with nginx(folder) as ports:
        for way in ways(ports):
            assert await put_many(folder, way, count=6, path="/refuse", status=403) == [b"no"] * 6
            await put_many(folder, way, count=6, path="/small", status=413)


@in_loop
async def test_nginx_with_tiny_windows_and_connections_that_end_often(folder: Path) -> None:
    with nginx(folder, buffer="1k", requests=3, more="http2_body_preread_size 0;") as ports:
        for way in ways(ports):
            await put_many(folder, way, count=12, body=BODY[: MIB // 2])
            # A connection may close while a request is being sent. The transport raises; a session would retry.
            sent = 0
            while sent < 60:
                try:
                    sent += len(await put_many(folder, way, count=20, body=b"x" * 100, width=1))
                except TransportError:
                    sent += 1


@in_loop
async def test_h2o(folder: Path) -> None:
    http1, tls = free_ports(2)
    config = folder / "h2o.conf"
    config.write_text(H2O.format(folder=folder, http1=http1, tls=tls, idle=60))
    with started([program("h2o", "h2o"), "-c", str(config)], http1, tls):
        for way in ways(Ports(http1=http1, h2c=0, tls=tls)):
            assert set(await put_many(folder, way, count=10)) == {str(len(BODY)).encode()}


@pytest.mark.parametrize("bits", [1, 10, 30])
@in_loop
async def test_nghttpd_with_windows_of_any_size(folder: Path, bits: int) -> None:
    [port] = free_ports(1)
    (folder / "object").touch()
    command = [
        program("nghttpd", "nghttp2-server"), "-a", "127.0.0.1", "-d", str(folder), f"--window-bits={bits}",
        str(port), str(folder / "key.pem"), str(folder / "cert.pem"),
    ]  # fmt: skip
    body = BODY[:20_000] if bits < 10 else BODY
    with started(command, port):
        await put_many(folder, ("https", port, "2", "HTTP/2"), count=8, body=body)


@pytest.mark.parametrize("window", [100, 65535, 1 << 20])
@in_loop
async def test_haproxy(folder: Path, window: int) -> None:
    http1, h2c, tls = free_ports(3)
    config = folder / "haproxy.cfg"
    with nginx(folder) as behind:
        config.write_text(
            HAPROXY.format(folder=folder, http1=http1, h2c=h2c, tls=tls, behind=behind.http1, window=window)
        )
        with started([program("haproxy", "haproxy"), "-f", str(config)], http1, h2c, tls):
            for way in ways(Ports(http1=http1, h2c=h2c, tls=tls)):
                await put_many(folder, way, count=8, body=BODY if window > 1000 else BODY[:200_000])


@in_loop
async def test_nginx_that_is_reloaded_repeatedly_while_bodies_are_sent(folder: Path) -> None:
    """Each reload ends the old workers: they send GOAWAY and close idle connections."""
    with nginx(folder, master="on") as ports:
        # nginx creates the file first and writes to it later.
        while not (written := (folder / "nginx.pid").read_text().strip()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        pid = int(written)

        reloads = 0

        async def reload() -> None:
            nonlocal reloads
            while True:
                await asyncio.sleep(0.1)
                os.kill(pid, signal.SIGHUP)
                reloads += 1

        for way in ways(ports):
            reloading = asyncio.create_task(reload())
            sent, until = 0, reloads + 8
            while sent < 40 or reloads < until:
                # A connection may close while a request is being sent. The transport raises; a session would retry.
                with contextlib.suppress(TransportError):
                    await put_many(folder, way, count=10, body=BODY[:MIB], width=4)
                    sent += 10
            reloading.cancel()


@in_loop
async def test_nginx_and_h2o_that_end_idle_connections(folder: Path) -> None:
    http1, tls = free_ports(2)
    config = folder / "h2o-idle.conf"
    config.write_text(H2O.format(folder=folder, http1=http1, tls=tls, idle=1))
    with nginx(folder, idle="1s") as ports, started([program("h2o", "h2o"), "-c", str(config)], http1, tls):
        every = [*ways(ports), *ways(Ports(http1=http1, h2c=0, tls=tls))]
        counts = await asyncio.gather(
            *(put_many(folder, way, count=3, body=b"x" * 1000, width=1, pause=1.5) for way in every)
        )
        assert [len(responses) for responses in counts] == [3] * len(every)


@in_loop
async def test_each_server_sends_100_continue(folder: Path) -> None:
    http1, tls, front1, front2, front3 = free_ports(5)
    (folder / "h2o-expect.conf").write_text(H2O.format(folder=folder, http1=http1, tls=tls, idle=60))
    with (
        nginx(folder) as behind,
        started([program("h2o", "h2o"), "-c", str(folder / "h2o-expect.conf")], http1, tls),
    ):
        (folder / "haproxy-expect.cfg").write_text(
            HAPROXY.format(folder=folder, http1=front1, h2c=front2, tls=front3, behind=behind.http1, window=65535)
        )
        with started([program("haproxy", "haproxy"), "-f", str(folder / "haproxy-expect.cfg")], front1, front2, front3):
            for ports in (behind, Ports(http1=http1, h2c=0, tls=tls), Ports(http1=front1, h2c=front2, tls=front3)):
                for way in ways(ports):
                    assert len(await put_many(folder, way, count=2, body=BODY[:MIB], width=2, expect=True)) == 2


@in_loop
async def test_h2o_and_haproxy_that_refuse_before_they_read(folder: Path) -> None:
    http1, tls, front1, front2, front3 = free_ports(5)
    (folder / "h2o-refuse.conf").write_text(H2O.format(folder=folder, http1=http1, tls=tls, idle=60))
    with (
        nginx(folder) as behind,
        started([program("h2o", "h2o"), "-c", str(folder / "h2o-refuse.conf")], http1, tls),
    ):
        (folder / "haproxy-refuse.cfg").write_text(
            HAPROXY.format(folder=folder, http1=front1, h2c=front2, tls=front3, behind=behind.http1, window=65535)
        )
        with started([program("haproxy", "haproxy"), "-f", str(folder / "haproxy-refuse.cfg")], front1, front2, front3):
            for ports in (Ports(http1=http1, h2c=0, tls=tls), Ports(http1=front1, h2c=front2, tls=front3)):
                for way in ways(ports):
                    await put_many(folder, way, count=6, path="/refuse", status=403)


@in_loop
async def test_nghttpd_that_responds_before_it_reads(folder: Path) -> None:
    [port] = free_ports(1)
    (folder / "object").touch()
    command = [
        program("nghttpd", "nghttp2-server"), "-a", "127.0.0.1", "-d", str(folder), "--early-response", str(port),
        str(folder / "key.pem"), str(folder / "cert.pem"),
    ]  # fmt: skip
    with started(command, port):
        way: tuple[str, int, HttpVersion, str] = ("https", port, "2", "HTTP/2")
        with pytest.raises(TransportError, match="NO_ERROR"):
            await put_many(folder, way, count=1, body=BODY)  # nghttpd sends 200, but does not read the body
        assert len(await put_many(folder, way, count=12, path="/missing", status=404)) == 12


@contextlib.contextmanager
def granian(folder: Path, *options: str) -> Iterator[Ports]:
    plain, tls = free_ports(2)
    (folder / "granian_app.py").write_text(GRANIAN)
    command = [
        sys.executable, "-m", "granian", "--interface", "asgi", "--working-dir", str(folder), "--no-ws", "--host",
        "127.0.0.1", *options, "granian_app:app",
    ]  # fmt: skip
    secure = ["--ssl-certificate", str(folder / "cert.pem"), "--ssl-keyfile", str(folder / "key.pem")]
    with started([*command, "--port", str(plain)], plain), started([*command, "--port", str(tls), *secure], tls):
        yield Ports(http1=plain, h2c=plain, tls=tls)


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--http2-initial-stream-window-size=1024", "--http2-initial-connection-window-size=1024"),
        ("--http2-initial-stream-window-size=1024", "--http2-max-concurrent-streams=10", "--no-http1-keep-alive"),
        ("--http2-initial-connection-window-size=4194304", "--http2-max-frame-size=1048576"),
    ],
)
@in_loop
async def test_granian_with_windows_and_frames_of_any_size(folder: Path, options: tuple[str, ...]) -> None:
    body = BODY if "1024" not in " ".join(options) else BODY[:MIB]
    with granian(folder, *options) as ports:
        for way in ways(ports):
            assert set(await put_many(folder, way, count=8, body=body)) == {str(len(body)).encode()}
            assert set(await put_many(folder, way, count=100, body=b"x" * 100, width=32)) == {b"100"}
            assert set(await put_many(folder, way, count=6, path="/refuse", status=403)) == {b"no"}
