"""Uploads while the interpreter ends: from threads that outlive the main one, exit handlers, and logging."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PROGRAM = r"""
import atexit

def finish():
    # Registered before all other handlers, so it runs last and can report which uploads arrived.
    print(sorted(bodies), flush=True)

atexit.register(finish)
import asyncio, http.server, io, logging, os, sys, tempfile, threading
way, transport = sys.argv[1:]
bodies = []

class Server(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_PUT(self):
        if "chunked" in self.headers.get("transfer-encoding", ""):
            raise AssertionError
        body = self.rfile.read(int(self.headers["content-length"]))
        bodies.append(f"{self.path} {len(body)}")
        self.send_response(200)
        self.send_header("content-length", "0")
        self.send_header("etag", '"%s"' % __import__("hashlib").md5(body).hexdigest())
        self.end_headers()

    def log_message(self, *_):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
server.daemon_threads = True
# Python 3.12 and later start no threads during shutdown, so the server starts its threads before.
threading.Thread(target=server.serve_forever, daemon=True).start()
settings = dict(endpoint=f"http://localhost:{server.server_port}", secret_id="id", secret_key="key",
                transport=transport, region="ap-guangzhou", http_version="1.1")

client = None

def upload(client, name):
    client.put_object("examplebucket-1250000000", f"{name} bytes", b"x" * 10)
    client.put_object("examplebucket-1250000000", f"{name} long", bytes(2 << 20))  # hashed in a thread
    client.put_object("examplebucket-1250000000", f"{name} file", io.BytesIO(b"x" * 30))
    client.put_object("examplebucket-1250000000", f"{name} pieces", iter([b"x" * 40]))
    with tempfile.NamedTemporaryFile(delete=False) as file:
        file.write(b"x" * 50)
    client.upload_file("examplebucket-1250000000", f"{name} path", file.name)
    os.unlink(file.name)

async def upload_in_loop():
    async with cosxfer.AsyncClient(**settings) as client:
        await client.put_object("examplebucket-1250000000", "k long", bytes(2 << 20))
        await client.put_object("examplebucket-1250000000", "k file", io.BytesIO(b"x" * 30))

class Handler(logging.Handler):
    def flush(self):
        if client is not None:
            upload(client, "k")

def guarded(function, *arguments):
    try:
        function(*arguments)
    except cosxfer.CosxferError as error:
        print("CosxferError:", error, flush=True)

if way == "handler with its client":
    atexit.register(lambda: guarded(upload, client, "k"))
if way == "logging":
    handler = Handler()
    logging.getLogger().addHandler(handler)

import cosxfer

if way in ("handler with its client", "logging"):
    client = cosxfer.Client(**settings)
    client.put_object("examplebucket-1250000000", "before", b"x")
if way == "handler with a new client":
    def late():
        with cosxfer.Client(**settings) as client:
            upload(client, "k")
    atexit.register(guarded, late)
if way == "loop in a handler":
    atexit.register(lambda: guarded(asyncio.run, upload_in_loop()))
if way == "thread":
    def outlive():
        main.join()
        with cosxfer.Client(**settings) as client:
            upload(client, "k")
    main = threading.current_thread()
    threading.Thread(target=guarded, args=(outlive,)).start()
"""


@pytest.mark.parametrize("transport", ["native", "httpx"])
@pytest.mark.parametrize(
    "way", ["thread", "handler with its client", "handler with a new client", "logging", "loop in a handler"]
)
def test_uploads_work_while_the_interpreter_ends(way: str, transport: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, way, transport],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COS_REGION": ""},
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    found = ended.stdout.strip().splitlines()
    if sys.version_info >= (3, 12) and way != "thread":
        # No new thread can start: either existing threads do the work, or the call fails with one clear error.
        assert all(line.startswith(("CosxferError: ", "[")) for line in found)
        return
    assert len(found) == 1, found
    names = {"long", "file"} if way == "loop in a handler" else {"bytes", "long", "file", "pieces", "path"}
    assert all(f"k%20{name}" in found[0] for name in names), found
