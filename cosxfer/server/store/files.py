"""Bodies in files. A body is written under ``incoming/`` and moved to ``bodies/`` when it is complete."""

from __future__ import annotations

import logging
import os
import re
import secrets
from collections.abc import Collection, Generator, Sequence
from contextlib import suppress
from pathlib import Path

from cosxfer._native import hashing

logger = logging.getLogger("cosxfer.server")

FEWEST_LANES = 4
"""With fewer lanes, bodies are hashed one after another: side by side, each takes two lanes."""

_READABLE = re.compile(r"[^A-Za-z0-9._-]+")


class BlobWriter:
    """Writes one body to disk and computes its MD5 and CRC64. Any thread may call it, one at a time."""

    def __init__(self, directory: Path, label: str) -> None:
        """``label`` becomes part of the file's name, for people who look into the directory."""
        # Not the key itself: it may contain ".." or "/" or be too long, and "a" and "a/b" may both exist.
        readable = _READABLE.sub("_", label)[-60:].lstrip(".") or "_"
        self.blob = f"{readable}~{secrets.token_hex(8)}"
        self.size = 0
        self.crc64 = 0
        self._md5 = hashing.Md5()
        self._directory = directory
        self._incoming = directory / "incoming" / self.blob
        self._fd: int | None = os.open(self._incoming, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def write(self, chunks: Sequence[bytes]) -> None:
        """Hash and append ``chunks``. Raises OSError if the disk fails."""
        data = _joined(chunks)
        self._hash(data)
        self._append(data)

    def _hash(self, data: bytes) -> None:
        self._md5.update(data)
        self.crc64 = hashing.crc64(data, self.crc64)

    def _append(self, data: bytes) -> None:
        self.size += len(data)
        rest = memoryview(data)
        assert self._fd is not None
        while rest:
            rest = rest[os.write(self._fd, rest) :]

    @property
    def md5(self) -> bytes:
        return self._md5.digest()

    def keep(self) -> None:
        """Close the file and move it to ``bodies/``."""
        self._close()
        self._incoming.replace(blob_path(self._directory, self.blob))

    def drop(self) -> None:
        """Delete the file. Does nothing once it was kept."""
        self._close()
        with suppress(OSError):
            self._incoming.unlink()

    def _close(self) -> None:
        if self._fd is not None:
            fd, self._fd = self._fd, None
            os.close(fd)


def write_batches(batches: Sequence[tuple[BlobWriter, Sequence[bytes]]]) -> list[OSError | None]:
    """Hash and append chunks for several writers, side by side in SIMD lanes. Return the error of each one's disk."""
    pieces = [_joined(chunks) for _, chunks in batches]
    if len(batches) == 1 or hashing.lanes() < FEWEST_LANES:
        for (writer, _), data in zip(batches, pieces, strict=True):
            writer._hash(data)
    else:
        hasher = hashing.PartHasher(pieces, whole=[writer._md5 for writer, _ in batches])
        hasher.advance(hasher.total_bytes)
        for (writer, _), piece in zip(batches, hasher.digests(), strict=True):
            writer.crc64 = hashing.crc64_combine(writer.crc64, piece.crc64, piece.length)
    return [_error_of(writer, data) for (writer, _), data in zip(batches, pieces, strict=True)]


def _joined(chunks: Sequence[bytes]) -> bytes:
    # So each step that follows releases the GIL once and not once per small piece.
    return b"".join(chunks) if len(chunks) > 1 else chunks[0]


def _error_of(writer: BlobWriter, data: bytes) -> OSError | None:
    try:
        writer._append(data)
    except OSError as error:
        return error
    return None


INDEX = "index.sqlite"


def make_private(root: Path) -> None:
    """Create a server's directory for its owner only, whatever the umask.

    An existing directory becomes private if it is empty or belongs to a server. A directory with other files keeps its
    mode, because other users may need these files. The server's own files are private in any case.
    """
    try:
        root.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        wide = root.stat().st_mode & 0o077
        if wide and any(root.iterdir()) and not (root / INDEX).exists():
            logger.warning("%s can be entered by other users (mode %o)", root, root.stat().st_mode & 0o777)
            return
        if not wide:
            return
    root.chmod(0o700)


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only its owner can read. Replaces an existing file or link."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(data)


def prepare(directory: Path) -> None:
    """Create the directories and delete incomplete bodies of a killed server."""
    incoming = directory / "incoming"
    for folder in (incoming, directory / "bodies"):
        folder.mkdir(mode=0o700, exist_ok=True)
        folder.chmod(0o700)
    # SQLite gives its other files the mode of this one. Files of a killed server may already exist.
    os.close(os.open(directory / INDEX, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    for index in directory.glob(f"{INDEX}*"):
        index.chmod(0o600)
    for left_over in incoming.iterdir():
        left_over.unlink()


def delete_strays(directory: Path, known: Collection[str]) -> None:
    """Delete unused bodies. A server that is killed just before or after a transaction leaves them."""
    for body in (directory / "bodies").iterdir():
        if body.name not in known:
            body.unlink()


def blob_path(directory: Path, blob: str) -> Path:
    return directory / "bodies" / blob


def read_blob(path: Path, *, offset: int, size: int, chunk_bytes: int) -> Generator[bytes]:
    """Yield ``size`` bytes from ``offset`` on. Raises OSError if the file is shorter."""
    with path.open("rb", buffering=0) as file:
        file.seek(offset)
        while size:
            chunk = file.read(min(size, chunk_bytes))
            if not chunk:
                raise OSError(f"{path} is {size} bytes too short")
            size -= len(chunk)
            yield chunk
