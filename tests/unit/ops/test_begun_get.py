"""Requests that are prepared for many objects: each is what the session would have sent, signed for its keys."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from cosxfer.address import ObjectAddress
from cosxfer.config import ClientConfig
from cosxfer.cos.requests import HttpRequest
from cosxfer.cos.responses import HttpResponse
from cosxfer.cos.sink import BodySink
from cosxfer.credentials import Credentials, CredentialsResolver
from cosxfer.errors import ServerError
from cosxfer.ops.attempt import Attempt
from cosxfer.ops.begun import MOST_PREPARED
from cosxfer.ops.begun_get import Gets
from cosxfer.ops.get_range import range_request
from cosxfer.ops.session import Session
from cosxfer.transport.native_head import head_of

BUCKET = "examplebucket-1250000000"
KEYS = ["a", "a/b c", "é/+", "日本", "%41", "line\nbreak", "?x=1#y", "~._-"]
Then = Callable[[HttpResponse | Exception | None], None]


class Begins:
    """A transport that keeps what it is given."""

    def __init__(self) -> None:
        self.requests: list[tuple[HttpRequest, Then]] = []

    def begin(self, request: HttpRequest, then: Then) -> Any:
        self.requests.append((request, then))
        return SimpleNamespace(cancel=lambda: None)


def session_of(transport: Any, *, token: str | None = None, anonymous: bool = False) -> Session:
    config = ClientConfig(region="ap-guangzhou")
    keys = None if anonymous else Credentials(secret_id="id", secret_key="key", token=token)
    session = Session(config=config, transport=transport, credentials=CredentialsResolver(keys))
    session = session.observed(counted=True)
    if not anonymous:
        asyncio.run(session.credentials())
    return session


def begin(gets: Gets, key: str = "k", *, bucket: str = BUCKET, headers: dict[str, str] | None = None) -> Attempt:
    attempt = gets.begin(
        ObjectAddress(bucket, key),
        BodySink(length=1024, shorter=True, memory=memoryview(bytearray(1024))),
        version_id=None,
        headers={} if headers is None else headers,
        on_received=lambda _: None,
        then=lambda _: None,
    )
    assert attempt is not None
    return attempt


def usual_head(session: Session, key: str, headers: dict[str, str]) -> bytes:
    sink = BodySink(length=1024, shorter=True, memory=memoryview(bytearray(1024)))
    request = range_request(ObjectAddress(BUCKET, key), sink, version_id=None, headers=headers, on_received=None)
    assert request.on_attempt is not None
    request.on_attempt()
    found = session.keys.at_hand(session.now())
    assert found is not None
    return head_of(session.outgoing(request, found[0]))


@pytest.mark.parametrize("given", [{"token": None}, {"token": "t"}, {"anonymous": True}])
@pytest.mark.parametrize("headers", [{}, {"x-cos-traffic-limit": "819200"}])
def test_a_prepared_request_is_the_usual_one(given: dict[str, Any], headers: dict[str, str]) -> None:
    transport = Begins()
    gets = Gets(session_of(transport, **given))
    for key in KEYS:
        begin(gets, key, headers=headers)
        request, _ = transport.requests[-1]
        assert (request.head or head_of(request)) == usual_head(gets.session, key, headers)
        assert head_of(request).split(b"\r\n")[0] == (request.head or head_of(request)).split(b"\r\n")[0]
    assert all(request.head is not None for request, _ in transport.requests)


def test_a_new_key_time_or_new_keys_make_a_new_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    transport = Begins()
    session = session_of(transport)
    gets, headers = Gets(session), {}
    now = time.time()
    monkeypatch.setattr(Session, "now", lambda _: now)
    begin(gets, headers=headers)
    now += 301
    begin(gets, headers=headers)
    assert transport.requests[-1][0].head == usual_head(session, "k", {})
    session.keys = CredentialsResolver(Credentials(secret_id="other", secret_key="key"))
    asyncio.run(session.credentials())
    begin(gets, headers=headers)
    assert transport.requests[-1][0].head == usual_head(session, "k", {})
    assert len({request.head for request, _ in transport.requests}) == 3


def test_headers_of_one_object_are_never_those_of_another() -> None:
    """Such as a customer's key. The mappings die at once, so a later one may be at the same address."""
    transport = Begins()
    gets = Gets(session_of(transport))
    for number in range(3 * MOST_PREPARED):
        begin(gets, headers={"x-cos-traffic-limit": f"{number}"})
        request, then = transport.requests.pop()
        then(None)  # it lets go of the headers
        head = request.head
        del request, then
        assert head is not None
        assert f"x-cos-traffic-limit: {number}\r\n".encode() in head


def test_buckets_are_told_apart() -> None:
    transport = Begins()
    gets, headers = Gets(session_of(transport)), {}
    for bucket in (BUCKET, "other-1250000000", BUCKET):
        begin(gets, bucket=bucket, headers=headers)
        head = transport.requests[-1][0].head
        assert head is not None
        assert f"host: {bucket}.cos".encode() in head


def test_bytes_count_until_the_attempt_fails() -> None:
    transport = Begins()
    session = session_of(transport)
    seen: list[int] = []
    gets = Gets(session)
    ended: list[Attempt] = []
    sink = BodySink(length=1024, shorter=True, memory=memoryview(bytearray(1024)))
    attempt = gets.begin(
        ObjectAddress(BUCKET, "k"), sink, version_id=None, headers={}, on_received=seen.append, then=ended.append
    )
    request, then = transport.requests[0]
    assert attempt is not None
    assert request.on_sent is not None
    request.on_sent(100)
    assert session.traffic.sent_bytes == 100
    then(HttpResponse(status=503, headers={}))
    assert ended == [attempt]
    assert attempt.has_failed
    assert isinstance(attempt.outcome()[1], ServerError)
    assert session.traffic.sent_bytes == 0
    assert seen == [100, -100]
    assert session.traffic.requests_done == 0


def test_a_success_that_is_not_the_beginning_is_refused_and_named() -> None:
    transport = Begins()
    attempt = begin(Gets(session_of(transport)))
    transport.requests[0][1](HttpResponse(status=206, headers={"content-range": "bytes 5-9/10"}))
    assert attempt.has_failed
    assert "the request was for bytes=0-1023" in str(attempt.error)
