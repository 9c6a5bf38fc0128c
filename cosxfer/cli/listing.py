"""``cosxfer ls`` and ``cosxfer du``: what an address names, entry by entry, in bounded memory.

``cos://b/photos`` names the object ``photos`` and the folder ``photos/``. It never names ``photos2``.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, takewhile
from typing import TypeAlias

from cosxfer.bucket_models import (
    Bucket,
    DeleteMarker,
    ListedObject,
    ListObjectsResult,
    ListObjectVersionsResult,
    ObjectVersion,
    VersionEntry,
)
from cosxfer.cli.connection import Connection
from cosxfer.cli.hints import with_hint
from cosxfer.cli.output import Lines, printable, say, say_object
from cosxfer.client import Client
from cosxfer.errors import CosxferError
from cosxfer.figures import counted, human_bytes
from cosxfer.models import CommonPrefix
from cosxfer.ops.listing import Markers
from cosxfer.tasks.directory import joined

Entry: TypeAlias = ListedObject | VersionEntry | CommonPrefix


def list_buckets(connection: Connection, *, long: bool, as_json: bool) -> None:
    """Print the buckets of the account."""
    with connection.client() as client, Lines(as_json=as_json) as lines:
        for bucket in client.iter_list_buckets():
            if as_json:
                lines.object({"bucket": bucket.name, "region": bucket.region, "created": bucket.created})
            else:
                lines.write(_bucket_line(bucket, long=long))


def list_entries(
    bucket: str, key: str, connection: Connection, *, recursive: bool, long: bool, versions: bool, as_json: bool
) -> None:
    """Print the entries of a bucket or a folder. Raises `CosxferError` if there is no object of that name."""
    with connection.client() as client, with_hint(client, bucket), Lines(as_json=as_json) as lines:
        for entry in found(client, bucket, key, recursive=recursive, versions=versions):
            if as_json:
                lines.object(entry_object(entry))
            else:
                lines.write(entry_line(entry, long=long))


def disk_usage(bucket: str, key: str, connection: Connection, *, versions: bool, as_json: bool) -> None:
    """Print how many objects there are, and how many bytes they have in each storage class."""
    counts: dict[str, int] = {}
    sizes: dict[str, int] = {}
    markers = 0
    with connection.client() as client, with_hint(client, bucket):
        for entry in found(client, bucket, key, recursive=True, versions=versions):
            if isinstance(entry, ListedObject | ObjectVersion):
                counts[entry.storage_class] = counts.get(entry.storage_class, 0) + 1
                sizes[entry.storage_class] = sizes.get(entry.storage_class, 0) + entry.size
            else:
                markers += 1
    objects, size = sum(counts.values()), sum(sizes.values())
    thing = "version" if versions else "object"
    if as_json:
        classes = {name: {"objects": counts[name], "bytes": sizes[name]} for name in sorted(counts)}
        figures: dict[str, object] = {"bucket": bucket, "key": key, "objects": objects, "bytes": size}
        say_object(figures | {"delete_markers": markers, "storage_classes": classes})
        return
    more = f", {counted(markers, 'delete marker')}" if markers else ""
    say(printable(f"{human_bytes(size)} ({size:,} bytes) in {counted(objects, thing)}{more}: cos://{bucket}/{key}"))
    for name in sorted(counts) if len(counts) > 1 else ():
        say(printable(f"  {name}: {human_bytes(sizes[name])} in {counted(counts[name], thing)}"))


def found(client: Client, bucket: str, key: str, *, recursive: bool, versions: bool) -> Iterator[Entry]:
    """Yield what `entries` does. Raises `CosxferError` at the end if there was nothing, unless ``key`` is empty."""
    empty = True
    for entry in entries(client, bucket, key, recursive=recursive, versions=versions):
        empty = False
        yield entry
    if empty and key:
        folder = joined(key, "")
        either = f"no object {key!r} and " if folder != key else ""
        raise CosxferError(f"cos://{bucket} has {either}no key that begins with {folder!r}")


def entries(client: Client, bucket: str, key: str, *, recursive: bool, versions: bool) -> Iterator[Entry]:
    """Yield the object ``key``, if there is one, and the content of the folder ``key/``; of an empty key all.

    The order is that of the keys' bytes.
    """
    if key and not key.endswith("/"):
        # The object comes before everything else that begins with its name.
        first: Iterator[ListedObject | VersionEntry] = (
            client.iter_list_object_versions(bucket, prefix=key)
            if versions
            else islice(client.iter_list_objects(bucket, prefix=key, max_keys=1), 1)
        )
        yield from takewhile(lambda entry: entry.key.removeprefix("/") == key.removeprefix("/"), first)
    yield from folder_entries(client, bucket, joined(key, ""), recursive=recursive, versions=versions)


def folder_entries(
    client: Client, bucket: str, prefix: str, *, recursive: bool, versions: bool, region: str | None = None
) -> Iterator[Entry]:
    """Yield what is listed below ``prefix``. A page is requested when the one before it was taken."""
    # Not by the iterators of the client: they pass each entry from one thread to another.
    delimiter = None if recursive else "/"
    seen = Markers(f"the listing of {bucket}", "")
    marker: str | None = None
    version_marker: str | None = None
    while True:
        page: ListObjectsResult | ListObjectVersionsResult
        if versions:
            page = client.list_object_versions(
                bucket,
                prefix=prefix,
                delimiter=delimiter,
                key_marker=marker,
                version_id_marker=version_marker,
                region=region,
            )
            following: tuple[str, ...] = (page.next_key_marker, page.next_version_id_marker)
            found: list[Entry] = list(page.versions)
        else:
            page = client.list_objects(bucket, prefix=prefix, delimiter=delimiter, marker=marker, region=region)
            following = (page.next_marker,)
            found = list(page.objects)
        if page.common_prefixes:
            found += [CommonPrefix(prefix=group) for group in page.common_prefixes]
            found.sort(key=lambda entry: name_of(entry).encode("utf-8", "surrogatepass"))
        yield from found
        if not page.is_truncated:
            return
        marker = seen.following(*following)
        version_marker = following[-1]


def name_of(entry: Entry) -> str:
    """Return the key, or the prefix of a folder."""
    return entry.prefix if isinstance(entry, CommonPrefix) else entry.key


def entry_line(entry: Entry, *, long: bool) -> str:
    """Return the line of an entry. A key cannot move the cursor: what is invisible is escaped."""
    if isinstance(entry, CommonPrefix):
        return printable(f"{'-':>10}  {'':19}  {'folder':<12}  {entry.prefix}" if long else entry.prefix)
    version = f"  {entry.version_id or 'null'}" if isinstance(entry, ObjectVersion | DeleteMarker) else ""
    if version and entry.is_latest:  # type: ignore[union-attr]
        version += " (latest)"
    if not long:
        marker = "  delete marker" if isinstance(entry, DeleteMarker) else ""
        return printable(f"{entry.key}{version}{marker}")
    size = "-" if isinstance(entry, DeleteMarker) else human_bytes(entry.size)
    kind = "deleted" if isinstance(entry, DeleteMarker) else entry.storage_class or "STANDARD"
    return printable(f"{size:>10}  {_date(entry.last_modified):19}  {kind:<12}  {entry.key}{version}")


def entry_object(entry: Entry) -> dict[str, object]:
    """Return what ``--json`` prints for an entry."""
    if isinstance(entry, CommonPrefix):
        return {"prefix": entry.prefix}
    known: dict[str, object] = {"key": entry.key, "last_modified": entry.last_modified}
    if isinstance(entry, DeleteMarker):
        known["delete_marker"] = True
    else:
        known |= {"bytes": entry.size, "etag": entry.etag, "storage_class": entry.storage_class}
    if not isinstance(entry, ListedObject):
        known |= {"version_id": entry.version_id, "is_latest": entry.is_latest}
    return known


def _bucket_line(bucket: Bucket, *, long: bool) -> str:
    return printable(f"{_date(bucket.created):19}  {bucket.region:<16}  {bucket.name}" if long else bucket.name)


def _date(text: str) -> str:
    """``2020-12-10T03:37:30.000Z`` as ``2020-12-10 03:37:30``, in UTC."""
    return text[:19].replace("T", " ")
