"""POST Object: sign an HTML form for an object, or send it (source: product page 436/14690)."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping
from dataclasses import replace

from cosxfer.address import ObjectAddress, shown_key
from cosxfer.arguments import as_number, check_count, wrong_type
from cosxfer.cos import form, requests, responses, xml
from cosxfer.cos.endpoint import check_confidential
from cosxfer.cos.header_values import check_header_value
from cosxfer.cos.policy import FILENAME, Condition, form_fields
from cosxfer.cos.requests import Body, CosRequest, ObjectHeaders, check_unchanged
from cosxfer.credentials import Credentials
from cosxfer.errors import CredentialsError, ServerError, UsageError
from cosxfer.foreign import shorten
from cosxfer.models import PostObjectResult, PresignedPost
from cosxfer.ops.mistakes import warn_if_folder
from cosxfer.ops.proof import check_proof, proof
from cosxfer.ops.session import Session, may_correct

EARLY_SECONDS = 60
"""A form is valid from a minute ago. Otherwise a server with a slow clock would refuse it as not yet valid."""
LONGEST_SECONDS = 100 * 365 * 24 * 3600
SUCCESS_STATUSES = (200, 201, 204)

_FIELD_NAMES = {
    "cache-control": "Cache-Control",
    "content-disposition": "Content-Disposition",
    "content-encoding": "Content-Encoding",
    "content-type": "Content-Type",
    "expires": "Expires",
    "x-cos-acl": "acl",
}
"""Form fields whose name differs from the header's."""


async def presign_post(
    session: Session,
    address: ObjectAddress,
    *,
    conditions: Iterable[Condition],
    expires_seconds: int | str,
    fields: Mapping[str, str],
    credentials: Credentials | None = None,
) -> PresignedPost:
    """Sign a form for ``key``, which may hold ``${filename}``; ``fields`` come from `post_fields`.

    If ``credentials`` is None, those of the session are used.
    """
    expires_seconds = check_form(conditions, expires_seconds)
    endpoint = session.endpoint(address)
    if credentials is None:
        credentials = await session.credentials()
    if credentials is None:
        raise CredentialsError("an anonymous client cannot sign a form; give the client keys")
    now = int(session.now())
    # A form cannot outlive the temporary key that signs it.
    ends = min(now + expires_seconds, int(credentials.expires_at or now + expires_seconds))
    signed = form_fields(
        credentials,
        bucket=address.bucket,
        key=address.key,
        fields=fields,
        conditions=conditions,
        key_time=f"{now - EARLY_SECONDS};{ends}",
    )
    url = f"{endpoint.scheme}://{endpoint.authority}{requests.target(endpoint.path(''), {})}"
    session.endpoint(address, bind=True)
    return PresignedPost(url=url, fields=signed, expires_at=ends)


def check_form(conditions: Iterable[Condition], expires_seconds: int | str) -> int:
    """Return the lifetime of a form in seconds; raises `UsageError` if it or the list of conditions is not valid."""
    if not isinstance(conditions, Iterable):
        raise wrong_type("conditions", conditions, "a list of conditions")
    return check_count(
        as_number(expires_seconds), "expires_seconds", minimum=1, maximum=LONGEST_SECONDS, unit="seconds"
    )


def post_fields(
    key: str, parameters: ObjectHeaders, *, success_action_status: int | None, success_action_redirect: str | None
) -> dict[str, str]:
    """Return the form fields for these parameters; raises `UsageError` for a bad value."""
    # If the key takes the name of the file, the type of the file is not known yet.
    headers = requests.object_headers(key, parameters, guess_type=FILENAME not in key)
    headers.pop("expect", None)
    fields = {_FIELD_NAMES.get(name, name): value for name, value in headers.items()}
    if success_action_status is not None:
        if success_action_status not in SUCCESS_STATUSES:
            raise UsageError(
                f"success_action_status is {shorten(success_action_status)}; it can be 200, 201 or 204",
                name="success_action_status",
                value=success_action_status,
            )
        fields["success_action_status"] = str(success_action_status)
    if success_action_redirect is not None:
        check_header_value("success_action_redirect", success_action_redirect)
        fields["success_action_redirect"] = success_action_redirect
    return fields


async def post_object(
    session: Session,
    address: ObjectAddress,
    body: Body,
    *,
    filename: str,
    signed: Callable[[Credentials | None], Awaitable[Mapping[str, str]]],
    content_length: int,
    md5: bytes | None,
    crc64: int | None,
    on_sent: Callable[[int], None] | None = None,
) -> PostObjectResult:
    """Send a form whose fields come before ``body``. ``signed`` returns all fields, including the signature.

    If the server refuses the form for a wrong clock or expired keys, it is signed again and sent again.
    """
    warn_if_folder(address.key, content_length)
    corrected: tuple[str, ...] = ()
    while True:
        signing = await session.signing()
        fields = await signed(signing.credentials)
        try:
            return await _send(
                session,
                address,
                body,
                filename=filename,
                fields=fields,
                content_length=content_length,
                md5=md5,
                crc64=crc64,
                on_sent=on_sent,
            )
        except ServerError as error:
            learnt = session.learn(error, signing, method="POST")
            if not may_correct(learnt, corrected):
                raise
            corrected += (learnt,)
            await check_unchanged(body)
            session.note_retry(error, attempt=1, delay_seconds=0.0)


async def _send(
    session: Session,
    address: ObjectAddress,
    body: Body,
    *,
    filename: str,
    fields: Mapping[str, str],
    content_length: int,
    md5: bytes | None,
    crc64: int | None,
    on_sent: Callable[[int], None] | None,
) -> PostObjectResult:
    operation = f"POST Object {shorten(address.key)}"
    if requests.SSE_CUSTOMER_KEY in fields:
        check_confidential(session.endpoint(address))
    assert not isinstance(body, AsyncIterable), "a form may be sent again, so its body must be readable twice"
    # 128 random bits, so the chance that the content holds the boundary is negligible.
    boundary = f"cosxfer-{secrets.token_hex(16)}"
    before, after = form.head(fields, filename=filename, boundary=boundary), form.tail(boundary)
    counted = None if on_sent is None else _file_alone(on_sent, len(before), content_length)

    def check(response: responses.HttpResponse) -> None:
        check_proof(operation, response, md5=md5, crc64=crc64)

    request = CosRequest(
        method="POST",
        operation=operation,
        address=replace(address, key=""),
        headers={"content-type": form.content_type(boundary)},
        body=form.FormBody(before, body, after),
        content_length=len(before) + content_length + len(after),
        signed=False,
        accepted=frozenset({303}),
        on_sent=counted,
        check=check,
    )
    response = await session.call(request)
    final_key = address.key.replace(FILENAME, filename)
    location = response.headers.get("location", "")
    if response.status == 201:
        root = responses.document(response, "PostResponse", operation=operation)
        final_key = xml.text_of(root, "Key") or final_key
        location = xml.text_of(root, "Location") or location
    etag, stored = responses.etag(response, operation=operation), responses.crc64(response, operation=operation)
    return PostObjectResult(
        **responses.common(response),
        **proof(crc64_agrees=crc64 is not None and stored is not None, etag=etag, md5=md5),
        bucket=address.bucket,
        key=shown_key(final_key),
        etag=etag,
        location=location,
        version_id=response.headers.get("x-cos-version-id"),
        crc64=stored,
    )


def _file_alone(on_sent: Callable[[int], None], before: int, length: int) -> Callable[[int], None]:
    """Return a counter of all bytes sent that reports only those of the file, not those of the form around it."""
    sent = reported = 0

    def count(amount: int) -> None:
        nonlocal sent, reported
        sent += amount
        done = min(max(0, sent - before), length)
        if done != reported:
            on_sent(done - reported)
            reported = done

    return count
