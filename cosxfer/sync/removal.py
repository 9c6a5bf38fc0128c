"""Deleting what the source does not have. The keys are collected first, and nothing is deleted after an error."""

from __future__ import annotations

import asyncio
import marshal
import os
import stat
import tempfile
from collections.abc import AsyncIterator
from typing import IO

from cosxfer.address import shown_key
from cosxfer.cos.identifiers import check_key
from cosxfer.errors import (
    CosxferError,
    NotFoundError,
    ServerError,
    SourceChangedError,
    SourceError,
    TargetError,
)
from cosxfer.limits import MAX_LIST_ENTRIES
from cosxfer.ops.delete_objects import delete_objects
from cosxfer.ops.head_object import head_object
from cosxfer.ops.session import Session
from cosxfer.sorted_tree import Entry
from cosxfer.sync.backup import Backups
from cosxfer.sync.folders import folder_of
from cosxfer.sync.options import Side, SyncOptions
from cosxfer.sync.sides import HEADS_AT_ONCE
from cosxfer.targets import make_folders, writing
from cosxfer.threads import Workers, finished, in_thread

HELD_KEYS = 20_000
"""Keys in memory. The others wait in a temporary file."""


class Candidates:
    """The keys that may be deleted, in order. Memory holds some of them."""

    def __init__(self, executor: Workers) -> None:
        self._executor = executor
        self._held: list[Entry] = []
        self._file: IO[bytes] | None = None
        self._chunks = 0
        self.count = 0

    async def add(self, entry: Entry) -> None:
        """Add the entry of the target."""
        self._held.append(entry)
        self.count += 1
        if len(self._held) >= HELD_KEYS:
            held, self._held = self._held, []
            await finished(in_thread(self._executor.waiting, self._write, held))

    async def batches(self) -> AsyncIterator[list[Entry]]:
        """Yield all of them, at most 1,000 at a time."""
        for number in range(self._chunks):
            chunk = await finished(in_thread(self._executor.waiting, self._read, number == 0))
            for first in range(0, len(chunk), MAX_LIST_ENTRIES):
                yield chunk[first : first + MAX_LIST_ENTRIES]
        for first in range(0, len(self._held), MAX_LIST_ENTRIES):
            yield self._held[first : first + MAX_LIST_ENTRIES]

    async def aclose(self) -> None:
        """Remove the temporary file."""
        if self._file is not None:
            await finished(in_thread(self._executor.waiting, self._file.close))

    def _write(self, entries: list[Entry]) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="cosxfer-sync-")  # noqa: SIM115 (closed by `aclose`)
        marshal.dump(entries, self._file)
        self._chunks += 1

    def _read(self, first: bool) -> list[Entry]:
        assert self._file is not None
        if first:
            self._file.seek(0)
        chunk: list[Entry] = marshal.load(self._file)  # noqa: S302 (an unnamed file that only this process writes)
        return chunk


class Remover:
    """Deletes keys of the target. Each method returns why a key was not deleted; None if it was."""

    def __init__(self, options: SyncOptions, session: Session, executor: Workers, backups: Backups) -> None:
        self._options = options
        self._session = session
        self._executor = executor
        self._backups = backups

    async def confirmed(self, entries: list[Entry]) -> list[bool | CosxferError]:
        """Whether the source really lacks each key. A listing of a bucket may be late, so HEAD decides."""
        source = self._options.source
        if source.is_local:
            return [True] * len(entries)
        room = asyncio.Semaphore(HEADS_AT_ONCE)
        return await asyncio.gather(*[self._is_missing(source, entry[0], room) for entry in entries])

    async def _is_missing(self, source: Side, key: bytes, room: asyncio.Semaphore) -> bool | CosxferError:
        try:
            address = source.object(key)
            check_key(shown_key(address.key))
        except (ValueError, CosxferError):
            return True  # no object can have this name
        async with room:
            try:
                await head_object(self._session, address, headers=source.key_headers)
            except NotFoundError:
                return True
            except CosxferError as error:
                return error
        return False

    async def delete(self, entries: list[Entry]) -> list[Exception | None]:
        """Delete keys, after a copy of each was made if that is wanted."""
        if self._options.target.is_local:
            return await finished(in_thread(self._executor.waiting, _remove_all, self._options, entries))
        problems: dict[bytes, Exception] = {}
        if self._options.backup:
            kept = await self._backups.keep(entries)
            problems = {entry[0]: error for entry, error in zip(entries, kept, strict=True) if error is not None}
        target = self._options.target
        keys = {target.object(entry[0]).key: entry[0] for entry in entries if entry[0] not in problems}
        try:
            told = await delete_objects(self._session, target.address, [(key, None) for key in keys]) if keys else None
        except CosxferError as error:
            problems |= dict.fromkeys(keys.values(), error)
        else:
            for failure in told.errors if told is not None else ():
                key = keys[failure.key.removeprefix("/")]
                problems[key] = ServerError(
                    f"cannot delete {failure.key}: {failure.code}: {failure.message}", status=0, code=failure.code
                )
        return [problems.get(entry[0]) for entry in entries]


def _remove_all(options: SyncOptions, entries: list[Entry]) -> list[Exception | None]:
    return [_remove(options, entry) for entry in entries]


def _remove(options: SyncOptions, entry: Entry) -> Exception | None:
    """Delete a local file, if it is still the one of the walk. No link on the way is followed."""
    path = options.target.path(entry[0])
    try:
        with writing(path), folder_of(options.target.root, entry[0]) as (fd, folders, name):
            found = os.stat(name, dir_fd=fd)
            if not stat.S_ISREG(found.st_mode) or (found.st_size, found.st_mtime_ns) != entry[1:3]:
                raise TargetError(f"{path!r} was not deleted: it changed during the sync", path=path)
            if options.backup:
                _move(fd, name, options.backup, folders)
            else:
                os.unlink(name, dir_fd=fd)
    except TargetError as error:
        return error
    return None


def remove_unchanged(root: str, entry: Entry) -> None:
    """Delete a file below ``root``, if it is still the one of the walk. No link is followed, and none is deleted.

    Raises `SourceChangedError`, and `SourceError` if it cannot be deleted.
    """
    path = os.path.join(root, os.fsdecode(entry[0]))  # noqa: PTH118 (it is text)
    try:
        with folder_of(root, entry[0]) as (fd, _, name):
            found = os.stat(name, dir_fd=fd, follow_symlinks=False)
            now = (found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns)
            if not stat.S_ISREG(found.st_mode) or now != entry[1:]:
                raise SourceChangedError(
                    f"{path!r} was not deleted: it changed while it was moved", path=path, changed="content"
                )
            os.unlink(name, dir_fd=fd)
    except OSError as error:
        raise SourceError(f"{path!r} was not deleted: {(error.strerror or str(error)).lower()}", path=path) from error


def _move(fd: int, name: str, backup: str, folders: list[str]) -> None:
    """Move a file into the folder of backups, which must be on the same file system."""
    os.rename(name, os.path.join(make_folders(backup, folders), name), src_dir_fd=fd)  # noqa: PTH118 (text)
