"""Keeping what a sync replaces or deletes: below a prefix of the target bucket, or in a folder of its file system."""

from __future__ import annotations

import asyncio
import os
import secrets
import stat
from contextlib import suppress

from cosxfer.address import shown_key
from cosxfer.bucket_models import CopySource
from cosxfer.errors import CosxferError, TargetError
from cosxfer.sorted_tree import Entry
from cosxfer.sync.folders import folder_of
from cosxfer.sync.moving import COPIES_AT_ONCE, Copy
from cosxfer.sync.options import SyncOptions
from cosxfer.targets import make_folders, writing
from cosxfer.threads import Workers, finished, in_thread


class Backups:
    """Keeps entries of the target as they are. They stay in their place."""

    def __init__(self, options: SyncOptions, executor: Workers, copy: Copy) -> None:
        self._options = options
        self._executor = executor
        self._copy = copy

    async def keep(self, entries: list[Entry]) -> list[CosxferError | None]:
        """Keep each entry; returns why it could not be, None if it is kept. Must only be called with a backup place."""
        if self._options.target.is_local:
            return await finished(in_thread(self._executor.waiting, _link_all, self._options, entries))
        room = asyncio.Semaphore(COPIES_AT_ONCE)
        return await asyncio.gather(*[self._copy_one(entry, room) for entry in entries])

    async def _copy_one(self, entry: Entry, room: asyncio.Semaphore) -> CosxferError | None:
        target = self._options.target
        async with room:
            try:
                await self._copy(
                    target.bucket,
                    shown_key(self._options.backup + entry[0].decode()),
                    CopySource(bucket=target.bucket, key=shown_key(target.object(entry[0]).key), region=target.region),
                    region=target.region,
                )
            except CosxferError as error:
                return error
        return None


def _link_all(options: SyncOptions, entries: list[Entry]) -> list[CosxferError | None]:
    return [_link(options, entry) for entry in entries]


def _link(options: SyncOptions, entry: Entry) -> CosxferError | None:
    """Give a local file a second name in the folder of backups, if it is still the one of the walk.

    What replaces the file later has the first name alone, so there is a whole file under it at any time.
    """
    path = options.target.path(entry[0])
    try:
        with writing(path), folder_of(options.target.root, entry[0]) as (fd, folders, name):
            found = os.stat(name, dir_fd=fd, follow_symlinks=False)
            if not stat.S_ISREG(found.st_mode) or (found.st_size, found.st_mtime_ns) != entry[1:3]:
                raise TargetError(f"{path!r} was not replaced: it is a link, or changed during the sync", path=path)
            place = os.path.join(make_folders(options.backup, folders), name)  # noqa: PTH118 (text)
            beside = f"{os.path.dirname(place)}/.cosxfer-{secrets.token_hex(8)}"  # noqa: PTH120 (text)
            os.link(name, beside, src_dir_fd=fd, follow_symlinks=False)
            try:
                os.replace(beside, place)  # noqa: PTH105 (text)
            finally:
                with suppress(FileNotFoundError):  # it stays if both are the same file already
                    os.unlink(beside)  # noqa: PTH108 (text)
    except TargetError as error:
        return error
    return None
