"""No request makes the server log a traceback: numbers, dates, ranges, queries and documents that nobody expects."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cosxfer.server.app import Application
from cosxfer.server.store import Store

BUCKET = "bucket-1250000000"
UNICODE_DIGITS = [
    "\u00b2",
    "\u0663",
    "\uff11",
    "1_0",
    "+1",
    " 1",
    "-1",
    "1.0",
    "0x1",
    "",
    "9" * 19,
    "9" * 20,
    "9" * 5000,
]
NUMBERS = st.sampled_from(UNICODE_DIGITS) | st.text(max_size=8) | st.integers().map(str)
PARAMETERS = [
    "partNumber",
    "uploadId",
    "uploads",
    "append",
    "position",
    "max-uploads",
    "max-parts",
    "max-keys",
    "delete",
    "marker",
    "key-marker",
    "upload-id-marker",
    "part-number-marker",
    "encoding-type",
    "prefix",
    "delimiter",
    "versionId",
    "acl",
    "response-content-type",
    "response-expires",
    "q-sign-time",
    "q-key-time",
    "q-ak",
]
HEADERS = [
    "range",
    "content-md5",
    "date",
    "x-cos-traffic-limit",
    "if-modified-since",
    "if-unmodified-since",
    "if-match",
    "expect",
    "if-none-match",
    "x-cos-acl",
    "x-cos-storage-class",
    "x-cos-meta-a",
    "authorization",
    "content-type",
    "x-cos-copy-source",
    "x-cos-server-side-encryption",
    "x-cos-server-side-encryption-customer-key",
    "x-cos-security-token",
    "content-encoding",
    "x-cos-content-sha1",
    "transfer-encoding",
]
VALUES = st.sampled_from(
    [
        "bytes=\u00b2-3",
        f"bytes={'9' * 5000}-",
        "bytes=-",
        "bytes=1-0",
        "bytes=0-0,1-1",
        "AES256",
        "cos/kms",
        "chunked",
        "Sat, 99 Foo 99999999 99:99:99 GMT",
        "Mon, 01 Jan 0000 00:00:00 GMT",
        f"Mon, 01 Jan {'9' * 40} 00:00:00 +9999",
        "%%%",
        "A" * 24,
        "=" * 24,
        "q-sign-algorithm=sha1&q-key-time=\u00b2;\u00b3&q-ak=a",
        "&" * 300,
        f"q-sign-algorithm=sha1&q-ak=a&q-key-time=1;2&q-sign-time={'9' * 5000};1"
        "&q-header-list=&q-url-param-list=&q-signature=x",
        "multipart/form-data; boundary=" + "x" * 80,
        "multipart/form-data",
    ]
)
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=12)
BODIES = st.sampled_from(
    [
        b"",
        b"x",
        b"<CompleteMultipartUpload><Part><PartNumber>\xc2\xb2</PartNumber></Part></CompleteMultipartUpload>",
        b"<CompleteMultipartUpload><Part><PartNumber>"
        + b"9" * 5000
        + b"</PartNumber></Part></CompleteMultipartUpload>",
        b"<Delete><Object><Key>\xff</Key></Object></Delete>",
        b"<Delete><Object/></Delete>",
        b"<a>" * 500,
        b"<!DOCTYPE a []><a/>",
        b"--" + b"x" * 80 + b'\r\nContent-Disposition: form-data; name="key"\r\n\r\nk\r\n--' + b"x" * 80 + b"--\r\n",
    ]
)


@contextmanager
def application(folder: Path) -> Iterator[Application]:
    with ThreadPoolExecutor(1) as executor, closing(Store(folder, executor=executor)) as store:
        yield Application(store=store, executor=executor, credentials=(), region="region", allow_anonymous=True)


async def ask(app: Application, method: str, target: str, headers: Mapping[str, str], body: bytes) -> int:
    """The status of the response."""
    path, _, query = target.partition("?")
    pieces = [body]
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": pieces.pop() if pieces else b"", "more_body": False}

    async def send(event: Mapping[str, Any]) -> None:
        if event["type"] == "http.response.start":
            statuses.append(event["status"])

    sent = {"host": "127.0.0.1", "content-length": str(len(body)), **headers}
    scope = {
        "type": "http",
        "http_version": "1.1",
        "scheme": "http",
        "client": ("127.0.0.1", 1),
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
    }
    await app(scope, receive, send)
    return statuses[0]


def run(folder: Path, method: str, target: str, headers: Mapping[str, str], body: bytes) -> int:
    async def main() -> int:
        with application(folder) as app:
            assert await ask(app, "PUT", f"/{BUCKET}", {}, b"") in (200, 409)
            return await ask(app, method, target, headers, body)

    return asyncio.run(main())


@pytest.mark.parametrize("number", UNICODE_DIGITS)
@pytest.mark.parametrize("form", ["raw", "encoded"])
def test_a_part_number_that_is_none_is_a_bad_request(tmp_path: Path, number: str, form: str) -> None:
    value = number if form == "raw" else quote(number)
    assert run(tmp_path, "PUT", f"/{BUCKET}/k?partNumber={value}&uploadId=x", {}, b"x") in (400, 404)


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    method=st.sampled_from(["GET", "PUT", "POST", "HEAD", "DELETE", "OPTIONS"]),
    key=st.sampled_from(["", "k", "%", "%00", "%ff", "a//b"]) | TEXT.map(quote),
    query=st.lists(st.tuples(st.sampled_from(PARAMETERS), NUMBERS), max_size=4),
    headers=st.dictionaries(
        st.sampled_from(HEADERS), VALUES | NUMBERS.filter(lambda v: "\r" not in v and "\n" not in v), max_size=4
    ),
    body=BODIES,
)
def test_no_request_makes_the_server_log_a_traceback(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    method: str,
    key: str,
    query: list[tuple[str, str]],
    headers: dict[str, str],
    body: bytes,
) -> None:
    caplog.clear()
    text = "&".join(f"{name}={quote(value)}" for name, value in query)
    with caplog.at_level(logging.DEBUG):
        status = run(tmp_path, method, f"/{BUCKET}/{key}?{text}", headers, body)
    assert status < 500 or status == 501
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []
