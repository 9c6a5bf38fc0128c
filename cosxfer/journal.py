"""The journal: what uploads have done, on disk, so that the same call goes on after the process has ended.

One thread of the client owns the database (`journal_database`). Other threads and the event loop give it changes and go
on; it writes those of 10 to 50 ms in one transaction. The contract:

- An upload is written before its first part is sent, and "Complete was sent" before Complete is sent.
- A part is written after the server has confirmed it. ``kill -9`` may lose those of the last 50 ms. They are found by
  ListParts and compared with the file, and are not sent again.
- A finished object of the last 50 ms may be lost too, and a directory sends it again. Of a download, the last 10 ms.
- A row is a hint. A part counts as done only if ListParts shows its ETag and size.

No failure of the journal fails a transfer. The first one is a warning; from then on this client writes no journal, and
the file keeps what it has.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from cosxfer.arguments import NumberOrAuto
from cosxfer.config import ClientConfig
from cosxfer.endpoint_memory import state_directory
from cosxfer.journal_database import ERRORS, Database, ForeignFileError, is_damage, is_full, open_database, set_aside
from cosxfer.journal_owners import Owner
from cosxfer.journal_rows import VERSION, FinishedObject, JournaledUpload, JournalPart, Place, difference
from cosxfer.records import dataclass
from cosxfer.sources import SourceIdentity

logger = logging.getLogger("cosxfer")

FILE_NAME = f"journal-{VERSION}.sqlite"
"""Versions have files of their own, so an update does not lose the journal of the other."""
GROUP_SECONDS = 0.01
"""How long a change waits for others to share its transaction. `kill -9` loses what waits: 10 ms of a fast line."""
STORED_GROUP_SECONDS = 0.05
"""The same for what the server has stored, as it can be asked for that. There is much of it, and each transaction costs
CPU."""
CLOSE_SECONDS = 15.0
BATCH_SECONDS = 7 * 24 * 3600.0
"""An interrupted batch that nobody has continued for longer starts over: its objects may have changed meanwhile."""

T = TypeVar("T")


class HeldRow:
    """A transfer of the journal that a run of this client may hold. Its methods return at once."""

    __slots__ = ("_held", "_journal", "lost", "row")

    def __init__(self, journal: Journal, held: set[Any], row: int | None) -> None:
        """``held`` are the transfers of this kind that this client runs."""
        self._journal = journal
        self._held = held
        self.row = row
        """None until it is written, or if that failed."""
        self.lost = False
        """Another call of this client goes on with the transfer."""

    @property
    def works(self) -> bool:
        """Whether a later call can find the transfer: the journal has not failed."""
        return not self.lost and self._journal.works

    async def settled(self) -> None:
        """Wait until all changes so far are written, or cannot be."""
        await asyncio.shield(asyncio.wrap_future(self._journal.call(lambda _: None, None)))

    @property
    def held(self) -> bool:
        """Whether a run of this client holds it."""
        return self in self._held

    def hold(self, held: bool) -> None:
        """A run of the transfer begins or ends. While none runs, another call of this client may take it over."""
        if held:
            self._held.add(self)
        else:
            self._held.discard(self)


class Entry(HeldRow):
    """One upload of the journal, as one checkpoint holds it."""

    __slots__ = ("upload",)

    def __init__(self, journal: Journal, upload: JournaledUpload, row: int | None = None) -> None:
        super().__init__(journal, journal.held, row)
        self.upload = upload

    def add(self, part: JournalPart) -> None:
        """The server has confirmed a part."""
        self._journal.note(_add_part, self, part, within_seconds=STORED_GROUP_SECONDS)

    def change(self, **changes: Any) -> None:
        """Change fields of the upload."""
        self.upload = replace(self.upload, **changes)
        self._journal.note(_set_upload, self, self.upload)

    def remove(self) -> None:
        """Nothing is left of the upload."""
        self._journal.note(self._journal._remove, self)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What the journal has for an upload that is about to begin."""

    entry: Entry | None = None
    """The upload to continue."""
    parts: Sequence[JournalPart] = ()
    busy: bool = False
    """Whether another process, or another task of this client, sends the same file to the same object now."""
    useless: Sequence[tuple[Entry, str]] = ()
    """Uploads of the same file and object that cannot be continued, and why."""


@dataclass(frozen=True, kw_only=True)
class Unfinished:
    """An upload that the journal has."""

    entry: Entry
    parts: int
    running: bool


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A batch that has begun or goes on."""

    number: int = 0
    """0: nothing is written of it."""
    busy: bool = False
    """Whether another process runs it now."""
    goes_on: bool = False
    """Whether an earlier run was interrupted. `Journal.rows_of_batch` has what it sent."""


def journal_of(config: ClientConfig, environment: Mapping[str, str] = os.environ) -> Journal | None:
    """Return the journal that ``config`` names; None if it is off, or if the user has no state directory."""
    if config.journal is None:
        return None
    if config.journal != "auto":
        return Journal(Path(config.journal).absolute(), may_replace=False)
    folder = state_directory(environment)
    if folder is None or folder == Path(os.devnull):
        return None
    return Journal(folder / FILE_NAME, may_replace=True)


class Journal:
    """The journal of one client. Every method may be called from any thread. ``clock`` returns Unix seconds."""

    def __init__(self, path: Path, *, may_replace: bool, clock: Callable[[], float] = time.time) -> None:
        """``may_replace`` is as for `open_database`."""
        self.path = path
        self.held: set[Entry] = set()
        """Uploads that this client runs."""
        self._may_replace = may_replace
        self._clock = clock
        self._owner: Owner | None = None
        self._entries: dict[int, Entry] = {}
        self._changed = threading.Condition()
        self._changes: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self._objects: list[tuple[bytes, FinishedObject]] = []
        self._calls: list[tuple[Future[Any], Callable[[Database], Any], Any]] = []
        self._due = math.inf
        """When the thread writes what waits, on the monotonic clock."""
        self._thread: threading.Thread | None = None
        self._off = False
        """It failed, or is closed."""
        self._failed = False
        self._ended = False

    # -- what others ask for ------------------------------------------------------------------------------------------

    def begin(self, upload: JournaledUpload) -> Entry:
        """The server has initiated an upload."""
        entry = Entry(self, upload)
        self.held.add(entry)
        self.note(self._add, entry)
        return entry

    def claim(self, place: Place, *, headers: bytes, source: SourceIdentity, part_size: NumberOrAuto) -> Future[Claim]:
        """Look for an upload to continue. It belongs to the caller then, and so do those that are useless."""

        def look(database: Database) -> Claim:
            found, useless, busy = None, [], False
            for row, owner, upload in database.uploads(place.fingerprint()):
                if upload.place != place:
                    continue
                if not self._is_free(row, owner):
                    busy = True
                    continue
                why = difference(upload, headers=headers, source=source, part_size=part_size)
                if why:
                    useless.append((self._take(database, row, upload), why))
                else:
                    found = (row, upload)
            if found is None:
                return Claim(busy=busy, useless=useless)
            entry = self._take(database, *found)
            return Claim(entry=entry, parts=database.parts(*found), busy=busy, useless=useless)

        return self.call(look, Claim())

    def take(self, entry: Entry) -> Future[Claim]:
        """Continue an upload that `unfinished` returned. ``busy`` says that another process does."""

        def look(database: Database) -> Claim:
            for row, owner, upload in database.uploads(entry.upload.place.fingerprint()):
                if row == entry.row:
                    if not self._is_free(row, owner):
                        return Claim(busy=True)
                    return Claim(entry=self._take(database, row, upload), parts=database.parts(row, upload))
            return Claim()

        return self.call(look, Claim())

    def unfinished(self) -> Future[list[Unfinished]]:
        """Return all uploads of the journal, the oldest first."""

        def look(database: Database) -> list[Unfinished]:
            return [
                Unfinished(
                    entry=Entry(self, upload, row),
                    parts=database.count_parts(row),
                    running=not self._is_free(row, owner),
                )
                for row, owner, upload in database.uploads()
            ]

        return self.call(look, [])

    def finished(self, target: bytes, found: FinishedObject) -> None:
        """An object is stored and verified."""
        with self._changed:
            if not self._off:
                self._objects.append((target, found))
                self._write_within(STORED_GROUP_SECONDS)

    def objects(self, targets: Sequence[bytes]) -> Future[dict[bytes, FinishedObject]]:
        """Return the finished objects of ``targets`` that are known."""
        return self.call(lambda database: database.objects(targets), {})

    def rows_of(self, targets: Sequence[bytes]) -> Future[dict[bytes, bytes]]:
        """Return the rows of the finished objects of ``targets`` that are known, for `decode_object`."""
        return self.call(lambda database: database.rows_of(targets), {})

    def rows_of_batch(self, batch: int) -> Future[dict[bytes, bytes]]:
        """Return the targets and rows of the finished objects of a batch, for `decode_object`."""
        return self.call(lambda database: database.rows_of_batch(batch), {})

    def rows_if_few(self, batch: int) -> Future[dict[bytes, bytes] | None]:
        """Return what `rows_of_batch` does, or None if the journal is large; `rows_of` looks up some of them then."""
        return self.call(lambda database: database.rows_if_few(batch), None)

    def open_batch(self, name: bytes) -> Future[Batch]:
        """Begin the batch ``name``, or go on with it if its last run was interrupted in the last week.

        If another process runs it now, a batch without a number is returned.
        """

        def look(database: Database) -> Batch:
            now, owner = self._clock(), self.own_name()
            known = database.batch(name)
            if known is not None:
                row, other, touched = known
                if other != owner and self.is_alive(other):
                    return Batch(busy=True)
                if abs(now - touched) < BATCH_SECONDS:
                    database.touch_batch(row, name, owner, now)
                    return Batch(number=row, goes_on=True)
            return Batch(number=database.open_batch(name, owner, now))

        return self.call(look, Batch())

    def end_batch(self, number: int) -> None:
        """Every file of the batch is done."""
        self.note(_end_batch, number)

    def close(self) -> None:
        """Write what is left and close the file. Blocks for 15 s at most."""
        self.end()
        thread = self._thread
        if thread is not None and thread.is_alive():
            thread.join(CLOSE_SECONDS)

    def end(self) -> None:
        """Accept nothing any more, and close the file when all is written. Does not wait."""
        with self._changed:
            self._ended = self._off = True
            self._changed.notify()

    @property
    def works(self) -> bool:
        """Whether changes are written: it has not failed, and is not closed."""
        return not self._off

    # -- in the journal's thread --------------------------------------------------------------------------------------

    def _is_free(self, row: int, owner: str) -> bool:
        return self.is_free(self._entries.get(row), owner)

    def is_free(self, entry: HeldRow | None, owner: str) -> bool:
        """Whether nobody runs a transfer now. ``entry`` is what this client has of it."""
        if entry is not None and entry.held:
            return False
        return owner == self.own_name() or not self.is_alive(owner)

    def is_alive(self, owner: str) -> bool:
        """Whether the client with this name still runs."""
        return self._owner is not None and self._owner.is_alive(owner)

    def own_name(self) -> str:
        """The name of this client in the rows that it owns."""
        assert self._owner is not None
        return self._owner.name

    def _take(self, database: Database, row: int, upload: JournaledUpload) -> Entry:
        earlier = self._entries.get(row)
        if earlier is not None:
            earlier.lost = True
        entry = self._entries[row] = Entry(self, upload, row)
        self.held.add(entry)
        database.set_owner(row, self.own_name())
        return entry

    def _add(self, database: Database, entry: Entry) -> None:
        entry.row = database.add_upload(entry.upload, self.own_name())
        self._entries[entry.row] = entry

    def _remove(self, database: Database, entry: Entry) -> None:
        self.held.discard(entry)
        if entry.row is not None and not entry.lost:
            self._entries.pop(entry.row, None)
            database.remove_upload(entry.row)

    # -- the thread ---------------------------------------------------------------------------------------------------

    def note(self, change: Callable[..., None], *arguments: object, within_seconds: float = GROUP_SECONDS) -> None:
        """Let the thread call ``change(database, *arguments)`` within this time, together with other changes."""
        with self._changed:
            if not self._off:
                self._changes.append((change, arguments))
                self._write_within(within_seconds)

    def call(self, function: Callable[[Database], T], otherwise: T) -> Future[T]:
        """Let the thread call ``function`` at once, after the changes so far.

        The result is ``otherwise`` if the journal cannot be used. It is there when all is committed.
        """
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()  # a caller that waits for it cannot cancel it
        with self._changed:
            if not self._off:
                self._calls.append((future, function, otherwise))
                self._write_within(0.0)
            else:
                future.set_result(otherwise)
        return future

    def _write_within(self, seconds: float) -> None:
        """Let the thread write what was added within this time. The caller holds the lock."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="cosxfer-journal", daemon=True)
            try:
                self._thread.start()
            except RuntimeError as error:
                self._thread = None
                self._give_up(error)
                self._drop()
        due = time.monotonic() + seconds
        # To wake the thread for each change would cost more than all else.
        if due < self._due:
            self._due = due
            self._changed.notify()

    def _serve(self) -> None:
        database = None
        try:
            while (work := self._next()) is not None:
                changes, objects, calls = work
                try:
                    if database is None:
                        database = self._open()
                    results = self._write(database, changes, objects, calls)
                except Exception as error:  # a fault of ours, too, must leave nobody waiting
                    if not isinstance(error, (*ERRORS, ForeignFileError)):
                        logger.debug("the journal failed", exc_info=True)
                    self._give_up(error)
                    results = [otherwise for _, _, otherwise in calls]
                    if database is not None and is_damage(error):
                        self._set_aside(database, error)
                        database = None
                for (future, _, _), result in zip(calls, results, strict=True):
                    future.set_result(result)
                del changes, objects, calls, work
        finally:
            if database is not None:
                database.close()
            if self._owner is not None:
                self._owner.release()

    def _next(self) -> tuple[Any, Any, Any] | None:
        """Wait for work and take it; None at the end."""
        with self._changed:
            while not self._ended and (left := self._due - time.monotonic()) > 0:
                self._changed.wait(None if left == math.inf else left)
            work = (self._changes, self._objects, self._calls)
            self._changes, self._objects, self._calls = [], [], []
            self._due = math.inf
        return work if any(work) else None

    def _open(self) -> Database:
        database = open_database(self.path, may_replace=self._may_replace, now=self._clock)
        try:
            self._owner = Owner(self.path.with_name(f"{self.path.name}.owners"))
            self._owner.remove_dead()
        except BaseException:
            database.close()
            raise
        return database

    def _write(self, database: Database, changes: Any, objects: Any, calls: Any) -> list[Any]:
        database.check_place()
        assert self._owner is not None
        self._owner.check_place()
        with database.transaction():
            for change, arguments in changes:
                change(database, *arguments)
            if objects:
                database.add_objects(objects)
            return [function(database) for _, function, _ in calls]

    def _give_up(self, error: Exception) -> None:
        if not self._failed:  # what was added before the failure fails too
            logger.warning("%s", _reason(self.path, error))
        self._failed = self._off = True

    def _drop(self) -> None:
        for future, _, otherwise in self._calls:
            future.set_result(otherwise)
        self._changes, self._objects, self._calls = [], [], []

    def _set_aside(self, database: Database, error: Exception) -> None:
        database.close()
        try:
            set_aside(self.path, error, may_replace=self._may_replace, now=self._clock())
        except OSError:
            logger.debug("the damaged journal %s cannot be renamed", self.path)


def _reason(path: Path, error: Exception) -> str:
    what = str(getattr(error, "strerror", None) or error)
    if is_full(error):
        return (
            f"the journal {path} cannot be written ({what}); the disk may be full. What it has is kept. The transfers "
            "go on without it, and what they do from now on is not remembered"
        )
    return (
        f"the journal {path} cannot be used: {what}. The transfers go on without it; one that is interrupted starts "
        "over. Give another file (journal, or --journal of the command)"
    )


def _add_part(database: Database, entry: Entry, part: JournalPart) -> None:
    if entry.row is not None and not entry.lost:
        database.add_part(entry.row, entry.upload.upload_id, part)


def _set_upload(database: Database, entry: Entry, upload: JournaledUpload) -> None:
    if entry.row is not None and not entry.lost:
        database.set_upload(entry.row, upload)


def _end_batch(database: Database, number: int) -> None:
    database.end_batch(number)
