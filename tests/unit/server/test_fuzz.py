"""Random requests to the applications, in this process: none makes the server log an error or return 500.

Requests arrive in granian's form (``scope``), or as bytes of a connection for the HTTP/1.1 front.
``COSXFER_FUZZ_EXAMPLES`` sets their number.
"""

from __future__ import annotations

import base64
import json
import os
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cosxfer.cos.policy import sign_policy
from cosxfer.cos.sign import authorization, key_time
from tests.unit.server.asking import BUCKET, KEYS, NOW, Server

EXAMPLES = int(os.environ.get("COSXFER_FUZZ_EXAMPLES") or 200)

fuzzed = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)


# What requests are made of

WRONG_NUMBERS = [
    "",
    "0",
    "1",
    "7",
    "10000",
    "10001",
    "-1",
    "+1",
    "1_0",
    " 1",
    "1 ",
    "1e3",
    "0x1",
    "1.0",
    "NaN",
    "\u00b2",
    "\u0663",
    "\uff11",
    "9" * 19,
    "9" * 20,
    "9" * 5000,
    "0" * 5000 + "1",
    "\0",
    "1,1",
    "1;1",
]
WRONG_DATES = [
    "Sat, 28 Nov 2026 00:00:00 GMT",
    "Sat, 28 Nov 99999 00:00:00 GMT",
    "Sat, 28 Nov 0000 00:00:00 GMT",
    "Sat, 31 Feb 2026 00:00:00 GMT",
    "1 Jan 1 00:00:00 +2359",
    "31 Dec 9999 23:59:59 -9999",
    "0",
    ",",
    "()",
    "(" * 60,
    "Sat, 28 Nov 2026 25:61:61 GMT",
    "28 Nov 2026 00:00:00 " + "9" * 40,
    "Sat, 28 Nov 2026 \u0660\u0660:00:00 GMT",
]
NUMBERS = st.sampled_from(WRONG_NUMBERS)
DATES = st.sampled_from(WRONG_DATES)
TEXTS = st.one_of(
    NUMBERS, DATES, st.text(max_size=20), st.sampled_from(["a\r\nb: c", "a\x7f", "*", '"', " a ", "é" * 900])
)
RANGES = st.builds(
    "{}{}{}-{}".format, st.sampled_from(["bytes", "BYTES ", "x", ""]), st.sampled_from("=: "), NUMBERS, NUMBERS
)
TIMES = st.one_of(
    st.sampled_from([key_time(NOW, life_seconds=600), "0;1", "1;" + "9" * 30]),
    st.builds("{};{}".format, NUMBERS, NUMBERS),
)
AUTHORIZATIONS = st.builds(
    "&".join,
    st.lists(
        st.one_of(
            st.sampled_from(["q-sign-algorithm=sha1", f"q-ak={KEYS.secret_id}", "q-header-list=", "q-url-param-list="]),
            st.builds("q-sign-time={}".format, TIMES),
            st.builds("q-key-time={}".format, TIMES),
            st.builds("q-{}={}".format, st.sampled_from(["signature", "header-list", "url-param-list", "ak"]), TEXTS),
        ),
        max_size=9,
    ),
)
WHOLE_AUTHORIZATIONS = st.builds(
    "q-sign-algorithm=sha1&q-ak=AKIDexample&q-sign-time={}&q-key-time={}&q-header-list={}&q-url-param-list={}&q-signature={}".format,
    TIMES,
    TIMES,
    TEXTS,
    TEXTS,
    TEXTS,
)
HEADERS = {
    "range": RANGES,
    "date": DATES,
    "if-modified-since": DATES,
    "if-unmodified-since": DATES,
    "if-match": TEXTS,
    "if-none-match": TEXTS,
    "content-length": NUMBERS,
    "content-md5": st.one_of(TEXTS, st.builds(lambda b: base64.b64encode(b).decode(), st.binary(max_size=18))),
    "content-type": TEXTS,
    "expect": st.sampled_from(["100-continue", "x"]),
    "transfer-encoding": st.sampled_from(["chunked", "x"]),
    "authorization": st.one_of(AUTHORIZATIONS, WHOLE_AUTHORIZATIONS, TEXTS),
    "origin": TEXTS,
    "access-control-request-method": TEXTS,
    "access-control-request-headers": TEXTS,
    "access-control-request-private-network": TEXTS,
    "sec-fetch-site": st.sampled_from(["none", "cross-site"]),
    "expires": TEXTS,
    "cache-control": TEXTS,
    "content-disposition": TEXTS,
    "x-cos-security-token": TEXTS,
    "x-cos-storage-class": TEXTS,
    "x-cos-meta-a": TEXTS,
    "x-cos-traffic-limit": TEXTS,
    "x-cos-acl": TEXTS,
    "content-encoding": TEXTS,
    "x-cos-copy-source": TEXTS,
    "x-cos-server-side-encryption": st.one_of(st.sampled_from(["AES256", "cos/kms"]), TEXTS),
    "x-cos-server-side-encryption-cos-kms-key-id": TEXTS,
    "x-cos-server-side-encryption-context": st.one_of(TEXTS, st.sampled_from(["W10=", "bnVsbA==", "OTk5", "W" * 9000])),
    "x-cos-server-side-encryption-customer-algorithm": st.one_of(st.just("AES256"), TEXTS),
    "x-cos-server-side-encryption-customer-key": TEXTS,
    "x-cos-server-side-encryption-customer-key-md5": TEXTS,
}
HOSTS = st.one_of(
    st.sampled_from(
        [
            "localhost",
            "127.0.0.1:80",
            "[::1]:80",
            "[",
            "]",
            ":",
            "[::1",
            "a@b",
            f"{BUCKET}.localhost",
            "cos.x",
            "service.cos.x",
            "127.0.0.1:99999",
            f"{BUCKET}.cos.ap-guangzhou.myqcloud.com",
            "1" * 5000,
        ]
    ),
    TEXTS,
)
METHODS = st.sampled_from(["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH", "CONNECT", "x"])
PATHS = st.one_of(
    st.sampled_from(
        [
            b"/",
            b"/object",
            b"/appended",
            b"/upload",
            b"//",
            b"/%00",
            b"/%ff",
            b"/%",
            b"/%ED%A0%80",
            b"/a%1b",
            b"*",
            b"",
            b"/../..",
            b"/%0d%0a",
            b"/new",
            b"/" + b"a" * 900,
            f"/{BUCKET}/".encode(),
            f"/{BUCKET}/new".encode(),
        ]
    ),
    st.builds(lambda text: b"/" + quote(text).encode(), TEXTS),
    st.builds(lambda raw: b"/" + raw, st.binary(max_size=20)),
)
PARAMETERS = st.sampled_from(
    [
        "partNumber",
        "uploadId",
        "uploads",
        "append",
        "position",
        "delete",
        "prefix",
        "delimiter",
        "marker",
        "max-keys",
        "max-parts",
        "max-uploads",
        "part-number-marker",
        "key-marker",
        "upload-id-marker",
        "encoding-type",
        "versionId",
        "response-content-type",
        "response-expires",
        "response-cache-control",
        "x-cos-security-token",
        "acl",
        "PARTNUMBER",
        "UploadId",
        "q-sign-algorithm",
        "q-ak",
        "q-sign-time",
        "q-key-time",
        "q-header-list",
        "q-url-param-list",
        "q-signature",
    ]
)
UPLOAD_ID = "the upload's id"
VALUES = st.one_of(TEXTS, TIMES, st.sampled_from([UPLOAD_ID, "url", "sha1", KEYS.secret_id]))
QUERIES = st.one_of(
    st.lists(st.tuples(st.one_of(PARAMETERS, TEXTS), VALUES), max_size=5).map(
        lambda pairs: "&".join(f"{quote(name)}={quote(value)}" for name, value in pairs).encode()
    ),
    st.sampled_from([b"uploads", b"delete", b"append&position=7", b"&&&", b"%", b"a=%ff", b"\xff", b"partNumber=\xb2"]),
    st.binary(max_size=20),
)
ELEMENTS = st.recursive(
    st.one_of(
        TEXTS.map(lambda t: quote(t, safe=" é*;,.")),
        st.sampled_from(["<!-- x -->", "&#0;", "&#xD800;", "&a;", "<![CDATA[x]]>"]),
    ),
    lambda inner: st.builds(
        lambda name, children: f"<{name}>{''.join(children)}</{name}>",
        st.sampled_from(["Part", "PartNumber", "ETag", "Object", "Key", "VersionId", "Quiet", "x"]),
        st.lists(inner, max_size=4),
    ),
    max_leaves=10,
)
DOCUMENTS = st.builds(
    lambda root, start, parts, end: f"{start}<{root}>{''.join(parts)}</{root}>{end}".encode(),
    st.sampled_from(["CompleteMultipartUpload", "Delete", "x"]),
    st.sampled_from(
        ["", '<?xml version="1.0" encoding="UTF-16"?>', '<?xml version="1.0" encoding="x"?>', "<!DOCTYPE x>", "\0"]
    ),
    st.lists(ELEMENTS, max_size=4),
    st.sampled_from(["", "x", "\0"]),
)
CONDITIONS = st.one_of(
    st.dictionaries(TEXTS, st.one_of(TEXTS, st.just("\ud800"), st.none(), st.integers()), max_size=2),
    st.tuples(
        st.sampled_from(["eq", "starts-with", "content-length-range", "x", 1]),
        st.one_of(TEXTS, st.integers(), st.just("$\ud800")),
        st.one_of(TEXTS, st.integers()),
    ),
    st.sampled_from([{"q-sign-algorithm": "sha1"}, {"q-ak": KEYS.secret_id}, [], None, "x", 1e400]),
)
EXPIRATIONS = st.one_of(
    st.sampled_from(["2099-01-01T00:00:00.000Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"]),
    DATES,
    st.integers(),
    st.none(),
)
OWN = [{"q-sign-algorithm": "sha1"}, {"q-ak": KEYS.secret_id}]


@st.composite
def forms(draw: st.DrawFn) -> bytes:
    """A form with a random policy, often with a valid signature."""
    time = draw(TIMES)
    policy = json.dumps(
        {
            "expiration": draw(EXPIRATIONS),
            "conditions": [*draw(st.lists(CONDITIONS, max_size=3)), *OWN, {"q-sign-time": time}],
        }
    )
    fields = {
        "key": draw(st.one_of(st.just("new"), TEXTS)),
        "policy": draw(st.one_of(st.just(base64.b64encode(policy.encode()).decode()), TEXTS)),
        "q-sign-algorithm": "sha1",
        "q-ak": KEYS.secret_id,
        "q-key-time": time,
        "q-signature": sign_policy(policy, secret_key=KEYS.secret_key, key_time=time),
        **draw(
            st.dictionaries(
                st.one_of(st.sampled_from(["success_action_redirect", "success_action_status", *HEADERS]), TEXTS),
                st.one_of(TEXTS, st.sampled_from([" http://x", "http://[", "http://x/é", "http://x y"])),
                max_size=4,
            )
        ),
    }
    for name in draw(st.lists(st.sampled_from(list(fields)), max_size=2)):
        fields.pop(name, None)
    if draw(st.integers(0, 2)) == 0:
        for name in ("policy", "q-sign-algorithm", "q-ak", "q-key-time", "q-signature"):
            fields.pop(name, None)
    part = '--b\r\nContent-Disposition: form-data; name="{}"{}\r\n\r\n{}\r\n'
    body = "".join(part.format(name, "", value) for name, value in fields.items())
    return (body + part.format("file", f'; filename="{draw(TEXTS)}"', "content") + "--b--\r\n").encode()


def header_bytes(value: str) -> bytes:
    """The value in the encoding of HTTP headers."""
    return value.encode().translate(None, bytes([*range(9), *range(10, 32), 127]))


@st.composite
def heads(draw: st.DrawFn) -> list[tuple[bytes, bytes]]:
    names = draw(st.lists(st.sampled_from(list(HEADERS)), max_size=4))
    host = draw(st.one_of(st.just("localhost"), HOSTS))
    return [
        (b"host", header_bytes(host)),
        *((name.encode(), draw(st.one_of(HEADERS[name].map(header_bytes), st.just(b"\xff")))) for name in names),
    ]


BODIES = st.one_of(st.binary(max_size=50), DOCUMENTS)
APPS = st.sampled_from(["anonymous", "signed", "discard"])


def check(server: Server, quiet: pytest.LogCaptureFixture, status: int) -> None:
    records = [record.getMessage() + str(record.exc_info or "") for record in quiet.records]
    quiet.clear()
    assert records == []
    assert status != 500


@pytest.mark.deep
@fuzzed
@given(
    app=APPS,
    method=METHODS,
    path=PATHS,
    query=QUERIES,
    headers=heads(),
    body=BODIES,
    version=st.sampled_from(["1.1", "2.0"]),
)
def test_no_random_request_makes_the_server_fail(
    server: Server, quiet: pytest.LogCaptureFixture, query: bytes, **request: Any
) -> None:
    query = query.replace(quote(UPLOAD_ID).encode(), server.upload_id)
    check(server, quiet, server.ask(query=query, **request)[0])


@fuzzed
@given(method=METHODS, path=PATHS, query=QUERIES, headers=heads(), body=BODIES)
def test_no_request_with_a_valid_signature_makes_the_server_fail(
    server: Server, quiet: pytest.LogCaptureFixture, query: bytes, headers: list[tuple[bytes, bytes]], **request: Any
) -> None:
    signature = authorization(
        KEYS,
        method=request["method"],
        path=request["path"].decode("latin-1"),
        params={},
        headers={"host": "localhost"},
        key_time=key_time(NOW, life_seconds=600),
    )
    headers = [*((n, v) for n, v in headers if n not in (b"authorization", b"date", b"host")), (b"host", b"localhost")]
    query = query.replace(quote(UPLOAD_ID).encode(), server.upload_id)
    headers.append((b"authorization", signature.encode()))
    check(server, quiet, server.ask("signed", query=query, headers=headers, **request)[0])


OPERATIONS = [
    ("PUT", b"/object", []),
    ("GET", b"/object", ["response-content-type", "response-expires"]),
    ("HEAD", b"/object", []),
    ("DELETE", b"/never", []),
    ("POST", b"/appended", ["append", "position"]),
    ("POST", b"/new", ["uploads"]),
    ("PUT", b"/upload", ["uploadId", "partNumber"]),
    ("GET", b"/upload", ["uploadId", "max-parts", "part-number-marker", "encoding-type"]),
    ("POST", b"/upload", ["uploadId"]),
    ("DELETE", b"/never", ["uploadId"]),
    ("GET", b"/", ["uploads", "prefix", "delimiter", "key-marker", "upload-id-marker", "max-uploads", "encoding-type"]),
    ("GET", b"/", ["prefix", "delimiter", "marker", "max-keys", "encoding-type"]),
    ("POST", b"/", ["delete"]),
]
GOOD = {"uploadId": UPLOAD_ID, "partNumber": "1", "position": "7", "max-parts": "2", "part-number-marker": "0"}


WRONG = [
    *WRONG_NUMBERS,
    *WRONG_DATES,
    "\0",
    "\x7f",
    "\x1b",
    " a ",
    "a\r\nb: c",
    "é" * 900,
    "\ud7ff\uffff",
    UPLOAD_ID,
    "url",
    "*",
    '"',
]


@pytest.mark.parametrize("app", ["anonymous", "signed", "discard"])
@pytest.mark.parametrize(("method", "path", "names"), OPERATIONS)
def test_no_single_wrong_parameter_makes_the_server_fail(
    server: Server, quiet: pytest.LogCaptureFixture, app: str, method: str, path: bytes, names: list[str]
) -> None:
    """Each value in each place, because a random choice rarely hits a pair."""
    for wrong in names:
        for value in WRONG:
            if (method, path, value) == ("POST", b"/upload", UPLOAD_ID):
                continue  # this request is valid and completes the upload
            values = {name: value if name == wrong else GOOD.get(name, "") for name in names}
            query = "&".join(f"{name}={quote(value)}" for name, value in values.items()).encode()
            query = query.replace(quote(UPLOAD_ID).encode(), server.upload_id)
            check(server, quiet, server.ask(app, method, path, query)[0])


@pytest.mark.parametrize("name", [*HEADERS, "host"])
def test_no_single_wrong_header_makes_the_server_fail(
    server: Server, quiet: pytest.LogCaptureFixture, name: str
) -> None:
    for method, path, query in [("PUT", b"/object", b""), ("GET", b"/object", b""), ("POST", b"/new", b"uploads")]:
        for value in [*WRONG, *(f"bytes={a}-{b}" for a in WRONG_NUMBERS for b in WRONG_NUMBERS if name == "range")]:
            others = [(b"host", b"localhost")] if name != "host" else []
            headers = [*others, (name.encode(), header_bytes(value))]
            check(server, quiet, server.ask("anonymous", method, path, query, headers)[0])


@pytest.mark.deep
@fuzzed
@given(app=APPS, operation=st.sampled_from(OPERATIONS), headers=heads(), body=BODIES, data=st.data())
def test_no_operation_with_wrong_values_makes_the_server_fail(
    server: Server, quiet: pytest.LogCaptureFixture, app: str, operation: Any, data: st.DataObject, **more: Any
) -> None:
    method, path, names = operation
    wrong = data.draw(st.dictionaries(st.sampled_from(names), VALUES, max_size=2)) if names else {}
    values = {name: wrong.get(name, GOOD.get(name, "")) for name in names}
    if path != b"/upload":
        # Other tests need the upload, so it is neither completed nor aborted.
        path = data.draw(st.one_of(st.just(path), PATHS.filter(lambda other: other != b"/upload")))
    query = "&".join(f"{name}={quote(value)}" for name, value in values.items()).encode()
    query = query.replace(quote(UPLOAD_ID).encode(), server.upload_id)
    check(server, quiet, server.ask(app, method, path, query, **more)[0])


@pytest.mark.deep
@fuzzed
@given(app=APPS, body=forms(), headers=heads())
def test_no_form_makes_the_server_fail(
    server: Server, quiet: pytest.LogCaptureFixture, app: str, body: bytes, headers: list[tuple[bytes, bytes]]
) -> None:
    kept = [(name, value) for name, value in headers if name not in (b"content-type", b"content-length", b"origin")]
    kept.append((b"content-type", b"multipart/form-data; boundary=b"))
    check(server, quiet, server.ask(app, "POST", b"/", headers=kept, body=body)[0])


@pytest.mark.deep
@fuzzed
@given(app=APPS, body=DOCUMENTS, query=st.sampled_from(["delete", f"uploadId={quote(UPLOAD_ID)}"]))
def test_no_document_makes_the_server_fail(
    server: Server, quiet: pytest.LogCaptureFixture, app: str, body: bytes, query: str
) -> None:
    path = b"/" if query == "delete" else b"/upload"
    sent = query.encode().replace(quote(UPLOAD_ID).encode(), server.upload_id)
    check(server, quiet, server.ask(app, "POST", path, sent, body=body)[0])


LINES = st.one_of(
    st.builds(
        lambda name, value: name.encode() + b": " + value,
        st.sampled_from(["Host", "Connection", *HEADERS]),
        st.one_of(TEXTS.map(str.encode), st.binary(max_size=20)),
    ),
    st.binary(max_size=20),
)
CHUNKS = st.sampled_from(
    [b"1\r\na\r\n", b"0\r\n\r\n", b"\xb2\r\na\r\n", b"f" * 17 + b"\r\n", b"1;a=b\r\na\r\n", b"1\r\nab\r\n"]
)


@st.composite
def connections(draw: st.DrawFn) -> bytes:
    said = b""
    for _ in range(draw(st.integers(1, 3))):
        target = draw(PATHS) + draw(st.sampled_from([b"", b"?"])) + draw(QUERIES)
        version = draw(st.sampled_from([b"1.1", b"1.1", b"1.0", b"2", b"\xb2.1"]))
        lines = [draw(METHODS).encode() + b" " + target + b" HTTP/" + version, *draw(st.lists(LINES, max_size=5))]
        if draw(st.booleans()):
            lines.insert(1, b"Host: localhost")
        said += draw(st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n"])).join(lines) + b"\r\n\r\n"
        said += draw(st.one_of(BODIES, st.lists(CHUNKS, max_size=4).map(b"".join)))
    return said


@pytest.mark.deep
@fuzzed
@given(app=st.sampled_from(["anonymous", "signed"]), data=st.one_of(connections(), st.binary(max_size=200)))
def test_no_bytes_of_a_connection_make_the_server_fail(
    server: Server, quiet: pytest.LogCaptureFixture, app: str, data: bytes
) -> None:
    said = server.talk(app, data)
    assert not said or said.startswith(b"HTTP/1.1 ")
    check(server, quiet, 500 if said.startswith(b"HTTP/1.1 500 ") else 0)


def test_the_check_notices_an_unchecked_number(
    server: Server, quiet: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cosxfer.server.checks.whole_number", lambda query, name, default=None: int(query[name]))
    status = server.ask("signed", "PUT", b"/upload", "partNumber=\u00b2&uploadId=x".encode())[0]
    with pytest.raises(AssertionError):
        check(server, quiet, status)
