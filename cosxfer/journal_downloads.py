"""What the journal has of downloads: the temporary file of each, and which ranges of the object are in it.

A row is a hint. A range counts as done only if its bytes in the file have the CRC64 of its row, because a file may lose
pages when the machine crashes. The place of a download is the path of its file: what else is downloaded there replaces
it.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Sequence
from concurrent.futures import Future
from typing import NamedTuple

from cosxfer.arguments import is_text
from cosxfer.errors import UsageError
from cosxfer.journal import HeldRow, Journal
from cosxfer.journal_database import Database, logger
from cosxfer.journal_rows import fingerprint, guard_of, guarded
from cosxfer.limits import MAX_OBJECT_BYTES
from cosxfer.planning import Plan
from cosxfer.records import dataclass

_RANGE = struct.Struct("<QQ")


@dataclass(frozen=True, kw_only=True)
class WantedObject:
    """The object that a call asks for."""

    endpoint: str
    region: str
    bucket: str
    key: str
    """As it is sent."""
    version_id: str
    """Empty for the latest one."""


@dataclass(frozen=True, kw_only=True)
class JournaledDownload:
    """A download that has begun."""

    path: str
    """Of the file that it will become; absolute."""
    wanted: WantedObject
    etag: str
    version_id: str
    """Of the response; empty if the bucket has no versions."""
    crc64: int | None
    plan: Plan
    temporary: str
    """The path of the temporary file; absolute."""
    device: int
    inode: int
    created: float
    """Unix seconds."""


class JournalRange(NamedTuple):
    """The first ``length`` bytes of a range are in the temporary file."""

    number: int
    length: int
    crc64: int


class DownloadEntry(HeldRow):
    """One download of the journal. While a run holds it, its temporary file is open."""

    __slots__ = ("_downloads", "download")

    def __init__(self, downloads: DownloadJournal, download: JournaledDownload, row: int | None = None) -> None:
        super().__init__(downloads.journal, downloads.held, row)
        self._downloads = downloads
        self.download = download

    def add(self, found: JournalRange) -> None:
        """A range, or the beginning of one, is in the file."""
        self._journal.note(_add_range, self, found)

    def remove(self) -> None:
        """The temporary file is gone."""
        self._downloads.remove(self)


@dataclass(frozen=True, kw_only=True)
class DownloadClaim:
    """What the journal has for a download that is about to begin."""

    entry: DownloadEntry | None = None
    """The download to continue."""
    ranges: Sequence[JournalRange] = ()
    busy: bool = False
    """Whether another process, or another task of this client, downloads to the same path now."""
    useless: Sequence[tuple[DownloadEntry, str]] = ()
    """Downloads to the same path that cannot be continued, and why."""


@dataclass(frozen=True, kw_only=True)
class UnfinishedDownload:
    """A download that the journal has."""

    entry: DownloadEntry
    loaded: int
    """Bytes of the ranges that the journal has."""
    running: bool


class DownloadJournal:
    """The downloads in the journal of one client. Every method may be called from any thread."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.held: set[DownloadEntry] = set()
        """Downloads whose temporary file this client has open."""
        self._entries: dict[int, DownloadEntry] = {}
        self._places: set[bytes] | None = None
        """Where the journal had a download when this client began, or has one of this client's."""

    def load(self) -> Future[None] | None:
        """Read the places of all downloads, so that `may_have` costs nothing. None if that is done."""
        if self._places is not None:
            return None

        def look(database: Database) -> None:
            places = set(database.download_places())
            self._places = places if self._places is None else self._places | places

        return self.journal.call(look, None)

    def may_have(self, path: str) -> bool:
        """Whether there may be a download to ``path``, as far as this client knows. See `load`."""
        return self._places is not None and place_of(path) in self._places

    def begin(self, download: JournaledDownload) -> DownloadEntry:
        """A temporary file was created."""
        entry = DownloadEntry(self, download)
        self.held.add(entry)
        if self._places is not None:
            self._places.add(place_of(download.path))
        self.journal.note(self._add, entry)
        return entry

    def claim(self, path: str, wanted: WantedObject) -> Future[DownloadClaim]:
        """Look for a download to continue. It belongs to the caller then, and so do those that are useless."""

        def look(database: Database) -> DownloadClaim:
            found: list[tuple[int, DownloadEntry, list[JournalRange]]] = []
            useless, busy = [], False
            for row, owner, download in _downloads(database, path):
                if not self._is_free(row, owner):
                    busy = True
                    continue
                entry = self._take(database, row, download)
                if download.wanted != wanted:
                    useless.append((entry, "another object is downloaded to the same path now"))
                    continue
                ranges = _ranges(database, row, download)
                found.append((sum(each.length for each in ranges), entry, ranges))
            if not found:
                return DownloadClaim(busy=busy, useless=useless)
            found.sort(key=lambda each: each[0])
            _, entry, ranges = found.pop()
            useless += [(other, "another temporary file has more of the object") for _, other, _ in found]
            return DownloadClaim(entry=entry, ranges=ranges, busy=busy, useless=useless)

        return self.journal.call(look, DownloadClaim())

    def take(self, entry: DownloadEntry) -> Future[DownloadEntry | None]:
        """Take over a download that `unfinished` returned. None if it is gone or in use."""

        def look(database: Database) -> DownloadEntry | None:
            for row, owner, download in _downloads(database, entry.download.path):
                if row == entry.row and self._is_free(row, owner):
                    return self._take(database, row, download)
            return None

        return self.journal.call(look, None)

    def unfinished(self) -> Future[list[UnfinishedDownload]]:
        """Return all downloads of the journal, the oldest first."""

        def look(database: Database) -> list[UnfinishedDownload]:
            return [
                UnfinishedDownload(
                    entry=DownloadEntry(self, download, row),
                    loaded=sum(each.length for each in _ranges(database, row, download)),
                    running=not self._is_free(row, owner),
                )
                for row, owner, download in _downloads(database, None)
            ]

        return self.journal.call(look, [])

    def remove(self, entry: DownloadEntry) -> None:
        """Nothing is left of a download."""
        if self._places is not None and not entry.lost:
            self._places.discard(place_of(entry.download.path))
        self.journal.note(self._remove, entry)

    # -- in the journal's thread --------------------------------------------------------------------------------------

    def _is_free(self, row: int, owner: str) -> bool:
        return self.journal.is_free(self._entries.get(row), owner)

    def _take(self, database: Database, row: int, download: JournaledDownload) -> DownloadEntry:
        earlier = self._entries.get(row)
        if earlier is not None:
            earlier.lost = True
        entry = self._entries[row] = DownloadEntry(self, download, row)
        self.held.add(entry)
        database.set_download_owner(row, self.journal.own_name())
        return entry

    def _add(self, database: Database, entry: DownloadEntry) -> None:
        data = encode_download(entry.download)
        entry.row = database.add_download(place_of(entry.download.path), self.journal.own_name(), data)
        self._entries[entry.row] = entry

    def _remove(self, database: Database, entry: DownloadEntry) -> None:
        self.held.discard(entry)
        if entry.row is not None and not entry.lost:
            self._entries.pop(entry.row, None)
            database.remove_download(entry.row)


def place_of(path: str) -> bytes:
    """Return the key of the downloads to an absolute path."""
    return fingerprint("download", path)


def _add_range(database: Database, entry: DownloadEntry, found: JournalRange) -> None:
    if entry.row is not None and not entry.lost:
        database.add_range(entry.row, found.number, encode_range(entry.download, found))


def _downloads(database: Database, path: str | None) -> list[tuple[int, str, JournaledDownload]]:
    """Return row, owner and download of those to a path, or of all. Damaged rows are dropped."""
    found = []
    for row, place, owner, data in database.downloads(None if path is None else place_of(path)):
        download = decode_download(data)
        if download is None or place_of(download.path) != place or not isinstance(owner, str):
            logger.warning("a row of the journal is damaged; an unfinished download is forgotten")
            database.remove_download(row)
        elif path is None or download.path == path:
            found.append((row, owner, download))
    return found


def _ranges(database: Database, row: int, download: JournaledDownload) -> list[JournalRange]:
    found = [decode_range(download, number, data) for number, data in database.ranges(row)]
    return [each for each in found if each is not None]


# -- rows -------------------------------------------------------------------------------------------------------------


def encode_download(download: JournaledDownload) -> bytes:
    """Return the row of a download."""
    wanted = download.wanted
    values = {
        "path": download.path,
        "wanted": [wanted.endpoint, wanted.region, wanted.bucket, wanted.key, wanted.version_id],
        "etag": download.etag,
        "version_id": download.version_id,
        "crc64": download.crc64,
        "size": download.plan.size,
        "part_size": download.plan.part_size_bytes,
        "temporary": download.temporary,
        "file": [download.device, download.inode],
        "created": download.created,
    }
    data = json.dumps(values).encode()
    return data + guard_of(data)


def decode_download(row: object) -> JournaledDownload | None:
    """Return the download of a row, or None if the row is damaged."""
    data = guarded(row)
    if data is None:
        return None
    try:
        values = json.loads(data)
        endpoint, region, bucket, key, version_id = values["wanted"]
        device, inode = values["file"]
        texts = {name: values[name] for name in ("path", "etag", "version_id", "temporary")}
        wanted = WantedObject(endpoint=endpoint, region=region, bucket=bucket, key=key, version_id=version_id)
        numbers = (values["size"], values["part_size"], device, inode)
        legal = (
            all(is_text(text) for text in (*texts.values(), *values["wanted"]))
            and all(type(number) is int and 0 <= number < 2**64 for number in numbers)
            and 0 < values["size"] <= MAX_OBJECT_BYTES
            and values["part_size"] > 0
            and (values["crc64"] is None or (type(values["crc64"]) is int and 0 <= values["crc64"] < 2**64))
            and math.isfinite(values["created"])
            and texts["etag"]
        )
        if not legal:
            return None
        return JournaledDownload(
            **texts,
            wanted=wanted,
            crc64=values["crc64"],
            plan=Plan(size=values["size"], part_size_bytes=values["part_size"]),
            device=device,
            inode=inode,
            created=float(values["created"]),
        )
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError, AttributeError, UsageError):
        return None


def encode_range(download: JournaledDownload, found: JournalRange) -> bytes:
    """Return the row of a range."""
    data = _RANGE.pack(found.length, found.crc64)
    return data + guard_of(data, _belongs_to(download, found.number))


def decode_range(download: JournaledDownload, number: object, row: object) -> JournalRange | None:
    """Return a range of ``download``, or None if the row is damaged, of another file, or not of its plan."""
    if not isinstance(number, int) or not 1 <= number <= download.plan.count:
        return None
    data = guarded(row, _belongs_to(download, number))
    if data is None or len(data) != _RANGE.size:
        return None
    length, crc64 = _RANGE.unpack(data)
    return JournalRange(number, length, crc64) if 0 < length <= download.plan.length(number) else None


def _belongs_to(download: JournaledDownload, number: int) -> str:
    return f"{download.etag} {download.device} {download.inode} {download.created} {number}"
