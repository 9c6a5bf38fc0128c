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
from cosxfer.cos.requests import CosRequest, HttpRequest
from cosxfer.cos.responses import HttpResponse
from cosxfer.credentials import Credentials, CredentialsResolver
from cosxfer.errors import ConnectError
from cosxfer.ops.attempt import Attempt
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


class Owner:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.response: HttpResponse | None = None
        self.attempt: Attempt | None = None

    def has_stored(self, response: HttpResponse) -> None:
        self.response = response

    def has_not_stored(self, attempt: Attempt) -> None:
        self.attempt = attempt


class Stores(Begins):
    """A transport that also sends without an `HttpRequest`."""

    def __init__(self) -> None:
        super().__init__()
        self.stores: list[tuple[HttpRequest, bytes, bytes, Any]] = []
        self.idle = True
        self.proof: HttpResponse | None = None
        self.outcome: HttpResponse | Exception | None = None

    def store(self, like: HttpRequest, head: bytes, body: bytes, store: Any) -> bool:
        if self.idle:
            store.exchange = object()
            self.stores.append((like, head, body, store))
        return self.idle

    def proven(self, exchange: object, crc64: int, md5: bytes) -> HttpResponse | None:
        return self.proof

    def stored(self, exchange: object, request: HttpRequest) -> HttpResponse | Exception | None:
        return self.outcome


def begin(puts: Puts, request: CosRequest) -> None:
    assert isinstance(request.body, memoryview)
    headers = {name: value for name, value in request.headers.items() if name != "content-md5"}
    if headers == HEADERS[0]:
        headers = HEADERS[0]  # files of one type share their mapping
    body = request.body.tobytes()
    attempt = puts.begin(
        request.address,
        body,
        md5=hashlib.md5(body).digest(),
        crc64=1,
        headers=headers,
        on_sent=request.on_sent,
        owner=Owner(),
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


@pytest.mark.parametrize("given", [{"token": None}, {"token": "t"}, {"anonymous": True}], ids=str)
def test_a_request_without_its_record_has_the_same_head(given: dict[str, Any]) -> None:
    transport = Stores()
    puts = Puts(session_of(transport, **given))
    drawn = random.Random(30)
    begin(puts, request_of("first"))
    begin(puts, request_of("second"))  # it is the first one that finds what was prepared
    for number, key in enumerate(KEYS):
        request = request_of(key, drawn.randbytes(drawn.randrange(1, 2000)))
        begin(puts, request)
        assert len(transport.stores) == number + 1
        like, head, body, _ = transport.stores[-1]
        assert head == usual_head(puts.session, request)
        assert body == request.body
        usual = puts.session.outgoing(request, (puts.session.keys.at_hand(time.time()) or (None,))[0])
        assert (like.endpoint, like.stall_timeout_seconds) == (usual.endpoint, usual.stall_timeout_seconds)
    assert len(transport.requests) == 2


def stored(transport: Stores, *, headers: Mapping[str, str] = HEADERS[0], **given: Any) -> tuple[Puts, Owner]:
    """Begin three requests, and return what the third one has told its owner at its end."""
    puts, owner = Puts(session_of(transport)), Owner()
    for key in ("first", "second", "third"):
        assert puts.begin(
            ObjectAddress(BUCKET, key), b"body", md5=MD5, crc64=1, headers=headers, on_sent=None, owner=owner
        )
    (_, _, _, store) = transport.stores[0]
    store.has_ended(store.exchange)
    return puts, owner


MD5 = hashlib.md5(b"body").digest()
STORED = HttpResponse(status=200, headers={"etag": f'"{MD5.hex()}"', "x-cos-hash-crc64ecma": "1"})
OTHER = HttpResponse(status=200, headers={"etag": f'"{MD5.hex()}"', "x-cos-hash-crc64ecma": "2"})
REFUSED = HttpResponse(status=503, headers={}, body=b"<Error><Code>SlowDown</Code></Error>")


def test_a_proven_response_ends_it() -> None:
    transport = Stores()
    transport.proof = STORED
    puts, owner = stored(transport)
    assert (owner.response, owner.attempt) == (STORED, None)
    assert (puts.session.traffic.requests_done, puts.session.traffic.sent_bytes) == (1, 4)


@pytest.mark.parametrize(
    ("outcome", "error"),
    [(OTHER, "IntegrityError"), (REFUSED, "ThrottledError"), (ConnectError("gone"), "ConnectError"), (None, "")],
    ids=["other content", "refused", "no response", "not acted"],
)
def test_any_other_end_is_an_attempt_that_the_usual_way_goes_on_with(outcome: Any, error: str) -> None:
    transport = Stores()
    transport.outcome = outcome
    puts, owner = stored(transport)
    attempt = owner.attempt
    assert attempt is not None
    assert owner.response is None
    assert type(attempt.error).__name__ == (error or "NoneType")
    assert attempt.signing.credentials is (puts.session.keys.at_hand(time.time()) or (None,))[0]
    # A refusal is counted at once: who goes on with it may have to wait for a slot first.
    assert puts.session.traffic.refused == (error == "ThrottledError")
    if error:
        assert attempt.failed_at <= time.monotonic()
        assert attempt.outgoing.url.endswith("/third")
        assert attempt.outgoing.body == b"body"
        assert (attempt.outgoing.head or b"") == usual_head(puts.session, request_of("third"))
    assert puts.session.traffic.requests_done == 0


def test_a_response_whose_proof_is_seen_by_its_headers_is_one_too() -> None:
    """With debug logging the response is logged, as that of any request."""
    transport = Stores()
    transport.outcome = STORED
    puts, owner = stored(transport)
    assert (owner.response, owner.attempt) == (STORED, None)
    assert puts.session.traffic.requests_done == 1


def test_it_waits_if_no_connection_is_idle() -> None:
    transport = Stores()
    puts = Puts(session_of(transport))
    begin(puts, request_of("first"))
    begin(puts, request_of("second"))
    transport.idle = False
    given = ObjectAddress(BUCKET, "third"), b"body"
    assert puts.begin(*given, md5=MD5, crc64=1, headers=HEADERS[0], on_sent=None, owner=Owner()) is None


def test_a_request_that_somebody_follows_or_that_has_a_secret_is_never_one() -> None:
    transport = Stores()
    puts, secret = Puts(session_of(transport)), {"x-cos-server-side-encryption-customer-key": "secret"}
    for headers, on_sent in ((HEADERS[0], [].append), (secret, None)):
        for _ in range(3):
            assert puts.begin(
                ObjectAddress(BUCKET, "k"), b"body", md5=MD5, crc64=1, headers=headers, on_sent=on_sent, owner=Owner()
            )
    assert transport.stores == []
    assert "secret" not in repr(vars(puts))


def test_the_wait_before_the_next_attempt_begins_when_the_first_one_has_failed(
    monkeypatch: pytest.MonkeyPatch, waits: list[float]
) -> None:
    """Its owner may have waited for a slot meanwhile, as long as the server asked for or longer."""
    transport = Stores()
    transport.outcome = HttpResponse(status=503, headers={"retry-after": "5"}, body=REFUSED.body)
    puts, owner = stored(transport)
    attempt = owner.attempt
    assert attempt is not None

    async def send(request: HttpRequest) -> HttpResponse:
        return STORED

    monkeypatch.setattr(transport, "send", send, raising=False)
    for waited, least, most in ((0.0, 4.0, 6.0), (3.0, 1.0, 3.0), (60.0, 0.0, 0.0)):
        attempt.failed_at = time.monotonic() - waited
        asyncio.run(puts.session.call(request_of("third"), tried=attempt))
        assert least <= waits[-1] <= most, waited
    assert puts.session.traffic.refused == 1, "the failure was counted before"
