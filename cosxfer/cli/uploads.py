"""``cosxfer uploads``: lists, continues and deletes what is unfinished, in this machine's journal and on the server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import typer

from cosxfer.address import shown_key
from cosxfer.cli.connection import Connection, cleaned_up, keeps_parts
from cosxfer.cli.cp import summary
from cosxfer.cli.failures import FAILED, message_of
from cosxfer.cli.output import printable, say, say_object, tell
from cosxfer.client import Client
from cosxfer.config import ClientConfig
from cosxfer.errors import CosxferError, NotFoundError, UsageError
from cosxfer.figures import human_bytes, human_time
from cosxfer.foreign import shown_path
from cosxfer.journal import Entry, Journal, journal_of
from cosxfer.records import dataclass


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which unfinished uploads a command is about, and how to reach their server."""

    bucket: str
    """Empty: those of the journal, of all buckets."""
    prefix: str
    older_than_seconds: int
    connection: Connection


@dataclass(kw_only=True)
class Found:
    """An unfinished upload."""

    bucket: str
    key: str
    upload_id: str
    created: float | None
    """Unix seconds; None if the server sends no date."""
    entry: Entry | None = None
    """What the journal has."""
    running: bool = False
    on_server: bool | None = None
    """None if the server was not asked."""
    parts: int | None = None
    done_bytes: int | None = None

    def age(self, now: float) -> float | None:
        return None if self.created is None else max(0.0, now - self.created)

    def as_json(self, now: float) -> dict[str, object]:
        upload = None if self.entry is None else self.entry.upload
        age = self.age(now)
        return {
            "bucket": self.bucket,
            "key": self.key,
            "upload_id": self.upload_id,
            "age_seconds": None if age is None else round(age),
            "parts": self.parts,
            "done_bytes": self.done_bytes,
            "path": None if upload is None else upload.place.path,
            "bytes": None if upload is None else upload.plan.size,
            "part_size_bytes": None if upload is None else upload.plan.part_size_bytes,
            "in_journal": upload is not None,
            "on_server": self.on_server,
            "running": self.running,
        }

    def line(self, now: float) -> str:
        """Return a line for people."""
        age, upload = self.age(now), None if self.entry is None else self.entry.upload
        words = ["age unknown" if age is None else f"{human_time(age)} old"]
        if self.parts is not None:
            of = "" if upload is None else f" of {upload.plan.count:,}"
            words.append(f"{self.parts:,}{of} parts")
        if self.done_bytes is not None:
            of = "" if upload is None else f" of {human_bytes(upload.plan.size)}"
            words.append(f"{human_bytes(self.done_bytes)}{of}")
        if upload is not None:
            words.append(f"of {shown_path(upload.place.path)}")
        if self.running:
            words.append("running now")
        if self.on_server is False:
            words.append("not on the server any more")
        elif upload is None:
            words.append("not begun by this machine")
        return printable(f"cos://{self.bucket}/{self.key} {self.upload_id}: {', '.join(words)}")


def list_uploads(selection: Selection, *, as_json: bool) -> None:
    """Print what is unfinished."""
    journal, now = _journal(selection.connection), time.time()
    try:
        if selection.bucket:
            with selection.connection.client() as client:
                found = list(_selected(selection, journal, client, now))
        else:
            found = list(_selected(selection, journal, None, now))
    finally:
        if journal is not None:
            journal.close()
    if as_json:
        say_object({"uploads": [each.as_json(now) for each in found]})
        return
    for each in found:
        say(each.line(now))
    if not found:
        where = f"in cos://{selection.bucket}/{selection.prefix}" if selection.bucket else "in the journal"
        say(printable(f"nothing is unfinished {where}"))


def abort_uploads(selection: Selection, *, dry_run: bool, as_json: bool) -> None:
    """Delete the parts of the selected uploads, except those that a process sends now. Exits with 1 if one fails."""
    journal, now = _journal(selection.connection), time.time()
    deleted, failed = [], 0
    try:
        with selection.connection.client() as client:
            for each in _selected(selection, journal, client, now):
                try:
                    if not _abort(journal, client, each, dry_run=dry_run):
                        tell(f"cosxfer: left alone: {each.line(now)}")
                        continue
                except CosxferError as error:
                    failed += 1
                    tell(f"cosxfer: cos://{each.bucket}/{each.key} {each.upload_id}: {message_of(error)}")
                    continue
                deleted.append(each)
                if not as_json:
                    say(f"{'would delete' if dry_run else 'deleted'} {each.line(now)}")
    finally:
        if journal is not None:
            journal.close()
    if as_json:
        say_object({"deleted": [each.as_json(now) for each in deleted], "failed": failed, "dry_run": dry_run})
    elif not deleted and not failed:
        say("nothing was to be deleted")
    if failed:
        raise typer.Exit(FAILED)


def _abort(journal: Journal | None, client: Client, each: Found, *, dry_run: bool) -> bool:
    """Delete one upload; returns False if a process sends it now."""
    entry = None
    if each.entry is not None and journal is not None:
        if each.running:
            return False
        if not dry_run:
            claim = journal.take(each.entry).result()
            if claim.busy:
                return False
            entry = claim.entry
    if dry_run:
        return True
    region = (each.entry.upload.place.region or None) if each.entry is not None else None
    try:
        client.multipart_abort(each.bucket, each.key, upload_id=each.upload_id, region=region)
    except NotFoundError as error:
        if error.code != "NoSuchUpload":
            raise
    if entry is not None:
        entry.remove()
    return True


def resume_uploads(selection: Selection, *, dry_run: bool, as_json: bool) -> None:
    """Continue the selected uploads of the journal. Exits with 1 if one fails."""
    journal, now = _journal(selection.connection), time.time()
    if journal is None:
        raise UsageError("there is no journal, so it is not known what to send; run cosxfer cp again", name="--journal")
    try:
        with selection.connection.client() as client:
            found = [each for each in _selected(selection, journal, client, now, ask=False) if not each.running]
    finally:
        journal.close()
    results, failed = [], 0
    with (
        selection.connection.client() as client,
        cleaned_up(client, selection.connection, keeps=keeps_parts(client, abort_on_interrupt=False)),
    ):
        for each in found:
            assert each.entry is not None
            if dry_run:
                say(f"would continue {each.line(now)}")
                continue
            upload = each.entry.upload
            try:
                if not upload.complete:
                    raise UsageError(
                        "it has a header that is a secret, such as the customer's key, which the journal does not "
                        "have; make the same call again",
                        name="upload_id",
                    )
                result = client.slice_upload_file(
                    each.bucket,
                    each.key,
                    upload.place.path,
                    slice_size=upload.plan.part_size_bytes,
                    headers=upload.parameters,
                    upload_add_meta_md5=upload.add_md5,
                    abort_on_failure=False,
                    region=upload.place.region or None,
                )
            except CosxferError as error:
                failed += 1
                tell(f"cosxfer: cos://{each.bucket}/{each.key} {each.upload_id}: {message_of(error)}")
                continue
            results.append({"key": each.key, "upload_id": result.upload_id, "resumed_bytes": result.resumed_bytes})
            if not as_json:
                say(summary(result))
    if as_json:
        say_object({"uploads": results, "failed": failed, "dry_run": dry_run})
    elif not found:
        say("nothing was to be continued")
    if failed:
        raise typer.Exit(FAILED)


def _journal(connection: Connection) -> Journal | None:
    return journal_of(ClientConfig(journal=connection.journal))


def _selected(
    selection: Selection, journal: Journal | None, client: Client | None, now: float, *, ask: bool = True
) -> Iterator[Found]:
    """Yield what is selected. With ``ask`` and a bucket, the server is asked too."""
    known = {each.upload_id: each for each in _of_journal(selection, journal, client)}
    if selection.bucket and client is not None and ask:
        for each in known.values():
            each.on_server = False
        for upload in client.iter_multipart_list(selection.bucket, prefix=selection.prefix or None):
            each = known.setdefault(
                upload.upload_id,
                Found(
                    bucket=selection.bucket,
                    key=upload.key,
                    upload_id=upload.upload_id,
                    created=_unix(upload.initiated),
                ),
            )
            each.on_server = True
            _count(client, each)
    for each in known.values():
        age = each.age(now)
        if not selection.older_than_seconds or (age is not None and age >= selection.older_than_seconds):
            yield each


def _of_journal(selection: Selection, journal: Journal | None, client: Client | None) -> Iterator[Found]:
    for each in journal.unfinished().result() if journal is not None else ():
        upload = each.entry.upload
        place = upload.place
        if selection.bucket not in ("", place.bucket) or not place.key.startswith(selection.prefix):
            continue
        if client is not None and place.endpoint != client.config.endpoint:
            tell(
                f"cosxfer: left alone, because it is at another endpoint (--endpoint {place.endpoint}): "
                f"cos://{place.bucket}/{place.key} {upload.upload_id}"
            )
            continue
        yield Found(
            bucket=place.bucket,
            key=shown_key(place.key),
            upload_id=upload.upload_id,
            created=upload.created,
            entry=each.entry,
            running=each.running,
            parts=each.parts,
            done_bytes=min(each.parts * upload.plan.part_size_bytes, upload.plan.size),
        )


def _count(client: Client, each: Found) -> None:
    """Ask the server for the parts of an upload. If it refuses, what the journal has is shown."""
    region = (each.entry.upload.place.region or None) if each.entry is not None else None
    try:
        parts = list(client.iter_multipart_list_part(each.bucket, each.key, upload_id=each.upload_id, region=region))
    except CosxferError:
        return
    each.parts, each.done_bytes = len(parts), sum(part.size for part in parts)


def _unix(text: str) -> float | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
