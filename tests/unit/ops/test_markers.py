"""Every iterator over pages ends if the server repeats its markers, in a cycle of any length."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import cosxfer
from cosxfer.cos.requests import HttpRequest
from cosxfer.cos.responses import HttpResponse
from cosxfer.errors import ProtocolError
from cosxfer.ops.listing import Markers
from cosxfer.transport.memory import MemoryTransport

BUCKET = "examplebucket-1250000000"

PAGES: dict[str, tuple[Callable[[cosxfer.Client], Any], str]] = {
    "objects": (
        lambda client: client.iter_list_objects(BUCKET),
        "<ListBucketResult><IsTruncated>true</IsTruncated><NextMarker>{}</NextMarker></ListBucketResult>",
    ),
    "versions": (
        lambda client: client.iter_list_object_versions(BUCKET),
        "<ListVersionsResult><IsTruncated>true</IsTruncated><NextKeyMarker>k</NextKeyMarker>"
        "<NextVersionIdMarker>{}</NextVersionIdMarker></ListVersionsResult>",
    ),
    "uploads": (
        lambda client: client.iter_multipart_list(BUCKET),
        "<ListMultipartUploadsResult><IsTruncated>true</IsTruncated><NextKeyMarker>k</NextKeyMarker>"
        "<NextUploadIdMarker>{}</NextUploadIdMarker></ListMultipartUploadsResult>",
    ),
    "buckets": (
        lambda client: client.iter_list_buckets(),
        "<ListAllMyBucketsResult><IsTruncated>true</IsTruncated><NextMarker>{}</NextMarker></ListAllMyBucketsResult>",
    ),
}


@pytest.mark.parametrize("cycle", [1, 2, 5])
@pytest.mark.parametrize("what", PAGES)
def test_a_cycle_of_markers_is_an_error(what: str, cycle: int) -> None:
    iterate, page = PAGES[what]
    calls = 0

    def respond(request: HttpRequest, body: bytes) -> HttpResponse:
        nonlocal calls
        calls += 1
        assert calls < 100, "the listing does not end"
        return HttpResponse(status=200, headers={}, body=page.format(f"m{calls % cycle}").encode())

    transport = MemoryTransport(respond)
    with (
        cosxfer.Client(region="ap-x", secret_id="i", secret_key="k", transport=transport, max_attempts=1) as client,
        pytest.raises(ProtocolError, match="no new marker"),
    ):
        list(iterate(client))


@pytest.mark.parametrize("cycle", range(1, 60))
@pytest.mark.parametrize("before", [0, 1, 7])
def test_a_cycle_is_found_soon_wherever_it_begins(before: int, cycle: int) -> None:
    markers = Markers("List", "")

    def walk() -> None:
        for page in range(before + 4 * (before + cycle)):
            markers.following(f"{page}" if page < before else f"c{page % cycle}")

    with pytest.raises(ProtocolError):
        walk()


def test_markers_that_advance_are_followed_for_ever() -> None:
    markers = Markers("List", "")
    assert [markers.following(f"{page}") for page in range(3000)] == [f"{page}" for page in range(3000)]
