"""The journal's file: an SQLite database in WAL mode. Used by one thread of a client; several processes may share it.

A commit is not synced to the disk. The file survives the death of a process with all commits. After a crash of the
machine it is consistent, and the last commits may be missing; what they held is found by asking the server.
"""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cosxfer.endpoint_memory import make_state_folder
from cosxfer.journal_rows import (
    BATCH_AT,
    BATCH_BYTES,
    OBJECT_BYTES,
    TARGET_BYTES,
    VERSION,
    FinishedObject,
    JournaledUpload,
    JournalPart,
    decode_batch,
    decode_object,
    decode_part,
    decode_upload,
    encode_batch,
    encode_batch_number,
    encode_object,
    encode_part,
    encode_upload,
)

logger = logging.getLogger("cosxfer")

APPLICATION_ID = 0x636F7378
"""``cosx``, in the header of the file."""
BUSY_SECONDS = 10.0
"""How long it waits for another process that writes."""
CACHE_KIB = 8192
MOST_PAGES = 65_536
"""256 MiB. If a journal is larger when it is opened, finished objects of no open batch are forgotten."""
FEW_PAGES = 4096
"""16 MiB, or about 150,000 finished objects. Reading all of them costs less than looking each up."""
LOOKED_UP_AT_ONCE = 500
"""Parameters of one statement."""

_MAGIC = b"SQLite format 3\0"

ERRORS = (sqlite3.Error, OSError, ValueError, OverflowError)
"""What a damaged, full, locked or unreadable file may raise."""

_SCHEMA = {
    "uploads": "CREATE TABLE uploads (id INTEGER PRIMARY KEY AUTOINCREMENT, place BLOB NOT NULL, owner TEXT NOT NULL, "
    "data BLOB NOT NULL)",
    "uploads_of_place": "CREATE INDEX uploads_of_place ON uploads (place)",
    "parts": "CREATE TABLE parts (upload INTEGER, number INTEGER, data BLOB NOT NULL, PRIMARY KEY (upload, number)) "
    "WITHOUT ROWID",
    "objects": "CREATE TABLE objects (target BLOB PRIMARY KEY, data BLOB NOT NULL) WITHOUT ROWID",
    "batches": "CREATE TABLE batches (id INTEGER PRIMARY KEY AUTOINCREMENT, name BLOB NOT NULL, owner TEXT NOT NULL, "
    "data BLOB NOT NULL)",
    "batches_by_name": "CREATE UNIQUE INDEX batches_by_name ON batches (name)",
}

_ADD_OBJECTS = (
    "WITH RECURSIVE indices(i) AS (SELECT 0 WHERE :count > 0 UNION ALL "  # noqa: S608 (numbers)
    "SELECT i + 1 FROM indices WHERE i + 1 < :count) "
    f"INSERT OR REPLACE INTO objects SELECT substr(:targets, i * {TARGET_BYTES} + 1, {TARGET_BYTES}), "
    f"substr(:rows, i * {OBJECT_BYTES} + 1, {OBJECT_BYTES}) FROM indices"
)
"""Takes the targets of all objects, their rows, and their number."""

_ADDED = {
    "downloads": "CREATE TABLE downloads (id INTEGER PRIMARY KEY AUTOINCREMENT, place BLOB NOT NULL, "
    "owner TEXT NOT NULL, data BLOB NOT NULL)",
    "downloads_of_place": "CREATE INDEX downloads_of_place ON downloads (place)",
    "ranges": "CREATE TABLE ranges (download INTEGER, number INTEGER, data BLOB NOT NULL, "
    "PRIMARY KEY (download, number)) WITHOUT ROWID",
}
"""Tables that came later. A journal without them gets them when it is opened, so `VERSION` stays."""


class ForeignFileError(Exception):
    """The file is not a journal of this version, so it is left as it is."""


class Database:
    """An open journal. Each method is one statement; `transaction` groups them."""

    def __init__(self, connection: sqlite3.Connection, path: Path, identity: tuple[int, int]) -> None:
        """``identity`` is device and inode of the file at ``path``."""
        self._connection = connection
        self._execute = connection.execute
        self._path = path
        self._identity = identity
        self._log = path.with_name(f"{path.name}-wal")
        self._log_identity: tuple[int, int] | None = None

    def check_place(self) -> None:
        """Raise `ForeignFileError` if the file is not at its path any more: nobody would find what is written to it."""
        if _identity(self._path) == self._identity:
            if self._log_identity is None:
                self._log_identity = _identity(self._log)  # it has one name while the file is open
        else:
            if self._log_identity is not None and _identity(self._log) == self._log_identity:
                # SQLite would apply the log of this file to the other one.
                with suppress(OSError):
                    self._log.unlink()
            raise ForeignFileError("it was removed or replaced by another file while it was used")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what the block has done, or nothing of it."""
        self._execute("BEGIN IMMEDIATE")
        try:
            yield
            self._execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                self._execute("ROLLBACK")
            raise

    def close(self) -> None:
        """Close the file. Other processes may still use it."""
        with suppress(sqlite3.Error):
            self._connection.close()

    # -- uploads and parts --------------------------------------------------------------------------------------------

    def add_upload(self, upload: JournaledUpload, owner: str) -> int:
        """Add an upload and return its row."""
        data = (upload.place.fingerprint(), owner, encode_upload(upload))
        row = self._execute("INSERT INTO uploads (place, owner, data) VALUES (?, ?, ?)", data).lastrowid
        assert row is not None
        return row

    def set_upload(self, row: int, upload: JournaledUpload) -> None:
        """Replace what is known of an upload."""
        self._execute("UPDATE uploads SET data = ? WHERE id = ?", (encode_upload(upload), row))

    def set_owner(self, row: int, owner: str) -> None:
        """The client ``owner`` goes on with an upload."""
        self._execute("UPDATE uploads SET owner = ? WHERE id = ?", (owner, row))

    def remove_upload(self, row: int) -> None:
        """Forget an upload and its parts."""
        self._execute("DELETE FROM uploads WHERE id = ?", (row,))
        self._execute("DELETE FROM parts WHERE upload = ?", (row,))

    def add_part(self, row: int, upload_id: str, part: JournalPart) -> None:
        """Add a part. It replaces one of the same number."""
        data = (row, part.number, encode_part(upload_id, part))
        self._execute("INSERT OR REPLACE INTO parts VALUES (?, ?, ?)", data)

    def uploads(self, place: bytes | None = None) -> list[tuple[int, str, JournaledUpload]]:
        """Return row, owner and upload of those at a place, or of all; the oldest first. Damaged rows are dropped."""
        query = "SELECT id, owner, place, data FROM uploads"
        if place is None:
            rows = self._execute(f"{query} ORDER BY id").fetchall()
        else:
            rows = self._execute(f"{query} WHERE place = ? ORDER BY id", (place,)).fetchall()
        found = []
        for row, owner, there, data in rows:
            upload = decode_upload(data)
            if upload is None or upload.place.fingerprint() != there or not isinstance(owner, str):
                logger.warning("a row of the journal is damaged; an unfinished upload is forgotten")
                continue
            found.append((row, owner, upload))
        return found

    def parts(self, row: int, upload: JournaledUpload) -> list[JournalPart]:
        """Return the parts of an upload. Damaged rows are dropped."""
        rows = self._execute("SELECT number, data FROM parts WHERE upload = ?", (row,)).fetchall()
        parts = [decode_part(upload, number, data) for number, data in rows]
        return [part for part in parts if part is not None]

    def count_parts(self, row: int) -> int:
        """Return how many parts of an upload are known."""
        return int(self._execute("SELECT count(*) FROM parts WHERE upload = ?", (row,)).fetchone()[0])

    # -- downloads and ranges, whose rows `journal_downloads` encodes --------------------------------------------------

    def add_download(self, place: bytes, owner: str, data: bytes) -> int:
        """Add a download and return its row."""
        query = "INSERT INTO downloads (place, owner, data) VALUES (?, ?, ?)"
        row = self._execute(query, (place, owner, data)).lastrowid
        assert row is not None
        return row

    def set_download_owner(self, row: int, owner: str) -> None:
        """The client ``owner`` goes on with a download."""
        self._execute("UPDATE downloads SET owner = ? WHERE id = ?", (owner, row))

    def remove_download(self, row: int) -> None:
        """Forget a download and its ranges."""
        self._execute("DELETE FROM downloads WHERE id = ?", (row,))
        self._execute("DELETE FROM ranges WHERE download = ?", (row,))

    def add_range(self, row: int, number: int, data: bytes) -> None:
        """Add a range. It replaces one of the same number."""
        self._execute("INSERT OR REPLACE INTO ranges VALUES (?, ?, ?)", (row, number, data))

    def downloads(self, place: bytes | None = None) -> list[tuple[int, Any, Any, Any]]:
        """Return row, place, owner and data of the downloads at a place, or of all; the oldest first."""
        query = "SELECT id, place, owner, data FROM downloads"
        if place is None:
            return self._execute(f"{query} ORDER BY id").fetchall()
        return self._execute(f"{query} WHERE place = ? ORDER BY id", (place,)).fetchall()

    def download_places(self) -> list[Any]:
        """Return the places of all downloads."""
        return [place for (place,) in self._execute("SELECT place FROM downloads").fetchall()]

    def ranges(self, row: int) -> list[tuple[Any, Any]]:
        """Return number and data of the ranges of a download."""
        return self._execute("SELECT number, data FROM ranges WHERE download = ?", (row,)).fetchall()

    # -- finished objects and batches ---------------------------------------------------------------------------------

    def add_objects(self, found: Sequence[tuple[bytes, FinishedObject]]) -> None:
        """Add finished objects. They replace older ones of the same targets."""
        targets = b"".join([target for target, _ in found])
        rows = b"".join([encode_object(target, each) for target, each in found])
        # One statement for all: with `executemany`, each row would wait for the interpreter's lock.
        self._execute(_ADD_OBJECTS, {"targets": targets, "rows": rows, "count": len(found)})

    def objects(self, targets: Sequence[bytes]) -> dict[bytes, FinishedObject]:
        """Return the finished objects of ``targets`` that are known."""
        decoded = ((target, decode_object(target, data)) for target, data in self.rows_of(targets).items())
        return {target: each for target, each in decoded if each is not None}

    def rows_of(self, targets: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return the rows of those of ``targets`` that are known. The rows may be damaged."""
        found: dict[bytes, bytes] = {}
        for first in range(0, len(targets), LOOKED_UP_AT_ONCE):
            some = targets[first : first + LOOKED_UP_AT_ONCE]
            marks = ",".join("?" * len(some))
            query = f"SELECT target, data FROM objects WHERE target IN ({marks})"  # noqa: S608 (question marks only)
            found.update(self._execute(query, some).fetchall())
        return found

    def rows_of_batch(self, batch: int) -> dict[bytes, bytes]:
        """Return the targets and rows of the finished objects of a batch. The rows may be damaged."""
        # One look at each row costs less than a search for each of many targets.
        query = f"SELECT target, data FROM objects WHERE substr(data, {BATCH_AT + 1}, {BATCH_BYTES}) = ?"  # noqa: S608
        return dict(self._execute(query, (encode_batch_number(batch),)).fetchall())

    def rows_if_few(self, batch: int) -> dict[bytes, bytes] | None:
        """Return what `rows_of_batch` does, or None if the file is large: the rows would take much memory."""
        pages = self._execute("PRAGMA page_count").fetchone()[0]
        return self.rows_of_batch(batch) if pages <= FEW_PAGES else None

    def batch(self, name: bytes) -> tuple[int, str, float] | None:
        """Return row, owner, and the time of the last run of an open batch."""
        row = self._execute("SELECT id, owner, data FROM batches WHERE name = ?", (name,)).fetchone()
        if row is None or not isinstance(row[1], str):
            return None
        touched = decode_batch(name, row[2])
        return None if touched is None else (row[0], row[1], touched)

    def open_batch(self, name: bytes, owner: str, now: float) -> int:
        """Begin a batch and return its number. It replaces one of the same name."""
        self._execute("DELETE FROM batches WHERE name = ?", (name,))
        data = (name, owner, encode_batch(name, now))
        row = self._execute("INSERT INTO batches (name, owner, data) VALUES (?, ?, ?)", data).lastrowid
        assert row is not None
        return row

    def touch_batch(self, row: int, name: bytes, owner: str, now: float) -> None:
        """``owner`` goes on with a batch."""
        self._execute("UPDATE batches SET owner = ?, data = ? WHERE id = ?", (owner, encode_batch(name, now), row))

    def end_batch(self, row: int) -> None:
        """Every file of a batch is done: its finished objects are not looked at any more."""
        self._execute("DELETE FROM batches WHERE id = ?", (row,))

    def trim(self) -> None:
        """Forget finished objects if the file is too large."""
        if self._execute("PRAGMA page_count").fetchone()[0] > MOST_PAGES:
            with self.transaction():
                if self._execute("SELECT 1 FROM batches LIMIT 1").fetchone() is None:
                    self._execute("DELETE FROM objects")


def open_database(path: Path, *, may_replace: bool, now: Callable[[], float] = time.time) -> Database:
    """Open the journal, or make it. A damaged one is renamed and replaced, with a warning.

    ``may_replace`` says that nothing else has this name, so what is no journal of this version is a damaged one. Raises
    `ForeignFileError` for a file of something else or of another version, or one of `ERRORS`.
    """
    make_state_folder(path.parent)
    before = _identity(path)
    try:
        return _opened(path)
    except (sqlite3.Error, ForeignFileError) as error:
        if before is not None and _identity(path) != before:
            return _opened(path)  # another process has set the damaged file aside
        damaged = may_replace if isinstance(error, ForeignFileError) else is_damage(error)
        if not damaged or not set_aside(path, error, may_replace=may_replace, now=now()):
            raise
    return _opened(path)


def is_damage(error: Exception) -> bool:
    """Whether ``error`` means that the file is damaged, not that it is full, locked or unreadable."""
    # The first byte is the kind. A changed schema causes no such error; `_opened` compares it.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT) or type(error) is (
        sqlite3.DatabaseError
    )


def is_full(error: Exception) -> bool:
    """Whether ``error`` means that no more can be written: the disk, a quota or a limit is full."""
    code = getattr(error, "sqlite_errorcode", 0)
    return (
        code & 0xFF == sqlite3.SQLITE_FULL
        or code == sqlite3.SQLITE_IOERR_WRITE
        or (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
    )


def set_aside(path: Path, error: Exception, *, may_replace: bool, now: float) -> bool:
    """Rename a damaged journal, so that a new one can take its place. Returns False if it is another's file."""
    if not may_replace and not _is_ours(path):
        return False
    aside = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S', time.gmtime(now))}")
    path.replace(aside)
    for suffix in ("-wal", "-shm"):
        with suppress(OSError):
            path.with_name(path.name + suffix).replace(aside.with_name(aside.name + suffix))
    logger.warning(
        "the journal %s is damaged (%s). It was renamed to %s; unfinished uploads start over", path, error, aside.name
    )
    return True


def _opened(path: Path) -> Database:
    # Made here, so that it never has another mode. SQLite gives its other files the mode of this one.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        begin = os.read(descriptor, len(_MAGIC))
        status = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    if begin not in (b"", _MAGIC):  # SQLite would overwrite a file of a few bytes
        raise sqlite3.DatabaseError("it is not a database")
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        connection.text_factory = _text
        execute = connection.execute
        execute("BEGIN")  # so that all three are of one moment, while another process makes the tables
        kind = execute("PRAGMA application_id").fetchone()[0]
        version = execute("PRAGMA user_version").fetchone()[0]
        schema = _schema_of(connection)
        execute("COMMIT")
        if kind not in (0, APPLICATION_ID) or (kind == 0 and schema):
            raise ForeignFileError("it is a database of something else; give another path")
        if kind == APPLICATION_ID and version != VERSION:
            raise ForeignFileError(f"it has version {version}; this cosxfer uses version {VERSION}")
        _use_log(connection)
        execute("PRAGMA synchronous = NORMAL")
        execute("PRAGMA cell_size_check = ON")
        execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        database = Database(connection, path, (status.st_dev, status.st_ino))
        if not schema:
            with database.transaction():
                schema = _schema_of(connection)  # another process may have been faster
                if not schema:
                    for statement in _SCHEMA.values():
                        execute(statement)
                    execute(f"PRAGMA application_id = {APPLICATION_ID}")
                    execute(f"PRAGMA user_version = {VERSION}")
                    schema = dict(_SCHEMA)
        if schema.keys() == _SCHEMA.keys():
            with database.transaction():
                schema = _schema_of(connection)
                for name, statement in _ADDED.items():  # a table, then its index
                    if name not in schema:  # another process may have been faster
                        execute(statement)
                schema = _schema_of(connection)
        if schema != {**_SCHEMA, **_ADDED}:
            raise sqlite3.DatabaseError("its tables differ")
        database.trim()
    except BaseException:
        with suppress(sqlite3.Error):
            connection.close()
        raise
    return database


def _use_log(connection: sqlite3.Connection) -> None:
    """Let the file have a write-ahead log. SQLite does not wait for other processes at this statement."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _identity(path: Path) -> tuple[int, int] | None:
    """Return device and inode of the file at ``path``; None if there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _schema_of(connection: sqlite3.Connection) -> dict[str, str]:
    """Return the statements that made the tables, by name. Those that SQLite makes for itself are left out."""
    rows = connection.execute("SELECT name, sql FROM sqlite_master").fetchall()
    return {str(name): str(text) for name, text in rows if not str(name).startswith("sqlite_")}


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _is_ours(path: Path) -> bool:
    """Whether the header of the file names our application."""
    with path.open("rb") as file:
        header = file.read(72)
    return header[: len(_MAGIC)] == _MAGIC and header[68:72] == APPLICATION_ID.to_bytes(4, "big")
