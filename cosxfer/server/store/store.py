"""The store. Its methods run on the event loop's thread. `BlobWriter` may write in any thread.

An object is a list of segments, each in its own file. So Complete copies no bytes, and an append adds a segment. Files
never change once they are in place. An unused file is deleted when its last reader has finished.
"""

from __future__ import annotations

import base64
import fcntl
import os
import secrets
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from cosxfer._native import hashing
from cosxfer.errors import CosxferError
from cosxfer.server.store.database import Database
from cosxfer.server.store.files import INDEX, BlobWriter, blob_path, delete_strays, make_private, prepare
from cosxfer.server.store.listing import Page, list_page
from cosxfer.server.store.records import (
    ListedVersion,
    NewVersion,
    Segment,
    StoredObject,
    StoredPart,
    StoredUpload,
)

_MANY_FILES = 16
"""If more files are to be deleted, a thread does it."""


NULL_VERSION = "null"
"""The id of a version that was stored without versioning."""

_VERSIONING = "versioning"
_LARGEST_RANK = 2**64 - 1


class StoreError(CosxferError):
    """The directory cannot be used."""


class Store:
    def __init__(self, root: Path, *, executor: Executor, clock: Callable[[], float] = time.time) -> None:
        """Open ``root`` and create it if missing. Raises `StoreError` if that fails or another server uses it."""
        self._root = root
        self._executor = executor
        self._clock = clock
        self._readers: Counter[str] = Counter()
        self._doomed: set[str] = set()
        self._last_microseconds = 0
        try:
            make_private(root)
            self._lock = os.open(root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                os.close(self._lock)
                raise StoreError(f"the directory {root} is in use by another server") from error
            prepare(root)
            self._database = Database(root / INDEX)
            delete_strays(root, self._database.blobs())
        except OSError as error:
            raise StoreError(f"the directory {root} cannot be used: {error.strerror or error}") from error
        except sqlite3.Error as error:
            raise StoreError(f"the directory {root} cannot be used: {error}") from error
        self.bucket_names = frozenset(self._database.buckets())

    def close(self) -> None:
        self._database.close()
        os.close(self._lock)

    # Buckets

    def buckets(self) -> dict[str, float]:
        """Return names and times of creation."""
        return self._database.buckets()

    def add_bucket(self, name: str) -> None:
        with self._database.transaction():
            self._database.add_bucket(name, self._clock())
        self.bucket_names = frozenset(self._database.buckets())

    def remove_bucket(self, name: str) -> bool:
        """Delete the bucket if it has neither versions nor uploads. Return whether it had none."""
        first = (b"", "")
        if self._database.versions_after(name, "", first, 1) or self._database.uploads_after(name, "", first, 1):
            return False
        self._database.remove_bucket(name)
        self.bucket_names = frozenset(self._database.buckets())
        return True

    def versioning(self, bucket: str) -> str:
        """Return ``Enabled``, ``Suspended``, or an empty string if it was never set."""
        return self._database.settings(bucket).get(_VERSIONING, "")

    def settings(self, bucket: str) -> dict[str, str]:
        """Return what PUT requests have set for the bucket."""
        return self._database.settings(bucket)

    def change_settings(self, bucket: str, **changed: str) -> None:
        with self._database.transaction():
            self._database.set_settings(bucket, self._database.settings(bucket) | changed)

    # Bodies

    def writer(self, label: str) -> BlobWriter:
        """Return a writer for a new body. ``label`` is for people."""
        return BlobWriter(self._root, label)

    @contextmanager
    def _kept(self, writer: BlobWriter) -> Iterator[None]:
        """Move the body's file into place. If the block fails, delete it."""
        writer.keep()
        try:
            yield
        except BaseException:
            self._delete([writer.blob])
            raise

    @contextmanager
    def reading(self, found: StoredObject) -> Iterator[list[tuple[Path, int]]]:
        """Yield files and sizes of the object's segments. The files stay until the block ends."""
        segments = self._database.segments(found.id)
        blobs = [segment.blob for segment in segments]
        self._readers.update(blobs)
        try:
            yield [(blob_path(self._root, segment.blob), segment.size) for segment in segments]
        finally:
            self._readers.subtract(blobs)
            unread = [blob for blob in blobs if self._readers[blob] <= 0]
            for blob in unread:
                del self._readers[blob]
            gone = self._doomed.intersection(unread)
            self._doomed -= gone
            self._delete(gone)

    def _delete(self, blobs: Iterable[str]) -> None:
        unread = [blob for blob in blobs if not self._readers.get(blob)]
        self._doomed.update(blob for blob in blobs if self._readers.get(blob))
        paths = [blob_path(self._root, blob) for blob in unread]
        if len(paths) > _MANY_FILES:
            self._executor.submit(_unlink, paths)
        else:
            _unlink(paths)

    # Objects

    def object(self, bucket: str, key: str, version: str | None = None) -> StoredObject | None:
        """Return the latest version, which may be a delete marker, or the given ``version``."""
        return self._database.object(bucket, key, version)

    def set_headers(self, found: StoredObject, headers: Mapping[str, str]) -> None:
        """Replace the stored headers of a version: its rights, its tags, the state of its restore."""
        with self._database.transaction():
            self._database.set_headers(found, headers)

    def put(
        self,
        *,
        bucket: str,
        key: str,
        writer: BlobWriter,
        etag: str,
        storage_class: str,
        headers: Mapping[str, str],
    ) -> str:
        """Make the written body the object. It replaces an existing object atomically. Return its version id."""
        return self._add(
            bucket,
            key,
            [Segment(blob=writer.blob, size=writer.size)],
            etag=etag,
            crc64=writer.crc64,
            object_type="normal",
            storage_class=storage_class,
            headers=headers,
            writer=writer,
        )

    def append(
        self,
        *,
        bucket: str,
        key: str,
        writer: BlobWriter,
        to: StoredObject | None,
        storage_class: str,
        headers: Mapping[str, str],
    ) -> tuple[str, int]:
        """Append the written body to ``to``, or create an appendable object. Return the new ETag and CRC64."""
        segment = Segment(blob=writer.blob, size=writer.size)
        if to is None:
            etag, crc64 = writer.md5.hex(), writer.crc64
            self._add(
                bucket,
                key,
                [segment],
                etag=etag,
                crc64=crc64,
                object_type="appendable",
                storage_class=storage_class,
                headers=headers,
                writer=writer,
            )
            return etag, crc64
        # An opaque ETag, as in COS. The MD5 of the whole object would require reading it again.
        etag = hashing.md5(bytes.fromhex(to.etag) + writer.md5).hex()
        crc64 = hashing.crc64_combine(to.crc64 or 0, writer.crc64, writer.size)
        with self._kept(writer), self._database.transaction():
            self._database.extend_object(to, segment=segment, etag=etag, crc64=crc64, modified=self._clock())
        return etag, crc64

    def copy(
        self,
        found: StoredObject,
        *,
        bucket: str,
        key: str,
        etag: str,
        storage_class: str,
        headers: Mapping[str, str],
    ) -> str:
        """Make a copy of ``found`` the object, without copying bytes: its files get second names."""
        segments: list[Segment] = []
        try:
            for segment in self._database.segments(found.id):
                blob = f"{secrets.token_hex(16)}~copy"
                os.link(blob_path(self._root, segment.blob), blob_path(self._root, blob))
                segments.append(Segment(blob=blob, size=segment.size))
            return self._add(
                bucket,
                key,
                segments,
                etag=etag,
                crc64=found.crc64,
                object_type="normal",
                storage_class=storage_class,
                headers=headers,
            )
        except BaseException:
            self._delete([segment.blob for segment in segments])
            raise

    def _add(
        self,
        bucket: str,
        key: str,
        segments: Sequence[Segment],
        *,
        etag: str,
        crc64: int | None,
        object_type: str,
        storage_class: str,
        headers: Mapping[str, str],
        writer: BlobWriter | None = None,
        upload_id: str = "",
    ) -> str:
        used = {segment.blob for segment in segments}
        with nullcontext() if writer is None else self._kept(writer), self._database.transaction():
            rank, version, replaced = self._make_room(bucket, key)
            if upload_id:
                replaced += self._database.remove_upload(upload_id)
            self._database.add_version(
                NewVersion(
                    bucket=bucket,
                    key=key,
                    etag=etag,
                    crc64=crc64,
                    object_type=object_type,
                    storage_class=storage_class,
                    headers=headers,
                    modified=self._clock(),
                    segments=segments,
                    rank=rank,
                    version=version,
                )
            )
        self._delete([blob for blob in replaced if blob not in used])
        return version

    def _make_room(self, bucket: str, key: str) -> tuple[str, str, list[str]]:
        """Prepare for a new version. Return its rank, its id, and the files that it replaces.

        Without versioning, or while it is suspended, the new version is ``null`` and replaces the one with that id.
        """
        # No two versions have one rank, even if the clock stands still.
        microseconds = max(int(self._clock() * 1e6), self._last_microseconds + 1)
        if (newest := self._database.object(bucket, key)) is not None:
            microseconds = max(microseconds, _LARGEST_RANK - int(newest.rank) + 1)
        self._last_microseconds = microseconds
        rank = f"{_LARGEST_RANK - microseconds:020d}"
        if self.versioning(bucket) == "Enabled":
            return rank, base64.b64encode(rank.encode()).decode().rstrip("="), []
        null = self._database.object(bucket, key, NULL_VERSION)
        return rank, NULL_VERSION, [] if null is None else self._database.remove_version(null)

    def remove(self, bucket: str, key: str, version: str | None = None) -> tuple[str, bool]:
        """Delete the object, or one version of it, if it exists.

        Return the id of the version that was deleted or of the delete marker that was made, and whether it is a marker.
        The id is empty without versioning.
        """
        status = self.versioning(bucket)
        with self._database.transaction():
            if version is not None or not status:
                found = self._database.object(bucket, key, version)
                blobs = [] if found is None else self._database.remove_version(found)
                removed = version or "", found is not None and found.marker
            else:
                rank, made, blobs = self._make_room(bucket, key)
                marker = NewVersion(
                    bucket=bucket, key=key, modified=self._clock(), rank=rank, version=made, marker=True
                )
                self._database.add_version(marker)
                removed = made, True
        self._delete(blobs)
        return removed

    def list_objects(self, bucket: str, *, prefix: str, delimiter: str, marker: str, limit: int) -> Page[StoredObject]:
        return list_page(
            lambda cursor, count: self._database.objects_after(bucket, prefix, cursor, count),
            prefix=prefix,
            delimiter=delimiter,
            marker=marker,
            limit=limit,
        )

    def list_versions(
        self, bucket: str, *, prefix: str, delimiter: str, key_marker: str, version_marker: str, limit: int
    ) -> Page[ListedVersion]:
        """List versions. ``version_marker`` is the id of a version of ``key_marker``, which need not exist any more."""
        return list_page(
            lambda cursor, count: [
                ListedVersion(key=found.key, id=found.rank, found=found)
                for found in self._database.versions_after(bucket, prefix, cursor, count)
            ],
            prefix=prefix,
            delimiter=delimiter,
            marker=key_marker,
            id_marker=self._rank_of(bucket, key_marker, version_marker),
            limit=limit,
        )

    def _rank_of(self, bucket: str, key: str, version: str) -> str:
        """Return the rank of a version; empty if it is unknown."""
        if version == NULL_VERSION:
            found = self._database.object(bucket, key, version)
            return "" if found is None else found.rank
        try:
            return base64.b64decode(version + "=" * (-len(version) % 4), validate=True).decode("ascii")
        except ValueError:
            return ""

    # Multipart uploads

    def begin_upload(self, *, bucket: str, key: str, storage_class: str, headers: Mapping[str, str]) -> StoredUpload:
        # The time comes first, so that the uploads of a key are listed in the order in which they began.
        upload = StoredUpload(
            id=f"{time.time_ns():019d}{secrets.token_hex(16)}",
            bucket=bucket,
            key=key,
            storage_class=storage_class,
            headers=headers,
            initiated=self._clock(),
        )
        with self._database.transaction():
            self._database.add_upload(upload)
        return upload

    def upload(self, upload_id: str, bucket: str, key: str) -> StoredUpload | None:
        return self._database.upload(upload_id, bucket, key)

    def put_part(self, upload: StoredUpload, *, number: int, writer: BlobWriter, etag: str) -> None:
        """Make the written body a part. It replaces an earlier part of the same number."""
        part = StoredPart(
            number=number,
            blob=writer.blob,
            size=writer.size,
            etag=etag,
            crc64=writer.crc64,
            modified=self._clock(),
        )
        with self._kept(writer), self._database.transaction():
            replaced = self._database.set_part(upload.id, part)
        if replaced is not None:
            self._delete([replaced])

    def parts(self, upload: StoredUpload, *, after: int = 0, limit: int = -1) -> list[StoredPart]:
        """Return the parts whose number is above ``after``, in order."""
        return self._database.parts(upload.id, after=after, limit=limit)

    def complete(self, upload: StoredUpload, *, parts: Sequence[StoredPart], etag: str, crc64: int) -> str:
        """Create the object from ``parts`` and delete the upload with all unused parts. Return its version id."""
        return self._add(
            upload.bucket,
            upload.key,
            [Segment(blob=part.blob, size=part.size) for part in parts],
            etag=etag,
            crc64=crc64,
            object_type="normal",
            storage_class=upload.storage_class,
            headers=upload.headers,
            upload_id=upload.id,
        )

    def abort(self, upload: StoredUpload) -> None:
        with self._database.transaction():
            blobs = self._database.remove_upload(upload.id)
        self._delete(blobs)

    def list_uploads(
        self, bucket: str, *, prefix: str, delimiter: str, key_marker: str, id_marker: str, limit: int
    ) -> Page[StoredUpload]:
        return list_page(
            lambda cursor, count: self._database.uploads_after(bucket, prefix, cursor, count),
            prefix=prefix,
            delimiter=delimiter,
            marker=key_marker,
            id_marker=id_marker,
            limit=limit,
        )


def _unlink(paths: Sequence[Path]) -> None:
    for path in paths:
        with suppress(OSError):
            path.unlink()
