"""``cosxfer rm``: deletes an object, or all keys of a folder."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

import typer

from cosxfer.bucket_models import DeletedObject, DeleteFailure, DeleteMarker, ListedObject, ObjectVersion
from cosxfer.cli.connection import Connection
from cosxfer.cli.failures import FAILED
from cosxfer.cli.hints import with_hint
from cosxfer.cli.interrupts import ended_by_signal
from cosxfer.cli.listing import folder_entries
from cosxfer.cli.notices import show
from cosxfer.cli.output import Lines, printable
from cosxfer.client import Client
from cosxfer.errors import CosxferError, UsageError
from cosxfer.figures import counted
from cosxfer.foreign import foreign
from cosxfer.limits import MAX_LIST_ENTRIES
from cosxfer.records import dataclass
from cosxfer.tasks.directory import joined

Doomed = ListedObject | ObjectVersion | DeleteMarker


@dataclass(frozen=True, kw_only=True)
class Removal:
    """What to delete, and how."""

    bucket: str
    key: str
    """With ``recursive``: the folder. Empty: the whole bucket."""
    connection: Connection
    recursive: bool
    versions: bool
    version_id: str | None
    force: bool
    dry_run: bool
    as_json: bool

    @property
    def prefix(self) -> str:
        return joined(self.key, "")

    def where(self) -> str:
        """Return what is deleted, for people."""
        place = f"cos://{self.bucket}/"
        if not self.recursive:
            version = "" if self.version_id is None else f" (version {self.version_id})"
            return f"{place}{self.key}{version}"
        what = "all versions of all objects" if self.versions else "all objects"
        return f"{what} of {place}" if not self.key else f"{what} whose keys begin with {place}{self.prefix}"


def run(removal: Removal) -> None:
    """Delete and print each key. Exits with 1 if a key could not be deleted, or if there is none without --force."""
    if not removal.dry_run and not removal.force:
        _ask(removal)
    ended_by_signal("what was printed as deleted is deleted; the same command deletes the rest")
    with (
        removal.connection.client() as client,
        with_hint(client, removal.bucket),
        Lines(as_json=removal.as_json) as lines,
    ):
        deleter = _Deleter(client, removal, lines)
        if removal.recursive:
            deleter.folder()
        else:
            deleter.one()
        deleter.end()
    if deleter.failed:
        raise typer.Exit(FAILED)


def _ask(removal: Removal) -> None:
    """Raise `UsageError` if nobody can be asked, and exit if the user says no."""
    if sys.stdin is None or not sys.stdin.isatty() or not sys.stderr.isatty():
        raise UsageError(
            f"rm asks before it deletes {removal.where()}, but there is no terminal; add --force, or --dry-run to see "
            "what it would delete",
            name="--force",
        )
    sys.stderr.write(printable(f"Delete {removal.where()}? [y/N] "))
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        show("nothing was deleted")
        raise typer.Exit(FAILED)


class _Deleter:
    """Deletes keys and prints what became of each."""

    def __init__(self, client: Client, removal: Removal, lines: Lines) -> None:
        self._client = client
        self._removal = removal
        self._lines = lines
        self.deleted = 0
        self.failed = 0

    def one(self) -> None:
        """Delete one object. Without --force it must exist: COS does not say whether a deleted key did."""
        removal = self._removal
        if not removal.force:
            self._client.head_object(removal.bucket, removal.key, version_id=removal.version_id)
        if not removal.dry_run:
            self._client.delete_object(removal.bucket, removal.key, version_id=removal.version_id)
        self._did(removal.key, removal.version_id)

    def folder(self) -> None:
        """Delete what is listed, 1,000 keys with each request. If the listing fails, what it returned is deleted."""
        removal = self._removal
        batch: list[Doomed] = []
        listed = 0
        failure: CosxferError | None = None
        entries = folder_entries(
            self._client, removal.bucket, removal.prefix, recursive=True, versions=removal.versions
        )
        while True:
            try:
                entry = next(entries, None)
            except CosxferError as error:
                failure, entry = error, None
            if isinstance(entry, Doomed):
                listed += 1
                batch.append(entry)
            if batch and (entry is None or len(batch) == MAX_LIST_ENTRIES):
                self._delete(batch)
                batch = []
            if entry is None:
                break
        if failure is not None:
            failure.add_note(f"{counted(self.deleted, 'key')} of {listed:,} that had been listed were deleted")
            raise failure
        if not listed and not removal.force and removal.key:
            raise CosxferError(f"cos://{removal.bucket} has no key that begins with {removal.prefix!r}")

    def _delete(self, batch: Sequence[Doomed]) -> None:
        if self._removal.dry_run:
            for entry in batch:
                self._did(entry.key, _version(entry))
            return
        try:
            result = self._client.delete_objects(self._removal.bucket, batch)
        except CosxferError as error:
            error.add_note(f"{counted(self.deleted, 'key')} had been deleted before this request")
            raise
        self._report(result.deleted, result.errors)
        self._lines.flush()

    def _report(self, deleted: Iterable[DeletedObject], errors: Iterable[DeleteFailure]) -> None:
        for entry in deleted:
            self._did(entry.key, entry.version_id)
        for failure in errors:
            self.failed += 1
            reason = ": ".join(filter(None, (failure.code, foreign(failure.message))))
            version = "" if failure.version_id is None else f" (version {failure.version_id})"
            show(f"cos://{self._removal.bucket}/{failure.key}{version}: not deleted: {reason}")
            if self._removal.as_json:
                error = {"code": failure.code, "message": failure.message}
                self._lines.object({"key": failure.key, "version_id": failure.version_id, "error": error})

    def _did(self, key: str, version_id: str | None) -> None:
        self.deleted += 1
        if self._removal.as_json:
            self._lines.object({"key": key, "version_id": version_id, "deleted": not self._removal.dry_run})
            return
        verb = "would delete" if self._removal.dry_run else "deleted"
        version = "" if version_id is None else f" (version {version_id})"
        self._lines.write(printable(f"{verb} cos://{self._removal.bucket}/{key}{version}"))

    def end(self) -> None:
        """Say how many there were."""
        if self._removal.as_json:
            total: dict[str, object] = {"deleted": self.deleted, "failed": self.failed}
            self._lines.object(total | {"dry_run": self._removal.dry_run})
        elif self.failed:
            show(f"{counted(self.deleted, 'key')} deleted, {counted(self.failed, 'key')} FAILED")


def _version(entry: Doomed) -> str | None:
    return None if isinstance(entry, ListedObject) else entry.version_id or None
