"""Finding the upload of a file that an earlier process has begun, on the server, where the journal does not know it.

List Multipart Uploads returns the uploads of the key with their storage class, and List Parts the parts of one with
their sizes and ETags. The newest upload whose parts all are parts of the file, by size and MD5, is continued. Others
are left alone.

The server shows neither metadata nor headers of an upload before it is an object. So an upload is continued

- if the call has no metadata and no headers but the storage class and the content type of the key's extension, as an
  earlier process had that made the same call; or for each call if the client's ``find_uploads`` is True;
- and the headers of the object are compared with those of the call afterwards (`wrong_headers`). If they differ, the
  file is sent again, in an upload of its own, before the call returns.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Container, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import aclosing
from datetime import UTC, datetime

from cosxfer._native import hashing
from cosxfer.address import ObjectAddress
from cosxfer.cos.content_types import content_type_of
from cosxfer.cos.header_values import META_PREFIX
from cosxfer.cos.identifiers import bare_etag
from cosxfer.cos.requests import etag_may_be_md5
from cosxfer.engine.multipart import in_use
from cosxfer.engine.multipart.checkpoint import Checkpoint
from cosxfer.engine.multipart.lifecycle import resume_logger
from cosxfer.engine.multipart.source import HashedPart
from cosxfer.engine.report import Reporter, logger
from cosxfer.engine.upload.file_parts import FIRST_BATCH_PARTS
from cosxfer.engine.upload.hash_ahead import HashAhead
from cosxfer.errors import AccessDeniedError, CosxferError, NotFoundError, ProtocolError, ServerError
from cosxfer.journal_rows import OF_REQUESTS
from cosxfer.models import Part, Progress, Upload
from cosxfer.ops.head_object import head_object
from cosxfer.ops.pages import all_parts, all_uploads
from cosxfer.ops.session import Session
from cosxfer.planning import PartRange, Plan, hash_batches, plan_of_listed
from cosxfer.resume_token import ResumeToken
from cosxfer.sources import FileSource

MOST_CANDIDATES = 100
"""So many uploads of one key are looked at, the newest first."""

PARTS_BESIDE_JOURNAL = 32
"""With a journal, a smaller upload does not look: one request more would be over 3 % of its requests."""

STORAGE_CLASS = "x-cos-storage-class"
_DEFAULT_CLASSES = frozenset({"", "STANDARD", "MAZ_STANDARD"})
"""The classes of an upload without that header. A bucket in several zones makes it the last one."""

_COMPARED = ("content-type", "cache-control", "content-disposition", "content-encoding", "expires")


class UploadFinder:
    """Finds uploads for one client. It does not ask again for a bucket whose uploads may not be listed."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._denied: set[tuple[str, str | None]] = set()

    def may_find(
        self, address: ObjectAddress, headers: Mapping[str, str], *, parts: int, journal: bool, add_md5: bool
    ) -> bool:
        """Whether an upload with these headers looks on the server. ``journal`` says that there is one."""
        wanted = self._session.config.find_uploads
        # An ETag that is not the MD5 says nothing of the content. The MD5 of the file would be among the metadata.
        if not wanted or add_md5 or not etag_may_be_md5(headers) or (address.bucket, address.region) in self._denied:
            return False
        return wanted is True or ((not journal or parts >= PARTS_BESIDE_JOURNAL) and is_plain(address.key, headers))

    async def find(
        self,
        source: FileSource,
        checkpoint: Checkpoint,
        address: ObjectAddress,
        headers: Mapping[str, str],
        *,
        plan: Plan,
        fixed: bool,
        executor: Executor,
        on_hash_progress: Callable[[Progress], None] | None,
        on_busy: Callable[[float], None],
    ) -> None:
        """Fill ``checkpoint`` with the upload that is found, if one is.

        ``plan`` is that of a new upload; ``fixed`` says that the user has given the part size. The parts that are
        hashed are reported to ``on_hash_progress``. An error of COS ends the search, not the upload.
        Without a connection, or without the bucket, the upload fails.
        """
        digests = _Digests(source, executor, Reporter(on_hash_progress, plan.size), on_busy)
        what = f"uploads of {address}"
        try:
            found = await self._uploads(address, headers.get(STORAGE_CLASS, ""))
            for upload in found[:MOST_CANDIDATES]:
                hold = in_use.hold(in_use.name_of(self._session, address, upload.upload_id))
                try:
                    why = "another call sends into it now"
                    if hold.held:
                        why = await self._take(upload, hold, source, checkpoint, address, plan, digests, fixed=fixed)
                finally:
                    if not checkpoint.upload_id:
                        hold.release()
                if checkpoint.upload_id:
                    return
                resume_logger.info("the upload %s of %s is left alone: %s", upload.upload_id, address, why)
        except AccessDeniedError as error:
            self._denied.add((address.bucket, address.region))
            logger.info("%s cannot be continued, because they may not be listed (%s); a new one begins", what, error)
        except (ServerError, ProtocolError) as error:
            if isinstance(error, ServerError) and (not error.code or error.code == "NoSuchBucket"):
                raise  # a new one would fail as well, and what is not of COS says nothing about listing
            logger.warning("%s could not be listed (%s); a new one begins", what, error)

    async def _uploads(self, address: ObjectAddress, storage_class: str) -> Sequence[Upload]:
        """Return the uploads of exactly this key and class, the newest first."""
        found = []
        pages = all_uploads(
            self._session,
            ObjectAddress(address.bucket, "", address.region),
            prefix=address.shown_key,
            delimiter=None,
            encoding_type="url",
            max_uploads=None,
            key_marker=None,
            upload_id_marker=None,
        )
        async with aclosing(pages):
            async for upload in pages:
                if not isinstance(upload, Upload):
                    continue
                if upload.key == address.shown_key:
                    found.append(upload)
                elif upload.key > address.shown_key:
                    break  # keys are in order, and all that follow have this one as a prefix
        ours = {storage_class} if storage_class not in ("", "STANDARD") else _DEFAULT_CLASSES
        return sorted((each for each in found if each.storage_class in ours), key=_begun, reverse=True)

    async def _take(
        self,
        upload: Upload,
        hold: in_use.Hold,
        source: FileSource,
        checkpoint: Checkpoint,
        address: ObjectAddress,
        own: Plan,
        digests: _Digests,
        *,
        fixed: bool,
    ) -> str:
        """Go on with ``upload`` if its parts are parts of the file; else return why not."""
        listed = await self._listed(address, upload.upload_id)
        if listed is None:
            return "it ended meanwhile"
        if not listed:
            return "it has no parts"
        plan = plan_of_listed({number: part.size for number, part in listed.items()}, own, fixed=fixed)
        if plan is None:
            return "its parts have other sizes"
        matching = []
        async with aclosing(digests.of(plan, listed)) as parts:
            async for hashed in parts:
                etag = listed[hashed.range.number].etag
                if bare_etag(etag) != hashed.md5.hex():
                    return f"its part {hashed.range.number} has other content"
                matching.append((hashed, etag))
        checkpoint.adopt(upload.upload_id, plan, source.identity, matching, hold=hold, found=True)
        return ""

    async def _listed(self, address: ObjectAddress, upload_id: str) -> dict[int, Part] | None:
        """Return the parts of an upload; None if the server does not have it. No part of ours has a wrong number."""
        try:
            pages = all_parts(self._session, address, upload_id=upload_id)
            return {part.part_number: part async for part in pages}
        except NotFoundError as error:
            if error.code != "NoSuchUpload":
                raise
            return None

    async def go_on(
        self,
        token: ResumeToken,
        source: FileSource,
        checkpoint: Checkpoint,
        address: ObjectAddress,
        *,
        executor: Executor,
        on_hash_progress: Callable[[Progress], None] | None,
        on_busy: Callable[[float], None],
    ) -> str:
        """Fill ``checkpoint`` with the upload of ``token``; else return why it cannot be continued.

        A part counts if the server lists it with the ETag of the token and the file has its MD5.
        """
        if source.size != token.plan.size:
            return f"the file has {source.size} bytes, and that of the token has {token.plan.size}"
        hold = in_use.hold(in_use.name_of(self._session, address, token.upload_id))
        try:
            if not hold.held:
                return "another call sends into it now"
            listed = await self._listed(address, token.upload_id)
            if listed is None:
                return "the server does not have it any more"
            there = {
                number
                for number, part in token.parts.items()
                if (theirs := listed.get(number)) is not None
                and theirs.size == token.plan.length(number)
                and bare_etag(theirs.etag) == bare_etag(part.etag)
            }
            digests = _Digests(source, executor, Reporter(on_hash_progress, token.plan.size), on_busy)
            matching = []
            async with aclosing(digests.of(token.plan, there)) as parts:
                async for hashed in parts:
                    part = token.parts[hashed.range.number]
                    if hashed.md5 != part.md5:
                        return f"part {hashed.range.number} of the file has other content"
                    matching.append((hashed, part.etag))
            checkpoint.adopt(token.upload_id, token.plan, source.identity, matching, hold=hold, found=token.found)
        except AccessDeniedError as error:
            if error.code != "AccessDenied":
                raise  # wrong or expired keys: it may be continued later
            return "its parts may not be listed"
        finally:
            if not checkpoint.upload_id:
                hold.release()
        return ""


class _Digests:
    """Hashes parts of one file. A part that several uploads have is hashed once."""

    def __init__(
        self, source: FileSource, executor: Executor, reporter: Reporter, on_busy: Callable[[float], None]
    ) -> None:
        self._source = source
        self._executor = executor
        self._reporter = reporter
        self._on_busy = on_busy
        self._known: dict[PartRange, HashedPart] = {}

    async def of(self, plan: Plan, numbers: Container[int]) -> AsyncGenerator[HashedPart, None]:
        """Yield the parts of ``plan`` with these numbers, first those that are known."""
        left_out = set()
        for part in plan:
            if part.number not in numbers:
                left_out.add(part.number)
            elif (known := self._known.get(part)) is not None:
                left_out.add(part.number)
                yield known
        ahead = HashAhead(self._source, executor=self._executor, on_hashed=self._reporter.add, on_busy=self._on_busy)
        # The first batch is small, so an upload of another file costs little.
        batches = hash_batches(
            plan,
            lanes=hashing.lanes(),
            concurrency=FIRST_BATCH_PARTS,
            quick=lambda: ahead.quick,
            done=left_out,
        )
        async with aclosing(ahead.hash(batches)) as parts:
            async for hashed in parts:
                self._known[hashed.range] = hashed
                yield hashed


def is_plain(key: str, headers: Mapping[str, str]) -> bool:
    """Whether an object ``key`` with these headers has nothing that the server does not show of an open upload.

    The storage class is shown. The content type of the key's extension is the same in each call that gives none.
    """
    of_object = headers.keys() - OF_REQUESTS - {STORAGE_CLASS}
    return of_object <= {"content-type"} and headers.get("content-type") == content_type_of(key, unpacked=False)


async def wrong_headers(session: Session, address: ObjectAddress, headers: Mapping[str, str]) -> str:
    """Compare an object of an upload that was found with the headers of the call.

    Returns what differs, or empty text. HEAD Object does not show the ACL and the tags.
    """
    try:
        head = await head_object(session, address)
    except CosxferError as error:
        return f"its metadata could not be compared ({error})"
    ours = {name.removeprefix(META_PREFIX): text for name, text in headers.items() if name.startswith(META_PREFIX)}
    if head.metadata != ours:
        return "it was begun with other metadata"
    encryption = "x-cos-server-side-encryption"
    compared = (*_COMPARED, encryption) if encryption in headers else _COMPARED
    for name in compared:
        if headers.get(name, "") != head.headers.get(name, ""):
            return f"it was begun with another {name}"
    return ""


def _begun(upload: Upload) -> float:
    """When it was begun, in Unix seconds; 0 if the server does not say it."""
    try:
        found = datetime.fromisoformat(upload.initiated)
    except ValueError:
        return 0.0
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
