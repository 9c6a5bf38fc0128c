"""The server that `bench/download.py` fetches from: nginx, which sends files of a folder by sendfile."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import trustme
from _wire_peers import _wait_for, free_ports, program

# Each object has a CRC64 header of its own, as COS sends it.
_NGINX = """
daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
  access_log off; sendfile on; sendfile_max_chunk 2m; tcp_nopush on; keepalive_requests 1000000; keepalive_timeout 600s;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s; open_file_cache max=20000; http2_chunk_size 128k;
  ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem; ssl_protocols TLSv1.3;
  ssl_buffer_size 16k;
  map $uri $crc64 {{ {crc64} }}
  server {{
    listen 127.0.0.1:{http1}; listen 127.0.0.1:{h2c} http2; listen 127.0.0.1:{tls} ssl;
    root {objects};
    add_header x-cos-hash-crc64ecma $crc64;
    location / {{ default_type application/octet-stream; }}
  }}
}}
"""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Ports on 127.0.0.1."""

    http1: int
    h2c: int
    tls: int
    ca_file: Path


@contextlib.contextmanager
def source(folder: Path, objects: Path, crc64: dict[str, int]) -> Iterator[Source]:
    """Serve the files below ``objects``; ``crc64`` is by path (a pattern that begins with ``~`` is a regular
    expression)."""
    http1, h2c, tls = free_ports(3)
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    ca_file = folder / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    certificate.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
    config = folder / "nginx.conf"
    lines = " ".join(f'"{path}" {value};' for path, value in crc64.items())
    config.write_text(_NGINX.format(folder=folder, objects=objects, http1=http1, h2c=h2c, tls=tls, crc64=lines))
    process = subprocess.Popen(
        [program("nginx", "nginx-light"), "-c", str(config), "-p", str(folder)], stdout=subprocess.DEVNULL
    )
    try:
        for port in (http1, h2c, tls):
            _wait_for(port)
        yield Source(http1=http1, h2c=h2c, tls=tls, ca_file=ca_file)
    finally:
        process.terminate()
        process.wait()
