"""File system calls for many files, off the event loop: opening them, and checking whether they are still the same.

A slow file system must not stall the caller's loop. Small files are read whole when they are opened, in native threads
if there are any (`cosxfer.engine.upload.native_files`). All other files take a Python thread
(`cosxfer.engine.upload.file_threads`). If a file system keeps the threads waiting, others help out.
"""

from __future__ import annotations

import asyncio
import errno
import os
import weakref

from cosxfer._native import FileService
from cosxfer.engine.upload.digests import SMALL_BYTES
from cosxfer.engine.upload.file_threads import FileThreads, Opened
from cosxfer.engine.upload.native_files import Finder, NativeFiles, Reader
from cosxfer.sources import FileSource, SmallFile


class Opener:
    """Opens and checks the files of one client; used from one event loop."""

    def __init__(self) -> None:
        self._threads = FileThreads()
        self._native: NativeFiles | None = None
        self._use_native = FileService is not None
        self._ended = False

    async def open(self, path: str | os.PathLike[str], *, small_bytes: int) -> Opened:
        """Open a file; one of up to ``small_bytes``, and of `SMALL_BYTES`, is read and hashed.

        Raises what `FileSource.open` raises.
        """
        small_bytes = min(small_bytes, SMALL_BYTES)
        if small_bytes and (native := self._native or self._start_native()) is not None:
            read = await native.read(path, small_bytes)
            if read is not None:
                return read
            small_bytes = 0
        return await self._threads.open(path, small_bytes=small_bytes)

    def begin_read(self, path: str, small_bytes: int, reader: Reader) -> bool:
        """Read and hash a small file; ``reader`` gets it. If it cannot be read so, it has to be opened by `open`.

        Returns False if there are no native threads.
        """
        native = self._native or self._start_native()
        if native is None:
            return False
        native.begin_read(path, min(small_bytes, SMALL_BYTES), reader)
        return True

    def begin_check(self, location: str, finder: Finder) -> bool:
        """``finder`` gets what there is at an absolute path. Returns False if there are no native threads."""
        if self._native is None:
            return False
        self._native.begin_identify(location, finder)
        return True

    async def check(self, file: SmallFile | FileSource) -> bool:
        """Return what ``file.check()`` returns, or raise what it raises."""
        if (native := self._native or self._start_native()) is not None:
            found = await native.identify(file.location)
            if not (isinstance(found, OSError) and found.errno == errno.ENAMETOOLONG):
                return file.check_found(found)
        return await self._threads.check(file)

    def close(self) -> None:
        """Open nothing any more."""
        self._ended = True
        self._threads.close()
        if self._native is not None:
            self._native.close()

    def _start_native(self) -> NativeFiles | None:
        """Start the native threads if there are any and the event loop can wait for them."""
        if not self._use_native or self._ended:
            return None
        try:
            native = NativeFiles(asyncio.get_running_loop())
        except (OSError, NotImplementedError):
            self._use_native = False
            return None
        self._native = native
        # The event loop holds them, so they would outlive an opener that nobody holds.
        weakref.finalize(self, NativeFiles.abandon, native).atexit = False
        return native
