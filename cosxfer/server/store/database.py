"""The database: one connection, used only by the event loop's thread. Each function is one short transaction."""

from __future__ import annotations

import errno
import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cosxfer.server.store.listing import Cursor, successor
from cosxfer.server.store.records import NewVersion, Segment, StoredObject, StoredPart, StoredUpload

FORMAT = 2

# Keys are blobs, so that they sort by their bytes, as in COS. A CRC64 is text, because SQLite's integers are signed.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS buckets (
    name TEXT PRIMARY KEY, created REAL NOT NULL, settings TEXT NOT NULL DEFAULT '{}') WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS objects (
    id INTEGER PRIMARY KEY, bucket TEXT NOT NULL, key BLOB NOT NULL, size INTEGER NOT NULL, etag TEXT NOT NULL,
    crc64 TEXT, object_type TEXT NOT NULL, storage_class TEXT NOT NULL, headers TEXT NOT NULL, modified REAL NOT NULL,
    rank TEXT NOT NULL, version TEXT NOT NULL, latest INTEGER NOT NULL, marker INTEGER NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS objects_latest ON objects (bucket, key) WHERE latest = 1;
CREATE UNIQUE INDEX IF NOT EXISTS objects_by_rank ON objects (bucket, key, rank);
CREATE TABLE IF NOT EXISTS segments (
    object_id INTEGER NOT NULL, position INTEGER NOT NULL, blob TEXT NOT NULL, size INTEGER NOT NULL,
    PRIMARY KEY (object_id, position)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS uploads (
    id TEXT PRIMARY KEY, bucket TEXT NOT NULL, key BLOB NOT NULL, storage_class TEXT NOT NULL, headers TEXT NOT NULL,
    initiated REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS uploads_by_key ON uploads (bucket, key, id);
CREATE TABLE IF NOT EXISTS parts (
    upload_id TEXT NOT NULL, number INTEGER NOT NULL, blob TEXT NOT NULL, size INTEGER NOT NULL, etag TEXT NOT NULL,
    crc64 TEXT NOT NULL, modified REAL NOT NULL, PRIMARY KEY (upload_id, number)) WITHOUT ROWID;
"""

# Format 1 had one version of each key.
_FROM_FORMAT_1 = """
BEGIN;
ALTER TABLE buckets ADD COLUMN settings TEXT NOT NULL DEFAULT '{}';
ALTER TABLE objects RENAME TO old_objects;
"""
_REST_FROM_FORMAT_1 = """
INSERT INTO objects SELECT id, bucket, key, size, etag, crc64, object_type, storage_class, headers, modified,
    '18446744073709551615', 'null', 1, 0 FROM old_objects;
DROP TABLE old_objects;
PRAGMA user_version = 2;
COMMIT;
"""

_OBJECT = (
    "id, bucket, key, size, etag, crc64, object_type, storage_class, headers, modified, rank, version, latest, marker"
)
_UPLOAD = "id, bucket, key, storage_class, headers, initiated"
_PART = "number, blob, size, etag, crc64, modified"


class Database:
    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        # Survives a killed process but not a power cut. This is enough for tests and demonstrations.
        self._connection.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;")
        (found,) = self._connection.execute("PRAGMA user_version").fetchone()
        if found not in (0, 1, FORMAT):
            raise sqlite3.DatabaseError(f"{path} has format {found}; this version reads format {FORMAT}")
        if found == 1:
            self._connection.executescript(_FROM_FORMAT_1 + _SCHEMA + _REST_FROM_FORMAT_1)
        self._connection.executescript(_SCHEMA + f"PRAGMA user_version = {FORMAT};")

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Run the block as one transaction. Raises OSError if the disk is full or fails."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield
            self._connection.execute("COMMIT")
        except BaseException as error:
            # If the disk is full, SQLite has already rolled back.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            if isinstance(error, sqlite3.OperationalError):
                full = error.sqlite_errorcode == sqlite3.SQLITE_FULL
                raise OSError(errno.ENOSPC if full else errno.EIO, str(error)) from error
            raise

    def blobs(self) -> set[str]:
        """Return the names of the files that objects and parts use."""
        return {row[0] for row in self._connection.execute("SELECT blob FROM segments UNION SELECT blob FROM parts")}

    # Buckets

    def buckets(self) -> dict[str, float]:
        """Return names and times of creation."""
        return dict(self._connection.execute("SELECT name, created FROM buckets ORDER BY name").fetchall())

    def add_bucket(self, name: str, created: float) -> None:
        self._connection.execute("INSERT OR IGNORE INTO buckets VALUES (?, ?, '{}')", (name, created))

    def settings(self, name: str) -> dict[str, str]:
        """Return what PUT requests have set for the bucket."""
        row = self._connection.execute("SELECT settings FROM buckets WHERE name = ?", (name,)).fetchone()
        found: dict[str, str] = {} if row is None else json.loads(row[0])
        return found

    def set_settings(self, name: str, settings: Mapping[str, str]) -> None:
        self._connection.execute("UPDATE buckets SET settings = ? WHERE name = ?", (json.dumps(dict(settings)), name))

    def remove_bucket(self, name: str) -> None:
        self._connection.execute("DELETE FROM buckets WHERE name = ?", (name,))

    # Objects

    def object(self, bucket: str, key: str, version: str | None = None) -> StoredObject | None:
        """Return the latest version, which may be a delete marker, or the given ``version``."""
        condition, values = ("latest = 1", ()) if version is None else ("version = ?", (version,))
        row = self._connection.execute(
            f"SELECT {_OBJECT} FROM objects WHERE bucket = ? AND key = ? AND {condition}",  # noqa: S608 (constants)
            (bucket, key.encode(), *values),
        ).fetchone()
        return None if row is None else _object(row)

    def add_version(self, version: NewVersion) -> None:
        """Add the latest version of a key. It replaces none: remove others before."""
        key = version.key.encode()
        self._connection.execute(
            "UPDATE objects SET latest = 0 WHERE bucket = ? AND key = ? AND latest = 1", (version.bucket, key)
        )
        cursor = self._connection.execute(
            "INSERT INTO objects VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1, ?)",
            (
                version.bucket,
                key,
                sum(segment.size for segment in version.segments),
                version.etag,
                None if version.crc64 is None else str(version.crc64),
                version.object_type,
                version.storage_class,
                json.dumps(dict(version.headers)),
                version.modified,
                version.rank,
                version.version,
                version.marker,
            ),
        )
        object_id = cursor.lastrowid
        self._connection.executemany(
            "INSERT INTO segments VALUES (?, ?, ?, ?)",
            [(object_id, position, segment.blob, segment.size) for position, segment in enumerate(version.segments)],
        )

    def set_headers(self, found: StoredObject, headers: Mapping[str, str]) -> None:
        self._connection.execute("UPDATE objects SET headers = ? WHERE id = ?", (json.dumps(dict(headers)), found.id))

    def extend_object(self, found: StoredObject, *, segment: Segment, etag: str, crc64: int, modified: float) -> None:
        """Append ``segment`` to the object."""
        self._connection.execute(
            "UPDATE objects SET size = size + ?, etag = ?, crc64 = ?, modified = ? WHERE id = ?",
            (segment.size, etag, str(crc64), modified, found.id),
        )
        self._connection.execute(
            "INSERT INTO segments SELECT ?, coalesce(max(position), -1) + 1, ?, ? FROM segments WHERE object_id = ?",
            (found.id, segment.blob, segment.size, found.id),
        )

    def remove_version(self, found: StoredObject) -> list[str]:
        """Delete one version and return the names of its files. The version before it becomes the latest."""
        blobs = [segment.blob for segment in self.segments(found.id)]
        self._connection.execute("DELETE FROM segments WHERE object_id = ?", (found.id,))
        self._connection.execute("DELETE FROM objects WHERE id = ?", (found.id,))
        if found.latest:
            self._connection.execute(
                "UPDATE objects SET latest = 1 WHERE id = "
                "(SELECT id FROM objects WHERE bucket = ? AND key = ? ORDER BY rank LIMIT 1)",
                (found.bucket, found.key.encode()),
            )
        return blobs

    def segments(self, object_id: int) -> list[Segment]:
        rows = self._connection.execute(
            "SELECT blob, size FROM segments WHERE object_id = ? ORDER BY position", (object_id,)
        )
        return [Segment(blob=blob, size=size) for blob, size in rows]

    def objects_after(self, bucket: str, prefix: str, cursor: Cursor, limit: int) -> list[StoredObject]:
        """Return latest versions that are no delete markers."""
        key, after = cursor
        comparison = ">" if after else ">="
        condition, values = _below(prefix)
        rows = self._connection.execute(
            f"SELECT {_OBJECT} FROM objects WHERE bucket = ? AND latest = 1 AND key {comparison} ? "  # noqa: S608
            f"{condition} AND marker = 0 ORDER BY key LIMIT ?",
            (bucket, key, *values, limit),
        )
        return [_object(row) for row in rows]

    def versions_after(self, bucket: str, prefix: str, cursor: Cursor, limit: int) -> list[StoredObject]:
        """Return versions and delete markers, the newest of a key first. The id of the cursor is a rank."""
        condition, values = _below(prefix)
        rows = self._connection.execute(
            f"SELECT {_OBJECT} FROM objects WHERE bucket = ? AND (key, rank) > (?, ?) {condition} "  # noqa: S608
            "ORDER BY key, rank LIMIT ?",
            (bucket, *cursor, *values, limit),
        )
        return [_object(row) for row in rows]

    # Multipart uploads

    def add_upload(self, upload: StoredUpload) -> None:
        self._connection.execute(
            "INSERT INTO uploads VALUES (?, ?, ?, ?, ?, ?)",
            (
                upload.id,
                upload.bucket,
                upload.key.encode(),
                upload.storage_class,
                json.dumps(dict(upload.headers)),
                upload.initiated,
            ),
        )

    def upload(self, upload_id: str, bucket: str, key: str) -> StoredUpload | None:
        row = self._connection.execute(
            f"SELECT {_UPLOAD} FROM uploads WHERE id = ? AND bucket = ? AND key = ?",  # noqa: S608 (a constant)
            (upload_id, bucket, key.encode()),
        ).fetchone()
        return None if row is None else _upload(row)

    def remove_upload(self, upload_id: str) -> list[str]:
        """Delete the upload with its parts and return the names of their files."""
        blobs = [row[0] for row in self._connection.execute("SELECT blob FROM parts WHERE upload_id = ?", (upload_id,))]
        self._connection.execute("DELETE FROM parts WHERE upload_id = ?", (upload_id,))
        self._connection.execute("DELETE FROM uploads WHERE id = ?", (upload_id,))
        return blobs

    def uploads_after(self, bucket: str, prefix: str, cursor: Cursor, limit: int) -> list[StoredUpload]:
        condition, values = _below(prefix)
        rows = self._connection.execute(
            f"SELECT {_UPLOAD} FROM uploads WHERE bucket = ? AND (key, id) > (?, ?) {condition} "  # noqa: S608
            "ORDER BY key, id LIMIT ?",
            (bucket, *cursor, *values, limit),
        )
        return [_upload(row) for row in rows]

    def set_part(self, upload_id: str, part: StoredPart) -> str | None:
        """Add or replace a part. Return the file name of the replaced part."""
        old = self._connection.execute(
            "SELECT blob FROM parts WHERE upload_id = ? AND number = ?", (upload_id, part.number)
        ).fetchone()
        self._connection.execute(
            "INSERT OR REPLACE INTO parts VALUES (?, ?, ?, ?, ?, ?, ?)",
            (upload_id, part.number, part.blob, part.size, part.etag, str(part.crc64), part.modified),
        )
        return None if old is None else str(old[0])

    def parts(self, upload_id: str, *, after: int = 0, limit: int = -1) -> list[StoredPart]:
        rows = self._connection.execute(
            f"SELECT {_PART} FROM parts WHERE upload_id = ? AND number > ? ORDER BY number LIMIT ?",  # noqa: S608
            (upload_id, after, limit),
        )
        return [
            StoredPart(number=number, blob=blob, size=size, etag=etag, crc64=int(crc64), modified=modified)
            for number, blob, size, etag, crc64, modified in rows
        ]


def _below(prefix: str) -> tuple[str, tuple[bytes, ...]]:
    """Return the condition that ends a scan after the prefix."""
    end = successor(prefix.encode())
    return ("", ()) if end is None else ("AND key < ?", (end,))


def _object(row: tuple[Any, ...]) -> StoredObject:
    object_id, bucket, key, size, etag, crc64, object_type, storage_class, headers, modified, *of_version = row
    rank, version, latest, marker = of_version
    return StoredObject(
        id=object_id,
        bucket=bucket,
        key=key.decode(),
        size=size,
        etag=etag,
        crc64=None if crc64 is None else int(crc64),
        object_type=object_type,
        storage_class=storage_class,
        headers=json.loads(headers),
        modified=modified,
        rank=rank,
        version=version,
        latest=bool(latest),
        marker=bool(marker),
    )


def _upload(row: tuple[Any, ...]) -> StoredUpload:
    upload_id, bucket, key, storage_class, headers, initiated = row
    return StoredUpload(
        id=upload_id,
        bucket=bucket,
        key=key.decode(),
        storage_class=storage_class,
        headers=json.loads(headers),
        initiated=initiated,
    )
