"""A trace: what the scheduler saw and decided, as JSON lines in a file. ``cosxfer plot`` draws it.

The scheduler calls `Trace.observe` in each tick and `Trace.event` for what happens to transfers. Both only append to a
list. A thread of the trace encodes and writes, so the event loop makes no file system call. If the writing falls
behind, records are dropped and counted: memory is bounded. If it fails (a full disk), the trace ends with one warning,
and the transfers go on. `Trace.close` writes what is left; it blocks, so call it in a thread.

Each line is an object with a ``type``:

- ``header``: the first line: the format's version, the machine, the settings of the client (they contain no secrets).
- ``tick``: an `Observation` in which something happened, without the fields that are zero.
- ``level``: the level has changed, and why.
- ``event``: ``name`` is ``begun``, ``ended``, ``failed``, ``retry`` or another word. Keys of objects are in it, keys of
  accounts are not.
- ``dropped``: how many records are missing here.

``at`` is in seconds since the client's first request. Lines are written whole; only a crash can cut the last one.
"""

from __future__ import annotations

import errno
import fcntl
import json
import math
import os
import stat
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, fields, is_dataclass
from datetime import UTC, datetime
from typing import Any

from cosxfer.config import ClientConfig
from cosxfer.errors import UsageError
from cosxfer.foreign import clean_logger, shown_path
from cosxfer.observation import Observation

logger = clean_logger("cosxfer")

FORMAT = "cosxfer trace"
VERSION = 1

MAX_WAITING = 10_000
"""Records that wait for the thread. Beyond it they are dropped."""
FLUSH_SECONDS = 1.0
"""How long a record waits for others."""
CLOSE_SECONDS = 5.0
"""How long `Trace.close` waits for a file that takes no data."""
LONGEST_TEXT = 2000
"""Characters of a text in an event."""

_ALWAYS = ("at", "seconds", "level", "in_flight")
"""Fields that a tick has though they may be zero."""
_BLOCK = 256 * 1024
"""Written at a time; longer than any line."""
_BEGINNING = json.dumps({"type": "header", "format": FORMAT})[:-1].encode()


class Trace:
    """Writes the trace of one client to ``path``. An existing trace is replaced, another file is not.

    ``config`` is described in the header. Thread-safe. Nothing is raised after the construction.
    """

    def __init__(self, path: str | os.PathLike[str], config: ClientConfig | None = None) -> None:
        self._path = os.fspath(path)
        self._settings = {} if config is None else settings_of(config)
        self._changed = threading.Condition()
        self._waiting: list[dict[str, Any]] = []
        self._dropped = 0
        self._level: int | None = None
        self._thread: threading.Thread | None = None
        self._closed = False
        self._broken = False

    def observe(self, seen: Observation) -> None:
        """Record a tick of the scheduler, if something happened in it."""
        if self._level != seen.level:
            record = {"type": "level", "at": seen.at, "level": seen.level, "reason": seen.reason}
            self._level = seen.level
            self._append(record)
        if seen.in_flight or seen.waiting or seen.bytes_acked or seen.requests_done or seen.refused or seen.retries:
            self._append(seen)

    def event(self, name: str, *, at: float, **more: object) -> None:
        """Record an event with its figures. Dataclasses, such as a `Verdict`, are written as objects."""
        self._append({"type": "event", "at": at, "name": name, **more})

    def close(self) -> None:
        """Write what is left and close the file. Blocks for up to `CLOSE_SECONDS`. A second call does nothing."""
        with self._changed:
            if self._thread is None and not self._closed and not self._broken:
                self._start()  # a trace of nothing has a header
            self._closed = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(CLOSE_SECONDS)
            if thread.is_alive():
                self._fail("the file takes no data")

    def _append(self, record: dict[str, Any] | Observation) -> None:
        with self._changed:
            if self._closed or self._broken:
                return
            if len(self._waiting) >= MAX_WAITING:
                self._dropped += 1
                return
            self._waiting.append(record if isinstance(record, dict) else {"type": "tick", "seen": record})
            if self._thread is None:
                self._start()
            elif len(self._waiting) in (1, MAX_WAITING // 4):
                self._changed.notify_all()

    def _start(self) -> None:
        """Start the thread. The caller holds the lock."""
        self._thread = threading.Thread(target=self._run, name="cosxfer-trace", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:
            self._thread = None
            self._broken = True
            self._waiting.clear()
            logger.warning("the trace %s is not written: %s", shown_path(self._path), error)

    # -- the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            fd = open_for_trace(self._path)
        except (OSError, ValueError) as error:  # a UsageError is a ValueError
            self._fail(reason_of(error) if isinstance(error, OSError) else str(error))
            return
        try:
            self._write(fd, [self._header()])
            while (batch := self._take()) is not None:
                self._write(fd, batch)
        except OSError as error:
            self._fail(reason_of(error))
        finally:
            try:
                os.close(fd)
            except OSError as error:
                self._fail(reason_of(error))

    def _take(self) -> list[dict[str, Any]] | None:
        """Wait for records, and then a moment for more; None at the end."""
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            if not self._closed and len(self._waiting) < MAX_WAITING // 4:
                self._changed.wait(FLUSH_SECONDS)
            batch, self._waiting = self._waiting, []
            if self._dropped:
                batch.append({"type": "dropped", "count": self._dropped})
                self._dropped = 0
            return batch or None

    def _write(self, fd: int, batch: list[dict[str, Any]]) -> None:
        """Write whole lines. If the disk is full, take back the line that was cut."""
        left = memoryview(b"".join(map(encoded, batch)))
        while left:
            try:
                written = os.write(fd, left[:_BLOCK])
            except OSError:
                _cut_to_lines(fd)
                raise
            left = left[written:]

    def _fail(self, reason: str) -> None:
        with self._changed:
            told, self._broken = self._broken, True
            self._waiting.clear()
        if not told:
            logger.warning("the trace %s ends here: %s. The transfers go on", shown_path(self._path), reason)

    def _header(self) -> dict[str, Any]:
        import importlib.metadata  # few clients write a trace
        import platform

        version = ""
        with suppress(importlib.metadata.PackageNotFoundError):
            version = importlib.metadata.version("cosxfer")
        return {
            "type": "header",
            "format": FORMAT,
            "version": VERSION,
            "cosxfer": version,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": {
                "system": f"{platform.system()} {platform.release()}",
                "processor": platform.machine(),
                "cores": os.cpu_count() or 1,
                "python": platform.python_version(),
            },
            "settings": self._settings,
        }


def settings_of(config: ClientConfig) -> dict[str, object]:
    """Return the settings for the header. A context of TLS is only named."""
    plain: dict[str, object] = {}
    for setting in fields(config):
        value = getattr(config, setting.name)
        if isinstance(value, os.PathLike):
            value = os.fspath(value)
        plain[setting.name] = value if isinstance(value, str | int | float | None) else type(value).__name__
    return plain


def encoded(record: Mapping[str, Any]) -> bytes:
    """Return a record as a line."""
    if record["type"] == "tick":
        seen: Observation = record["seen"]
        kept = {name: value for name, value in asdict(seen).items() if value or name in _ALWAYS}
        kept.pop("reason", None)  # it is in the record of the level
        record = {"type": "tick", **kept}
    return json.dumps(_plain(record), allow_nan=False).encode() + b"\n"


def _plain(value: object) -> object:
    """Return ``value`` as JSON can have it. The text of others is cut; objects without a form are only named."""
    if isinstance(value, bool | int | None):
        return value
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    if isinstance(value, str):
        return value if len(value) <= LONGEST_TEXT else f"{value[: LONGEST_TEXT - 1]}…"
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    return type(value).__name__


def open_for_trace(path: str) -> int:
    """Open ``path``, empty, for a new trace. Raises `UsageError` if it is a file that is no trace, or one in use."""
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 (the descriptor below is not a Path either)
            return os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        _lock(fd, path)
        beginning = os.pread(fd, len(_BEGINNING), 0)
        if beginning and beginning != _BEGINNING:
            raise UsageError(
                f"{shown_path(path)} exists and is no trace, so it is not replaced; name another file",
                name="trace",
                value=path,
            )
        os.ftruncate(fd, 0)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _lock(fd: int, path: str) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UsageError(
            f"another client is writing its trace to {shown_path(path)}; name another file", name="trace", value=path
        ) from None
    except OSError:
        pass  # a file system without locks


def check_trace_path(path: str) -> None:
    """Raise `UsageError` if no trace can be written to ``path``. A pipe or a device is not tried."""
    try:
        if os.path.exists(path) and not os.path.isfile(path):  # noqa: PTH110, PTH113 (text, as in the setting)
            if os.path.isdir(path):  # noqa: PTH112
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            return
        os.close(open_for_trace(path))
    except UsageError:
        raise
    except (OSError, ValueError) as error:
        raise UsageError(f"no trace can be written to {shown_path(path)}: {reason_of(error)}", name="trace") from error


def reason_of(error: OSError | ValueError) -> str:
    """Return the system's reason, else the error's text."""
    return (getattr(error, "strerror", None) or str(error)).lower()


def _cut_to_lines(fd: int) -> None:
    """Remove the rest of a line at the end of a file."""
    with suppress(OSError):  # a pipe has no end
        size = os.fstat(fd).st_size
        start = max(0, size - _BLOCK)
        os.ftruncate(fd, start + os.pread(fd, _BLOCK, start).rfind(b"\n") + 1)
