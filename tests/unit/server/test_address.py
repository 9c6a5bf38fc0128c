"""The bucket and key that a host and a path name."""

from __future__ import annotations

import pytest

from cosxfer.server.address import Address, locate

ONE = {"examplebucket-1250000000"}
TWO = {"examplebucket-1250000000", "other-1250000000"}


@pytest.mark.parametrize(
    ("host", "path", "buckets", "expected"),
    [
        ("b-1.cos.ap-beijing.myqcloud.com", "/a/b", ONE, Address("b-1", "a/b")),
        ("b-1.cos.ap-beijing.myqcloud.com", "/", ONE, Address("b-1", "")),
        ("B-1.COS.ap-beijing.myqcloud.com:443", "/x", ONE, Address("b-1", "x")),
        ("b-1.cos-internal.ap-beijing.tencentcos.cn", "/x", ONE, Address("b-1", "x")),
        ("b-1.cos.accelerate.myqcloud.com", "//x", ONE, Address("b-1", "/x")),
        ("b-1.localhost:8080", "/x", ONE, Address("b-1", "x")),
        ("127.0.0.1:8080", "/examplebucket-1250000000/a/b", ONE, Address("examplebucket-1250000000", "a/b")),
        ("127.0.0.1:8080", "/examplebucket-1250000000", ONE, Address("examplebucket-1250000000", "")),
        ("127.0.0.1:8080", "/examplebucket-1250000000/", ONE, Address("examplebucket-1250000000", "")),
        ("[::1]:8080", "/other-1250000000/x", TWO, Address("other-1250000000", "x")),
        # If there is only one bucket, the client's domain may be the server's address.
        ("127.0.0.1:8080", "/a/b", ONE, Address("examplebucket-1250000000", "a/b")),
        ("localhost", "/", ONE, Address("examplebucket-1250000000", "")),
        ("localhost", "/backup-2024/x", ONE, Address("examplebucket-1250000000", "backup-2024/x")),
        ("localhost", "//x", ONE, Address("examplebucket-1250000000", "/x")),
        # A mistyped bucket is not taken for a key.
        ("localhost", "/examplebuckets-1250000000/x", ONE, Address("examplebuckets-1250000000", "x")),
        ("localhost", "/whatever/x", TWO, Address("whatever", "x")),
        # The service.
        ("service.cos.myqcloud.com", "/", ONE, Address(None, "")),
        ("cos.ap-beijing.myqcloud.com", "/", ONE, Address(None, "")),
        ("localhost", "/", TWO, Address(None, "")),
        ("cos.ap-beijing.myqcloud.com", "/other-1250000000/x", TWO, Address("other-1250000000", "x")),
    ],
)
def test_host_and_path_name_bucket_and_key(host: str, path: str, buckets: set[str], expected: Address) -> None:
    assert locate(host=host, path=path, buckets=buckets) == expected
