"""Suggests a name of cosxfer for an unknown name: a name of the COS SDKs, or a misspelling.

Sources: the page "Uploading objects" of the SDK for JavaScript and Node.js, and cos-python-sdk-v5. Only a call that is
refused anyway comes here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

_CLOSE = 0.75
"""Minimum similarity for a name to count as a misspelling of another."""

_OURS = {
    "accessid": ("secret_id",),
    "accesskey": ("secret_key",),
    "autoswitchhost": ("switch_host",),
    "bytesperpart": ("part_size", "slice_size"),
    "chunkparallellimit": ("async_limit", "concurrency"),
    "chunksize": ("part_size", "slice_size"),
    "credentialinstance": ("credentials",),
    "copysource": ("source",),
    "copysourcerange": ("byte_range",),
    "copystatus": ("metadata_directive",),
    "data": ("body",),
    "delete": ("keys",),
    "destfilepath": ("output",),
    "domain": ("endpoint",),
    "expired": ("expires_seconds",),
    "filepath": ("path",),
    "fileparallellimit": ("file_parallel_limit",),
    "getauthorization": ("credentials",),
    "localfilepath": ("path",),
    "maxconcurrency": ("async_limit", "concurrency"),
    "maxthread": ("async_limit", "concurrency"),
    "maxworkers": ("async_limit", "concurrency"),
    "multipartupload": ("parts",),
    "partsize": ("part_size", "slice_size"),
    "progresscallback": ("on_progress",),
    "protocol": ("endpoint",),
    "proxies": ("transport",),
    "range": ("byte_range",),
    "retry": ("max_attempts",),
    "savepath": ("output",),
    "scheme": ("endpoint",),
    "securitytoken": ("token",),
    "serversideencryptioncontext": ("sse_context",),
    "serversideencryptioncoskmskeyid": ("sse_kms_key_id",),
    "serversideencryptioncustomeralgorithm": ("sse_customer_algorithm",),
    "serversideencryptioncustomerkey": ("sse_customer_key",),
    "serversideencryptioncustomerkeymd5": ("sse_customer_key_md5",),
    "servicedomain": ("endpoint",),
    "slicesize": ("slice_size",),
    "sessiontoken": ("token",),
    "ssecoskmskeyid": ("sse_kms_key_id",),
    "timeout": ("stall_timeout_seconds",),
    "tmpsecretid": ("secret_id",),
    "tmpsecretkey": ("secret_key",),
    "verifyssl": ("verify",),
    "xcossecuritytoken": ("token",),
}
"""Names of the SDKs that differ from ours in more than case, hyphens and underscores. The first one that a call has
is suggested."""

_WITHOUT_TWIN = {
    "callback": "a call returns its result and raises its error",
    "chunkretrytimes": "the client's max_attempts says it",
    "encodingtype": "names are always requested encoded and returned decoded",
    "enablecrc": "the CRC64 is always compared",
    "enablemd5": "Content-MD5 is always sent",
    "fileparallellimit": "it is a setting of the client, file_parallel_limit",
    "keepalive": "connections are always kept",
    "keysimplifycheck": "a key that stands for the bucket itself is always refused",
    "maxretrytimes": "the client's max_attempts says it",
    "uploadcheckcontentmd5": "Content-MD5 is always sent",
    "progressinterval": "callbacks are called several times a second",
    "proxy": "HTTPS_PROXY in the environment names it",
    "poolconnections": "the client makes the connections that it needs",
    "poolmaxsize": "the client makes the connections that it needs",
    "chunkparallellimit": "it is async_limit of the calls that upload files, and concurrency of the client",
    "slicesize": "it is slice_size of the calls that upload files",
    "useaccelerate": "the client's endpoint says it",
}
"""Names of the SDKs without an equivalent, and why."""

_IN_BYTES = {"part_size", "slice_size"}
"""Parameters whose suggestion names the unit, because cos-python-sdk-v5 counts parts in MB."""

CALLS = {
    "abortmultipartupload": "multipart_abort",
    "completemultipartupload": "multipart_complete",
    "bucketexists": "head_bucket",
    "createbucket": "put_bucket",
    "createmultipartupload": "multipart_init",
    "deletemultipleobject": "delete_objects",
    "downloadfile": "get_object",
    "getbucket": "list_objects",
    "getobjecturl": "presign_url",
    "getpresigneddownloadurl": "presign_url",
    "getpresignedurl": "presign_url",
    "getservice": "list_buckets",
    "initiatemultipartupload": "multipart_init",
    "listmultipartuploads": "iter_multipart_list",
    "listobjectsversions": "list_object_versions",
    "listparts": "iter_multipart_list_part",
    "objectexists": "head_object",
    "putobjectcopy": "copy_object",
    "putobjectfromlocalfile": "put_object",
    "slicecopyfile": "copy",
    "upload": "upload_file",
    "uploadpart": "multipart_upload",
}
"""Calls of the SDKs that differ from ours in more than case and underscores."""


def plain(name: str) -> str:
    """Return the name in a common spelling: the same for ``x-cos-storage-class`` and ``StorageClass``."""
    lower = name.lower().removeprefix("x-cos-")
    return "".join(letter for letter in lower if letter.isalnum())


def meant_by(name: str, known: Collection[str]) -> str | None:
    """Return the ``known`` name that ``name`` probably means, or None."""
    if name.lower().startswith("x-cos-meta-") and "metadata" in known:
        return "metadata"
    wanted = plain(name)
    by_plain = {plain(own): own for own in known}
    if wanted in by_plain:
        return by_plain[wanted]
    for own in _OURS.get(wanted, ()):
        if own in known:
            return own
    if wanted in _WITHOUT_TWIN:
        return None
    from difflib import get_close_matches  # only errors need it

    close = get_close_matches(wanted, by_plain, n=1, cutoff=_CLOSE)
    return by_plain[close[0]] if close else None


def refusal_of(names: Iterable[str], known: Collection[str], *, otherwise: str = "") -> str:
    """Return the message for ``names`` that are not ``known``. It ends with ``otherwise`` if one has no suggestion."""
    told, lost = [], False
    listed = list(names)
    for name in listed:
        own = meant_by(name, known)
        if own is not None:
            told.append(f"did you mean {own}{' (in bytes)' if own in _IN_BYTES else ''}?")
        else:
            why = _WITHOUT_TWIN.get(plain(name), "")
            told.append(f"leave it out: {why}" if why else "")
            lost = lost or not why
    end = otherwise if lost else ""
    if len(listed) == 1:
        return f"there is no parameter {listed[0]!r}{'; ' if told[0] else ''}{told[0]}{end}"
    each = ", ".join(f"{name!r} ({what})" if what else repr(name) for name, what in zip(listed, told, strict=True))
    return f"there are no parameters {each}{end}"
