"""Remembers what clients learned of their endpoints, in a small JSON file of the user.

The next client starts from it (`cosxfer.tuning.Tuner`). The file is a hint and nothing more: if it is absent, damaged,
huge, unwritable or of another version, nothing is remembered, and no transfer fails. Every value is checked when it is
read. Several processes may share the file. Each reads it, changes its own entry and replaces the file whole, so a
reader never sees half of it. If two write at the same moment, one of two entries may be lost; it is learned again.

All calls block: they belong in a thread.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import re
import stat
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from cosxfer.arguments import is_count
from cosxfer.config import ClientConfig
from cosxfer.cos.endpoint import with_bucket
from cosxfer.records import dataclass
from cosxfer.threads import import_lock
from cosxfer.tuning_rules import CEILING_SECONDS, MAX_LEVEL, Learned

logger = logging.getLogger("cosxfer")

FILE_NAME = "endpoints.json"
VERSION = 1
ENTRY_SECONDS = 30 * 24 * 3600.0
"""An older entry has expired: the link may have changed."""
MAX_ENTRIES = 1000
MAX_FILE_BYTES = 1 << 20
"""1,000 entries take less than half of it."""
MAX_KEY_CHARACTERS = 300
FASTEST_STREAM = 1e12
STALE_SECONDS = 3600.0
"""A temporary file that is older was left by a process that was killed."""

_BUCKET = re.compile(r"[a-z\d-]+-\d+\.", re.ASCII)


def endpoint_key(config: ClientConfig) -> str:
    """Return the name of a client's endpoint: scheme, host and port, without the bucket, a path or a user."""
    template = with_bucket(config.endpoint.strip())
    address = urlsplit(template if "://" in template else f"https://{template}")
    host = address.netloc.rpartition("@")[2].lower()
    bucket = _BUCKET.match(host)
    if bucket is not None:
        host = "{bucket}." + host[bucket.end() :]
    return f"{address.scheme.lower()}://{host.replace('{region}', config.region or '{region}')}"


def state_directory(environment: Mapping[str, str], platform: str = sys.platform) -> Path | None:
    """Return the folder of the user for what programs remember, or None if the environment names none.

    ``COSXFER_STATE_DIR`` overrides the folder that is usual on the platform.
    """
    if chosen := environment.get("COSXFER_STATE_DIR"):
        return Path(chosen)
    if platform == "win32":
        usual, home = environment.get("LOCALAPPDATA", ""), ("USERPROFILE", "AppData/Local")
    elif platform == "darwin":
        usual, home = "", ("HOME", "Library/Application Support")
    else:
        usual, home = environment.get("XDG_STATE_HOME", ""), ("HOME", ".local/state")
    if Path(usual).is_absolute():
        return Path(usual, "cosxfer")
    # A user without HOME is a service. The user database is not asked, because it may be on a slow network.
    above = Path(environment.get(home[0], ""))
    return above / home[1] / "cosxfer" if above.is_absolute() else None


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """What is known of one endpoint, and since when (Unix seconds)."""

    learned: Learned
    saved: float

    def as_json(self) -> dict[str, object]:
        known = self.learned
        return {
            "level": known.level,
            "stream_bytes_per_second": known.stream_bytes_per_second,
            "ceiling": known.ceiling,
            "saved": self.saved,
        }


class _ForeignVersionError(Exception):
    """The file is of another version of cosxfer, which needs it."""


class EndpointMemory:
    """The file in ``folder``; None remembers nothing. ``clock`` returns Unix seconds."""

    def __init__(self, folder: Path | None, *, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._clock = clock
        self._reported: set[str] = set()

    def recall(self, endpoint: str) -> Learned | None:
        """Return what was learned of ``endpoint`` (an `endpoint_key`) in the last 30 days."""
        try:
            entry = self._read().get(endpoint)
        except (OSError, _ForeignVersionError) as error:
            self._report("read", error)
            return None
        if entry is None:
            return None
        known = entry.learned
        if abs(self._clock() - entry.saved) < CEILING_SECONDS:
            return known
        return Learned(level=known.level, stream_bytes_per_second=known.stream_bytes_per_second)

    def remember(self, endpoint: str, learned: Learned) -> None:
        """Keep what was learned of ``endpoint``. It replaces what was known."""
        if _is_key(endpoint) and _is_legal(learned):
            self._change(endpoint, _Entry(learned=learned, saved=self._clock()))

    def forget(self, endpoint: str) -> None:
        """Forget ``endpoint``, because what is known of it misleads."""
        self._change(endpoint, None)

    def _change(self, endpoint: str, entry: _Entry | None) -> None:
        try:
            entries = self._read()
            if entry is None and endpoint not in entries:
                return
            entries.pop(endpoint, None)
            if entry is not None:
                entries[endpoint] = entry
            self._write(entries)
        except (OSError, _ForeignVersionError) as error:
            self._report("write", error)

    def _report(self, what: str, error: Exception) -> None:
        if what not in self._reported:
            self._reported.add(what)
            logger.debug("cannot %s what was learned of endpoints in %s: %s", what, self._folder, error)

    def _read(self) -> dict[str, _Entry]:
        """Return the entries that are legal and have not expired, by endpoint."""
        if self._folder is None:
            return {}
        try:
            text = _read_small(self._folder / FILE_NAME)
        except FileNotFoundError:
            return {}
        entries = _parsed(text)
        if entries is None:
            if "damage" not in self._reported:
                self._reported.add("damage")
                logger.warning("%s is damaged; it will be replaced", self._folder / FILE_NAME)
            return {}
        now = self._clock()
        return {name: entry for name, entry in entries.items() if abs(now - entry.saved) < ENTRY_SECONDS}

    def _write(self, entries: Mapping[str, _Entry]) -> None:
        if self._folder is None:
            return
        newest = sorted(entries.items(), key=lambda item: item[1].saved)[-MAX_ENTRIES:]
        content = {"version": VERSION, "endpoints": {name: entry.as_json() for name, entry in newest}}
        make_state_folder(self._folder)
        _remove_stale(self._folder, self._clock())
        _replace(self._folder / FILE_NAME, json.dumps(content, indent=1).encode())


def _parsed(text: bytes) -> dict[str, _Entry] | None:
    """Return the legal entries of the file, or None if it is damaged."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    version, known = found.get("version"), found.get("endpoints")
    if is_count(version) and version > VERSION:
        raise _ForeignVersionError("it is of a newer version of cosxfer")
    if version != VERSION or not isinstance(known, dict):
        return None
    return {name: entry for name, value in known.items() if _is_key(name) and (entry := _entry_of(value)) is not None}


def _is_key(endpoint: str) -> bool:
    return len(endpoint) <= MAX_KEY_CHARACTERS and endpoint.isascii() and endpoint.isprintable()


def _is_legal(learned: Learned) -> bool:
    rate = learned.stream_bytes_per_second
    return (
        is_count(learned.level)
        and 1 <= learned.level <= MAX_LEVEL
        and _is_number(rate)
        and 0 <= rate <= FASTEST_STREAM
        and (learned.ceiling is None or (is_count(learned.ceiling) and 1 <= learned.ceiling <= MAX_LEVEL))
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _entry_of(value: object) -> _Entry | None:
    """Return the entry that the file has, or None if it is not legal. Others may have written the file."""
    if not isinstance(value, dict):
        return None
    try:
        learned = Learned(
            level=value["level"],
            stream_bytes_per_second=value["stream_bytes_per_second"],
            ceiling=value.get("ceiling"),
        )
        saved = value["saved"]
        legal = _is_legal(learned) and _is_number(saved)
    except (KeyError, OverflowError):  # OverflowError: an integer that no float holds
        return None
    return _Entry(learned=learned, saved=float(saved)) if legal else None


# -- the file ---------------------------------------------------------------------------------------------------------

_SAFE_FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
"""A link is not followed, and a FIFO does not block."""


def _read_small(path: Path) -> bytes:
    """Read a regular file of at most `MAX_FILE_BYTES`; a longer one is empty."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | _SAFE_FLAGS)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError("it is not a regular file")
        content = file.read(MAX_FILE_BYTES + 1)
    return content if len(content) <= MAX_FILE_BYTES else b""


def make_state_folder(folder: Path) -> None:
    """Create the folder. Root does not create one in the home of another user (sudo), who could not use it then."""
    if folder.is_dir():
        return
    existing = next(parent for parent in folder.absolute().parents if parent.exists())
    if hasattr(os, "geteuid") and os.geteuid() == 0 and existing.stat().st_uid != 0:
        raise PermissionError(f"{existing} belongs to another user")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def _remove_stale(folder: Path, now: float) -> None:
    for path in folder.glob(f"{FILE_NAME}.*.tmp"):
        with contextlib.suppress(OSError):
            if now - path.lstat().st_mtime > STALE_SECONDS:
                path.unlink()


def _replace(path: Path, content: bytes) -> None:
    """Replace the file at once. It is not synced: after a crash of the machine it may be damaged, and is replaced."""
    with import_lock:
        import secrets

    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | _SAFE_FLAGS
    descriptor = os.open(temporary, flags, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
