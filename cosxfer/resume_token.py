"""The portable token of an unfinished upload: text with which another host, or another path, goes on with it.

A token is ``cosxfer-upload-1.`` and base64url text of: the length of a JSON document (4 bytes), the document, 18 bytes
for each part that is done (number and MD5), and a fingerprint (xxhash) of all that. The fingerprint finds damage; it
proves no author. A token holds no key and no secret; it names the object and the file and has their metadata. Nothing
in it is trusted: each value is checked here, and a part counts only if the server lists it and the local bytes have its
MD5.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import struct
from collections.abc import Mapping
from dataclasses import field
from typing import Any

import xxhash

from cosxfer.arguments import is_count, is_text, wrong_type
from cosxfer.cos.identifiers import check_key_in_xml, check_region, check_upload_id, object_address
from cosxfer.errors import UsageError
from cosxfer.planning import Plan, plan_parts
from cosxfer.records import dataclass

VERSION = 1
_KIND = "cosxfer-upload-"
_HEAD = re.compile(rf"{_KIND}(\d{{1,9}})\.([A-Za-z0-9_=-]*)", re.ASCII)

MAX_CHARACTERS = 4 * 1024 * 1024
"""A token of 10,000 parts whose ETags are not MD5s has less."""

_MAX_ETAG_CHARACTERS = 256
_LENGTH = struct.Struct("<I")
_PART = struct.Struct("<H16s")
_GUARD = struct.Struct("<Q")


@dataclass(frozen=True, kw_only=True)
class TokenPart:
    """A part that the server had confirmed."""

    md5: bytes
    """16 bytes."""
    etag: str


@dataclass(frozen=True, kw_only=True)
class ResumeToken:
    """What a token says of an unfinished upload."""

    endpoint: str
    """The endpoint of the client that exported the token. It is only shown; no request goes there."""
    region: str
    bucket: str
    key: str
    """As it is sent."""
    path: str
    upload_id: str
    plan: Plan
    headers: bytes
    """Fingerprint of the object's headers (`cosxfer.journal_rows.headers_fingerprint`)."""
    parameters: Mapping[str, str]
    """The headers themselves."""
    add_md5: bool
    """Whether the MD5 of the file is added to the metadata."""
    found: bool = False
    """Whether the upload was found on the server, so that its headers are compared at the end."""
    parts: Mapping[int, TokenPart] = field(repr=False)
    """By their numbers, ascending."""


def encode(token: ResumeToken) -> str:
    """Return the text of ``token``."""
    values = {
        "endpoint": token.endpoint,
        "region": token.region,
        "bucket": token.bucket,
        "key": token.key,
        "path": token.path,
        "upload_id": token.upload_id,
        "size": token.plan.size,
        "part_size": token.plan.part_size_bytes,
        "headers": token.headers.hex(),
        "parameters": dict(token.parameters),
        "add_md5": token.add_md5,
        "found": token.found,
        "etags": {str(number): part.etag for number, part in token.parts.items() if part.etag != f'"{part.md5.hex()}"'},
    }
    document = json.dumps(values, separators=(",", ":")).encode()
    rows = b"".join(_PART.pack(number, part.md5) for number, part in sorted(token.parts.items()))
    data = _LENGTH.pack(len(document)) + document + rows
    text = base64.urlsafe_b64encode(data + _guard(data)).decode().rstrip("=")
    return f"{_KIND}{VERSION}.{text}"


def decode(text: object) -> ResumeToken:
    """Return what a token says. Raises `UsageError` for one that is damaged, cut, or of another version."""
    if not isinstance(text, str):
        raise wrong_type("token", text, "the text that task.export() returned")
    if len(text) > MAX_CHARACTERS:
        raise _refused(f"has {len(text)} characters; a token has at most {MAX_CHARACTERS}")
    head = _HEAD.fullmatch("".join(text.split()))  # mail and terminals break long lines
    if head is None:
        raise _refused("is not one of cosxfer, or is damaged")
    if int(head[1]) != VERSION:
        raise _refused(f"has version {int(head[1])}, and this version of cosxfer reads version {VERSION}")
    return _checked(*_split(head[2].rstrip("=")))


def _split(text: str) -> tuple[Any, bytes]:
    """Return the values and the rows of the parts."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise _refused("is cut or damaged") from None
    body, guard = data[: -_GUARD.size], data[-_GUARD.size :]
    if len(data) < _GUARD.size + _LENGTH.size or guard != _guard(body):
        raise _refused("is cut or damaged: its fingerprint is wrong")
    (length,) = _LENGTH.unpack_from(body)
    document, rows = body[_LENGTH.size : _LENGTH.size + length], body[_LENGTH.size + length :]
    if len(document) != length:
        raise _refused("is damaged")
    try:
        return json.loads(document), rows
    except (ValueError, RecursionError):
        raise _refused("is damaged") from None


def _checked(values: Any, rows: bytes) -> ResumeToken:
    """Return the token with these values. Anyone may have written them, so each is checked."""
    try:
        texts = [values[name] for name in ("endpoint", "region", "bucket", "key", "path", "upload_id")]
        parameters, etags = values["parameters"], values["etags"]
        add_md5, found = values["add_md5"], values["found"]
        size, part_size, headers = values["size"], values["part_size"], bytes.fromhex(values["headers"])
        of_text = (*texts, *parameters, *parameters.values(), *etags, *etags.values())
    except (KeyError, TypeError, ValueError, AttributeError):
        raise _refused("lacks a value, or has one of a wrong type") from None
    right = all(is_text(text) for text in of_text) and isinstance(add_md5, bool) and isinstance(found, bool)
    if not right or not is_count(size) or not is_count(part_size) or len(headers) != 16:
        raise _refused("has a value of a wrong type")
    endpoint, region, bucket, key, path, upload_id = texts
    if not path or "\0" in path:
        raise _refused("has no path of a file")
    try:
        address = object_address(bucket, f"/{key}", region or None)
        check_key_in_xml(address.key)
        check_upload_id(upload_id)
        if region:
            check_region(region)
        if not size:
            raise _refused("is of an empty file, which has no parts")
        plan = plan_parts(size, part_size_bytes=part_size)
    except UsageError as error:
        raise _refused(f"is not of a possible upload: {error}") from None
    return ResumeToken(
        endpoint=endpoint,
        region=region,
        bucket=address.bucket,
        key=address.key,
        path=path,
        upload_id=upload_id,
        plan=plan,
        headers=headers,
        parameters=parameters,
        add_md5=add_md5,
        found=found,
        parts=_parts(rows, etags, plan),
    )


def _parts(rows: bytes, etags: Mapping[str, str], plan: Plan) -> dict[int, TokenPart]:
    if len(rows) % _PART.size or len(rows) // _PART.size > plan.count or len(etags) > plan.count:
        raise _refused("has other parts than its plan")
    parts: dict[int, TokenPart] = {}
    before = 0
    for number, md5 in _PART.iter_unpack(rows):
        etag = etags.get(str(number), f'"{md5.hex()}"')
        if not before < number <= plan.count or len(etag) > _MAX_ETAG_CHARACTERS:
            raise _refused("has other parts than its plan")
        parts[number] = TokenPart(md5=md5, etag=etag)
        before = number
    return parts


def _guard(data: bytes) -> bytes:
    return _GUARD.pack(xxhash.xxh3_64_intdigest(data))


def _refused(why: str) -> UsageError:
    return UsageError(f"the token {why}; export it again (task.export(), or cosxfer uploads export)", name="token")
