"""Whether a request for / is about the service or about the only bucket."""

from __future__ import annotations

import pytest

from cosxfer.server.address import Address, locate, may_list_buckets

ONE = ["examplebucket-1250000000"]


@pytest.mark.parametrize(
    ("query", "service"),
    [
        ([], True),
        (["region", "marker", "max-keys"], True),
        (["q-sign-algorithm", "q-ak", "x-cos-security-token"], True),
        (["prefix"], False),
        (["marker", "encoding-type"], False),
        (["versioning"], False),
        (["location"], False),
        (["uploads"], False),
        (["acl"], False),
    ],
)
def test_only_parameters_of_the_service_mean_the_service(query: list[str], service: bool) -> None:
    assert may_list_buckets("GET", query) is service
    assert not may_list_buckets("PUT", query)
    found = locate(host="127.0.0.1:9000", path="/", buckets=ONE, service=may_list_buckets("GET", query))
    assert found == Address(None if service else ONE[0], "")
