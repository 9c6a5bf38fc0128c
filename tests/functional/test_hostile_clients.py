"""Random hostile clients against the embedded server. A run prints its seed; ``COSXFER_CAMPAIGN_SEED`` repeats one."""

from __future__ import annotations

import os
import random
import re
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

import cosxfer

ROUNDS = 2000
AT_A_TIME = 8
BUCKET = "examplebucket-1250000000"
LARGEST_GROWTH_KIB = 200 * 1024


@dataclass(frozen=True)
class Victim:
    """A server in a separate process, with a log file."""

    port: int
    pid: int
    log: Path
    ca_file: Path | None
    keeps: bool = True
    """The server stores objects, so they can be read back."""

    def memory_kib(self) -> int:
        found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{self.pid}/status").read_text())
        assert found
        return int(found[1])

    def faults(self) -> list[str]:
        """Lines of the log that show an error in the server."""
        lines = self.log.read_text(errors="replace").splitlines()
        return [line for line in lines if re.search(r"Traceback|Error\b|panicked|failed while|Exception", line)]


SERVE = ("-m", "cosxfer", "serve", "--port", "0", "--root")
SERVE_ANONYMOUSLY = (
    "-c",
    "import sys; from cosxfer.server import ServerOptions, serve; "
    "serve(ServerOptions(root=sys.argv[1], secret_id='id', secret_key='key', allow_anonymous=True))",
)
KINDS = {
    "plain": lambda root: [*SERVE, root],
    "tls": lambda root: [*SERVE, root, "--tls"],
    "discard": lambda root: [*SERVE, root, "--discard"],
    "discard, tls": lambda root: [*SERVE, root, "--discard", "--tls"],
    "anonymous": lambda root: [*SERVE_ANONYMOUSLY, root],
}


@contextmanager
def victim(folder: Path, kind: str) -> Iterator[Victim]:
    log = folder / "log"
    environment = {**os.environ, "COS_SECRET_ID": "id", "COS_SECRET_KEY": "key"}
    command = [sys.executable, *KINDS[kind](str(folder / "root"))]
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=file, env=environment)
        assert process.stdout is not None
        with process.stdout:
            try:
                ready = process.stdout.readline().decode()
                found = re.search(r"://[^:]+:(\d+)", ready)
                assert found, ready + log.read_text()
                ca_file = folder / "root/tls/ca.pem" if "tls" in kind else None
                yield Victim(int(found[1]), process.pid, log, ca_file, keeps="discard" not in kind)
            finally:
                process.terminate()
                process.wait(20)


def still_serves(server: Victim, key: str) -> None:
    scheme, verify = ("https", str(server.ca_file)) if server.ca_file else ("http", True)
    with cosxfer.Client(
        endpoint=f"{scheme}://127.0.0.1:{server.port}/{{bucket}}",
        secret_id="id",
        secret_key="key",
        verify=verify,
        stall_timeout_seconds=30,
        max_attempts=3,
    ) as client:
        client.put_object(BUCKET, key, key)
        if server.keeps:
            assert client.get_object(BUCKET, key).body == key.encode()
        else:
            assert client.head_object(BUCKET, key).size == len(key)


METHODS = ["GET", "PUT", "POST", "HEAD", "DELETE", "OPTIONS", "PATCH", "G\0T", "", "PRI"]
TARGETS = [
    "/",
    "/k",
    "*",
    "/%",
    "/%00",
    "//",
    "/..",
    "/\xff",
    "http://x/k",
    "/k?partNumber=\u00b2&uploadId=x",
    "/?uploads&max-uploads=" + "9" * 5000,
]
NAMES = [
    "Host",
    "Content-Length",
    "Transfer-Encoding",
    "Range",
    "Content-MD5",
    "Date",
    "Expect",
    "Authorization",
    "If-Modified-Since",
    "x-cos-copy-source",
    "x-cos-traffic-limit",
    "Content-Type",
    "Upgrade",
    "Connection",
    "\x00",
    "",
]
VALUES = [
    "",
    "0",
    "-1",
    "9" * 400,
    "chunked",
    "gzip, chunked",
    "bytes=0-",
    "bytes=9-1,2-",
    "100-continue",
    "\xff\xfe",
    "a\rb",
    "multipart/form-data; boundary=" + "-" * 90,
    "q-sign-algorithm=sha1&q-ak=id&q-sign-time=1;2&q-key-time=1;2&q-header-list=&q-url-param-list=&q-signature=0",
    f"{BUCKET}.localhost",
    "close",
    "h2c",
]
BODIES = [
    b"",
    b"x" * 1000,
    b"0\r\n\r\n",
    b"5\r\nab",
    b"fffffffffffffff\r\n",
    b"<a>" * 5000,
    b"--" + b"-" * 90 + b"\r\n" * 500,
    b"\x00" * 100_000,
]


def head_of(chance: random.Random) -> bytes:
    """A request head, often malformed."""
    version = chance.choice(["HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/9", ""])
    text = f"{chance.choice(METHODS)} {chance.choice(TARGETS)} {version}"
    lines = [
        text,
        *(
            f"{chance.choice(NAMES)}:{' ' * chance.randrange(2)}{chance.choice(VALUES)}"
            for _ in range(chance.randrange(6))
        ),
    ]
    end = chance.choice(["\r\n", "\r\n", "\r\n", "\n", "\r"])
    return (end.join(lines) + end * 2).encode("latin-1", "replace")


def http2_frames(chance: random.Random) -> bytes:
    """The preface, and frames of random types, flags, streams and contents."""
    frames = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\0\0\0\4\0\0\0\0\0"]
    for _ in range(chance.randrange(1, 30)):
        body = chance.randbytes(chance.choice([0, 4, 5, 8, 100, 20_000]))
        length = len(body) if chance.randrange(8) else chance.randrange(1 << 24)
        stream = chance.choice([0, 1, 1, 3, 2, (1 << 31) - 1])
        frames.append(
            struct.pack(">I", length)[1:]
            + bytes([chance.randrange(12), chance.randrange(256)])
            + struct.pack(">I", stream)
            + body
        )
    return b"".join(frames)


def attack(server: Victim, chance: random.Random) -> None:
    """Make one connection, send random data in a random manner, and end it in a random way."""
    data = b"".join(
        chance.choice(
            [
                lambda: chance.randbytes(chance.randrange(1, 3000)),
                lambda: head_of(chance) + chance.choice(BODIES),
                lambda: head_of(chance) + chance.choice(BODIES),
                lambda: http2_frames(chance),
                lambda: b"\x16\x03\x01" + chance.randbytes(600),
                lambda: b"GET /k HTTP/1.1\r\n" + b"x: " + b"y" * chance.randrange(200_000),
            ]
        )()
        for _ in range(chance.randrange(1, 4))
    )
    with suppress(OSError), socket.create_connection(("127.0.0.1", server.port), timeout=2) as client:
        step = chance.choice([len(data), len(data), 1000, 7])
        for first in range(0, min(len(data), step * 200), step):
            client.sendall(data[first : first + step])
        match chance.randrange(4):
            case 0:  # a reset
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            case 1:
                client.shutdown(socket.SHUT_WR)
                client.settimeout(0.2)
                while client.recv(65536):
                    pass
            case 2:
                client.settimeout(0.1)
                client.recv(1)


def campaign(server: Victim, seed: int, rounds: int) -> None:
    """Make ``rounds`` hostile connections, a few at a time, while other connections stay open and silent."""
    silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(50)]
    for number, one in enumerate(silent):
        one.sendall(b"PUT /k HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\nx"[:number])

    def work(worker: int) -> None:
        chance = random.Random(seed * AT_A_TIME + worker)
        for _ in range(rounds // AT_A_TIME):
            attack(server, chance)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(AT_A_TIME)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for one in silent:
        one.close()


@pytest.mark.deep
@pytest.mark.timeout(400)
@pytest.mark.parametrize("kind", KINDS)
def test_no_hostile_client_breaks_the_server(tmp_path: Path, kind: str) -> None:
    seed = int(os.environ.get("COSXFER_CAMPAIGN_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"COSXFER_CAMPAIGN_SEED={seed}")
    with victim(tmp_path, kind) as server:
        still_serves(server, "before")
        campaign(server, seed, ROUNDS // 4)  # loads everything that is loaded only once
        before = server.memory_kib()
        campaign(server, seed + 1, ROUNDS)
        still_serves(server, "after")
        assert server.faults() == [], f"seed {seed}"
        assert server.memory_kib() - before < LARGEST_GROWTH_KIB, f"seed {seed}"


def test_the_campaign_notices_a_traceback(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text('cosxfer server ready\nTraceback (most recent call last):\n  File "x"\nValueError: x\n')
    server = Victim(port=0, pid=os.getpid(), log=log, ca_file=None)
    assert server.faults() == ["Traceback (most recent call last):", "ValueError: x"]
    assert server.memory_kib() > 0
