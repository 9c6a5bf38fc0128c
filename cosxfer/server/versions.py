"""Versions of objects: the one that a request names, and the headers that tell which one it was."""

from __future__ import annotations

from cosxfer.server.call import Call
from cosxfer.server.http import CosError
from cosxfer.server.store import StoredObject

VERSION_HEADER = "x-cos-version-id"
MARKER_HEADER = "x-cos-delete-marker"


def named(call: Call) -> str | None:
    """Return the version that the request names, in any spelling of ``versionId``. Empty counts as none."""
    return next((value for name, value in call.request.query.items() if name.lower() == "versionid" and value), None)


def requested(call: Call) -> StoredObject:
    """Return the version that the request is about. Raises NoSuchKey and NoSuchVersion, also for a delete marker."""
    return existing(call, call.bucket, call.key, named(call))


def existing(call: Call, bucket: str, key: str, version: str | None) -> StoredObject:
    """Return an object or one version of it. Raises NoSuchKey and NoSuchVersion, also for a delete marker."""
    found = call.store.object(bucket, key, version)
    if found is None and version is not None:
        raise CosError("NoSuchVersion", "The specified version does not exist.")
    if found is None or found.marker:
        raise CosError(
            "NoSuchKey",
            "The specified key does not exist.",
            headers={} if found is None else {MARKER_HEADER: "true", VERSION_HEADER: found.version},
        )
    return found


def headers(call: Call, version: str) -> dict[str, str]:
    """Return the header that names ``version``; none in a bucket that never had versioning."""
    return {VERSION_HEADER: version} if call.store.versioning(call.bucket) else {}
