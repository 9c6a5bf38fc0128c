"""The servers that `bench/wire.py` sends to: nginx and nghttpd on this machine, each with free ports of its own."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import trustme

# A sink that reads the whole body into memory before it responds.
_NGINX = """
daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_max_body_size 0; client_body_buffer_size 16m; client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  keepalive_requests 1000000; keepalive_timeout 600s; http2_max_concurrent_streams 256; http2_recv_buffer_size 1m;
  ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem; ssl_protocols TLSv1.3;
  upstream answer {{ server unix:{folder}/answer.sock; keepalive 64; }}
  server {{
    listen unix:{folder}/answer.sock;
    location / {{ add_header ETag '"not-an-md5"'; return 200; }}
  }}
  server {{
    listen 127.0.0.1:{http1}; listen 127.0.0.1:{h2c} http2; listen 127.0.0.1:{tls} ssl http2;
    location / {{
      proxy_pass http://answer; proxy_http_version 1.1; proxy_pass_request_body off;
      proxy_set_header Content-Length ""; proxy_set_header Connection "";
    }}
    location /slow/ {{
      proxy_pass http://127.0.0.1:{slow}; proxy_http_version 1.1; proxy_request_buffering off;
    }}
  }}
}}
"""


@dataclass(frozen=True, kw_only=True)
class Peers:
    """Ports on 127.0.0.1. ``small_frames`` takes HTTP/2 frames of 16 KiB over TLS, ``tls`` those of any size."""

    http1: int
    h2c: int
    tls: int
    small_frames: int
    ca_file: Path


def free_ports(count: int) -> list[int]:
    """Return free ports."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in sockets]


def program(name: str, package: str) -> str:
    """Return the path of a server's program; exits if it is missing."""
    found = shutil.which(name) or shutil.which(f"/usr/sbin/{name}")
    if found is None:
        sys.exit(f"bench: {name} is needed (Debian: apt-get install {package})")
    return found


@contextlib.contextmanager
def peers(folder: Path) -> Iterator[Peers]:
    """Start the servers, and stop them at the end of the context."""
    http1, h2c, tls, small = free_ports(4)
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    ca_file = folder / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    certificate.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
    with slow_sink() as slow:
        config = folder / "nginx.conf"
        config.write_text(_NGINX.format(folder=folder, http1=http1, h2c=h2c, tls=tls, slow=slow))
        empty = folder / "empty"
        empty.mkdir()
        (empty / "sink").touch()
        commands = [
            [program("nginx", "nginx-light"), "-c", str(config), "-p", str(folder)],
            [
                program("nghttpd", "nghttp2-server"), "-a", "127.0.0.1", "-d", str(empty),
                "--window-bits=24", "--connection-window-bits=26",
                str(small), str(folder / "key.pem"), str(folder / "cert.pem"),
            ],
        ]  # fmt: skip
        running = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for command in commands]
        try:
            for port in (http1, h2c, tls, small):
                _wait_for(port)
            yield Peers(http1=http1, h2c=h2c, tls=tls, small_frames=small, ca_file=ca_file)
        finally:
            for process in running:
                process.terminate()
            for process in running:
                process.wait()


@contextlib.contextmanager
def slow_sink(bytes_per_second: int = 1 << 20) -> Iterator[int]:
    """Start a server that reads request bodies at this rate; yields its port."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)

    def read(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while connection.recv(bytes_per_second // 20):
                time.sleep(0.05)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=read, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    with listener:
        yield listener.getsockname()[1]


def _wait_for(port: int) -> None:
    for _ in range(200):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    sys.exit(f"bench: no server on port {port}")
