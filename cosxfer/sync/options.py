"""Checking the arguments of a sync."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import field, replace
from typing import Any, cast

from cosxfer.address import ObjectAddress
from cosxfer.arguments import check_callback, check_count, check_flag, check_text, wrong_type
from cosxfer.cos.identifiers import check_bucket
from cosxfer.cos.requests import CustomerKey, ObjectHeaders, customer_key_headers, object_headers
from cosxfer.engine.copy.request import copy_headers
from cosxfer.errors import UsageError
from cosxfer.foreign import shorten
from cosxfer.records import dataclass
from cosxfer.sync.rules import Direction, Rules
from cosxfer.sync.selection import Selection, selection_of

SCHEME = "cos://"


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """A local folder, or the keys of a bucket below a prefix."""

    root: str = ""
    """The folder; empty for a bucket."""
    bucket: str = ""
    prefix: str = ""
    """As it is sent; it is empty or ends with ``/``."""
    region: str | None = None
    key_headers: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    """The customer's key of its objects, for HEAD."""

    @property
    def is_local(self) -> bool:
        """Whether it is a folder."""
        return not self.bucket

    @property
    def address(self) -> ObjectAddress:
        """The bucket."""
        return ObjectAddress(self.bucket, region=self.region)

    def object(self, key: bytes) -> ObjectAddress:
        """The address of a relative key."""
        return ObjectAddress(self.bucket, self.prefix + key.decode("utf-8"), self.region)

    def path(self, key: bytes) -> str:
        """The path of a relative key."""
        return os.path.join(self.root, os.fsdecode(key))  # noqa: PTH118 (it is text)


@dataclass(frozen=True, kw_only=True, slots=True)
class SyncOptions:
    """The checked arguments of a sync."""

    source: Side
    target: Side
    rules: Rules
    selection: Selection | None
    files: tuple[bytes, ...] | None
    """The relative keys of ``files_from``, in order; None for all."""
    delete: bool
    max_delete: int | None
    backup: str
    """Where deleted keys are kept: a prefix as it is sent, or a folder. Empty: nowhere."""
    dry_run: bool
    parameters: Mapping[str, Any] = field(repr=False)
    """The headers of new objects. For a download: the customer's key of its objects."""
    metadata_directive: str | None = None
    """That of copies."""


def sync_options(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    size_only: bool,
    checksum: bool,
    update: bool,
    no_overwrite: bool,
    preserve_mtime: bool,
    delete: bool,
    max_delete: int | None,
    backup_prefix: str | None,
    filters: Iterable[tuple[str, str]] | None,
    files_from: Iterable[str] | None,
    dry_run: bool,
    region: str | None,
    source_region: str | None,
    metadata_directive: str | None,
    parameters: Mapping[str, Any],
) -> SyncOptions:
    """Check the arguments. Raises `UsageError`."""
    for name, value in {
        "size_only": size_only,
        "checksum": checksum,
        "update": update,
        "no_overwrite": no_overwrite,
        "preserve_mtime": preserve_mtime,
        "delete": delete,
        "dry_run": dry_run,
    }.items():
        check_flag(value, name)
    check_text(region, "region")
    check_text(source_region, "source_region")
    sides = [_side(source, "source", source_region or region), _side(target, "target", region)]
    direction = _direction(*sides)
    if size_only and checksum:
        raise UsageError("size_only and checksum exclude each other", name="checksum")
    if max_delete is not None:
        check_count(max_delete, "max_delete", maximum=sys.maxsize)
    if max_delete is not None and not delete:
        raise UsageError("max_delete is given without delete, which it is about", name="max_delete")
    files = None if files_from is None else _names(files_from)
    if files is not None and delete:
        raise UsageError(
            "files_from names what is to be transferred, so it cannot be combined with delete", name="delete"
        )
    named = {name for name, value in parameters.items() if value is not None}
    if direction == "download" and (wrong := named - CustomerKey.__annotations__.keys()):
        raise UsageError(f"{min(wrong)} is a header of new objects; a download makes none", name=min(wrong))
    if direction != "copy" and metadata_directive is not None:
        raise UsageError("metadata_directive is of copies between buckets", name="metadata_directive")
    headers, _ = (
        copy_headers("key", cast(ObjectHeaders, parameters), metadata_directive)
        if direction == "copy"
        else (object_headers("key", cast(ObjectHeaders, parameters)), False)
    )
    if key_headers := customer_key_headers(headers):
        # It is the key of what is read by a download, and of what is written otherwise.
        place = 0 if direction == "download" else 1
        sides[place] = replace(sides[place], key_headers=key_headers)
    return SyncOptions(
        source=sides[0],
        target=sides[1],
        rules=Rules(
            direction=direction,
            size_only=size_only,
            checksum=checksum,
            update=update,
            no_overwrite=no_overwrite,
            preserve_mtime=preserve_mtime,
        ),
        selection=selection_of(filters),
        files=files,
        delete=delete,
        max_delete=max_delete,
        backup="" if backup_prefix is None else _backup(backup_prefix, sides[1]),
        dry_run=dry_run,
        parameters=parameters,
        metadata_directive=metadata_directive,
    )


def _side(given: str | os.PathLike[str], name: str, region: str | None) -> Side:
    if isinstance(given, str) and given[: len(SCHEME)].lower() == SCHEME:
        bucket, _, prefix = given[len(SCHEME) :].partition("/")
        check_text(prefix, name)
        return Side(
            bucket=check_bucket(bucket),
            prefix=prefix if not prefix or prefix.endswith("/") else f"{prefix}/",
            region=region,
        )
    if not isinstance(given, str | bytes | os.PathLike):
        raise wrong_type(name, given, "a path, or cos://BUCKET/PREFIX")
    path = os.fsdecode(given)
    if not path:
        raise UsageError(f"{name} is empty; give a folder, or cos://BUCKET/PREFIX", name=name, value=path)
    if "\0" in path:
        raise UsageError(f"{name} is {path!r}, which has a NUL", name=name, value=path)
    return Side(root=os.path.abspath(path))  # noqa: PTH100 (it is text)


def _direction(source: Side, target: Side) -> Direction:
    if source.is_local and target.is_local:
        raise UsageError("source and target are both local; one of them must be cos://BUCKET/PREFIX", name="target")
    if source.is_local:
        return "upload"
    if target.is_local:
        return "download"
    same = source.bucket == target.bucket
    if same and (source.prefix.startswith(target.prefix) or target.prefix.startswith(source.prefix)):
        raise UsageError("source and target are the same keys, or one is inside the other", name="target")
    return "copy"


def _names(given: Iterable[str]) -> tuple[bytes, ...]:
    """Return the keys of ``files_from``, ordered by their bytes."""
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise wrong_type("files_from", given, "a list of relative names")
    names = set()
    for name in given:
        if not isinstance(name, str):
            raise wrong_type("files_from", name, "a list of relative names")
        parts = name.removeprefix("./").split("/")
        if not {"", ".", ".."}.isdisjoint(parts) or "\0" in name:
            raise UsageError(
                f"files_from holds {shorten(name)}; each name is the relative path of a file",
                name="files_from",
                value=name,
            )
        names.add("/".join(parts).encode("utf-8", "surrogateescape"))
    return tuple(sorted(names))


def _backup(given: str, target: Side) -> str:
    check_text(given, "backup_prefix")
    if not given:
        raise UsageError("backup_prefix is empty; name a prefix or a folder", name="backup_prefix")
    if target.is_local:
        backup = os.path.abspath(given)  # noqa: PTH100 (it is text)
        inside = os.path.join(backup, "").startswith(os.path.join(target.root, ""))  # noqa: PTH118 (it is text)
    else:
        sent = given.removeprefix("/")
        backup = sent if sent.endswith("/") else f"{sent}/"
        inside = backup.startswith(target.prefix)
    if inside:
        raise UsageError(
            "backup_prefix is inside the target, so the next sync would delete it; name another place",
            name="backup_prefix",
            value=given,
        )
    return backup


def check_callbacks(on_event: object, on_progress: object) -> None:
    """Refuse what cannot be called."""
    check_callback(on_event, "on_event")
    check_callback(on_progress, "on_progress")
