"""What the journal has of the upload of one file, and what it gets of it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from concurrent.futures import Executor, Future
from functools import partial

from cosxfer.address import ObjectAddress
from cosxfer.arguments import NumberOrAuto
from cosxfer.config import ClientConfig
from cosxfer.engine.multipart import in_use
from cosxfer.engine.multipart.abort import replace_upload
from cosxfer.engine.multipart.checkpoint import Checkpoint
from cosxfer.engine.report import logger
from cosxfer.engine.upload.unchanged import compare
from cosxfer.errors import SourceChangedError, UsageError
from cosxfer.journal import Claim, Entry, Journal
from cosxfer.journal_rows import (
    OF_REQUESTS,
    FinishedObject,
    JournaledUpload,
    Place,
    content_fingerprint,
    headers_fingerprint,
    target_of,
    without_secrets,
)
from cosxfer.ops.session import Session
from cosxfer.planning import Plan
from cosxfer.resume_token import ResumeToken, TokenPart, encode
from cosxfer.sources import FileSource, SourceIdentity


def place_of(session: Session, address: ObjectAddress, path: str) -> Place:
    """Return the place of an upload of the absolute ``path``."""
    region = address.region or session.config.region or ""
    return Place(
        endpoint=session.config.endpoint, region=region, bucket=address.bucket, key=address.key, path=normal(path)
    )


def normal(path: str) -> str:
    """Return an absolute path without ``.``, ``..`` and double slashes."""
    return os.path.normpath(path) if "/." in path or "//" in path else path


def finished_target(session: Session, address: ObjectAddress) -> bytes:
    """Return the name of an object among the finished ones of the journal."""
    config = session.config
    return target_of(config.endpoint, address.region or config.region or "", address.bucket, address.key)


def finished_content(path: str, identity: SourceIdentity, headers: Mapping[str, str], *, add_md5: bool) -> bytes:
    """Return the fingerprint of a file and of the headers of its object. ``path`` is absolute."""
    return content_fingerprint(normal(path), identity, headers_fingerprint(headers, add_md5=add_md5))


class Finished:
    """Notes files whose objects are stored. They have the same options."""

    __slots__ = ("_add_md5", "_batch", "_journal", "_session")

    def __init__(self, journal: Journal, session: Session, *, add_md5: bool, batch: int) -> None:
        """``batch`` is the number of their batch in the journal; 0: none."""
        self._journal = journal
        self._session = session
        self._add_md5 = add_md5
        self._batch = batch

    def note(
        self,
        address: ObjectAddress,
        headers: Mapping[str, str],
        location: str,
        identity: SourceIdentity,
        *,
        crc64: int,
        etag: str,
    ) -> None:
        """The object of the file at ``location`` is stored. ``crc64`` is the server's, too."""
        self._journal.finished(
            finished_target(self._session, address),
            FinishedObject(
                content=finished_content(location, identity, headers, add_md5=self._add_md5),
                batch=self._batch,
                size=identity.size,
                crc64=crc64,
                etag=etag,
            ),
        )


class FileJournal:
    """The journal of one file's upload."""

    __slots__ = ("_add_md5", "_address", "_headers", "_journal", "_session")

    def __init__(
        self,
        journal: Journal,
        session: Session,
        address: ObjectAddress,
        headers: Mapping[str, str],
        *,
        add_md5: bool,
    ) -> None:
        self._journal = journal
        self._session = session
        self._address = address
        self._headers = headers
        self._add_md5 = add_md5

    def checkpoint(self, path: str) -> Checkpoint:
        """Return the checkpoint of an upload of the absolute ``path`` that has not begun."""

        def begin(upload_id: str, plan: Plan, identity: SourceIdentity) -> Entry:
            parameters = without_secrets(self._headers)
            return self._journal.begin(
                JournaledUpload(
                    place=place_of(self._session, self._address, path),
                    headers=headers_fingerprint(self._headers, add_md5=self._add_md5),
                    parameters=parameters,
                    complete=parameters.keys() >= self._headers.keys() - OF_REQUESTS,
                    add_md5=self._add_md5,
                    source=identity,
                    plan=plan,
                    upload_id=upload_id,
                    created=time.time(),
                )
            )

        return Checkpoint(begin, name=partial(in_use.name_of, self._session, self._address))

    async def recall(
        self,
        source: FileSource,
        checkpoint: Checkpoint,
        executor: Executor,
        *,
        part_size: NumberOrAuto,
    ) -> bool:
        """Fill ``checkpoint`` with the upload that an earlier call has begun. Those of another content are deleted.

        Returns whether the journal has anything of this file and object.
        """
        asked = self._journal.claim(
            place_of(self._session, self._address, source.location),
            headers=headers_fingerprint(self._headers, add_md5=self._add_md5),
            source=source.identity,
            part_size=part_size,
        )
        claim = await _taken(asked)
        what = f"the upload of {source.path} to {self._address}"
        useless = list(claim.useless)
        if claim.entry is not None:
            checkpoint.restore(claim.entry, claim.parts)
            if why := await _differs(source, checkpoint, executor):
                useless.append((claim.entry, why))
                checkpoint.detach()
        if checkpoint.entry is None and claim.busy:
            logger.warning(
                "%s is running already, in another process or task; this one starts an upload of its own", what
            )
        for entry, why in useless:
            await replace_upload(
                self._session, self._address, entry.upload.upload_id, entry, why=f"{what} starts over: {why}"
            )
        return checkpoint.entry is not None or claim.busy or bool(useless)


def token_of(
    config: ClientConfig,
    address: ObjectAddress,
    path: str,
    checkpoint: Checkpoint,
    headers: Mapping[str, str],
    *,
    add_md5: bool,
) -> str:
    """Return the token of an upload of the absolute ``path`` that is on the server.

    Raises `UsageError` if a header is a secret, because a token has none.
    """
    assert isinstance(checkpoint.plan, Plan)
    parameters = without_secrets(headers)
    if missing := headers.keys() - OF_REQUESTS - parameters.keys():
        raise UsageError(
            f"the upload has the header {min(missing)}, which is a secret, and a token has no secrets; make the same "
            "call again instead",
            name="task",
        )
    return encode(
        ResumeToken(
            endpoint=config.endpoint,
            region=address.region or config.region or "",
            bucket=address.bucket,
            key=address.key,
            path=normal(path),
            upload_id=checkpoint.upload_id,
            plan=checkpoint.plan,
            headers=headers_fingerprint(headers, add_md5=add_md5),
            parameters=parameters,
            add_md5=add_md5,
            found=checkpoint.found,
            parts={
                part.range.number: TokenPart(md5=part.md5, etag=etag)
                for part, (_, _, etag) in zip(checkpoint.hashed(), checkpoint.etags(), strict=True)
            },
        )
    )


async def _taken(asked: Future[Claim]) -> Claim:
    """Wait for a claim. If this is cancelled, another call may take what was claimed."""
    try:
        return await asyncio.wrap_future(asked)
    except asyncio.CancelledError:
        asked.add_done_callback(_free)
        raise


def _free(asked: Future[Claim]) -> None:
    claim = asked.result()
    for entry in (claim.entry, *(entry for entry, _ in claim.useless)):
        if entry is not None:
            entry.hold(False)


async def _differs(source: FileSource, checkpoint: Checkpoint, executor: Executor) -> str:
    """Compare the content if device or ctime differ; returns why the parts are of another content, or nothing."""
    if checkpoint.identity == source.identity:
        return ""
    try:
        await compare(source, executor, checkpoint.hashed())
    except SourceChangedError:
        return "the file has changed since (content)"
    checkpoint.same_content(source.identity)
    return ""
