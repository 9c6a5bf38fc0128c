"""`running`: a server in another process, for tests, notebooks and benchmarks.

A private socket pair connects the two processes. It carries the options and keys (never a command line), the server's
address, and later commands. If the parent ends in any way, the socket closes and the server stops.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, fields
from pathlib import Path
from types import TracebackType
from typing import Any

from cosxfer.credentials import Credentials
from cosxfer.server.faults import load_faults, parse_faults
from cosxfer.server.options import ServerOptions, ServerStartError, credentials_of
from cosxfer.server.temporary import PREFIX, TemporaryFolder

START_SECONDS = 30.0
STOP_SECONDS = 10.0


class RunningServer:
    """A running server. Use it as a context manager, or call `stop`."""

    def __init__(self, options: ServerOptions) -> None:
        """Start the server. Raises `ServerStartError` if it fails or does not respond within 30 s."""
        if options.fault_script is not None:
            load_faults(Path(options.fault_script))
        self.credentials: Credentials = credentials_of(options)
        self.buckets: tuple[str, ...] = tuple(options.buckets)
        self.bucket: str = self.buckets[0]
        self.region: str = options.region
        self._lock = threading.Lock()
        self._temporary = TemporaryFolder(PREFIX) if options.root is None else None
        self.root: Path = self._temporary.path if self._temporary else Path(os.fspath(options.root or "")).absolute()
        self._control, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = _spawn(theirs)
            self._reader = self._control.makefile("r", encoding="utf-8")
            self._control.settimeout(START_SECONDS)
            ready = self._ask(_settings(options, self.credentials, self.root))
        except BaseException:
            self.stop()
            raise
        self._control.settimeout(None)
        self.host: str = options.host
        self.port: int = ready["port"]
        self.url: str = ready["url"]
        """``http(s)://host:port``."""
        self.endpoint: str = f"{self.url}/{{bucket}}"
        """For `cosxfer`: path style."""
        self.virtual_host_endpoint: str = f"{self.url.partition('://')[0]}://{{bucket}}.localhost:{self.port}"
        """The bucket is in the host name. Needs a resolver that resolves ``*.localhost``."""
        self.ca_file: Path | None = None if ready["ca_file"] is None else Path(ready["ca_file"])
        """The authority to trust, with ``tls``."""

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """None while it runs; 0 after a clean stop, negative after a signal."""
        return self._process.poll()

    def set_faults(self, rules: Sequence[dict[str, Any]]) -> None:
        """Follow these rules (in the fault script's format) from now on. An empty list removes all rules."""
        parse_faults(list(rules))
        self._ask({"do": "faults", "rules": list(rules)})

    def set_credentials(self, credentials: Sequence[Credentials]) -> None:
        """Accept these access keys and no others, from now on."""
        self._ask({"do": "credentials", "keys": [asdict(key) for key in credentials]})

    def requests(self, *, clear: bool = False) -> list[dict[str, Any]]:
        """Return the finished requests, oldest first, at most 100,000.

        Each has ``method``, ``http_version``, ``operation``, ``bucket``, ``key``, ``part``, ``status`` (0: none sent),
        ``code``, ``received`` (bytes of the body) and ``fault``.
        """
        requests: list[dict[str, Any]] = self._ask({"do": "requests", "clear": clear})["requests"]
        return requests

    def stop(self) -> None:
        """Stop the server and delete its directory if it is temporary. May be called again."""
        self._control.close()
        if hasattr(self, "_reader"):
            # This is the last reference to the socket. Closing it stops the server.
            self._reader.close()
        if hasattr(self, "_process"):
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._temporary is not None:
            self._temporary.remove()

    def __enter__(self) -> RunningServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            try:
                self._control.sendall(json.dumps(question).encode() + b"\n")
                line = self._reader.readline()
            except TimeoutError as error:
                raise ServerStartError(f"the server did not respond within {START_SECONDS:.0f} s") from error
            except OSError as error:
                raise ServerStartError(f"the server has stopped ({error})") from error
        if not line:
            raise ServerStartError(f"the server stopped (exit status {self._process.wait()}); see its standard error")
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise ServerStartError(reply["error"])
        return reply


@contextmanager
def running(**options: Any) -> Iterator[RunningServer]:
    """Run a server in another process during the block. ``options`` are those of `ServerOptions`."""
    with RunningServer(ServerOptions(**options)) as server:
        yield server


def _settings(options: ServerOptions, key: Credentials, root: Path) -> dict[str, Any]:
    settings = {field.name: getattr(options, field.name) for field in fields(options)}
    settings |= {
        "root": str(root),
        "buckets": list(options.buckets),
        "secret_id": key.secret_id,
        "secret_key": key.secret_key,
        "more_credentials": [asdict(more) for more in options.more_credentials],
        "fault_script": None if options.fault_script is None else str(Path(options.fault_script).absolute()),
    }
    return settings


def _spawn(theirs: socket.socket) -> subprocess.Popen[bytes]:
    environment = dict(os.environ)
    # The same cosxfer as that of this process.
    package = str(Path(__file__).parents[2])
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (package, environment.get("PYTHONPATH"))))
    with suppress(ValueError):
        theirs.set_inheritable(True)
    return subprocess.Popen(  # noqa: S603 (our own module)
        [sys.executable, "-P", "-m", "cosxfer.server", str(theirs.fileno())],
        env=environment,
        pass_fds=(theirs.fileno(),),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        # The server ignores the terminal's Ctrl-C, because the parent stops it.
        start_new_session=True,
    )
