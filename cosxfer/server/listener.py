"""Runs granian in this process on a socket that is already bound, so that port 0 has no race."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import threading
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from granian._granian import SocketHolder
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings, HTTP2Settings
from granian.server.embed import Server

from cosxfer.limits import KIB, MIB
from cosxfer.loopback import do_not_pace, is_loopback
from cosxfer.server.close_connections import close_connections_of_port
from cosxfer.server.front import Front
from cosxfer.server.http1 import App
from cosxfer.server.options import ServerStartError
from cosxfer.server.patience import Patience
from cosxfer.server.tls import Certificate

BACKLOG = 1024
STOP_SECONDS = 1.0
"""How long running requests may take after the server was stopped; then they are cut."""

_HTTP1 = HTTP1Settings(max_buffer_size=1 * MIB)
# granian's defaults (windows of 1 MiB, frames of 16 KiB) slow uploads down: each frame costs a call into Python.
_HTTP2 = HTTP2Settings(
    initial_connection_window_size=64 * MIB,
    initial_stream_window_size=16 * MIB,
    max_frame_size=1 * MIB,
    # Each stream may hold a head, and some pieces of a response that the client does not take.
    max_concurrent_streams=128,
    max_headers_size=64 * KIB,
)
# If granian takes the connections itself: a client that does not even answer pings is gone. Milliseconds, then seconds.
_HTTP2_ALONE = replace(_HTTP2, keep_alive_interval=60_000, keep_alive_timeout=60)


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises `ServerStartError` if the address is in use or not local."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        if is_loopback(listener.getsockname()[0]):  # the host may be a name
            do_not_pace(listener)
        listener.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or str(error)
        if getattr(error, "errno", None) == errno.EADDRINUSE:
            reason += "; port 0 chooses a free port"
        raise ServerStartError(f"cannot listen on {host} port {port}: {reason}") from error
    listener.setblocking(False)
    return listener


class _Granian(Server):
    """granian's embedded server on a given socket, without its start-up messages."""

    def __init__(self, app: App, listener: socket.socket, **settings: Any) -> None:
        host, port = listener.getsockname()[:2]
        super().__init__(app, address=host, port=port, **settings)
        self._listener = listener

    def _init_shared_socket(self) -> None:
        # granian closes its descriptor.
        fd = os.dup(self._listener.fileno())
        # granian's stubs lack the constructor and the attribute's real type.
        self._shd = SocketHolder(fd, False, BACKLOG)  # type: ignore[call-arg,assignment]


async def serve_on(
    listener: socket.socket,
    app: App,
    *,
    certificate: Certificate | None,
    spelt: bool,
    stop: asyncio.Event,
    ready: Callable[[], None],
) -> None:
    """Serve HTTP/1.1 and HTTP/2 (by ALPN, or with prior knowledge) until ``stop`` is set.

    ``spelt`` puts `Front` in front of granian. It serves HTTP/1.1 with COS's header names. HTTP/2 then costs up to 10 %
    more of this process's CPU time (0.1 to 0.5 s for 1 GiB).
    """
    with listen("127.0.0.1", 0) if spelt else nullcontext(listener) as behind:
        tls = {} if certificate is None else {"ssl_cert": certificate.cert_file, "ssl_key": certificate.key_file}
        patience = Patience(app)
        server = _Granian(
            patience,
            behind,
            interface=Interfaces.ASGINL,
            http=HTTPModes.auto,
            websockets=False,
            log_enabled=False,
            http1_settings=_HTTP1,
            http2_settings=_HTTP2 if spelt else _HTTP2_ALONE,
            backlog=BACKLOG,
            **tls,
        )
        tasks = [asyncio.create_task(server.serve()), asyncio.create_task(stop.wait())]
        if spelt:
            front = Front(listener, app, patience, behind=behind.getsockname()[:2], certificate=certificate)
            tasks.append(asyncio.create_task(front.run()))
        # All begin to accept in their first step. Earlier connections wait in the backlog.
        await asyncio.sleep(0)
        try:
            ready()
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # Also if `ready` fails: granian's threads must not outlive the interpreter.
            await _stop(server, tasks, ports={listener.getsockname()[1], behind.getsockname()[1]})


async def _stop(server: _Granian, tasks: list[asyncio.Task[Any]], *, ports: set[int]) -> None:
    """End all tasks and raise the first error."""
    serving, *others = tasks
    for task in others:
        task.cancel()
    if not serving.done():
        server.stop()  # type: ignore[no-untyped-call] # of granian
        if not (await asyncio.wait([serving], timeout=STOP_SECONDS))[0]:
            for port in ports:
                close_connections_of_port(port)
            await asyncio.wait([serving], timeout=STOP_SECONDS)
    serving.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    await _wait_for_threads(loop=asyncio.get_running_loop())
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
            raise result


async def _wait_for_threads(loop: asyncio.AbstractEventLoop) -> None:
    """Wait for granian's threads. One that calls into a finalized interpreter ends the process with a panic."""
    end = loop.time() + STOP_SECONDS
    while _has_foreign_threads() and loop.time() < end:  # noqa: ASYNC110 (there is no event)
        await asyncio.sleep(0.01)


def _has_foreign_threads() -> bool:
    """Whether threads run that Python did not start. Works on Linux only."""
    tasks = Path("/proc/self/task")
    return tasks.is_dir() and len(list(tasks.iterdir())) > threading.active_count()
