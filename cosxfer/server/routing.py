"""Finds the operation of a request. The names are those of cosxfer's API if it has the operation."""

from __future__ import annotations

from collections.abc import Mapping

from cosxfer.server.http import CosError

OPERATIONS = (
    "put_object",
    "append_object",
    "post_object",
    "get_object",
    "head_object",
    "delete_object",
    "multipart_init",
    "multipart_upload",
    "multipart_list_part",
    "multipart_complete",
    "multipart_abort",
    "multipart_list",
    "copy_object",
    "upload_part_copy",
    "restore_object",
    "get_object_acl",
    "put_object_acl",
    "get_object_tagging",
    "put_object_tagging",
    "delete_object_tagging",
    "list_objects",
    "list_object_versions",
    "list_objects_v2",
    "delete_objects",
    "get_bucket_versioning",
    "put_bucket_versioning",
    "get_bucket_location",
    "head_bucket",
    "put_bucket",
    "delete_bucket",
    "get_service",
)

_SUBRESOURCES = frozenset(
    {
        "accelerate", "acl", "asyncfetch", "cors", "domain", "encryption", "intelligenttiering", "inventory",
        "lifecycle", "location", "logging", "notification", "object-lock", "origin", "policy", "referer",
        "replication", "restore", "retention", "select", "tagging", "torrent", "versioning", "versions", "website",
    }
)  # fmt: skip


_PARAMETERS = _SUBRESOURCES | {
    "append", "delete", "delimiter", "encoding-type", "key-marker", "marker", "max-keys", "max-parts", "max-uploads",
    "version-id-marker",
    "part-number-marker", "partNumber", "position", "prefix", "response-cache-control", "response-content-disposition",
    "response-content-encoding", "response-content-language", "response-content-type", "response-expires",
    "upload-id-marker", "uploadId", "uploads", "x-cos-security-token",
}  # fmt: skip
# Not versionId: clients spell it VersionId too (the tagging page, the SDK for Go).
_OF_OBJECTS = {
    ("acl", "GET"): "get_object_acl",
    ("acl", "PUT"): "put_object_acl",
    ("restore", "POST"): "restore_object",
    ("tagging", "DELETE"): "delete_object_tagging",
    ("tagging", "GET"): "get_object_tagging",
    ("tagging", "PUT"): "put_object_tagging",
}
_OF_BUCKETS = {
    ("location", "GET"): "get_bucket_location",
    ("versioning", "GET"): "get_bucket_versioning",
    ("versioning", "PUT"): "put_bucket_versioning",
    ("versions", "GET"): "list_object_versions",
}
"""Sub-resources that this server has, with their methods."""

_SPELT = {name.lower(): name for name in _PARAMETERS}


def misspelt(query: Mapping[str, str]) -> str | None:
    """Return a parameter whose name has the wrong case: ``UPLOADID`` is signed like ``uploadId`` but ignored."""
    return next((name for name in query if _SPELT.get(name.lower(), name) != name), None)


def route(*, method: str, bucket: str | None, key: str, query: Mapping[str, str], headers: Mapping[str, str]) -> str:
    """Return one of `OPERATIONS`; raises NotImplemented or MethodNotAllowed."""
    if named := _SUBRESOURCES.intersection(query):
        return _subresource(min(named), method, _OF_OBJECTS if key else _OF_BUCKETS)
    if bucket is None:
        return _choose(method, {"GET": "get_service"})
    return _object_operation(method, query, headers) if key else _bucket_operation(method, query, headers)


def _subresource(name: str, method: str, known: Mapping[tuple[str, str], str]) -> str:
    if not any(name == implemented for implemented, _ in known):
        raise CosError("NotImplemented", f"This server does not implement ?{name} here.")
    return _choose(method, {allowed: operation for (one, allowed), operation in known.items() if one == name})


def _object_operation(method: str, query: Mapping[str, str], headers: Mapping[str, str]) -> str:
    if method == "POST":
        if "uploads" in query:
            return "multipart_init"
        if "uploadId" in query:
            return "multipart_complete"
        if "append" in query:
            return "append_object"
        raise CosError("NotImplemented", "This server does not implement this POST on an object.")
    in_upload = "uploadId" in query
    if method == "PUT" and "x-cos-copy-source" in headers:
        return "upload_part_copy" if in_upload or "partNumber" in query else "copy_object"
    return _choose(
        method,
        {
            "PUT": "multipart_upload" if in_upload or "partNumber" in query else "put_object",
            "GET": "multipart_list_part" if in_upload else "get_object",
            "HEAD": "head_object",
            "DELETE": "multipart_abort" if in_upload else "delete_object",
        },
    )


def _bucket_operation(method: str, query: Mapping[str, str], headers: Mapping[str, str]) -> str:
    if method == "POST":
        if "delete" in query:
            return "delete_objects"
        if headers.get("content-type", "").lower().startswith("multipart/form-data"):
            return "post_object"
        raise CosError("NotImplemented", "A POST on a bucket is ?delete, or a form (multipart/form-data).")
    return _choose(
        method,
        {
            "GET": "multipart_list" if "uploads" in query else "list_objects",
            "HEAD": "head_bucket",
            "PUT": "put_bucket",
            "DELETE": "delete_bucket",
        },
    )


def _choose(method: str, choices: Mapping[str, str]) -> str:
    if method == "OPTIONS":
        raise CosError("NotImplemented", "OPTIONS is only for browsers (Origin, Access-Control-Request-Method).")
    if method not in choices:
        raise CosError("MethodNotAllowed", f"{method} is not allowed on this resource.")
    return choices[method]
