"""DELETE Multiple Objects: up to 1,000 keys in one request (source: product page 436/8289).

The request names the keys in XML. A key that XML cannot hold, or could change on its way, is deleted by DELETE Object.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from cosxfer._native import hashing
from cosxfer.address import ObjectAddress, shown_key
from cosxfer.arguments import check_text, wrong_type
from cosxfer.bucket_models import (
    DeletedObject,
    DeleteFailure,
    DeleteMarker,
    DeleteObjectsResult,
    ListedObject,
    ObjectVersion,
)
from cosxfer.cos import codes, requests, xml
from cosxfer.cos.identifiers import check_key
from cosxfer.cos.requests import CosRequest
from cosxfer.errors import CosxferError, ServerError, UsageError
from cosxfer.limits import MAX_LIST_ENTRIES
from cosxfer.ops.delete_object import delete_object
from cosxfer.ops.list_objects import is_true
from cosxfer.ops.listing import read_page
from cosxfer.ops.session import Session
from cosxfer.retry import retry_delay
from cosxfer.sdk_names import plain

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

DeleteInput: TypeAlias = str | tuple[str, str | None] | ListedObject | ObjectVersion | DeleteMarker | Mapping[str, Any]
"""A key, a pair of key and version id, an entry of a listing, or a mapping with ``Key`` and perhaps ``VersionId``."""

Target: TypeAlias = tuple[str, str | None]
"""A key as it is sent, and the version to delete."""

_WANTED = "a key, a pair (key, version_id), an entry of a listing, or a mapping with Key and VersionId"

_Outcome: TypeAlias = DeletedObject | DeleteFailure


def listed_keys(keys: Iterable[DeleteInput]) -> list[DeleteInput]:
    """Return the entries of an iterable, which may itself call the client. Raises `UsageError`."""
    if not isinstance(keys, Iterable) or isinstance(keys, str | bytes | Mapping):
        raise wrong_type("keys", keys, "an iterable; each entry is " + _WANTED)
    return list(keys)


def targets_of(keys: Iterable[DeleteInput]) -> list[Target]:
    """Check all keys before anything is sent. Raises `UsageError`."""
    return [_target(entry) for entry in listed_keys(keys)]


def _target(entry: object) -> Target:
    key: object
    version: object = None
    if isinstance(entry, Mapping):
        named = {plain(name): value for name, value in entry.items() if isinstance(name, str)}
        key, version = named.get("key"), named.get("versionid")
    elif isinstance(entry, tuple) and len(entry) == 2:
        key, version = entry
    elif isinstance(entry, ObjectVersion | DeleteMarker):
        # The id is empty in a bucket that never had versioning.
        key, version = entry.key, entry.version_id or None
    else:
        key = entry.key if isinstance(entry, ListedObject) else entry
    if not isinstance(key, str):
        raise UsageError(f"keys holds {type(entry).__name__}; each entry must be {_WANTED}", name="keys")
    try:
        check_text(version, "version_id")
        return check_key(key), version if isinstance(version, str) and version else None
    except UsageError as error:
        raise UsageError(f"keys: {error}", name="keys", value=error.value) from None


async def delete_objects(session: Session, address: ObjectAddress, targets: Sequence[Target]) -> DeleteObjectsResult:
    """Delete keys of a bucket, 1,000 with each request.

    An error of one key is in the result. If a whole request fails, its error is raised, with a note about the others.
    """
    outcomes: list[_Outcome] = []
    alone = [target for target in targets if not _fits_into_xml(target[0])]
    together = [target for target in targets if _fits_into_xml(target[0])] if alone else targets
    try:
        for start in range(0, len(together), MAX_LIST_ENTRIES):
            outcomes += await _delete_batch(session, address, together[start : start + MAX_LIST_ENTRIES])
        for target in alone:
            outcomes.append(await _delete_one(session, address, target))
    except CosxferError as error:
        if len(targets) > 1:
            done = sum(isinstance(outcome, DeletedObject) for outcome in outcomes)
            error.add_note(f"{done} of {len(targets)} keys were deleted before; the same call can be repeated")
        raise
    return DeleteObjectsResult(
        deleted=tuple([outcome for outcome in outcomes if isinstance(outcome, DeletedObject)]),
        errors=tuple([outcome for outcome in outcomes if isinstance(outcome, DeleteFailure)]),
    )


def _fits_into_xml(key: str) -> bool:
    """Whether the request and the response can hold the key unchanged.

    The response may hold a bare carriage return, which XML reads as a line feed. White space at an end may be cut, and
    a leading slash may be dropped.
    """
    return not (xml.NOT_XML.search(key) or "\r" in key or key[0] == "/" or key.strip() != key)


async def _delete_one(session: Session, address: ObjectAddress, target: Target) -> _Outcome:
    key, version = target
    try:
        result = await delete_object(session, ObjectAddress(address.bucket, key, address.region), version_id=version)
    except ServerError as error:
        if not error.code or error.code in ("NoSuchBucket", "SignatureDoesNotMatch", "InvalidAccessKeyId"):
            raise
        return DeleteFailure(key=shown_key(key), version_id=version, code=error.code, message=str(error))
    return DeletedObject(
        key=shown_key(key),
        version_id=version,
        delete_marker=result.delete_marker,
        delete_marker_version_id=result.version_id if result.delete_marker else None,
    )


async def _delete_batch(session: Session, address: ObjectAddress, targets: Sequence[Target]) -> list[_Outcome]:
    """Delete up to 1,000 keys. Keys that fail for the moment are sent again."""
    outcomes: list[_Outcome] = []
    attempt = 1
    while True:
        found = await _request(session, address, targets)
        outcomes += [outcome for outcome in found.values() if isinstance(outcome, DeletedObject)]
        failed = {target: outcome for target, outcome in found.items() if isinstance(outcome, DeleteFailure)}
        again = {target: delay for target, outcome in failed.items() if (delay := _delay(session, outcome, attempt))}
        outcomes += [outcome for target, outcome in failed.items() if target not in again]
        if not again:
            return outcomes
        error = _error_of(next(failed[target] for target in again))
        session.note_retry(error, attempt=attempt + 1, delay_seconds=max(again.values()))
        await asyncio.sleep(max(again.values()))
        targets = list(again)
        attempt += 1


def _delay(session: Session, failure: DeleteFailure, attempt: int) -> float | None:
    """Return how long to wait before the key is sent again; None if its error is final."""
    return retry_delay(session.policy, _error_of(failure), attempt=attempt, random=random.random() or 0.5)  # noqa: S311


def _error_of(failure: DeleteFailure) -> ServerError:
    usual = codes.CODES.get(failure.code)
    status = 0 if usual is None else usual.status
    text = f"DELETE Multiple Objects: {failure.key}: {failure.code}: {failure.message}"
    return ServerError(text, status=status, code=failure.code, retryable=codes.is_retryable(status, failure.code))


async def _request(session: Session, address: ObjectAddress, targets: Sequence[Target]) -> dict[Target, _Outcome]:
    """Send one request. Each target has an outcome: what the response does not mention is a failure."""
    operation = f"DELETE Multiple Objects of {address.bucket}"
    body = xml.build(
        "Delete",
        [
            ("Quiet", "false"),
            *(
                ("Object", [("Key", key), *([] if version is None else [("VersionId", version)])])
                for key, version in targets
            ),
        ],
    )
    request = CosRequest(
        method="POST",
        operation=operation,
        address=address,
        params={"delete": ""},
        headers={"content-type": "application/xml", "content-md5": requests.content_md5(hashing.md5(body))},
        body=body,
        content_length=len(body),
    )
    response = await session.call(request)
    told = await read_page(response, "DeleteResult", _read, operation=operation)
    return {target: told.get(target) or _unmentioned(target) for target in targets}


def _read(root: Element) -> dict[Target, _Outcome]:
    told: dict[Target, _Outcome] = {}
    for entry in root:
        key, version = entry.findtext("Key", ""), entry.findtext("VersionId") or None
        if entry.tag == "Deleted":
            told[key, version] = DeletedObject(
                key=shown_key(key),
                version_id=version,
                delete_marker=is_true(entry, "DeleteMarker"),
                delete_marker_version_id=entry.findtext("DeleteMarkerVersionId") or None,
            )
    # An error counts even if the same key is also named as deleted.
    for entry in root.findall("Error"):
        key, version = entry.findtext("Key", ""), entry.findtext("VersionId") or None
        told[key, version] = DeleteFailure(
            key=shown_key(key),
            version_id=version,
            code=entry.findtext("Code", ""),
            message=entry.findtext("Message", ""),
        )
    return told


def _unmentioned(target: Target) -> DeleteFailure:
    message = "the response does not say what became of this key"
    return DeleteFailure(key=shown_key(target[0]), version_id=target[1], code="", message=message)
