"""A directory as a batch of the journal: what an interrupted run has sent is not sent, and not asked for, again.

A batch is open from the beginning of a call until all its files are done. If the call is interrupted or a file fails,
the next call for the same directory and prefix goes on with it. Files whose path, identity, headers and object are the
same are done. After all files are done, the next call sends all again.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial

from cosxfer.cos.identifiers import object_address
from cosxfer.cos.requests import object_headers
from cosxfer.engine.multipart.lifecycle import resume_logger
from cosxfer.engine.report import logger
from cosxfer.engine.upload.options import FileUpload, UploadOptions
from cosxfer.engine.upload.recall import finished_content, finished_target
from cosxfer.errors import CosxferError
from cosxfer.figures import counted
from cosxfer.foreign import shown_path
from cosxfer.journal import Journal
from cosxfer.journal_rows import FinishedObject, fingerprint
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
            "resumed: %s of %s in %s were sent by an interrupted run and have not changed; they are not sent again",
            f"{len(done):,}",
            counted(len(files), "file"),
            shown_path(start),
        )
    return OpenBatch(number=batch.number, done=done, end=partial(journal.end_batch, batch.number))


def _done(
    journal: Journal, session: Session, files: Sequence[FileUpload], options: UploadOptions, number: int
) -> dict[int, UploadResult]:
    """Return the results of the files that the batch has sent, by their index."""
    targets = []
    for file in files:
        try:
            targets.append(finished_target(session, object_address(file["bucket"], file["key"], options.region)))
        except CosxferError:
            targets.append(b"")  # its task refuses it
    known = journal.objects(targets).result()
    done = {}
    for index, target in enumerate(targets):
        found = known.get(target)
        if found is not None and found.batch == number and _is_same(files[index], options, found):
            done[index] = _result(session, files[index], options, found)
    return done


def _is_same(file: FileUpload, options: UploadOptions, found: FinishedObject) -> bool:
    """Whether the file, and the headers of its object, are those that were sent."""
    path = os.fsdecode(file["path"])
    try:
        identity = SourceIdentity.of(stat_path(path))
    except (OSError, ValueError):
        return False
    headers = object_headers(file["key"].removeprefix("/"), options.parameters)
    location = path if path.startswith("/") else f"{os.getcwd()}/{path}"  # noqa: PTH109 (as RegularFile does)
    add_md5 = options.upload_add_meta_md5
    return found.content == finished_content(location, identity, headers, add_md5=add_md5)


def _result(session: Session, file: FileUpload, options: UploadOptions, found: FinishedObject) -> UploadResult:
    address = object_address(file["bucket"], file["key"], options.region)
    return UploadResult(
        bucket=address.bucket,
        key=address.shown_key,
        etag=found.etag,
        location=session.endpoint(address).location(address.key),
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
