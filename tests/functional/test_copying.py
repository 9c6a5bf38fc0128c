"""Copies over sockets: one request or parts, proven by CRC64, pinned to their source, with faults."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

import cosxfer
from cosxfer import CopySource
from cosxfer._native import hashing
from cosxfer.cos.requests import HttpRequest
from cosxfer.cos.responses import HttpResponse
from cosxfer.limits import MIB
from cosxfer.server import RunningServer, running
from cosxfer.transport.memory import MemoryTransport
from tests.functional.server_client import ServerClient

OTHER = "other-1250000000"
KEY = "src é+%?#&=/x y"
BODY = os.urandom(5 * MIB + 3)
PARTS = {"slice_size": MIB, "part_size": MIB}


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running(buckets=("examplebucket-1250000000", OTHER)) as server:
        yield server


@pytest.fixture
def client(server: RunningServer, no_faults: None) -> Iterator[cosxfer.Client]:
    with cosxfer.Client(
        endpoint=server.endpoint, region="ap-guangzhou", credentials=server.credentials, max_attempts=3
    ) as client:
        yield client


@pytest.fixture
def source(client: cosxfer.Client, server: RunningServer) -> CopySource:
    """An object with everything that a copy can keep or lose."""
    client.put_object(
        server.bucket,
        KEY,
        BODY,
        content_type="text/x",
        cache_control="max-age=5",
        content_disposition="inline",
        metadata={"colour": "red"},
        storage_class="STANDARD_IA",
    )
    client.put_object_tagging(server.bucket, KEY, tags={"k +": "v w"})
    client.put_object_acl(server.bucket, KEY, acl="public-read")
    return CopySource(bucket=server.bucket, key=KEY)


def seen(client: cosxfer.Client, bucket: str, key: str) -> dict[str, Any]:
    got = client.get_object(bucket, key)
    return {
        "type": got.content_type,
        "cache": got.headers.get("cache-control"),
        "metadata": dict(got.metadata),
        "class": got.storage_class,
        "tags": dict(client.get_object_tagging(bucket, key).tags),
        "rights": client.get_object_acl(bucket, key).is_default,
        "body": got.body == BODY,
    }


ALL = {
    "type": "text/x",
    "cache": "max-age=5",
    "metadata": {"colour": "red"},
    "class": "STANDARD_IA",
    "tags": {"k +": "v w"},
    "rights": True,
    "body": True,
}


def test_one_request_copies_metadata_and_tags_but_neither_class_nor_rights(
    client: cosxfer.Client, source: CopySource
) -> None:
    result = client.copy_object(OTHER, "one", source)
    assert result.crc64 == hashing.crc64(BODY)
    assert seen(client, OTHER, "one") == {**ALL, "class": "STANDARD"}


def test_one_request_replaces_metadata_and_tags_on_demand(client: cosxfer.Client, source: CopySource) -> None:
    client.copy_object(
        OTHER,
        "replaced.txt",
        source,
        metadata_directive="Replaced",
        metadata={"new": "1"},
        storage_class="STANDARD_IA",
        tags={"t": "u"},
        acl="public-read",
    )
    assert seen(client, OTHER, "replaced.txt") == {
        **ALL,
        "type": "text/plain",
        "cache": None,
        "metadata": {"new": "1"},
        "tags": {"t": "u"},
        "rights": False,
    }


@pytest.mark.parametrize(
    "ignored", [{"metadata": {"a": "b"}}, {"content_type": "text/x"}, {"cache_control": "no-store"}]
)
@pytest.mark.parametrize("call", ["copy", "copy_object", "move"])
def test_metadata_that_cos_would_ignore_are_refused(
    client: cosxfer.Client, source: CopySource, call: str, ignored: dict[str, Any]
) -> None:
    with pytest.raises(cosxfer.UsageError, match="would be ignored: pass metadata_directive"):
        getattr(client, call)(OTHER, "x", source, **ignored)


@pytest.mark.parametrize("options", [{}, PARTS], ids=["one request", "parts"])
def test_a_copy_keeps_everything_but_the_rights_and_is_proven(
    client: cosxfer.Client, source: CopySource, options: dict[str, Any]
) -> None:
    reports: list[cosxfer.Progress] = []
    result = client.copy(OTHER, "kept", source, on_progress=reports.append, **options)
    assert (result.verified, result.size, result.crc64) == (True, len(BODY), hashing.crc64(BODY))
    assert (result.parts, bool(result.upload_id)) == ((6, True) if options else (1, False))
    assert (reports[-1].loaded, reports[-1].total) == (len(BODY), len(BODY))
    assert seen(client, OTHER, "kept") == ALL


@pytest.mark.parametrize("options", [{}, PARTS], ids=["one request", "parts"])
def test_a_copy_onto_itself_changes_the_class_and_keeps_the_rest(
    client: cosxfer.Client, source: CopySource, options: dict[str, Any]
) -> None:
    assert client.copy(source.bucket, source.key, source, storage_class="STANDARD", **options).verified
    assert seen(client, source.bucket, source.key) == {**ALL, "class": "STANDARD"}


def test_the_asynchronous_copy_and_an_empty_object(client: cosxfer.Client, server: RunningServer) -> None:
    async def main() -> cosxfer.CopyResult:
        async with cosxfer.AsyncClient(
            endpoint=server.endpoint, region="ap-guangzhou", credentials=server.credentials
        ) as other:
            await other.put_object(server.bucket, "empty", b"")
            return await other.copy(OTHER, "empty", {"Bucket": server.bucket, "Key": "empty", "Region": "ap-beijing"})

    result = asyncio.run(main())
    assert (result.size, result.verified, client.get_object(OTHER, "empty").body) == (0, True, b"")


@pytest.mark.parametrize(
    "fault",
    [
        {"operation": "copy_object", "do": "reset", "at": "answer"},
        {"operation": "copy_object", "do": "reset"},
        {"operation": "copy_object", "do": "error", "status": 200, "code": "InternalError", "at": "answer"},
        {"operation": "copy_object", "do": "error", "status": 503, "code": "SlowDown"},
        {"operation": "copy_object", "do": "truncate", "after_bytes": 20},
    ],
    ids=lambda fault: f"{fault['do']} {fault.get('status', '')}{fault.get('at', '')}",
)
def test_one_request_that_fails_for_the_moment_is_repeated(
    client: cosxfer.Client, server: RunningServer, source: CopySource, fault: dict[str, Any]
) -> None:
    server.set_faults([{**fault, "attempt": 1}])
    result = client.copy(OTHER, "again", source)
    assert (result.verified, result.retries) == (True, 1)
    assert client.get_object(OTHER, "again").body == BODY


@pytest.mark.parametrize(
    "fault",
    [
        {"operation": "upload_part_copy", "do": "reset", "at": "answer"},
        {"operation": "upload_part_copy", "do": "error", "status": 200, "code": "InternalError", "at": "answer"},
        {"operation": "multipart_complete", "do": "reset", "at": "answer"},
        {"operation": "multipart_complete", "do": "error", "status": 200, "code": "InternalError", "at": "answer"},
        {"operation": "multipart_init", "do": "error", "status": 500},
    ],
    ids=lambda fault: f"{fault['operation']} {fault['do']}",
)
def test_a_copy_in_parts_survives_a_fault_of_each_kind(
    client: cosxfer.Client, server: RunningServer, source: CopySource, fault: dict[str, Any]
) -> None:
    server.set_faults([{**fault, "attempt": 1}])
    assert client.copy(OTHER, "survived", source, **PARTS).verified
    assert client.get_object(OTHER, "survived").body == BODY
    assert list(client.iter_multipart_list(OTHER)) == []


@pytest.mark.parametrize("operation", ["upload_part_copy", "multipart_complete"])
def test_the_parts_of_a_copy_that_fails_are_deleted(
    client: cosxfer.Client, server: RunningServer, source: CopySource, operation: str
) -> None:
    server.set_faults([{"operation": operation, "do": "error", "code": "AccessDenied"}])
    with pytest.raises(cosxfer.AccessDeniedError, match="was aborted; nothing is left on the server") as caught:
        client.copy(OTHER, "failed", source, **PARTS)
    assert isinstance(caught.value, cosxfer.UploadError)
    assert caught.value.aborted
    assert list(client.iter_multipart_list(OTHER)) == []
    with pytest.raises(cosxfer.NotFoundError):
        client.head_object(OTHER, "failed")


def test_the_parts_of_a_copy_that_is_cancelled_are_deleted(
    client: cosxfer.Client, server: RunningServer, source: CopySource
) -> None:
    server.set_faults([{"operation": "upload_part_copy", "do": "stall"}])

    async def main() -> None:
        async with cosxfer.AsyncClient(
            endpoint=server.endpoint, region="ap-guangzhou", credentials=server.credentials
        ) as other:
            copying = asyncio.create_task(other.copy(OTHER, "cancelled", source, **PARTS))
            # The server is another process, so only its log tells.
            while not any(r["operation"] == "multipart_init" for r in await asyncio.to_thread(server.requests)):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            copying.cancel()
            with pytest.raises(asyncio.CancelledError):
                await copying

    server.requests(clear=True)
    asyncio.run(main())
    server.set_faults([])
    assert list(client.iter_multipart_list(OTHER)) == []


class Replacing:
    """Lets the source be replaced just before a request for ``operation``, through a transport of its own."""

    def __init__(self, client: cosxfer.Client, change: Callable[[], object], *, when: Callable[[HttpRequest], bool]):
        transport = client._client._session.transport
        self._send = transport.send
        self._change, self._when = change, when
        self.done = False
        transport.send = self.send  # type: ignore[method-assign]

    async def send(self, request: HttpRequest) -> HttpResponse:
        if not self.done and self._when(request):
            self.done = True
            await asyncio.to_thread(self._change)
        return await self._send(request)


@pytest.mark.parametrize("options", [{}, PARTS], ids=["one request", "parts"])
def test_a_source_that_is_replaced_meanwhile_makes_no_mixture(
    client: cosxfer.Client, server: RunningServer, source: CopySource, options: dict[str, Any]
) -> None:
    with cosxfer.Client(endpoint=server.endpoint, credentials=server.credentials) as other:
        Replacing(
            client,
            lambda: other.put_object(source.bucket, source.key, os.urandom(len(BODY))),
            when=lambda request: "x-cos-copy-source" in request.headers and "partNumber=1&" not in request.target,
        )
        with pytest.raises(cosxfer.ServerError) as caught:
            client.copy(OTHER, "mixed", source, **options)
    assert caught.value.status == 412
    told = [str(caught.value), *caught.value.__notes__]
    assert any("has changed since the copy began" in text for text in told)
    with pytest.raises(cosxfer.NotFoundError):
        client.head_object(OTHER, "mixed")


def test_each_part_is_pinned_to_the_source(client: cosxfer.Client, source: CopySource) -> None:
    pinned: list[str | None] = []

    def look(request: HttpRequest) -> bool:
        if "x-cos-copy-source-range" in request.headers:
            pinned.append(request.headers.get("x-cos-copy-source-if-match"))
        return False

    Replacing(client, lambda: None, when=look)
    etag = client.head_object(source.bucket, source.key).etag
    client.copy(OTHER, "pinned", source, **PARTS)
    assert pinned == [etag] * 6


def test_a_copy_that_differs_from_its_source_is_an_error_and_stays(
    client: cosxfer.Client, server: RunningServer, source: CopySource
) -> None:
    server.set_faults([{"operation": "multipart_complete", "do": "wrong_crc64"}])
    with pytest.raises(cosxfer.IntegrityError, match="is not its source"):
        client.copy(OTHER, "differs", source, **PARTS)
    assert client.get_object(OTHER, "differs").body == BODY


@pytest.mark.parametrize("options", [{}, PARTS], ids=["one request", "parts"])
def test_a_source_without_a_crc64_is_copied_but_not_verified_and_not_moved(
    client: cosxfer.Client, server: RunningServer, source: CopySource, options: dict[str, Any]
) -> None:
    server.set_faults([{"operation": "head_object", "key": KEY.replace("?", "*"), "do": "no_crc64"}])
    assert not client.copy(OTHER, "old", source, **options).verified
    with pytest.raises(cosxfer.IntegrityError, match="not proven") as caught:
        client.move(OTHER, "old2", source, **options)
    assert "was not deleted" in caught.value.__notes__[-1]
    assert client.get_object(source.bucket, source.key).body == BODY


@pytest.mark.parametrize("options", [{}, PARTS], ids=["one request", "parts"])
def test_a_move_deletes_the_source_at_last(client: cosxfer.Client, source: CopySource, options: dict[str, Any]) -> None:
    assert client.move(OTHER, "moved", source, **options).verified
    assert seen(client, OTHER, "moved") == ALL
    with pytest.raises(cosxfer.NotFoundError):
        client.head_object(source.bucket, source.key)


def test_a_move_keeps_a_source_that_was_replaced_after_the_copy(
    client: cosxfer.Client, server: RunningServer, source: CopySource
) -> None:
    heads = 0

    def second_head(request: HttpRequest) -> bool:
        nonlocal heads
        heads += request.method == "HEAD"
        return heads == 2

    with cosxfer.Client(endpoint=server.endpoint, credentials=server.credentials) as other:
        Replacing(client, lambda: other.put_object(source.bucket, source.key, b"new"), when=second_head)
        with pytest.raises(cosxfer.IntegrityError, match="was replaced while it was copied"):
            client.move(OTHER, "moved2", source)
    assert client.get_object(source.bucket, source.key).body == b"new"


def test_a_move_onto_itself_is_refused(client: cosxfer.Client, source: CopySource) -> None:
    with pytest.raises(cosxfer.UsageError, match="the source of a move is its target"):
        client.move(source.bucket, source.key, source)
    assert client.get_object(source.bucket, source.key).body == BODY


def test_a_named_version_is_copied_and_moved(client: cosxfer.Client, server: RunningServer) -> None:
    document = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    with running() as versioned, closing(ServerClient(versioned)) as raw:
        assert raw("PUT", params={"versioning": ""}, body=document).status == 200
        with cosxfer.Client(
            endpoint=versioned.endpoint, region="ap-guangzhou", credentials=versioned.credentials
        ) as other:
            bucket = versioned.bucket
            first = other.put_object(bucket, "k", b"first").version_id
            other.put_object(bucket, "k", b"second")
            old = CopySource(bucket=bucket, key="k", version_id=first)
            result = other.copy_object(bucket, "copy", old)
            assert (result.source_version_id, other.get_object(bucket, "copy").body) == (first, b"first")
            assert other.move(bucket, "moved", old).verified
            assert [v.version_id == first for v in other.iter_list_object_versions(bucket, prefix="k")] == [False]
            # Without a version, the pinned one is the latest, and the source gets a delete marker.
            assert other.move(bucket, "moved", CopySource(bucket=bucket, key="k")).verified
            assert other.get_object(bucket, "moved").body == b"second"
            versions = list(other.iter_list_object_versions(bucket, prefix="k"))
            assert [isinstance(entry, cosxfer.DeleteMarker) for entry in versions] == [True, False]


def test_parts_by_hand(client: cosxfer.Client, source: CopySource) -> None:
    upload_id = client.multipart_init(OTHER, "by hand").upload_id
    etag = client.head_object(source.bucket, source.key).etag
    ranges = [(0, 2 * MIB - 1), (2 * MIB, len(BODY) - 1)]
    parts = [
        client.upload_part_copy(
            OTHER, "by hand", source, upload_id=upload_id, part_number=n, byte_range=one, if_match=etag
        )
        for n, one in enumerate(ranges, 1)
    ]
    done = client.multipart_complete(
        OTHER, "by hand", upload_id=upload_id, parts=[(part.part_number, part.etag) for part in parts]
    )
    assert done.crc64 == hashing.crc64(BODY)


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        ({"if_match": '"0"'}, 412),
        ({"if_none_match": "*"}, 412),
        ({"if_unmodified_since": "Sat, 01 Jan 2000 00:00:00 GMT"}, 412),
        ({"if_modified_since": "Fri, 01 Jan 2100 00:00:00 GMT"}, 412),
        ({"if_match": '"0"', "if_none_match": '"0"'}, 400),
    ],
)
def test_conditions_on_the_source(
    client: cosxfer.Client, source: CopySource, condition: dict[str, str], status: int
) -> None:
    with pytest.raises(cosxfer.ServerError) as caught:
        client.copy_object(OTHER, "conditional", source, **condition)  # type: ignore[arg-type]
    assert caught.value.status == status


@pytest.mark.parametrize(
    "body",
    [b"", b"<CopyObjectResult/>", b"<Other/>", b"<CopyObjectResult><ETag>e</ETag>", b"  \n "],
)
def test_a_200_without_an_outcome_is_no_success(body: bytes) -> None:
    def answer(request: HttpRequest, sent: bytes) -> HttpResponse:
        return HttpResponse(status=200, headers={}, body=body)

    with (
        cosxfer.Client(region="ap-x", secret_id="i", secret_key="k", transport=MemoryTransport(answer)) as client,
        pytest.raises(cosxfer.ProtocolError),
    ):
        client.copy_object("a-1", "k", CopySource(bucket="b-1", key="k"))


def test_spaces_before_the_outcome_are_skipped() -> None:
    found = b"   \n  <CopyObjectResult><ETag>e</ETag><CRC64>18446744073709551615</CRC64></CopyObjectResult>"

    def answer(request: HttpRequest, sent: bytes) -> HttpResponse:
        assert request.headers["x-cos-copy-source"] == "b-1.cos.ap-x.myqcloud.com/%2B%25%20"
        return HttpResponse(status=200, headers={}, body=found)

    with cosxfer.Client(region="ap-x", secret_id="i", secret_key="k", transport=MemoryTransport(answer)) as client:
        assert client.copy_object("a-1", "k", CopySource(bucket="b-1", key="+% ")).crc64 == 2**64 - 1
