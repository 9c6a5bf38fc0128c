"""The interpreter exits while requests run: silently, without delay, and with the program's exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cosxfer.server.tls import make_certificate
from tests.functional.preload import preload

ROOT = Path(__file__).parents[2]

PROGRAM = r"""
import asyncio, contextlib, ctypes, mmap, os, socket, ssl, sys, threading
from cosxfer._native import wire
from cosxfer.config import ClientConfig
from cosxfer.cos.endpoint import resolve_endpoint
from cosxfer.cos.requests import HttpRequest
from cosxfer.transport.native import NativeTransport

way, ending, ca, cert, key, through_python, *later = sys.argv[1:]
naps = ctypes.c_int.in_dll(ctypes.CDLL(None), "naps") if later else None  # of the library that was loaded before
later = dict(entry.split("=") for entry in later)  # variables of the environment, set as soon as the requests run
wire.tls_without_gil(not int(through_python))
wire.seal(not later)  # the slow calls are those of OpenSSL that read and write records
tls, http2 = way.startswith("tls"), way.endswith("2")
listener = socket.create_server(("127.0.0.1", 0), backlog=100)
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain(cert, key)
context.set_alpn_protocols(["h2" if http2 else "http/1.1"])
begun, begins = os.pipe()
child_lives, lives = os.pipe()
os.set_blocking(begun, False)
os.set_blocking(begins, False)

def talk(sock):
    # Reads as fast as it can. Over HTTP/2 it opens a large window first.
    try:
        if tls:
            sock = context.wrap_socket(sock, server_side=True)
        if http2:
            sock.sendall(bytes.fromhex("000006040000000000000401000000") + bytes.fromhex("00000408000000000040000000"))
        while sock.recv(65536):
            with contextlib.suppress(BlockingIOError):
                os.write(begins, b"x")
    except OSError:
        pass

def accept():
    while True:
        threading.Thread(target=talk, args=(listener.accept()[0],), daemon=True).start()

# The server is a process of its own. A thread of this one that was inside OpenSSL at the end, when OpenSSL frees its
# tables, could crash it.
if not os.fork():
    os.close(lives)
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    threading.Thread(target=accept, daemon=True).start()
    os.read(child_lives, 1)  # until the parent has ended
    os._exit(0)

class Endless:
    def __iter__(self):
        while True:
            yield bytes(100_000)

async def endless():
    while True:
        await asyncio.sleep(0)
        yield bytes(100_000)

async def main():
    scheme, port = "https" if tls else "http", listener.getsockname()[1]
    endpoint = resolve_endpoint(f"{scheme}://127.0.0.1:{port}", bucket="examplebucket-1250000000", region=None)
    transport = NativeTransport(ClientConfig(http_version="2" if http2 else "1.1", verify=ca))
    tasks = []
    for n in range(8):
        # Pages of zeros that need no memory; so large that they are never sent whole.
        large = memoryview(mmap.mmap(-1, 4 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=mmap.PROT_READ))
        body = (large, Endless(), endless(), b"")[n % 4]
        length = 1 << 40 if n % 4 in (1, 2) else len(body)
        request = HttpRequest(
            method="PUT",
            endpoint=endpoint,
            target=f"/{n}",
            headers={"host": endpoint.authority, "content-length": str(length)},
            body=body,
            content_length=length,
            stall_timeout_seconds=20.0,
        )
        tasks.append(asyncio.create_task(transport.send(request)))
    while True:
        try:
            os.read(begun, 1)
            break
        except BlockingIOError:
            await asyncio.sleep(0.001)
    os.environ.update(later)
    while later and not naps.value:
        await asyncio.sleep(0.001)
    if ending == "cancelled":
        return
    if ending == "cycle":
        main.kept = main, transport, tasks
        return
    if ending == "closed":
        await transport.aclose()
        await asyncio.gather(*tasks, return_exceptions=True)
        return
    if ending == "exit":
        sys.exit(0)
    if ending == "loop":
        loop = asyncio.get_running_loop()
        loop.call_soon(loop.stop)
        await asyncio.sleep(60)

if ending == "loop":
    # Neither the loop nor its tasks are closed.
    kept = loop = asyncio.new_event_loop()
    task = loop.create_task(main())
    loop.run_forever()
else:
    asyncio.run(main())
"""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    made = make_certificate(tmp_path_factory.mktemp("certificate"), host="127.0.0.1")
    return [str(made.ca_file), str(made.cert_file), str(made.key_file)]


def program(
    way: str,
    ending: str,
    certificate: list[str],
    *,
    through_python: bool = False,
    later: str = "",
    environment: dict[str, str] | None = None,
) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, way, ending, *certificate, str(int(through_python)), *later.split()],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
        capture_output=True,
        text=True,
        timeout=100,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("ending", ["cancelled", "cycle", "closed", "exit"])
@pytest.mark.parametrize("way", ["http1", "tls-http2"])
def test_the_interpreter_exits_with_requests_in_flight(way: str, ending: str, certificate: list[str]) -> None:
    assert program(way, ending, certificate) == (0, "")


@pytest.fixture(scope="module")
def slow_openssl(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment with the library that finds calls of OpenSSL after its end."""
    return preload(tmp_path_factory.mktemp("library"), "openssl_at_exit")


@pytest.mark.parametrize("ending", ["cycle", "exit"])
@pytest.mark.parametrize("through_python", [False, True])
@pytest.mark.parametrize("way", ["tls-http1", "tls-http2"])
def test_no_thread_is_inside_openssl_after_it_has_ended(
    way: str, through_python: bool, ending: str, certificate: list[str], slow_openssl: dict[str, str]
) -> None:
    # Through Python, a call must take less time than the process waits (200 ms).
    later = f"NAP_MS={1 if through_python else 20}"
    done = program(way, ending, certificate, through_python=through_python, later=later, environment=slow_openssl)
    assert done == (0, "")


@pytest.mark.deep
@pytest.mark.timeout(900)
@pytest.mark.parametrize("ending", ["cancelled", "cycle", "closed", "exit", "loop"])
@pytest.mark.parametrize("way", ["http1", "h2c-http2", "tls-http1", "tls-http2"])
def test_the_interpreter_always_exits_while_requests_run(way: str, ending: str, certificate: list[str]) -> None:
    for _ in range(20):
        code, said = program(way, ending, certificate)
        if ending == "loop":
            # asyncio itself warns of tasks that are destroyed with their loop.
            said = "" if "Task was destroyed but it is pending" in said else said
        assert (code, said) == (0, "")
