"""A directory as a batch of the journal: what an interrupted run has sent is not sent, and not asked for, again.

A batch is open from the beginning of a call until all its files are done, except those that cannot be read. If the call
is interrupted or a request fails, the next call for the same directory and prefix goes on with it. Files whose path,
identity, headers and object are the same are done. After all files are done, the next call sends all again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from urllib.parse import quote

from cosxfer.address import ObjectAddress, shown_key
from cosxfer.cos.content_types import content_type_of
from cosxfer.cos.endpoint import PATH_SAFE
from cosxfer.cos.requests import object_headers
from cosxfer.engine.multipart.lifecycle import resume_logger
from cosxfer.engine.report import logger
from cosxfer.engine.upload.options import FileUpload, UploadOptions
from cosxfer.engine.upload.recall import normal
from cosxfer.figures import counted
from cosxfer.foreign import shown_path
from cosxfer.journal import Batch, Journal
from cosxfer.journal_rows import (
    FinishedObject,
    content_fingerprint,
    decode_object,
    fingerprint,
    headers_fingerprint,
    size_of_object,
    targets_of,
)
from cosxfer.models import UploadResult
from cosxfer.ops.session import Session
from cosxfer.tasks.batch import OpenBatch
from cosxfer.tasks.directory import Found


def begin(
    journal: Journal,
    session: Session,
    bucket: str,
    *,
    options: UploadOptions,
    prefix: str,
    root: str | os.PathLike[str],
) -> DirectoryBatch:
    """Begin the batch of a directory, or go on with an interrupted one. Blocks.

    ``options`` are those of all files.
    """
    start = os.path.abspath(os.fsdecode(root))  # noqa: PTH100 (resolve() would read the file system)
    region = options.region or session.config.region or ""
    name = fingerprint("directory", session.config.endpoint, region, bucket, prefix, start)
    batch = journal.open_batch(name).result()
    if batch.busy:
        logger.warning(
            "another process or client uploads %s to %s/%s already; this one sends all files too",
            shown_path(start),
            bucket,
            prefix,
        )
    return DirectoryBatch(journal, session, bucket, options, batch, start)


class DirectoryBatch:
    """What the journal has of a directory, and what all its files have in common."""

    def __init__(
        self, journal: Journal, session: Session, bucket: str, options: UploadOptions, batch: Batch, start: str
    ) -> None:
        """``start`` is the path of the directory, for messages."""
        self.number = batch.number
        """0: the journal does not keep the batch."""
        self.goes_on = batch.goes_on
        """Whether an earlier run has sent some of the files."""
        self._journal = journal
        self._endpoint = session.config.endpoint
        self._region = options.region or session.config.region or ""
        self._bucket = bucket
        self._start = start
        self._headers = _Headers(options)
        self._folder = os.getcwd()  # noqa: PTH109 (text, as the sources take it)
        self._template = _template(bucket)
        address = ObjectAddress(bucket, "k", options.region)
        self._location = session.endpoint(address).location("") if self.goes_on else ""

    @cached_property
    def _few_rows(self) -> dict[bytes, bytes] | None:
        """The rows of the batch, or None if the journal is large. Blocks at its first use."""
        return self._journal.rows_if_few(self.number).result()

    def end(self) -> None:
        """All files are done, except those that cannot be read."""
        if self.number:
            self._journal.end_batch(self.number)

    def of_all(self, files: Sequence[FileUpload], found: Sequence[Found]) -> OpenBatch:
        """Return the batch of all files of the directory."""
        if not self.number:
            return OpenBatch()
        if not self.goes_on:
            return OpenBatch(number=self.number, end=self.end)
        keys = [file["key"].removeprefix("/") for file in files]
        rows = self._journal.rows_of_batch(self.number).result()
        done = Done(self, keys, found, rows, targets=self.targets(keys), file=files.__getitem__)
        self.report(len(done.sizes), len(files))
        return OpenBatch(number=self.number, files=done, end=self.end)

    def of_some(self, keys: Sequence[str], found: Sequence[Found], file: Callable[[int], FileUpload]) -> Done:
        """Return what was sent of some files of the directory. ``file`` returns the options of one. Blocks."""
        keys = [key.removeprefix("/") for key in keys]
        targets = self.targets(keys)
        rows = self._journal.rows_of(targets).result() if self._few_rows is None else self._few_rows
        return Done(self, keys, found, rows, targets=targets, file=file)

    def report(self, sent: int, files: int) -> None:
        """Log how many of the files an earlier run has sent."""
        if sent:
            resume_logger.info(
                "resumed: %s of %s in %s were sent by an unfinished run and have not changed; they are not sent again",
                f"{sent:,}",
                counted(files, "file"),
                shown_path(self._start),
            )

    def targets(self, keys: Sequence[str]) -> list[bytes]:
        """Return the names of objects in the journal."""
        return targets_of(self._endpoint, self._region, self._bucket, keys)

    def content(self, key: str, found: Found) -> bytes:
        """Return the fingerprint of a file and of the headers of its object."""
        assert found.identity is not None
        path = found.path
        path = normal(path if path[0] == "/" else f"{self._folder}/{path}")
        return content_fingerprint(path, found.identity, self._headers.fingerprint(key))

    def result(self, key: str, found: FinishedObject) -> UploadResult:
        """Return the result of a file that was sent."""
        result = object.__new__(UploadResult)
        # In a quarter of the time of its constructor.
        vars(result).update(
            self._template,
            headers={},
            key=shown_key(key),
            etag=found.etag,
            location=f"{self._location}{quote(key, safe=PATH_SAFE)}",
            crc64=found.crc64,
            size=found.size,
            resumed_bytes=found.size,
        )
        return result


class Done:
    """Files of a directory that its batch has sent. There may be a hundred thousand, so each step is a short one."""

    def __init__(
        self,
        batch: DirectoryBatch,
        keys: Sequence[str],
        found: Sequence[Found],
        rows: Mapping[bytes, bytes],
        *,
        targets: Sequence[bytes],
        file: Callable[[int], FileUpload],
    ) -> None:
        """``rows`` are those of the journal, by their targets; ``file`` returns the options of a file."""
        self.file = file
        self.sizes: dict[int, int] = {}
        """The sizes of files that were sent and have not changed, by their index."""
        self._batch = batch
        self._keys = keys
        self._rows = rows
        self._targets = targets
        sizes, number, content_of = self.sizes, batch.number, batch.content
        for index, row in enumerate(map(rows.get, targets)):
            if row is None or found[index].identity is None:
                continue
            size = size_of_object(targets[index], row, content=content_of(keys[index], found[index]), batch=number)
            if size is not None:
                sizes[index] = size

    def result(self, index: int) -> UploadResult:
        """Return the result of a file of ``sizes``."""
        target = self._targets[index]
        found = decode_object(target, self._rows[target])
        assert found is not None
        return self._batch.result(self._keys[index], found)


def _template(bucket: str) -> dict[str, object]:
    """Return the fields of a result that are the same for each file."""
    result = UploadResult(
        bucket=bucket,
        key="",
        etag="",
        location="",
        version_id=None,
        crc64=None,
        verified=True,
        verified_by="crc64",
        size=0,
        parts=0,
        part_size_bytes=0,
        upload_id="",
        http_version="",
        seconds=0.0,
        hash_seconds=0.0,
        send_seconds=0.0,
        retries=0,
    )
    return vars(result)


class _Headers:
    """The fingerprints of the headers of objects that differ in their content types alone."""

    def __init__(self, options: UploadOptions) -> None:
        self._options = options
        self._known: dict[str, bytes] = {}
        self._unpacked = "content-encoding" in object_headers("", options.parameters)

    def fingerprint(self, key: str) -> bytes:
        """Return that of an object."""
        kind = content_type_of(key, unpacked=self._unpacked)
        known = self._known.get(kind)
        if known is None:
            headers = object_headers(key, self._options.parameters)
            known = self._known[kind] = headers_fingerprint(headers, add_md5=self._options.upload_add_meta_md5)
        return known
