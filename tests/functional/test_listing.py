"""Listings over sockets: pages, iterators, names that XML cannot hold, versions, and servers that break the rules."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

import pytest

import cosxfer
from cosxfer.cos.requests import HttpRequest
from cosxfer.cos.responses import HttpResponse
from cosxfer.server import RunningServer, running
from cosxfer.transport.memory import MemoryTransport
from tests.functional.server_client import ServerClient

KEYS = sorted(
    ["a", "b/1", "b/2", "b/c/3", "c +%é", "ctl\x01", "cr\r", "d&<>", "//lead", " space ", "z\U0001f680", "z\uffff"],
    key=lambda key: key.removeprefix("/").encode(),
)


@pytest.fixture(scope="module")
def filled(server: RunningServer) -> Iterator[cosxfer.Client]:
    with cosxfer.Client(endpoint=server.endpoint, credentials=server.credentials) as client:
        for key in KEYS:
            client.put_object(server.bucket, key, key, storage_class="STANDARD_IA")
        yield client


def test_a_page_has_the_objects_in_the_order_of_their_bytes(filled: cosxfer.Client, server: RunningServer) -> None:
    page = filled.list_objects(server.bucket)
    assert [entry.key for entry in page.objects] == KEYS
    assert (page.bucket, page.is_truncated, page.next_marker, page.common_prefixes) == (server.bucket, False, "", ())
    first = page.objects[KEYS.index("a")]
    head = filled.head_object(server.bucket, "a")
    assert (first.size, first.etag, first.storage_class) == (1, head.etag, "STANDARD_IA")
    assert first.last_modified.endswith(".000Z")
    assert first.owner is not None
    assert not hasattr(first, "__dict__")


@pytest.mark.parametrize("max_keys", [1, 2, 3, 5, 1000])
def test_pages_of_any_size_make_the_same_listing(filled: cosxfer.Client, server: RunningServer, max_keys: int) -> None:
    assert [entry.key for entry in filled.iter_list_objects(server.bucket, max_keys=max_keys)] == KEYS
    grouped = list(filled.iter_list_objects(server.bucket, delimiter="/", max_keys=max_keys))
    prefixes = [entry.prefix for entry in grouped if isinstance(entry, cosxfer.CommonPrefix)]
    names = [entry.key for entry in grouped if isinstance(entry, cosxfer.ListedObject)]
    assert sorted(prefixes) == ["//", "b/"]
    assert names == [key for key in KEYS if "/" not in key]


def test_prefix_and_marker(filled: cosxfer.Client, server: RunningServer) -> None:
    assert [entry.key for entry in filled.list_objects(server.bucket, prefix="/b/").objects] == ["b/1", "b/2", "b/c/3"]
    assert [entry.key for entry in filled.iter_list_objects(server.bucket, prefix="b/", marker="b/1")] == [
        "b/2",
        "b/c/3",
    ]
    inner = filled.list_objects(server.bucket, prefix="b/", delimiter="/")
    assert ([entry.key for entry in inner.objects], inner.common_prefixes) == (["b/1", "b/2"], ("b/c/",))


def test_the_asynchronous_iterator_lists_the_same(filled: cosxfer.Client, server: RunningServer) -> None:
    async def main() -> list[str]:
        async with cosxfer.AsyncClient(endpoint=server.endpoint, credentials=server.credentials) as client:
            return [entry.key async for entry in client.iter_list_objects(server.bucket, max_keys=4)]

    assert asyncio.run(main()) == KEYS


def test_listing_is_retried(filled: cosxfer.Client, server: RunningServer, no_faults: None) -> None:
    server.set_faults([{"operation": "list_objects", "attempt": [1, 3], "do": "reset", "at": "answer"}])
    assert [entry.key for entry in filled.iter_list_objects(server.bucket, max_keys=5)] == KEYS


def test_a_missing_bucket_is_an_error(filled: cosxfer.Client) -> None:
    with pytest.raises(cosxfer.NotFoundError, match="NoSuchBucket"):
        list(filled.iter_list_objects("missing-1250000000"))


# Versions


def set_versioning(server: RunningServer, status: str) -> None:
    document = f"<VersioningConfiguration><Status>{status}</Status></VersioningConfiguration>".encode()
    with closing(ServerClient(server)) as raw:
        assert raw("PUT", params={"versioning": ""}, body=document).status == 200


def shown(entries: Iterator[object]) -> list[tuple[str, str, bool]]:
    return [
        (entry.key, "marker" if isinstance(entry, cosxfer.DeleteMarker) else str(entry.size), entry.is_latest)
        for entry in entries
        if isinstance(entry, cosxfer.DeleteMarker | cosxfer.ObjectVersion)
    ]


@pytest.mark.parametrize("max_keys", [1, 2, 3, 1000])
def test_versions_and_markers_keep_the_order_of_the_document(max_keys: int) -> None:
    with (
        running() as server,
        cosxfer.Client(endpoint=server.endpoint, credentials=server.credentials) as client,
    ):
        bucket = server.bucket
        client.put_object(bucket, "a", b"1")
        assert {entry.version_id for entry in client.list_object_versions(bucket).versions} == {""}
        set_versioning(server, "Enabled")
        second = client.put_object(bucket, "a", b"12").version_id
        client.put_object(bucket, "b", b"123")
        marker = client.delete_object(bucket, "a")
        third = client.put_object(bucket, "a", b"1234").version_id
        set_versioning(server, "Suspended")
        client.put_object(bucket, "c\x01", b"12345")
        listed = list(client.iter_list_object_versions(bucket, max_keys=max_keys))
        assert shown(iter(listed)) == [
            ("a", "4", True),
            ("a", "marker", False),
            ("a", "2", False),
            ("a", "1", False),
            ("b", "3", True),
            ("c\x01", "5", True),
        ]
        assert [entry.version_id for entry in listed[:4] if not isinstance(entry, cosxfer.CommonPrefix)] == [
            third,
            marker.version_id,
            second,
            "null",
        ]
        assert marker.delete_marker
        assert client.get_object(bucket, "a", version_id="null").body == b"1"
        # Deleting while the listing goes on skips nothing.
        entries = client.iter_list_object_versions(bucket, prefix="a", max_keys=1)
        assert len([client.delete_objects(bucket, [entry]) for entry in entries]) == 4
        assert shown(client.iter_list_object_versions(bucket, prefix="a")) == []


# Servers that break the rules


def listing_client(pages: Callable[[dict[str, str]], str]) -> cosxfer.Client:
    def respond(request: HttpRequest, body: bytes) -> HttpResponse:
        query = dict(parse_qsl(request.target.partition("?")[2], keep_blank_values=True))
        return HttpResponse(status=200, headers={}, body=pages(query).encode())

    return cosxfer.Client(
        region="ap-x", secret_id="i", secret_key="k", transport=MemoryTransport(respond), max_attempts=1
    )


def document(*keys: str, following: str | None = None, extra: str = "") -> str:
    truncated = "" if following is None else f"<NextMarker>{escape(following)}</NextMarker>"
    entries = "".join(f"<Contents><Key>{escape(key)}</Key><Size>1</Size></Contents>" for key in keys)
    state = str(following is not None).lower()
    return (
        f"<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>{state}</IsTruncated>"
        f"{truncated}{entries}{extra}</ListBucketResult>"
    )


BUCKET = "examplebucket-1250000000"


@pytest.mark.parametrize("cycle", [1, 2, 3, 7])
def test_a_server_that_repeats_its_markers_is_an_error_and_no_endless_loop(cycle: int) -> None:
    calls = 0

    def pages(query: dict[str, str]) -> str:
        nonlocal calls
        calls += 1
        return document("k", following=f"m{calls % cycle}")

    with listing_client(pages) as client, pytest.raises(cosxfer.ProtocolError, match="no new marker"):
        list(client.iter_list_objects(BUCKET))
    assert calls <= 4 * cycle + 2


def test_a_truncated_page_without_a_marker_is_an_error() -> None:
    with listing_client(lambda _: document("k", following="")) as client, pytest.raises(cosxfer.ProtocolError):
        list(client.iter_list_objects(BUCKET))


def test_a_marker_may_be_a_common_prefix() -> None:
    asked: list[str] = []

    def pages(query: dict[str, str]) -> str:
        asked.append(query.get("marker", ""))
        group = "<CommonPrefixes><Prefix>b/%20x/</Prefix></CommonPrefixes>"
        return document(following="b/%20x/", extra=group) if len(asked) == 1 else document("c")

    with listing_client(pages) as client:
        entries = list(client.iter_list_objects(BUCKET, delimiter="/"))
    assert asked == ["", "b/ x/"]
    assert entries[0] == cosxfer.CommonPrefix(prefix="b/ x/")


@pytest.mark.parametrize(
    ("page", "why"),
    [
        (document("%ff"), "not UTF-8"),
        (document(""), "no Key"),
        (document(extra="<Contents><Key>k</Key><Size>x</Size></Contents>"), "Size"),
        ("<ListBucketResult>", "not well-formed"),
        ("<!DOCTYPE x><ListBucketResult/>", "document type"),
        ("<Other/>", "not <ListBucketResult>"),
    ],
)
def test_a_page_that_cos_would_not_send_is_an_error(page: str, why: str) -> None:
    with listing_client(lambda _: page) as client, pytest.raises(cosxfer.ProtocolError, match=why):
        client.list_objects(BUCKET)


def test_names_are_always_requested_encoded_and_empty_parameters_are_left_out() -> None:
    asked: list[dict[str, str]] = []

    def pages(query: dict[str, str]) -> str:
        asked.append(query)
        return document("a%2Bb+c%20d")

    with listing_client(pages) as client:
        page = client.list_objects(BUCKET, prefix="", delimiter="", marker="", max_keys=7)
    assert asked == [{"max-keys": "7", "encoding-type": "url"}]
    assert page.objects[0].key == "a+b+c d"


def test_a_name_space_of_the_server_does_not_matter() -> None:
    page = document("k").replace("<ListBucketResult>", '<ListBucketResult xmlns="http://doc.example.com/2006-03-01">')
    with listing_client(lambda _: page) as client:
        assert [entry.key for entry in client.list_objects(BUCKET).objects] == ["k"]
