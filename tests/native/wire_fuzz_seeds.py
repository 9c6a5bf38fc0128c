"""Writes the seeds of the fuzzers to ``FOLDER/parser`` and ``FOLDER/io-thread``: wire_fuzz_seeds.py FOLDER.

An input of the I/O thread's fuzzer is two bytes of mode, then steps: see ``play`` in ``wire_io_thread_fuzz.c``.
"""

from __future__ import annotations

import sys
from pathlib import Path

HTTP1 = (
    b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: "x"\r\n\r\nhello',
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5;a=b\r\nhello\r\n0\r\nt: v\r\n\r\n",
    b"HTTP/1.0 404 Not Found\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\nConnection: a, close\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
    b"HTTP/1.1 503 Slow Down\r\ncontent-length: 3\r\ncontent-length: 3\r\nRetry-After: 1\r\n\r\nabc",
)

HTTP2, TLS, TIGHT, RATE, NO_SETTINGS, GONE, STOP = 1, 2, 4, 8, 16, 32, 64
SETTLE, TAKE_ALL, TIME, HALF_CLOSE, DRAIN = b"\x0a", b"\x07", b"\x0b", b"\x08", b"\x11"
CLOSE, CALLER_CLOSES = b"\x09\x01", b"\x10\x01"


def say(data: bytes) -> bytes:
    return b"".join(bytes([0, len(data[at : at + 255])]) + data[at : at + 255] for at in range(0, len(data), 255))


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return bytes([1, kind, flags, stream, len(payload)]) + payload


def submit(kind: int, size: int) -> bytes:
    """``kind``: 0 PUT, 1 GET, 2 HEAD; plus 4 chunks, 8 Expect, 16 fed, 32 mapped, 64 on_body. ``size``: in `SIZES`."""
    return bytes([12, kind, size])


def feed(which: int, thousand: int) -> bytes:
    return bytes([13, which, thousand])


def feed_end(which: int) -> bytes:
    return bytes([14, which])


def cancel(which: int) -> bytes:
    return bytes([15, which])


def response(which: int) -> bytes:
    return bytes([2, which])


def io_thread_seeds() -> list[bytes]:
    ok, go_on, chunks, refused, endless = response(0), response(1), response(2), response(3), response(5)
    put, get, head = submit(0, 4), submit(1, 0), submit(2, 0)
    plain = [
        put + TAKE_ALL + SETTLE + TAKE_ALL + ok + DRAIN + submit(0, 1) + SETTLE + TAKE_ALL + ok + DRAIN,
        get + SETTLE + chunks + DRAIN + head + SETTLE + ok + DRAIN,
        submit(8, 5) + SETTLE + TAKE_ALL + go_on + SETTLE + TAKE_ALL + ok,
        submit(8, 5) + SETTLE + TAKE_ALL + TIME + TAKE_ALL + ok,
        submit(0, 7) + SETTLE + refused + CLOSE,
        submit(0 | 4 | 16, 0) + feed(0, 9) + SETTLE + TAKE_ALL + feed(0, 3) + feed_end(0) + SETTLE + TAKE_ALL + ok,
        submit(16, 5) + feed(0, 9) + SETTLE + refused + feed(0, 9) + feed_end(0),
        submit(16, 5) + feed(0, 255) + SETTLE + TAKE_ALL + ok + DRAIN + feed_end(0),
        submit(32, 7) + TAKE_ALL + SETTLE + TAKE_ALL + SETTLE + TAKE_ALL + SETTLE + TAKE_ALL + ok,
        submit(64 | 1, 0) + SETTLE + response(7) + b"\x05" * 7 + DRAIN,
        get + SETTLE + endless + SETTLE + HALF_CLOSE,
        submit(0, 7) + SETTLE + ok + TAKE_ALL + SETTLE + TAKE_ALL,
        put + SETTLE + cancel(0) + SETTLE + ok,
        submit(0, 7) + SETTLE + CALLER_CLOSES,
        get + SETTLE + say(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nab") + CLOSE,
    ]
    done, go, no = b"\x02\x10", b"\x02\x01", b"\x02\x12"
    room = b"".join(bytes([4, stream, 15, 255]) for stream in (0, 1, 3))
    framed = [
        put + SETTLE + TAKE_ALL + done + DRAIN + submit(0, 1) + SETTLE + TAKE_ALL + frame(1, 5, 3, b"\x88"),
        get + SETTLE + frame(1, 4, 1, b"\x88") + frame(0, 1, 1, b"hello") + DRAIN,
        submit(8, 5) + SETTLE + TAKE_ALL + go + SETTLE + room + TAKE_ALL + done,
        submit(0, 7) + submit(0, 7) + SETTLE + TAKE_ALL + room + SETTLE + TAKE_ALL + room + TAKE_ALL + done,
        submit(0, 7) + SETTLE + no + frame(3, 0, 1, bytes(4)) + SETTLE,
        put + put + SETTLE + frame(3, 0, 1, b"\0\0\0\x07") + frame(7, 0, 0, bytes(8)) + SETTLE,
        submit(0, 7)
        + SETTLE
        + bytes([3, 4, 5])
        + SETTLE
        + room
        + TAKE_ALL
        + bytes([3, 5, 96])
        + room
        + TAKE_ALL
        + done,
        submit(0 | 4 | 16, 0) + feed(0, 9) + SETTLE + TAKE_ALL + feed(0, 3) + feed_end(0) + SETTLE + TAKE_ALL + done,
        submit(16, 5) + feed(0, 255) + SETTLE + TAKE_ALL + done + DRAIN + feed_end(0) + SETTLE + TAKE_ALL,
        submit(64 | 1, 0) + SETTLE + frame(1, 4, 1, b"\x88") + b"\x05\x00\x01" * 3 + b"\x05\x01\x01" + DRAIN,
        put + SETTLE + cancel(0) + SETTLE + done,
        submit(0, 7) + SETTLE + frame(7, 0, 0, b"\0\0\0\x01\0\0\0\x0bcalm") + SETTLE + TAKE_ALL + done,
        get + SETTLE + frame(6, 0, 0, bytes(8)) + frame(1, 0, 1, b"\x88") + frame(9, 5, 1, b"\0\x01a\x01b") + DRAIN,
        submit(0, 7) + SETTLE + TIME + room + TAKE_ALL + HALF_CLOSE,
        submit(0, 7) + SETTLE + frame(3, 0, 1, b"\0\0\0\x0d") + CALLER_CLOSES,
    ]
    modes = [(0, 0), (TLS, 1), (TLS | TIGHT, 2), (TIGHT | RATE, 0), (GONE, 0), (TLS | STOP, 4)]
    return [
        bytes([kind | mode, manner]) + steps
        for kind, all_steps in ((0, plain), (HTTP2, framed))
        for mode, manner in modes
        for steps in all_steps
    ]


def main(folder: Path) -> None:
    for name, seeds in (("parser", [b"\0" + seed for seed in HTTP1]), ("io-thread", io_thread_seeds())):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(seeds):
            (folder / name / f"seed-{number:03}").write_bytes(seed)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
