from __future__ import annotations

import base64
from hashlib import md5

import pytest

from cosxfer.server import encryption
from cosxfer.server.http import CosError

SSE = "x-cos-server-side-encryption"
KEY = b"0123456789ABCDEF0123456789ABCDEF"


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def customer(key: bytes = KEY, **changed: str) -> dict[str, str]:
    headers = {"algorithm": "AES256", "key": b64(key), "key-md5": b64(md5(key).digest()), **changed}
    return {f"{SSE}-customer-{name}": value for name, value in headers.items() if value}


def test_the_key_of_the_documents_example_has_the_documents_md5() -> None:
    headers = customer()
    assert headers[f"{SSE}-customer-key-md5"] == "U5L61r7jcwdNvT7frmUG8g=="
    assert encryption.wanted(headers, scheme="https") == {
        f"{SSE}-customer-algorithm": "AES256",
        f"{SSE}-customer-key-md5": "U5L61r7jcwdNvT7frmUG8g==",
    }


@pytest.mark.parametrize(
    ("headers", "kept"),
    [
        ({}, {}),
        ({"x-cos-meta-a": "b"}, {}),
        ({SSE: "AES256"}, {SSE: "AES256"}),
        (
            {SSE: "cos/kms", f"{SSE}-cos-kms-key-id": "id", f"{SSE}-context": b64(b'{"a": "b"}')},
            {SSE: "cos/kms", f"{SSE}-cos-kms-key-id": "id"},
        ),
        ({SSE: "cos/kms"}, {SSE: "cos/kms", f"{SSE}-cos-kms-key-id": encryption.DEFAULT_KMS_KEY_ID}),
    ],
)
def test_requested_encryption_is_stored_without_secrets(headers: dict[str, str], kept: dict[str, str]) -> None:
    assert encryption.wanted(headers, scheme="http") == kept
    assert encryption.response_headers({**kept, "x-cos-meta-a": "b"}) == kept


@pytest.mark.parametrize(
    "headers",
    [
        {SSE: "aes256"},
        {SSE: "AES789"},
        {SSE: "AES256", f"{SSE}-context": b64(b"{}")},
        {f"{SSE}-cos-kms-key-id": "id"},
        {f"{SSE}-context": b64(b"{}")},
        *({SSE: "cos/kms", f"{SSE}-context": value} for value in ("{}", b64(b"{"), b64(b"[]"), b64(b'{"a": 1}'), "")),
        {SSE: "cos/kms", f"{SSE}-context": b64(b"[" * 100_000)},
        {**customer(), SSE: "AES256"},
        customer(algorithm=""),
        customer(algorithm="AES128"),
        customer(key=KEY[:31]),
        customer(key=KEY + b"x"),
        {**customer(), f"{SSE}-customer-key": "not base64"},
        {**customer(), f"{SSE}-customer-key-md5": b64(md5(b"another").digest())},
        {**customer(), f"{SSE}-customer-key-md5": ""},
        {f"{SSE}-customer-key": b64(KEY)},
    ],
)
def test_wrong_encryption_headers_are_an_invalid_argument(headers: dict[str, str]) -> None:
    with pytest.raises(CosError) as error:
        encryption.wanted(headers, scheme="https")
    assert error.value.code == "InvalidArgument"
    assert b64(KEY) not in str(error.value)


def test_a_customers_key_needs_tls() -> None:
    for check in (
        lambda: encryption.wanted(customer(), scheme="http"),
        lambda: encryption.check_part(customer(), {}, scheme="http"),
        lambda: encryption.check_reading(customer(), {}, scheme="http"),
    ):
        with pytest.raises(CosError, match=r"InvalidRequest: .*HTTPS"):
            check()


def test_only_the_same_key_fits() -> None:
    kept = encryption.wanted(customer(), scheme="https")
    encryption.check_part(customer(), kept, scheme="https")
    encryption.check_reading(customer(), kept, scheme="https")
    encryption.check_reading({}, {SSE: "cos/kms"}, scheme="https")
    for given, stored in (({}, kept), (customer(bytes(32)), kept), (customer(), {}), (customer(), {SSE: "AES256"})):
        with pytest.raises(CosError, match="InvalidRequest"):
            encryption.check_part(given, stored, scheme="https")
        with pytest.raises(CosError, match="SsecDecryptHeaderInvalid"):
            encryption.check_reading(given, stored, scheme="https")


def test_the_etag_is_the_md5_unless_the_key_is_not_cos_own() -> None:
    digest = md5(b"content").digest()
    assert encryption.etag_of(digest, {}) == encryption.etag_of(digest, {SSE: "AES256"}) == digest.hex()
    kms, customers = {SSE: "cos/kms"}, encryption.wanted(customer(), scheme="https")
    opaque = [encryption.etag_of(digest, kept) for kept in (kms, kms, customers, customers)]
    assert len({digest.hex(), *opaque}) == 5
    assert all(len(bytes.fromhex(etag)) == 16 for etag in opaque)
