"""Programs for test_mapped_file.py. Each runs in a separate process, which SIGBUS would kill without the guard."""

from __future__ import annotations

import contextlib
import faulthandler
import mmap
import os
import random
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from cosxfer._native import hashing
from cosxfer.errors import SourceChangedError
from cosxfer.sources import FileSource

MIB = 1 << 20
SIZE = 4 * MIB
DATA = random.Random(1).randbytes(SIZE)


def make(path: str) -> None:
    with open(path, "wb") as file:  # noqa: PTH123  # a new file at the same path
        file.write(DATA)


def read_by_hash(source: FileSource) -> None:
    hasher = hashing.PartHasher([source.slice(i * MIB // 2, MIB // 2) for i in range(8)], threads=2)
    while not hasher.done:
        hasher.advance(MIB)


def read_by_copy(source: FileSource) -> None:
    bytes(source.slice(0, SIZE))


def read_by_socket(source: FileSource) -> None:
    left, right = socket.socketpair()

    def drain() -> None:
        while right.recv(MIB):
            pass

    reader = threading.Thread(target=drain)
    reader.start()
    try:
        for offset in range(0, SIZE, MIB):
            left.sendall(source.slice(offset, MIB))
    except OSError as error:
        if error.errno != 14:  # EFAULT: the page is missing
            raise
        source._storm_efault = True  # type: ignore[attr-defined]
    finally:
        left.close()
        reader.join()
        right.close()


def tls_pair() -> tuple[ssl.SSLObject, ssl.MemoryBIO]:
    """The client's session after a complete handshake, and its output."""
    import trustme

    authority = trustme.CA()
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server_context)
    client_context = ssl.create_default_context()
    authority.configure_trust(client_context)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server, server_hostname="localhost")
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(3):
        for end in (client, server):
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
    return client, to_server


def reader_by_tls() -> Callable[[FileSource], None]:
    client, out = tls_pair()

    def read(source: FileSource) -> None:
        for offset in range(0, SIZE, 64 * 1024):
            client.write(source.slice(offset, 64 * 1024))
            out.read()

    return read


def expect_cut(source: FileSource) -> None:
    try:
        source.check()
    except SourceChangedError as error:
        if error.changed == "size" and source.path in str(error):
            return
    raise AssertionError("the change went unseen")


def storm(kind: str, path: str, rounds: int) -> None:
    readers = {"hash": read_by_hash, "copy": read_by_copy, "socket": read_by_socket}
    read = reader_by_tls() if kind == "tls" else readers[kind]
    rng = random.Random(2)
    lost = 0
    make(path)
    start = time.perf_counter()
    with FileSource.open(path) as source:
        read(source)
    usual = time.perf_counter() - start
    for number in range(rounds):
        make(path)
        with FileSource.open(path) as source:
            wait, length = rng.random() * usual, rng.randrange(SIZE - MIB)
            cutter = threading.Timer(wait, os.truncate, (path, length))
            cutter.start()
            if number % 10 == 0:
                cutter.join()  # at least these reads hit a truncated file, even on a slow machine
            read(source)
            cutter.join()
            lost += source._mapping.lost or hasattr(source, "_storm_efault")  # type: ignore[union-attr]
            expect_cut(source)
    print(rounds, lost)


def lost_page(path: str) -> FileSource:
    make(path)
    source = FileSource.open(path)
    source.slice(0, SIZE)
    os.truncate(path, MIB)
    return source


def fork(path: str) -> None:
    source = lost_page(path)
    child = os.fork()
    view = source.slice(0, SIZE)
    assert not any(view[2 * MIB :: 4096])
    if child == 0:
        other = FileSource.open(path + ".child") if Path(path + ".child").exists() else lost_page(path + ".child")
        assert not any(other.slice(2 * MIB, MIB))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def foreign(order: str, path: str) -> None:
    if order == "before":
        faulthandler.enable()
    source = lost_page(path)
    if order == "after":
        faulthandler.enable()
        source.slice(0, 1)  # installs the guard above the other handler again
    assert not any(source.slice(MIB, MIB))
    make(path + ".other")
    with open(path + ".other", "rb") as file:  # noqa: PTH123
        other = mmap.mmap(file.fileno(), SIZE, prot=mmap.PROT_READ)
    os.truncate(path + ".other", 0)
    other[3 * MIB]


def sent(path: str, *, handled: bool) -> None:
    if handled:
        signal.signal(signal.SIGBUS, lambda *_: print("handled"))
    source = lost_page(path)
    assert not any(source.slice(MIB, MIB))
    os.kill(os.getpid(), signal.SIGBUS)
    time.sleep(0)


def replaced(path: str) -> None:
    source = lost_page(path)
    for _ in range(30):
        faulthandler.enable()
        assert not any(source.slice(MIB, MIB))
        faulthandler.disable()
        signal.signal(signal.SIGBUS, signal.SIG_DFL)
        source = lost_page(path)
        assert not any(source.slice(MIB, MIB))


if __name__ == "__main__":
    command, *rest = sys.argv[1:]
    if command == "storm":
        storm(rest[0], rest[1], int(rest[2]))
    elif command == "fork":
        fork(rest[0])
    elif command == "foreign":
        foreign(rest[0], rest[1])
    elif command in ("sent", "sent-handled"):
        sent(rest[0], handled=command == "sent-handled")
    else:
        replaced(rest[0])
