"""Reading the two sides of a sync as blocks of entries, one block ahead of the comparison."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from datetime import datetime

from cosxfer.address import ObjectAddress
from cosxfer.bucket_models import ListedObject
from cosxfer.cos import responses
from cosxfer.cos.key_paths import KeyPaths
from cosxfer.errors import CosxferError, NotFoundError, SourceError, TargetError
from cosxfer.foreign import shorten
from cosxfer.ops.head_object import head_object
from cosxfer.ops.list_objects import list_objects
from cosxfer.ops.listing import Markers
from cosxfer.ops.session import Session
from cosxfer.paths import look_at, stat_path
from cosxfer.sorted_tree import BLOCK_ENTRIES, Entry, Filter, sorted_blocks, unknown
from cosxfer.sync.options import Side
from cosxfer.threads import Workers, finished, in_thread

HEADS_AT_ONCE = 16

Blocks = AsyncIterator[list[Entry]]


class Ahead:
    """The blocks of a side. While one is compared, the next one is read."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._next: asyncio.Future[list[Entry] | None] | None = None

    async def next(self) -> list[Entry] | None:
        """Return the next block; None at the end."""
        if self._next is None:
            self._next = asyncio.ensure_future(anext(self._blocks, None))
        block = await self._next
        self._next = None if block is None else asyncio.ensure_future(anext(self._blocks, None))
        return block

    async def aclose(self) -> None:
        """End the reading."""
        if self._next is not None:
            self._next.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await self._next
        with suppress(AttributeError):
            await self._blocks.aclose()  # type: ignore[attr-defined] # they are generators


async def local_blocks(side: Side, executor: Workers, chosen: Filter | None, *, may_miss: bool) -> Blocks:
    """Yield the files of a folder. ``may_miss``: a folder that does not exist is empty, because it will be created."""
    if may_miss and await finished(in_thread(executor.waiting, _is_missing, side.root)):
        return
    walk = sorted_blocks(side.root, chosen)
    try:
        while (block := await finished(in_thread(executor.waiting, _following, walk))) is not None:
            yield block
    finally:
        await finished(in_thread(executor.waiting, walk.close))


def _following(walk: Iterator[list[Entry]]) -> list[Entry] | None:
    return next(walk, None)


def _is_missing(path: str) -> bool:
    try:
        stat_path(path, follow_symlinks=False)
    except FileNotFoundError:
        return True
    except (OSError, ValueError):
        return False  # opening it gives the reason
    return False


class OnePath:
    """`KeyPaths` without its memory of earlier keys, for a file system that tells upper from lower case.

    A file where another key needs a folder is found by the file system itself.
    """

    def names(self, relative: str, *, is_folder: bool) -> tuple[str, ...]:
        """See `KeyPaths.names`."""
        return KeyPaths(folds_case=False, windows=os.name == "nt").names(relative, is_folder=is_folder)


class BucketReader:
    """Turns pages of a listing into blocks of entries.

    The key of a folder (it ends with ``/`` and has no content) is a key like others if ``folder_keys``; otherwise
    ``on_folder`` gets it. ``paths`` refuses keys that are no paths: they are unknown entries.
    """

    def __init__(
        self,
        session: Session,
        side: Side,
        chosen: Filter | None,
        *,
        paths: KeyPaths | OnePath | None = None,
        folder_keys: bool = False,
        on_folder: Callable[[bytes], None] | None = None,
    ) -> None:
        self._session = session
        self._side = side
        self._chosen = chosen
        self._paths = paths
        self._folder_keys = folder_keys
        self._on_folder = on_folder
        self._last = b""
        """The last key of the pages so far."""

    async def blocks(self) -> Blocks:
        """Yield a block for each page. An error makes everything from the last seen key on unknown."""
        side, marker = self._side, None
        operation = f"List Objects of {side.bucket}"
        seen = Markers(operation, "")
        while True:
            try:
                # A call drops one leading slash, which a prefix of ours does not have.
                prefix = f"/{side.prefix}" if side.prefix.startswith("/") else side.prefix
                page = await list_objects(self._session, side.address, prefix=prefix or None, marker=marker)
                block = self._block(page.objects, operation)
                marker = seen.following(page.next_marker) if page.is_truncated else None
            except CosxferError as error:
                yield [unknown(self._after_last(), None, error)]
                return
            yield block
            if marker is None:
                return

    def _after_last(self) -> bytes:
        return self._last + b"\0" if self._last else b""

    def _block(self, objects: tuple[ListedObject, ...], operation: str) -> list[Entry]:
        block = []
        begin, last = self._side.prefix, self._last
        for listed in objects:
            name = listed.key.removeprefix("/")  # as it is sent
            relative = name.removeprefix(begin)
            if len(relative) + len(begin) != len(name):
                raise responses.malformed(operation, f"the key {shorten(name)} does not begin with the prefix")
            if not relative:
                continue
            key = relative.encode("utf-8", "surrogatepass")
            if key <= last:
                raise responses.malformed(operation, f"the key {shorten(name)} is out of order")
            last = key
            if (entry := self._entry(key, relative, listed)) is not None:
                block.append(entry)
        self._last = last
        return block

    def _entry(self, key: bytes, relative: str, listed: ListedObject) -> Entry | None:
        is_folder = relative.endswith("/") and not listed.size and not self._folder_keys
        if self._chosen is not None and not self._chosen.takes(key, is_folder=is_folder):
            return None
        if self._paths is not None:
            try:
                self._paths.names(relative, is_folder=is_folder)
            except ValueError as error:
                why = f"the key {shorten(relative)} has no path of its own below the folder: {error}"
                return unknown(key, key + b"\0", TargetError(why, path=relative))
        if is_folder:
            if self._on_folder is not None:
                self._on_folder(key)
            return None
        return (key, listed.size, nanoseconds_of(listed.last_modified), listed.etag, 0)


def nanoseconds_of(text: str) -> int:
    """Return a time of a listing in nanoseconds since 1970; 0 if it is none, which is older than everything."""
    try:
        return int(datetime.fromisoformat(text).timestamp()) * 1_000_000_000
    except ValueError:
        return 0


# -- files_from -------------------------------------------------------------------------------------------------------


async def named_blocks(
    names: tuple[bytes, ...], session: Session, side: Side, executor: Workers, *, is_source: bool
) -> Blocks:
    """Yield the entries of these names only. A name that the source does not have is unknown, with an error."""
    for first in range(0, len(names), BLOCK_ENTRIES):
        some = names[first : first + BLOCK_ENTRIES]
        if side.is_local:
            found = await finished(in_thread(executor.waiting, look_up_all, side, some))
        else:
            room = asyncio.Semaphore(HEADS_AT_ONCE)
            found = await asyncio.gather(*[_asked(session, side, key, room) for key in some])
        block = []
        for key, entry in zip(some, found, strict=True):
            if entry is not None:
                block.append(entry)
            elif is_source:
                name = key.decode("utf-8", "replace")
                error = SourceError(f"{shorten(name)}, which files_from names, does not exist", path=name)
                block.append(unknown(key, key + b"\0", error))
        yield block


def look_up_all(side: Side, names: tuple[bytes, ...]) -> list[Entry | None]:
    """Return the entries of local files; None for each that does not exist."""
    return [_look_up(side, name) for name in names]


def _look_up(side: Side, key: bytes) -> Entry | None:
    path = side.path(key)
    try:
        found = stat_path(path)
        if found.st_mode & 0o170000 == 0o100000:
            key.decode()
            return (key, found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns)
        why = look_at(path).why
    except (FileNotFoundError, NotADirectoryError):
        return None
    except UnicodeDecodeError:
        why = "has a name that is not UTF-8"
    except (OSError, ValueError) as error:
        why = f"cannot be examined: {(getattr(error, 'strerror', None) or str(error)).lower()}"
    return unknown(key, key + b"\0", SourceError(f"{shorten(path)} {why}", path=path))


async def _asked(session: Session, side: Side, key: bytes, room: asyncio.Semaphore) -> Entry | None:
    try:
        address: ObjectAddress = side.object(key)
    except UnicodeDecodeError:
        return unknown(key, key + b"\0", SourceError("a name is not UTF-8", path=os.fsdecode(key)))
    async with room:
        try:
            head = await head_object(session, address, headers=side.key_headers)
        except NotFoundError:
            return None
        except CosxferError as error:
            return unknown(key, key + b"\0", error)
    return (key, head.size, responses.seconds_of(head.last_modified) * 1_000_000_000, head.etag, 0)
