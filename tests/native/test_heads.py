"""Heads of requests that differ little: each is what the usual way makes, with the same signature."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosxfer._native.heads import RequestHeads, use_sha_instructions
from cosxfer.cos import sign
from cosxfer.cos.endpoint import resolve_endpoint
from cosxfer.cos.requests import HttpRequest, content_md5, target
from cosxfer.credentials import Credentials
from cosxfer.ops.begun import heads_like
from cosxfer.transport.native_head import head_of

KEYS = Credentials(secret_id="id", secret_key="key")
KEY_TIME = "1480932292;1481012292"
ENDPOINT = resolve_endpoint("https://{bucket}.cos.example", bucket="examplebucket-1250000000", region=None)
HOST = {"host": ENDPOINT.authority}
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=120)


@pytest.fixture(autouse=True, scope="module", params=[True, False], ids=["instructions", "portable"])
def sha(request: pytest.FixtureRequest) -> Iterator[None]:
    """SHA-1 by the processor's instructions, if it has them, and without."""
    if use_sha_instructions(request.param) is not request.param:
        pytest.skip("the processor has no instructions for SHA-1")
    yield
    use_sha_instructions()


def usual(path: str, headers: dict[str, str], *, method: str, keys: Credentials | None) -> HttpRequest:
    """The request as a session makes it, one by one."""
    if keys is not None:
        value = sign.authorization(keys, method=method, path=path, params={}, headers=headers, key_time=KEY_TIME)
        headers = {**headers, "authorization": value}
    return HttpRequest(method=method, endpoint=ENDPOINT, target=target(path, {}), headers=headers)


def with_body(body: bytes) -> dict[str, str]:
    md5 = content_md5(hashlib.md5(body).digest())
    return {**HOST, "content-md5": md5, "content-length": str(len(body)), "x-cos-meta-a": "b"}


@pytest.mark.parametrize("keys", [KEYS, None], ids=["signed", "anonymous"])
@given(path=TEXT, body=st.binary(max_size=200))
def test_a_head_with_a_body_is_the_usual_one(keys: Credentials | None, path: str, body: bytes) -> None:
    heads = heads_like(usual("/", with_body(b"x"), method="PUT", keys=keys), keys, KEY_TIME, body=True)
    made = heads.of(f"/{path}", hashlib.md5(body).digest(), len(body))
    assert made == head_of(usual(f"/{path}", with_body(body), method="PUT", keys=keys))


@pytest.mark.parametrize("keys", [KEYS, None], ids=["signed", "anonymous"])
def test_a_head_without_a_body_is_the_usual_one(keys: Credentials | None) -> None:
    headers = {**HOST, "range": "bytes=0-1"}
    heads = heads_like(usual("/", headers, method="GET", keys=keys), keys, KEY_TIME, body=False)
    # All lengths of the text that is signed, so all places at which a block of SHA-1 can end; also beyond the stack.
    for length in (*range(300), 5000):
        path = "/" + "é "[:length] + "x" * (length - 2)
        assert heads.of(path) == head_of(usual(path, headers, method="GET", keys=keys))


@pytest.mark.parametrize("length", [0, 1, 2**32, 2**64 - 1])
def test_lengths_are_written_whole(length: int) -> None:
    heads = RequestHeads(method=b"PUT ", after_path=b"", after_body=b"", end=b"")
    assert heads.of("/", bytes(16), length).endswith(b"\r\ncontent-length: %d\r\n" % length)


@pytest.mark.parametrize("length", [0, 20, 40, 64])
def test_a_key_may_fill_a_block(length: int) -> None:
    key = "k" * length
    signing: dict[str, Any] = {} if not key else {"sign_key": key.encode(), "to_sign": b"sha1\n1;2\n"}
    heads = RequestHeads(method=b"", after_path=b" ", after_body=b"", end=b"", **signing)
    digest = hashlib.sha1(b"/k").hexdigest()
    expected = sign._hmac(key, f"sha1\n1;2\n{digest}\n".encode()) if key else ""
    assert heads.of("/k") == f"/k {expected}".encode()


def test_what_does_not_fit_is_refused() -> None:
    pieces: dict[str, bytes] = dict.fromkeys(("method", "after_path", "after_body", "end"), b"")
    with pytest.raises(ValueError, match="longer than a block"):
        RequestHeads(**pieces, sign_key=bytes(65), to_sign=b"x")
    for one in ("sign_key", "to_sign"):
        with pytest.raises(ValueError, match="without a text to sign, or the other way round"):
            RequestHeads(**pieces, **{one: b"x"})
    heads = RequestHeads(**pieces)
    with pytest.raises(ValueError, match="16 bytes"):
        heads.of("/", bytes(15), 1)
    for length in (-1, 2**64):
        with pytest.raises(OverflowError):
            heads.of("/", bytes(16), length)
    with pytest.raises(UnicodeEncodeError):
        heads.of("/\ud800")


def test_headers_between_the_two_of_the_body_are_refused() -> None:
    headers = {**HOST, "content-md5": "x", "a": "b", "content-length": "1"}
    with pytest.raises(ValueError, match="other headers are between them"):
        heads_like(usual("/", headers, method="PUT", keys=KEYS), KEYS, KEY_TIME, body=True)
