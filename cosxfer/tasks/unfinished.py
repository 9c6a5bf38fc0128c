"""A directory as a batch of the journal: what an interrupted run has sent is not sent, and not asked for, again.

A batch is open from the beginning of a call until all its files are done, except those that cannot be read. If the call
is interrupted or a request fails, the next call for the same directory and prefix goes on with it. Files whose path,
identity, headers and object are the same are done. After all files are done, the next call sends all again.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from urllib.parse import quote

from cosxfer.address import ObjectAddress
from cosxfer.cos.content_types import content_type_of
from cosxfer.cos.endpoint import PATH_SAFE
from cosxfer.cos.requests import object_headers
from cosxfer.engine.multipart.lifecycle import resume_logger
from cosxfer.engine.report import logger
from cosxfer.engine.upload.options import FileUpload, UploadOptions
from cosxfer.engine.upload.recall import normal
from cosxfer.figures import counted
from cosxfer.foreign import shown_path
from cosxfer.journal import Journal
from cosxfer.journal_rows import FinishedObject, content_fingerprint, fingerprint, headers_fingerprint, target_of
from cosxfer.models import UploadResult
from cosxfer.ops.session import Session
from cosxfer.paths import stat_path
from cosxfer.sources import SourceIdentity
from cosxfer.tasks.batch import OpenBatch


def open_batch(
    journal: Journal,
    session: Session,
    files: Sequence[FileUpload],
    *,
    options: UploadOptions,
    prefix: str,
    root: str | os.PathLike[str],
) -> OpenBatch:
    """Begin the batch of a directory, or go on with an interrupted one. Blocks.

    ``files`` are all of one bucket and have the same ``options``.
    """
    if not files:
        return OpenBatch()
    start = os.path.abspath(os.fsdecode(root))  # noqa: PTH100 (resolve() would read the file system)
    region = options.region or session.config.region or ""
    name = fingerprint("directory", session.config.endpoint, region, files[0]["bucket"], prefix, start)
    batch = journal.open_batch(name).result()
    if batch.busy:
        logger.warning(
            "another process uploads %s to %s/%s already; this one sends all files too",
            shown_path(start),
            files[0]["bucket"],
            prefix,
        )
    if not batch.number:
        return OpenBatch()
    done = _done(journal, session, files, options, batch.number) if batch.goes_on else {}
    if done:
        resume_logger.info(
            "resumed: %s of %s in %s were sent by an unfinished run and have not changed; they are not sent again",
            f"{len(done):,}",
            counted(len(files), "file"),
            shown_path(start),
        )
    return OpenBatch(number=batch.number, done=done, end=partial(journal.end_batch, batch.number))


def _done(
    journal: Journal, session: Session, files: Sequence[FileUpload], options: UploadOptions, number: int
) -> dict[int, UploadResult]:
    """Return the results of the files that the batch has sent, by their index."""
    config, bucket, location = session.config, files[0]["bucket"], ""
    region = options.region or config.region or ""
    keys = [file["key"].removeprefix("/") for file in files]
    targets = [target_of(config.endpoint, region, bucket, key) for key in keys]
    known = journal.objects(targets).result()
    headers = _Headers(options)
    folder = os.getcwd()  # noqa: PTH109 (text, as the sources take it)
    done = {}
    for index, target in enumerate(targets):
        found = known.get(target)
        if found is None or found.batch != number:
            continue
        path = os.path.join(folder, os.fsdecode(files[index]["path"]))  # noqa: PTH118
        try:
            identity = SourceIdentity.of(stat_path(path))
        except (OSError, ValueError):
            continue
        if found.content == content_fingerprint(normal(path), identity, headers.fingerprint(keys[index])):
            address = ObjectAddress(bucket, keys[index], options.region)
            location = location or session.endpoint(address).location("")
            done[index] = _result(address, location, found)
    return done


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


def _result(address: ObjectAddress, location: str, found: FinishedObject) -> UploadResult:
    return UploadResult(
        bucket=address.bucket,
        key=address.shown_key,
        etag=found.etag,
        location=f"{location}{quote(address.key, safe=PATH_SAFE)}",
        version_id=None,
        crc64=found.crc64,
        verified=True,
        verified_by="crc64",
        size=found.size,
        parts=0,
        part_size_bytes=0,
        upload_id="",
        http_version="",
        seconds=0.0,
        hash_seconds=0.0,
        send_seconds=0.0,
        retries=0,
        resumed_bytes=found.size,
    )
