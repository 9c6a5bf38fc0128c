"""Requests that are prepared for many small files: each is what the session would have sent, signed for its keys."""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import Mapping
from typing import Any

import pytest

from cosxfer.address import ObjectAddress
from cosxfer.cos.requests import CosRequest
from cosxfer.credentials import Credentials, CredentialsResolver
from cosxfer.ops.begun import MOST_PREPARED
from cosxfer.ops.begun_put import Puts
from cosxfer.ops.put_object import put_request
from cosxfer.ops.session import Session
from cosxfer.transport.native_head import head_of
from tests.unit.ops.test_begun_get import BUCKET, KEYS, Begins, session_of

HEADERS: list[dict[str, str]] = [
    {"content-type": "text/plain"},
    {"content-type": "text/plain", "cache-control": "no-cache", "x-cos-meta-z": "1", "content-language": "en"},
    {"content-type": "a", "content-location": "unsigned", "content-encoding": "gzip", "x-cos-acl": "private"},
]


def request_of(
    key: str, body: bytes = b"body", *, bucket: str = BUCKET, headers: Mapping[str, str] = HEADERS[0]
) -> CosRequest:
    return put_request(
        ObjectAddress(bucket, key),
        memoryview(body),
        content_length=len(body),
        md5=hashlib.md5(body).digest(),
        crc64=1,
        headers=headers,
    )


def usual_head(session: Session, request: CosRequest) -> bytes:
    found = session.keys.at_hand(session.now())
    assert found is not None
    return head_of(session.outgoing(request, found[0]))


def begin(puts: Puts, request: CosRequest) -> None:
    assert isinstance(request.body, memoryview)
    headers = {name: value for name, value in request.headers.items() if name != "content-md5"}
    body = request.body.tobytes()
    attempt = puts.begin(
        request.address,
        body,
        md5=hashlib.md5(body).digest(),
        crc64=1,
        headers=headers,
        on_sent=request.on_sent,
        then=lambda _: None,
    )
    assert attempt is not None


@pytest.mark.parametrize("given", [{"token": None}, {"token": "t"}, {"anonymous": True}], ids=str)
@pytest.mark.parametrize("headers", HEADERS, ids=len)
def test_a_prepared_request_is_the_usual_one(given: dict[str, Any], headers: dict[str, str]) -> None:
    transport = Begins()
    puts = Puts(session_of(transport, **given))
    drawn = random.Random(16)
    for key in KEYS * 5:
        request = request_of(key, drawn.randbytes(drawn.randrange(1, 2000)), headers=headers)
        begin(puts, request)
        sent, _ = transport.requests[-1]
        assert (sent.head or head_of(sent)) == usual_head(puts.session, request)
        assert (sent.body, sent.content_length) == (request.body, request.content_length)
    assert [sent.head is None for sent, _ in transport.requests].count(True) == 1  # the first one


def test_a_new_key_time_or_new_keys_make_a_new_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    transport = Begins()
    session = session_of(transport)
    puts, now = Puts(session), time.time()
    monkeypatch.setattr(Session, "now", lambda _: now)
    heads = set()
    for step in ("first", "key time", "keys"):
        if step == "key time":
            now += 301
        elif step == "keys":
            session.keys = CredentialsResolver(Credentials(secret_id="other", secret_key="key"))
            asyncio.run(session.credentials())
        for _ in range(2):
            begin(puts, request_of("k"))
            sent, _ = transport.requests[-1]
            head = sent.head or head_of(sent)
            assert head == usual_head(session, request_of("k"))
        heads.add(head)
    assert len(heads) == 3


def test_headers_and_buckets_are_told_apart() -> None:
    transport = Begins()
    puts = Puts(session_of(transport))
    for number in range(3 * MOST_PREPARED):
        for bucket in (BUCKET, "other-1250000000"):
            headers = {"content-type": "x", "x-cos-meta-n": f"{number // 2}"}
            begin(puts, request_of("k", bucket=bucket, headers=headers))
            sent, _ = transport.requests[-1]
            head = sent.head or head_of(sent)
            assert f"x-cos-meta-n: {number // 2}\r\n".encode() in head
            assert f"host: {bucket}.cos".encode() in head


def test_a_key_of_the_customer_is_never_kept() -> None:
    transport = Begins()
    puts = Puts(session_of(transport))
    headers = {"content-type": "x", "x-cos-server-side-encryption-customer-key": "secret"}
    for _ in range(2):
        begin(puts, request_of("k", headers=headers))
        assert transport.requests[-1][0].head is None
    assert "secret" not in repr(vars(puts))


def test_sent_bytes_count_once_if_nobody_asks() -> None:
    transport = Begins()
    session = session_of(transport)
    puts = Puts(session)
    for _ in range(2):
        begin(puts, request_of("k"))
        sent, _ = transport.requests[-1]
        assert sent.on_sent is None
