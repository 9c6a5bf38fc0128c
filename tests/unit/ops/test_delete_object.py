"""DELETE Object: one object and never a bucket."""

from __future__ import annotations

import pytest

import cosxfer
from cosxfer.cos.requests import HttpRequest
from cosxfer.cos.responses import HttpResponse
from tests.unit.fake_cos import BUCKET, FakeCos, lose_response, refuse


def test_an_object_is_deleted_and_a_missing_one_is_no_error(cos: FakeCos) -> None:
    with cos.blocking_client() as client:
        client.put_object(BUCKET, "k", b"x")
        for _ in range(2):
            result = client.delete_object(BUCKET, "k")
            assert (result.status_code, result.version_id, result.delete_marker) == (204, None, False)
    assert not cos.objects


def test_a_version_is_named_and_a_marker_is_reported(cos: FakeCos) -> None:
    def marker(request: HttpRequest, proceed: object) -> HttpResponse:
        assert request.target == "/k?versionId=v1"
        return HttpResponse(status=204, headers={"x-cos-version-id": "v2", "x-cos-delete-marker": "true"})

    cos.fault("delete_object", marker)
    with cos.blocking_client() as client:
        result = client.delete_object(BUCKET, "k", version_id="v1")
    assert (result.version_id, result.delete_marker) == ("v2", True)


@pytest.mark.parametrize("key", ["", "/", ".", "a/..", "./", "//"])
def test_a_key_that_stands_for_the_bucket_is_never_sent(cos: FakeCos, key: str) -> None:
    with cos.blocking_client() as client, pytest.raises(cosxfer.UsageError):
        client.delete_object(BUCKET, key)
    assert not cos.calls


def test_a_lost_response_is_retried_and_a_refusal_is_not(cos: FakeCos) -> None:
    cos.fault("delete_object", lose_response)
    with cos.blocking_client() as client:
        assert client.delete_object(BUCKET, "k").status_code == 204
        assert cos.count("delete_object") == 2
        cos.fault("delete_object", refuse(403, "AccessDenied"))
        with pytest.raises(cosxfer.AccessDeniedError, match="DELETE Object 'k'"):
            client.delete_object(BUCKET, "k")
    assert cos.count("delete_object") == 3
