"""pytest-benchmark over signatures: of any request, and of the requests of a batch, which share what is prepared once.

Asserts nothing about time.
"""

from __future__ import annotations

from base64 import b64decode
from itertools import count

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from cosxfer._native import RequestHeads
from cosxfer.cos import sign
from cosxfer.cos.endpoint import resolve_endpoint
from cosxfer.cos.requests import HttpRequest
from cosxfer.credentials import Credentials
from cosxfer.ops.begun import heads_like

KEYS = Credentials(secret_id="AKIDexample", secret_key="example", token=None)
ENDPOINT = resolve_endpoint(
    "https://{bucket}.cos.ap-guangzhou.myqcloud.com", bucket="examplebucket-1250000000", region=None
)
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


def test_prepared_head_of_a_put(benchmark: BenchmarkFixture, numbers: count[int]) -> None:
    heads = prepared("PUT", PUT_HEADERS, body=True)
    md5 = b64decode(PUT_HEADERS["content-md5"])
    assert b"q-signature=" in benchmark(lambda: heads.of(f"/folder/object-{next(numbers)}.bin", md5, 16384))


def test_prepared_head_of_a_get(benchmark: BenchmarkFixture, numbers: count[int]) -> None:
    heads = prepared("GET", GET_HEADERS, body=False)
    assert b"q-signature=" in benchmark(lambda: heads.of(f"/folder/object-{next(numbers)}.bin"))


def prepared(method: str, headers: dict[str, str], *, body: bool) -> RequestHeads:
    value = sign.authorization(KEYS, method=method, path="/", params={}, headers=headers, key_time=KEY_TIME)
    template = HttpRequest(
        method=method,
        endpoint=ENDPOINT,
        target="/",
        headers={**headers, "authorization": value},
    )
    return heads_like(template, KEYS, KEY_TIME, body=body)


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
