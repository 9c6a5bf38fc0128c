"""Values that once made the server fail, tested in the functions that read them."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

import pytest

from cosxfer.cos.policy import sign_policy
from cosxfer.server import checks
from tests.unit.server.asking import KEYS, NOW, Server

HUGE = "9" * 5000
FORM_HEADERS = [(b"host", b"localhost"), (b"content-type", b"multipart/form-data; boundary=b")]


@pytest.mark.parametrize("value", ["\u00b2", "\u0663", HUGE, "9" * 19, "-1", "+1", "1_0", "1.0", "\0", "x"])
@pytest.mark.parametrize(
    ("method", "path", "query"),
    [
        ("PUT", b"/upload", "uploadId=x&partNumber="),
        ("POST", b"/appended", "append&position="),
        ("GET", b"/", "max-keys="),
        ("GET", b"/", "uploads&max-uploads="),
        ("GET", b"/upload", "uploadId=x&max-parts="),
        ("GET", b"/upload", "uploadId=x&part-number-marker="),
    ],
)
def test_a_malformed_number_is_a_bad_request_before_authentication(
    server: Server, method: str, path: bytes, query: str, value: str
) -> None:
    status, body = server.ask("signed", method, path, (query + quote(value)).encode())
    assert (status, b"<Code>InvalidArgument</Code>" in body) == (400, True)
    assert server.ask("signed", method, path, (query + "1").encode())[0] == 403


@pytest.mark.parametrize("value", ["\u00b2", HUGE, "9" * 19])
def test_the_sink_refuses_a_position_that_is_no_number(server: Server, value: str) -> None:
    assert server.ask("discard", "POST", b"/k", f"append&position={quote(value)}".encode())[0] == 400


@pytest.mark.parametrize(
    ("method", "path", "query"),
    [("GET", b"/k", b"uploadId=%00"), ("POST", b"/a%01b", b"uploads"), ("POST", b"/a%01b", b"uploadId=x")],
)
def test_the_sink_sends_no_characters_that_xml_cannot_hold(
    server: Server, method: str, path: bytes, query: bytes
) -> None:
    assert server.ask("discard", method, path.replace(b"%01", b"\x01"), query)[0] == 400


@pytest.mark.parametrize("name", ["origin", "sec-fetch-site", "host"])
@pytest.mark.parametrize(("method", "query"), [("PUT", b""), ("POST", b"uploads"), ("HEAD", b""), ("DELETE", b"")])
def test_the_sink_refuses_requests_that_a_page_can_send(server: Server, method: str, query: bytes, name: str) -> None:
    headers = {"host": "localhost", name: "cross-site.example"}
    sent = [(n.encode(), v.encode()) for n, v in headers.items()]
    assert server.ask("discard", method, b"/examplebucket-1250000000/page", query, sent, body=b"x")[0] == 403
    assert server.ask("discard", "HEAD", b"/examplebucket-1250000000/page")[0] == 404


@pytest.mark.parametrize("value", ["\u00b2".encode(), HUGE.encode(), b"-1", b"\xb2"])
def test_a_length_that_is_no_number_is_a_bad_request(server: Server, value: bytes) -> None:
    head = b"PUT /k HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + value + b"\r\n\r\n"
    assert server.talk("anonymous", head).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("name", ["date", "if-modified-since", "if-unmodified-since"])
@pytest.mark.parametrize("value", ["Sat, 28 Nov 99999 00:00:00 GMT", "(" * 60, "(" * 5000, HUGE])
def test_a_malformed_date_counts_as_absent(name: str, value: str) -> None:
    assert checks.http_date_of({name: value}, name) is None


def form(time: str, **more: str) -> bytes:
    conditions = [{"q-sign-algorithm": "sha1"}, {"q-ak": KEYS.secret_id}, {"q-sign-time": time}]
    policy = json.dumps({"expiration": "2099-01-01T00:00:00.000Z", "conditions": conditions})
    fields = {
        "key": "by-form",
        "policy": base64.b64encode(policy.encode()).decode(),
        "q-sign-algorithm": "sha1",
        "q-ak": KEYS.secret_id,
        "q-key-time": time,
        "q-signature": sign_policy(policy, secret_key=KEYS.secret_key, key_time=time),
        **more,
        "file": "content",
    }
    part = '--b\r\nContent-Disposition: form-data; name="{}"\r\n\r\n{}\r\n'
    return ("".join(part.format(name, value) for name, value in fields.items()) + "--b--\r\n").encode()


@pytest.mark.parametrize("time", ["\u00b2;\u00b2", f"0;{HUGE}", f"{HUGE};{HUGE}", "0", ";", "0;1;2", "-1;1"])
def test_a_form_whose_times_are_no_numbers_is_refused(server: Server, time: str) -> None:
    assert server.ask("signed", "POST", b"/", headers=FORM_HEADERS, body=form(time))[0] == 403


def test_the_same_form_with_numbers_is_stored(server: Server) -> None:
    assert server.ask("signed", "POST", b"/", headers=FORM_HEADERS, body=form(f"0;{NOW + 600:.0f}"))[0] == 204


@pytest.mark.parametrize(
    "url", [" HTTP://x", "http://x ", "http:", "http:///x", "http://a b", "http://[", "ftp://x", "//x"]
)
def test_a_redirect_that_is_no_url_is_refused_and_nothing_is_stored(server: Server, url: str) -> None:
    part = '--b\r\nContent-Disposition: form-data; name="{}"\r\n\r\n{}\r\n'
    fields = {"key": "redirected", "success_action_redirect": url, "file": "content"}
    body = "".join(part.format(name, value) for name, value in fields.items()) + "--b--\r\n"
    assert server.ask("anonymous", "POST", b"/", headers=FORM_HEADERS, body=body.encode())[0] == 400
    assert server.ask("anonymous", "GET", b"/redirected")[0] == 404
