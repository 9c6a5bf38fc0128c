"""pytest-benchmark over signatures: of any request, and of the requests of a batch, which share what is prepared once.

Asserts nothing about time.
"""

from __future__ import annotations

from itertools import count

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from cosxfer.cos import sign
from cosxfer.credentials import Credentials

KEYS = Credentials(secret_id="AKIDexample", secret_key="example", token=None)
KEY_TIME = sign.key_time(1.7e9, life_seconds=900)
PUT_HEADERS = {
    "host": "examplebucket-1250000000.cos.ap-guangzhou.myqcloud.com",
    "content-type": "application/octet-stream",
    "content-md5": "XrY7u+Ae7tCTyyK7j1rNww==",
    "content-length": "16384",
}
GET_HEADERS = {"host": PUT_HEADERS["host"], "range": "bytes=0-1048575"}


@pytest.fixture
def numbers() -> count[int]:
    """Each request has another path, as in a batch."""
    return count()


def test_authorization_of_a_put(benchmark: BenchmarkFixture, numbers: count[int]) -> None:
    def once() -> str:
        path = f"/folder/object-{next(numbers)}.bin"
        return sign.authorization(KEYS, method="PUT", path=path, params={}, headers=PUT_HEADERS, key_time=KEY_TIME)

    assert "q-signature=" in benchmark(once)


def test_authorization_of_a_part(benchmark: BenchmarkFixture, numbers: count[int]) -> None:
    def once() -> str:
        params = {"partNumber": str(next(numbers)), "uploadId": "1585130821cbb7df1d11846c073ad648e8f33b087cec2381df43"}
        return sign.authorization(
            KEYS, method="PUT", path="/large.bin", params=params, headers=PUT_HEADERS, key_time=KEY_TIME
        )

    assert "q-signature=" in benchmark(once)


def test_prepared_signature_of_a_put(benchmark: BenchmarkFixture, numbers: count[int]) -> None:
    signer = sign.PutSigner(KEYS, headers=PUT_HEADERS, key_time=KEY_TIME)

    def once() -> str:
        return signer.of(f"/folder/object-{next(numbers)}.bin", 16384, PUT_HEADERS["content-md5"])

    assert len(benchmark(once)) == 40


def test_prepared_signature_of_a_get(benchmark: BenchmarkFixture, numbers: count[int]) -> None:
    signer = sign.PathSigner(KEYS, method="GET", params={}, headers=GET_HEADERS, key_time=KEY_TIME)
    assert len(benchmark(lambda: signer.of(f"/folder/object-{next(numbers)}.bin"))) == 40


def test_parameters_of_a_presigned_url(benchmark: BenchmarkFixture, numbers: count[int]) -> None:
    def once() -> dict[str, str]:
        path = f"/folder/object-{next(numbers)}.bin"
        return sign.presigned_params(
            KEYS, method="GET", path=path, params={}, headers={"host": PUT_HEADERS["host"]}, key_time=KEY_TIME
        )

    assert "q-signature" in benchmark(once)


def test_a_new_sign_key(benchmark: BenchmarkFixture, numbers: count[int]) -> None:
    def once() -> str:
        return sign.sign_key("example", f"{next(numbers)};1")

    assert len(benchmark(once)) == 40


def test_a_server_checks_a_signature(benchmark: BenchmarkFixture) -> None:
    header = sign.authorization(
        KEYS, method="PUT", path="/object.bin", params={}, headers=PUT_HEADERS, key_time=KEY_TIME
    )

    def once() -> bool:
        parsed = sign.parse_authorization(header)
        assert parsed is not None
        return parsed.matches(secret_key="example", method="PUT", path="/object.bin", params={}, headers=PUT_HEADERS)

    assert benchmark(once)
