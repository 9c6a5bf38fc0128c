"""A network link in user space: a TCP relay with delay, a shared rate, a rate per connection, and TCP's windows.

    python bench/link.py --listen 8001 --to 127.0.0.1:8000 --delay-ms 25 --rate-mbit 2000 --connection-mbit 100

The rules are in `_shaper.py`; this file moves the bytes, in one thread with epoll. What a sender may not send yet stays
in its own socket, so back-pressure is that of a network. One difference remains: the sender's kernel sees an
acknowledgement when the relay has read the bytes, a round trip too early. A half close and a reset take the same way as
the bytes. For benchmarks: ``with link(server.port, shape) as port``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from _shaper import MAX_CHUNK_BYTES, Flow, Line, Shape, What

MEGABIT = 1e6 / 8
RECEIVE_BUFFER_BYTES = MAX_CHUNK_BYTES // 2
"""Of the relay's sockets: the kernel takes twice as much, one chunk. More would hide from a sender that it waits."""
SEGMENT_BYTES = 1460
"""On loopback segments have 64 KiB, and a sender's kernel takes 4 MB at once. With these it takes what it would."""
RESET = None
"""In a pipe's queue: the source has reset the connection. Empty bytes mean that it has sent everything."""
_EVENTS = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET


class Pipe:
    """One direction of one connection."""

    def __init__(self, line: Line, connection: Connection, source: socket.socket, target: socket.socket) -> None:
        self.line = line
        self.connection = connection
        self.source = source
        self.target = target
        self.flow: Flow = line.open(self)
        self.readable = False
        self.hung_up = False
        """The source has sent everything or is gone: reading ends with that, and no event will say so again."""
        self.broken = False
        """A write to the source has failed: it is gone, whatever reading it says."""
        self.read_all = False
        self.on_the_way: deque[bytes | None] = deque()
        self.arrived: deque[memoryview] = deque()
        self.has_closed = False
        """The target has got everything, and the end."""
        self.has_reset = False

    def pump(self) -> None:
        """Read as much as the line takes now."""
        while self.readable and not self.read_all and self.connection.open:
            now = time.monotonic()
            room = self.line.room(self.flow, now)
            if not room:
                return
            try:
                data = self._read(room)
            except BlockingIOError:
                self.readable = False
                return
            self.read_all = not data
            # A short read has emptied the socket, and the next bytes bring an event. The end may have come already.
            self.readable = self.hung_up or (data is not RESET and len(data) == room)
            self.on_the_way.append(data)
            self.line.send(self.flow, len(data or b""), now)

    def _read(self, room: int) -> bytes | None:
        try:
            data = self.source.recv(room)
        except BlockingIOError:
            if not self.broken:
                raise
            return RESET
        except OSError:
            return RESET
        return RESET if self.broken and not data else data

    def deliver(self) -> None:
        """The oldest chunk on the way is at the target."""
        data = self.on_the_way.popleft()
        if data is None:
            self.has_reset = True
            return
        self.arrived.append(memoryview(data))
        self.flow.held += len(data)
        self.write()

    def write(self) -> None:
        """Give the target what has arrived, as far as it takes it."""
        try:
            while self.arrived:
                data = self.arrived.popleft()
                if not data:
                    self.has_closed = True
                    self.target.shutdown(socket.SHUT_WR)
                    continue
                try:
                    sent = self.target.send(data)
                except BlockingIOError:
                    sent = 0
                self.flow.held -= sent
                if sent < len(data):
                    self.arrived.appendleft(data[sent:])
                    return
        except OSError:
            # The target is gone. The other direction tells the source; what comes until then is lost.
            self.arrived.clear()
            self.flow.held = 0
            self.connection.back(self).target_is_gone()

    def target_is_gone(self) -> None:
        """The source of this direction cannot be written to any more."""
        self.broken = self.hung_up = self.readable = True
        self.pump()


class Connection:
    """A client, its connection to the server, and the two directions between them."""

    def __init__(self, lines: tuple[Line, Line], client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.open = False
        """Between the end of the handshake and the end of the connection."""
        self.up = Pipe(lines[0], self, client, server)
        self.down = Pipe(lines[1], self, server, client)

    def back(self, pipe: Pipe) -> Pipe:
        return self.down if pipe is self.up else self.up

    def established(self) -> None:
        self.open = True
        self.up.pump()
        self.down.pump()

    def happened(self, end: socket.socket, mask: int) -> None:
        """Epoll reports ``mask`` for one of the two sockets."""
        reads, writes = (self.up, self.down) if end is self.client else (self.down, self.up)
        if mask & (select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR):
            reads.hung_up = True
        reads.readable = reads.readable or reads.hung_up or bool(mask & select.EPOLLIN)
        if mask & select.EPOLLOUT:
            writes.write()
            writes.pump()
        reads.pump()

    def end_if_done(self) -> bool:
        """Close both sockets if all is delivered, or a reset is; return whether they are closed."""
        for pipe in (self.up, self.down):
            if pipe.has_reset:
                with contextlib.suppress(OSError):
                    pipe.target.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if not (self.up.has_reset or self.down.has_reset or (self.up.has_closed and self.down.has_closed)):
            return False
        self.open = False
        for pipe in (self.up, self.down):
            pipe.line.close(pipe.flow)
            pipe.source.close()
        return True


class Relay:
    """Accepts connections on ``listener`` and relays them to ``target`` over lines of this shape."""

    def __init__(self, listener: socket.socket, target: tuple[str, int], shape: Shape) -> None:
        self.stopping = False
        self._listener = listener
        self._target = target
        self._shape = shape
        self._lines = (Line(shape), Line(shape))
        self._epoll = select.epoll()
        self._ends: dict[int, tuple[Connection, socket.socket]] = {}
        self._opening: deque[tuple[float, Connection]] = deque()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listener.getsockname()[1])

    def run(self, owner: int | None = None) -> None:
        """Relay until `stop`, or until the descriptor ``owner`` is readable."""
        self._listener.setblocking(False)
        self._epoll.register(self._listener, select.EPOLLIN)
        if owner is not None:
            self._epoll.register(owner, select.EPOLLIN)
        while not self.stopping:
            # epoll's own time-out counts in milliseconds, that of select in microseconds.
            select.select([self._epoll], [], [], self._wait_seconds())
            for descriptor, mask in self._epoll.poll(0):
                if descriptor == owner:
                    return
                if descriptor == self._listener.fileno():
                    self._accept()
                elif descriptor in self._ends:
                    connection, end = self._ends[descriptor]
                    connection.happened(end, mask)
                    self._end_if_done(connection)
            self._advance()

    def stop(self, *_: object) -> None:
        self.stopping = True

    def _wait_seconds(self) -> float | None:
        at = min(line.next_at() for line in self._lines)
        if self._opening:
            at = min(at, self._opening[0][0])
        return None if at == math.inf else max(0.0, at - time.monotonic())

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                client, _ = self._listener.accept()
                self._open(client)

    def _open(self, client: socket.socket) -> None:
        server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        connection = Connection(self._lines, client, server)
        for end in (client, server):
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server.connect_ex(self._target)
        for end in (client, server):
            self._ends[end.fileno()] = (connection, end)
            self._epoll.register(end, _EVENTS)
        handshake_seconds = self._shape.handshake_round_trips * self._shape.rtt_seconds
        self._opening.append((time.monotonic() + handshake_seconds, connection))

    def _advance(self) -> None:
        now = time.monotonic()
        while self._opening and self._opening[0][0] <= now:
            connection = self._opening.popleft()[1]
            connection.established()
            self._end_if_done(connection)
        for line in self._lines:
            for what, flow in line.advance(now):
                pipe: Pipe = flow.owner
                if what is What.DELIVERED and pipe.connection.open:
                    pipe.deliver()
                pipe.pump()
                self._end_if_done(pipe.connection)

    def _end_if_done(self, connection: Connection) -> None:
        if not connection.open:
            return
        descriptors = connection.client.fileno(), connection.server.fileno()
        if connection.end_if_done():
            for descriptor in descriptors:
                del self._ends[descriptor]


def listen(port: int) -> socket.socket:
    """Listen on this machine, with small buffers and segments as on a network."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT_BYTES)
    listener.bind(("127.0.0.1", port))
    listener.listen(1024)
    return listener


@contextlib.contextmanager
def link(target_port: int, shape: Shape) -> Iterator[int]:
    """Run a link to a port of this machine in a process of its own, and return the port that clients connect to."""
    command = [sys.executable, __file__, "--listen", "0", "--to", f"127.0.0.1:{target_port}", "--until-stdin-ends"]
    command += ["--shape", json.dumps(asdict(shape))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--listen", type=int, default=0, metavar="PORT", help="0 (default): a free one; it is printed")
    parser.add_argument("--to", required=True, metavar="HOST:PORT", help="the server")
    parser.add_argument("--delay-ms", type=float, default=0, help="in one direction, half a round trip")
    parser.add_argument("--rate-mbit", type=float, default=1000, help="of all connections, per direction")
    parser.add_argument("--connection-mbit", type=float, default=math.inf, help="of one connection")
    parser.add_argument("--queue-ms", type=float, default=50, help="what the bottleneck's queue holds")
    parser.add_argument("--slow-start", action="store_true", help="connections begin with 10 segments")
    parser.add_argument("--handshakes", type=float, default=1, help="round trips before the first byte; TLS: 2")
    parser.add_argument("--penalty-beyond", type=int, default=0, metavar="N", help="busy connections; 0: no penalty")
    parser.add_argument("--penalty-factor", type=float, default=0.02, help="share of the rate that is left then")
    parser.add_argument("--shape", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--until-stdin-ends", action="store_true", help="end when standard input ends")
    options = parser.parse_args()
    host, _, port = options.to.rpartition(":")
    relay = Relay(listen(options.listen), (host, int(port)), _shape(options))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, relay.stop)
    print(relay.port, flush=True)
    relay.run(sys.stdin.fileno() if options.until_stdin_ends else None)


def _shape(options: argparse.Namespace) -> Shape:
    if options.shape is not None:
        return Shape(**options.shape)
    return Shape(
        rtt_seconds=options.delay_ms / 500,
        capacity=options.rate_mbit * MEGABIT,
        connection_rate=options.connection_mbit * MEGABIT,
        queue_seconds=options.queue_ms / 1000,
        slow_start=options.slow_start,
        handshake_round_trips=options.handshakes,
        penalty_beyond=options.penalty_beyond,
        penalty_factor=options.penalty_factor,
    )


if __name__ == "__main__":
    main()
