"""Writes new small files in threads of native code, which never wait for the GIL (`cosxfer._native.FileService`)."""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from cosxfer._native import FileService
from cosxfer.engine.native_service import NativeService
from cosxfer.errors import CosxferError
from cosxfer.targets import new_file_name

NOT_NEW = -1
"""The outcome of a file that has to be written in another way: it replaces something, or lacks its folder."""

TAKEN_AT_ONCE = 16
"""Files that are taken over before the event loop has another turn."""

Then = Callable[[int], None]


class NativeWrites(NativeService[Then]):
    """The native threads that write the files of one client, on one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop, digest_above=0, at_once=TAKEN_AT_ONCE)

    def write(
        self, path: bytes, temporary: bytes, content: memoryview, *, root: int, modified: int | None, then: Then
    ) -> None:
        """Write a file; see `Writes.write`. Raises ValueError for a null byte, and RuntimeError without a thread."""
        self._service.write(path, temporary, content, root, modified, self._begin(), then)

    def _take(self, done: Sequence[tuple[Then, Any]]) -> None:
        failure: BaseException | None = None
        for then, outcome in done:
            try:
                then(outcome)
            except BaseException as error:
                failure = failure or error  # the others are called first
        if failure is not None:
            raise failure


class Writes:
    """Writes the new small files of one client; used from one event loop."""

    def __init__(self) -> None:
        self._native: NativeWrites | None = None
        self._use_native = FileService is not None

    def write(self, path: str, content: memoryview, *, below: str | None, modified: int | None, then: Then) -> bool:
        """Write a file where none is, by the rules of `cosxfer.targets.write_target`; the content is copied.

        Below the folder ``below`` (None: anywhere) no link is followed, and the folders have to exist. ``modified`` is
        its time in nanoseconds. ``then`` is called later on the event loop with 0, an errno (nothing is left then), or
        `NOT_NEW` (nothing was done). Returns False if native threads cannot write it.
        """
        native = self._native or self._start()
        temporary = new_file_name(path)
        if native is None or temporary is None:
            return False
        try:
            root = 0 if below is None else len(os.fsencode(below))
            native.write(os.fsencode(path), os.fsencode(temporary), content, root=root, modified=modified, then=then)
        except (ValueError, OverflowError, RuntimeError, CosxferError):
            return False  # the usual way says why
        return True

    def close(self) -> None:
        """Write nothing any more."""
        self._use_native = False
        if self._native is not None:
            self._native.close()

    def _start(self) -> NativeWrites | None:
        if not self._use_native:
            return None
        try:
            native = NativeWrites(asyncio.get_running_loop())
        except (OSError, NotImplementedError):
            self._use_native = False
            return None
        self._native = native
        # The event loop holds them, so they would outlive a client that nobody holds.
        weakref.finalize(self, NativeWrites.abandon, native).atexit = False
        return native
