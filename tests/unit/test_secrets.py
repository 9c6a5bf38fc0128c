"""No repr, message, log or traceback of cosxfer shows a secret key, a token or a signature."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import cosxfer
from cosxfer.cos.requests import HttpRequest
from cosxfer.credentials import CredentialsResolver
from cosxfer.limits import MIB
from tests.unit.fake_cos import BUCKET, REGION, SECRET_ID, SECRET_KEY, Do, FakeCos, lose_request, refuse
from tests.unit.files import write

TOKEN = "hush-this-is-the-token"
SSE_KEY = "aHVzaC10aGlzLWlzLWEta2V5"


def keys() -> cosxfer.Credentials:
    return cosxfer.Credentials(secret_id=SECRET_ID, secret_key=SECRET_KEY, token=TOKEN)


def clean(text: str) -> None:
    for secret in (SECRET_KEY, TOKEN, SSE_KEY, "q-signature"):
        assert secret not in text


def test_credentials_show_neither_key_nor_token() -> None:
    for show in (repr, str, lambda value: f"{value}", lambda value: f"{[value]}"):
        clean(show(keys()))
        assert SECRET_ID in show(keys())


@pytest.mark.parametrize("kind", [cosxfer.Client, cosxfer.AsyncClient])
def test_a_client_shows_no_secret(cos: FakeCos, kind: type) -> None:
    client = kind(region=REGION, credentials=keys(), transport=cos.transport())
    for value in (client, client.config, vars(client)):
        clean(repr(value))
    clean(repr(CredentialsResolver(keys())))


def test_a_request_shows_no_secret(cos: FakeCos) -> None:
    cos.tokens.add(TOKEN)
    requests: list[HttpRequest] = []

    async def main() -> None:
        async with cos.client(credentials=keys()) as client:
            await client.put_object(BUCKET, "k", b"x", sse_customer_key=SSE_KEY)
            requests.extend(call.request for call in cos.calls)

    asyncio.run(main())
    [request] = requests
    assert TOKEN in request.headers.values()
    clean(repr(request))
    clean(request.url)


def everything(error: BaseException) -> str:
    """All text of an error: message, repr, attributes, notes and causes."""
    shown = []
    seen: BaseException | None = error
    while seen is not None:
        shown += [str(seen), repr(seen), repr(vars(seen)), repr(seen.args)]
        seen = seen.__cause__ or seen.__context__
    return "\n".join([*shown, *traceback.format_exception(error)])


@pytest.mark.parametrize(
    "fault",
    [
        refuse(403, "SignatureDoesNotMatch"),
        refuse(403, "AccessDenied"),
        refuse(400, "ExpiredToken"),
        refuse(503, "SlowDown"),
        lose_request,
    ],
)
@pytest.mark.parametrize("operation", ["multipart_init", "multipart_upload", "multipart_complete", "put_object"])
def test_no_error_and_no_log_shows_a_secret(
    cos: FakeCos, tmp_path: Path, caplog: pytest.LogCaptureFixture, fault: Do, operation: str
) -> None:
    caplog.set_level(logging.DEBUG)
    cos.tokens.add(TOKEN)
    cos.fault(operation, fault, times=99)
    size = 5 if operation == "put_object" else 2 * MIB

    async def main() -> None:
        async with cos.client(credentials=keys()) as client:
            await client.upload_file(BUCKET, "k", write(tmp_path / "f", size), sse_customer_key=SSE_KEY)

    with pytest.raises(cosxfer.CosxferError) as caught:
        asyncio.run(main())
    clean(everything(caught.value))
    clean(caplog.text)


BAD: dict[str, Callable[[cosxfer.AsyncClient], Awaitable[object]]] = {
    "a customer's key that breaks its header": lambda client: client.put_object(
        BUCKET, "k", b"x", sse_customer_key=f"{SSE_KEY}\n"
    ),
    "a customer's key that is bytes": lambda client: client.put_object(
        BUCKET,
        "k",
        b"x",
        sse_customer_key=SSE_KEY.encode(),  # type: ignore[arg-type]
    ),
    "a customer's key to read with": lambda client: client.get_object(BUCKET, "k", sse_customer_key=f" {SSE_KEY}"),
    "a token among the headers": lambda client: client.put_object(
        BUCKET, "k", b"x", headers={"x-cos-security-token": f"{TOKEN}\n"}
    ),
    "a signature among the headers": lambda client: client.put_object(
        BUCKET, "k", b"x", headers={"authorization": "q-signature=1"}
    ),
}


@pytest.mark.parametrize("use", BAD.values(), ids=BAD.keys())
def test_a_secret_in_a_bad_argument_is_not_repeated(
    cos: FakeCos, use: Callable[[cosxfer.AsyncClient], Awaitable[object]]
) -> None:
    async def main() -> None:
        async with cos.client() as client:
            await use(client)

    with pytest.raises(cosxfer.UsageError) as caught:
        asyncio.run(main())
    error = caught.value
    clean("\n".join([str(error), repr(error), repr(vars(error))]))


@pytest.mark.parametrize(
    "settings",
    [
        {"secret_id": "a", "secret_key": f"{SECRET_KEY}\n"},
        {"secret_id": "a", "secret_key": f" {SECRET_KEY}"},
        {"secret_id": "a", "secret_key": SECRET_KEY.encode()},
        {"secret_id": "a", "secret_key": "b", "token": f"{TOKEN}é"},
        {"secret_id": "", "secret_key": SECRET_KEY},
    ],
)
def test_bad_credentials_are_reported_without_showing_them(settings: dict[str, Any]) -> None:
    with pytest.raises(cosxfer.CredentialsError) as caught:
        cosxfer.Credentials(**settings)
    clean("\n".join([str(caught.value), repr(caught.value), repr(vars(caught.value))]))


def test_a_password_in_the_endpoint_is_refused_without_showing_it(cos: FakeCos) -> None:
    async def main() -> None:
        async with cos.client(endpoint=f"https://me:{SECRET_KEY}@{{bucket}}.example.com") as client:
            await client.head_object(BUCKET, "k")

    with pytest.raises(cosxfer.UsageError) as caught:
        asyncio.run(main())
    error = caught.value
    clean("\n".join([str(error), repr(error), repr(vars(error))]))


def test_the_body_of_another_server_is_shown_without_the_echoed_request(cos: FakeCos) -> None:
    cos.secrets.clear()

    async def main() -> None:
        async with cos.client() as client:
            await client.head_object(BUCKET, "k")

    with pytest.raises(cosxfer.AccessDeniedError) as caught:
        asyncio.run(main())
    clean(everything(caught.value))
