"""Runs a server in this process: store or sink, certificate, signals, the control channel of `running`."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cosxfer.credentials import Credentials
from cosxfer.errors import UsageError
from cosxfer.records import dataclass
from cosxfer.server.app import Application
from cosxfer.server.discard import DiscardApplication
from cosxfer.server.faults import load_faults
from cosxfer.server.options import ServerOptions, ServerStartError, credentials_of
from cosxfer.server.store import Store, StoreError
from cosxfer.server.store.files import make_private, write_private
from cosxfer.server.temporary import PREFIX, temporary_folder
from cosxfer.server.tls import Certificate, make_certificate


@dataclass(frozen=True, kw_only=True)
class Ready:
    """The address of a server that accepts connections."""

    host: str
    port: int
    url: str
    root: Path
    certificate: Certificate | None


Control = Callable[[Application | None, asyncio.Event], "asyncio.Task[None]"]
"""Starts a task that obeys a parent process."""


def serve(options: ServerOptions, *, say: Callable[[str], None] | None = None) -> None:
    """Run a server until SIGINT or SIGTERM.

    When the server accepts connections, one line with its address is printed or passed to ``say``. Generated keys are
    written to ``credentials.env`` in the server's directory, readable by the owner only. Raises `ServerStartError` or
    `cosxfer.errors.UsageError` if the server cannot start.
    """
    key = credentials_of(options)

    def announce(ready: Ready) -> None:
        notes = [f"bucket{'s' * (len(options.buckets) > 1)} {', '.join(options.buckets)}"]
        if ready.certificate is not None:
            notes.append(f"CA file {ready.certificate.ca_file}")
        if options.secret_id is None and not options.discard:
            path = ready.root / "credentials.env"
            try:
                write_private(path, f"COS_SECRET_ID={key.secret_id}\nCOS_SECRET_KEY={key.secret_key}\n".encode())
            except OSError as error:
                raise _unusable(ready.root, error) from error
            notes.append(f"keys in {path}")
        if options.discard:
            notes.append("discarding")
        (say or _print)(f"cosxfer server ready at {ready.url} ({'; '.join(notes)})")

    run(options, key=key, on_ready=announce, control=None)


def _print(line: str) -> None:
    print(line, flush=True)


def run(
    options: ServerOptions, *, key: Credentials, on_ready: Callable[[Ready], None], control: Control | None
) -> None:
    """Serve with ``key`` until a signal arrives or ``control`` stops the server."""
    try:
        from cosxfer.server.listener import listen
    except ImportError as error:
        raise ServerStartError(
            f"the server needs granian, and trustme for TLS: pip install 'cosxfer[server]' ({error})"
        ) from error
    rules = () if options.fault_script is None else load_faults(Path(options.fault_script))

    def clock() -> float:
        return time.time() + options.clock_offset_seconds

    with _directory(options) as root, listen(options.host, options.port) as listener:
        certificate = _certificate(options, root)
        executor = ThreadPoolExecutor(max_workers=max(2, os.cpu_count() or 2), thread_name_prefix="cosxfer-server")
        store: Store | None = None
        app: Application | None = None
        asgi: Any
        try:
            if options.discard:
                asgi = DiscardApplication(host=options.host, checksum=options.checksum)
            else:
                store = _open_store(options, root, executor, clock)
                asgi = app = Application(
                    store=store,
                    executor=executor,
                    credentials=(key, *options.more_credentials),
                    region=options.region,
                    allow_anonymous=options.allow_anonymous,
                    host=options.host,
                    clock=clock,
                )
                app.set_faults(rules)
            scheme = "http" if certificate is None else "https"
            port = listener.getsockname()[1]
            shown = f"[{options.host}]" if ":" in options.host else options.host
            ready = Ready(
                host=options.host,
                port=port,
                url=f"{scheme}://{shown}:{port}",
                root=root,
                certificate=certificate,
            )
            asyncio.run(_main(listener, asgi, app, ready, on_ready, control))
        finally:
            executor.shutdown(wait=True, cancel_futures=True)
            if store is not None:
                store.close()


async def _main(
    listener: socket.socket,
    asgi: Any,
    app: Application | None,
    ready: Ready,
    on_ready: Callable[[Ready], None],
    control: Control | None,
) -> None:
    from cosxfer.server.listener import serve_on

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    listening = None if control is None else control(app, stop)
    await serve_on(
        listener, asgi, certificate=ready.certificate, spelt=app is not None, stop=stop, ready=lambda: on_ready(ready)
    )
    if listening is not None:
        listening.cancel()


@contextmanager
def _directory(options: ServerOptions) -> Iterator[Path]:
    if options.root is not None:
        yield Path(options.root).absolute()
        return
    with temporary_folder(PREFIX) as path:
        yield path


def _certificate(options: ServerOptions, root: Path) -> Certificate | None:
    if not options.tls:
        return None
    try:
        make_private(root)
        return make_certificate(root / "tls", host=options.host)
    except ImportError as error:
        raise ServerStartError(f"TLS needs trustme: pip install 'cosxfer[server]' ({error})") from error
    except OSError as error:
        raise _unusable(root, error) from error


def _unusable(root: Path, error: OSError) -> ServerStartError:
    return ServerStartError(f"the directory {root} cannot be used: {error.strerror or error}")


def _open_store(options: ServerOptions, root: Path, executor: ThreadPoolExecutor, clock: Callable[[], float]) -> Store:
    try:
        store = Store(root, executor=executor, clock=clock)
    except StoreError as error:
        raise ServerStartError(str(error)) from error
    for bucket in options.buckets:
        store.add_bucket(bucket)
    return store


def fail(error: ServerStartError | UsageError) -> None:
    """Print why the server cannot start, in one line."""
    print(f"cosxfer server: {error}", file=sys.stderr, flush=True)
