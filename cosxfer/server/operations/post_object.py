"""POST Object: uploads an object with an HTML form (source: product page 436/14690)."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TypeVar
from urllib.parse import quote, urlsplit

from cosxfer.cos.endpoint import PATH_SAFE
from cosxfer.cos.policy import FILENAME, SIGNATURE_FIELDS, Policy, PolicyError, parse_policy, sign_policy
from cosxfer.limits import MAX_CLOCK_SKEW_SECONDS, MAX_PUT_BYTES
from cosxfer.server import access, checks, encryption, versions
from cosxfer.server.body import BATCH_BYTES
from cosxfer.server.call import CRC64_HEADER, Call, quoted
from cosxfer.server.form import MAX_FIELDS_BYTES, Event, Field, FileBegin, FileData, FormParser, boundary_of
from cosxfer.server.http import CosError, Response, xml_response
from cosxfer.server.store import BlobWriter
from cosxfer.threads import finished

Given = TypeVar("Given")
Found = TypeVar("Found")

_SUCCESS = ("200", "201", "204")


async def post_object(call: Call) -> Response:
    """Store the form's file. The fields are checked before the file is read."""
    checks.check_body_length(call.request, limit=MAX_PUT_BYTES + 2 * MAX_FIELDS_BYTES)
    events = _events(call, FormParser(boundary_of(call.request.headers.get("content-type", ""))))
    fields, filename = await _read_fields(events)
    if not fields.get("key"):
        raise CosError("InvalidArgument", "The form has no field key.")
    key = fields["key"].replace(FILENAME, filename)
    checks.check_key(key)
    policy = _authorize(call, {**fields, "key": key})
    success = _success_of(fields)
    storage_class = checks.storage_class(fields)
    # In a form the field is called acl.
    headers = call.object_headers({**fields, access.ACL: fields["acl"]} if "acl" in fields else fields)
    expected = checks.content_md5(fields)
    with call.new_blob(key) as writer:
        await _receive(call, events, writer, limit=MAX_PUT_BYTES if policy is None else policy.size_range[1])
        if policy is not None:
            _translated(policy.check_size, writer.size)
        if expected is not None and expected != writer.md5:
            raise CosError("BadDigest", "The Content-MD5 you specified did not match what we received.")
        etag = encryption.etag_of(writer.md5, headers)
        call.check_overwrite(fields, key=key)
        version = call.store.put(
            bucket=call.bucket, key=key, writer=writer, etag=etag, storage_class=storage_class, headers=headers
        )
    response = _response(call, success, key=key, etag=quoted(etag), crc64=writer.crc64)
    response.headers |= encryption.response_headers(headers) | versions.headers(call, version)
    return response


async def _events(call: Call, parser: FormParser) -> AsyncIterator[Event]:
    while not parser.done:
        if call.body.complete:
            raise CosError("MalformedPOSTRequest", "The form ends early.")
        for event in parser.feed(await call.body.read()):
            yield event


async def _read_fields(events: AsyncIterator[Event]) -> tuple[dict[str, str], str]:
    """Return all fields before the file, by lower-case names, and the file's name."""
    fields: dict[str, str] = {}
    async for event in events:
        if isinstance(event, FileBegin):
            # Some old browsers send a whole path.
            return fields, event.filename.replace("\\", "/").rpartition("/")[2]
        assert isinstance(event, Field)
        name = event.name.lower()
        if name in fields:
            raise CosError("InvalidArgument", f"The form has the field {event.name} twice.")
        fields[name] = event.value
    raise AssertionError("unreachable: the parser raises without a file")


async def _receive(call: Call, events: AsyncIterator[Event], writer: BlobWriter, *, limit: int) -> None:
    """Write the file in a thread, 1 MiB at a time."""
    loop = asyncio.get_running_loop()
    batch: list[bytes] = []
    size = batched = 0

    async def flush() -> None:
        if batch:
            await finished(loop.run_in_executor(call.executor, writer.write, list(batch)))

    async for event in events:
        if not isinstance(event, FileData):
            continue
        batch.append(event.data)
        batched += len(event.data)
        size += len(event.data)
        if size > limit:
            raise CosError("EntityTooLarge", "Your proposed upload exceeds the maximum allowed object size.")
        if batched >= BATCH_BYTES:
            await flush()
            batch.clear()
            batched = 0
    await flush()


def _authorize(call: Call, fields: Mapping[str, str]) -> Policy | None:
    """Check signature, token and policy. Returns None for an unsigned form, if that is allowed."""
    if not any(name in fields for name in SIGNATURE_FIELDS):
        if call.allow_anonymous:
            return None
        raise CosError("AccessDenied", "Access Denied.")
    if missing := [name for name in SIGNATURE_FIELDS if name not in fields]:
        raise CosError("AccessDenied", f"The form has no field {missing[0]}.")
    credentials = call.keys.get(fields["q-ak"])
    if credentials is None:
        raise CosError("InvalidAccessKeyId", "The access key id in the request does not exist.")
    if fields.get("x-cos-security-token") != credentials.token:
        raise CosError("AccessDenied", "The security token is missing or wrong (x-cos-security-token).")
    now = call.request.now
    if credentials.expires_at is not None and credentials.expires_at <= now:
        raise CosError("ExpiredToken", "The temporary key has expired.")
    text, policy = _translated(parse_policy, fields["policy"])
    key_time = fields["q-key-time"]
    signature = sign_policy(text, secret_key=credentials.secret_key, key_time=key_time)
    if fields["q-sign-algorithm"] != "sha1" or not hmac.compare_digest(
        signature.encode(), fields["q-signature"].encode()
    ):
        raise CosError("SignatureDoesNotMatch", "The form's signature does not match its policy.")
    start, _, end = key_time.partition(";")
    if not (start.isascii() and start.isdigit() and end.isascii() and end.isdigit() and len(key_time) < 42):
        raise CosError("AccessDenied", "q-key-time is not of the form start;end.")
    if int(start) - now > MAX_CLOCK_SKEW_SECONDS:
        raise CosError("RequestTimeTooSkewed", "The form is not valid yet: check the signer's clock.")
    if int(end) < now:
        raise CosError("AccessDenied", "Request has expired")
    known = {**fields, "bucket": call.bucket, "q-sign-time": key_time}
    _translated(lambda form: policy.check_fields(form, now=now), known)
    if fields.get("success_action_redirect") and "success_action_redirect" not in {rule.field for rule in policy.rules}:
        # Otherwise anyone who passes the form on could redirect its users to any page.
        raise CosError("AccessDenied", "The policy has no condition on success_action_redirect.")
    return policy


def _translated(check: Callable[[Given], Found], value: Given) -> Found:
    try:
        return check(value)
    except PolicyError as error:
        raise CosError(error.code, str(error)) from error


def _success_of(fields: Mapping[str, str]) -> str:
    """Return ``200``, ``201``, ``204``, or the URL to redirect to, which has priority."""
    redirect = fields.get("success_action_redirect", "")
    if redirect:
        if not _is_page(redirect):
            raise CosError("InvalidArgument", "success_action_redirect is not the URL of a page.")
        return redirect
    status = fields.get("success_action_status") or "204"
    if status not in _SUCCESS:
        raise CosError("InvalidArgument", "success_action_status can be 200, 201 or 204.")
    return status


def _is_page(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    # A space would be cut off or end the header. A URL without a host leads to this server.
    return parts.scheme in ("http", "https") and bool(parts.netloc) and url.isprintable() and " " not in url


def _response(call: Call, success: str, *, key: str, etag: str, crc64: int) -> Response:
    path = quote(f"{call.request.path.rstrip('/')}/{key}", safe=PATH_SAFE)
    location = f"{call.request.scheme}://{call.request.host}{path}"
    if success == "201":
        response = xml_response(
            "PostResponse", [("Location", location), ("Bucket", call.bucket), ("Key", key), ("ETag", etag)], status=201
        )
    elif success in _SUCCESS:
        response = Response(status=int(success))
    else:
        response = Response(status=303)
        query = "&".join(f"{n}={quote(v, safe='')}" for n, v in (("bucket", call.bucket), ("key", key), ("etag", etag)))
        location = f"{success}{'&' if urlsplit(success).query else '?'}{query}"
    response.headers |= {"etag": etag, "location": location, CRC64_HEADER: str(crc64)}
    return response
