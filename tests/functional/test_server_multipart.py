"""The six multipart operations, their limits, and what happens between them."""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from server_client import ServerClient, sign

from cosxfer.limits import MIB
from cosxfer.server import RunningServer, running


@pytest.fixture
def client(server: RunningServer) -> Iterator[ServerClient]:
    client = ServerClient(server)
    yield client
    client.close()


def files(server: RunningServer, folder: str = "bodies") -> set[str]:
    return {path.name for path in (server.root / folder).iterdir()}


def test_metadata_and_class_are_those_of_initiate(client: ServerClient) -> None:
    headers = {"content-type": "video/mp4", "x-cos-meta-a": "b", "x-cos-storage-class": "ARCHIVE"}
    upload_id = client.begin("described", headers=headers)
    etag = client.part("described", upload_id, 1, b"x").headers["etag"]
    assert client.complete("described", upload_id, [(1, etag)]).status == 200
    head = client("HEAD", "described").headers
    assert {name: head[name] for name in headers} == headers


def test_a_part_uploaded_again_replaces_the_first(client: ServerClient) -> None:
    upload_id = client.begin("again")
    first = client.part("again", upload_id, 1, b"first").headers["etag"]
    second = client.part("again", upload_id, 1, b"second").headers["etag"]
    assert client.complete("again", upload_id, [(1, first)]).code == "InvalidPart"
    assert client.complete("again", upload_id, [(1, second)]).status == 200
    assert client("GET", "again").body == b"second"


def test_complete_may_use_some_of_the_parts(client: ServerClient, server: RunningServer) -> None:
    upload_id = client.begin("chosen")
    etags = {n: client.part("chosen", upload_id, n, bytes([n % 256]) * MIB).headers["etag"] for n in (2, 5, 9999)}
    assert client.complete("chosen", upload_id, [(2, etags[2]), (9999, etags[9999])]).status == 200
    assert client("GET", "chosen").body == b"\x02" * MIB + b"\x0f" * MIB
    assert not [name for name in files(server) if name.startswith("chosen.part5~")]


def test_all_parts_but_the_last_need_a_mebibyte(client: ServerClient) -> None:
    upload_id = client.begin("small")
    small = client.part("small", upload_id, 1, b"x" * (MIB - 1)).headers["etag"]
    last = client.part("small", upload_id, 2, b"x").headers["etag"]
    assert client.complete("small", upload_id, [(1, small), (2, last)]).code == "EntityTooSmall"
    assert client.complete("small", upload_id, [(1, small)]).status == 200


@pytest.mark.parametrize("numbers", [(2, 1), (1, 1)])
def test_parts_must_come_in_order(client: ServerClient, numbers: tuple[int, int]) -> None:
    upload_id = client.begin("order")
    etag = client.part("order", upload_id, 1, b"x" * MIB).headers["etag"]
    client.part("order", upload_id, 2, b"x" * MIB)
    response = client.complete("order", upload_id, [(number, etag) for number in numbers])
    assert (response.status, response.code) == (400, "InvalidPartOrder")


def test_a_missing_part_is_invalid(client: ServerClient) -> None:
    upload_id = client.begin("missing")
    etag = client.part("missing", upload_id, 1, b"x" * MIB).headers["etag"]
    response = client.complete("missing", upload_id, [(1, etag), (2, etag)])
    assert (response.status, response.code) == (400, "InvalidPart")


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"not xml",
        b"<CompleteMultipartUpload/>",
        b"<Other><Part/></Other>",
        b"<CompleteMultipartUpload><Part><PartNumber>one</PartNumber></Part></CompleteMultipartUpload>",
        b'<!DOCTYPE x [<!ENTITY a "b">]><CompleteMultipartUpload/>',
        b"<CompleteMultipartUpload><Part>",
    ],
)
def test_a_malformed_document_is_refused(client: ServerClient, document: bytes) -> None:
    upload_id = client.begin("malformed")
    response = client("POST", "malformed", params={"uploadId": upload_id}, body=document)
    assert (response.status, response.code) == (400, "MalformedXML")


def test_an_upload_is_identified_by_id_and_key(client: ServerClient) -> None:
    upload_id = client.begin("mine")
    for key, other in (("mine", "unknown"), ("other", upload_id)):
        params = {"uploadId": other}
        assert client.part(key, other, 1, b"x").code == "NoSuchUpload"
        assert client("GET", key, params=params).code == "NoSuchUpload"
        assert client("DELETE", key, params=params).code == "NoSuchUpload"
        assert client.complete(key, other, [(1, "x")]).code == "NoSuchUpload"


def test_an_aborted_upload_leaves_nothing(client: ServerClient, server: RunningServer) -> None:
    before = files(server)
    upload_id = client.begin("aborted")
    client.part("aborted", upload_id, 1, b"x" * MIB)
    assert files(server) != before
    response = client("DELETE", "aborted", params={"uploadId": upload_id})
    assert (response.status, response.body) == (204, b"")
    assert files(server) == before
    assert client("DELETE", "aborted", params={"uploadId": upload_id}).code == "NoSuchUpload"


def test_a_completed_upload_is_gone(client: ServerClient) -> None:
    upload_id = client.begin("done")
    etag = client.part("done", upload_id, 1, b"x").headers["etag"]
    assert client.complete("done", upload_id, [(1, etag)]).status == 200
    assert client.complete("done", upload_id, [(1, etag)]).code == "NoSuchUpload"


def test_an_abort_wins_over_a_part_in_flight(client: ServerClient, server: RunningServer) -> None:
    before = files(server)
    upload_id = client.begin("overtaken")

    def body() -> Iterator[bytes]:
        yield b"x" * MIB
        assert client("DELETE", "overtaken", params={"uploadId": upload_id}).status == 204
        yield b"y" * MIB

    other = ServerClient(server)
    assert other.part("overtaken", upload_id, 1, body()).code == "NoSuchUpload"
    other.close()
    assert files(server) == before
    assert files(server, "incoming") == set()


def test_a_client_that_disconnects_leaves_no_files(client: ServerClient, server: RunningServer) -> None:
    before = files(server)
    upload_id = client.begin("gone")
    for params in (None, {"partNumber": "1", "uploadId": upload_id}):
        request = sign(server, "PUT", "gone", params=params, headers={"content-length": "1000000"})
        with socket.create_connection((server.host, server.port)) as connection:
            lines = [f"PUT {request.target} HTTP/1.1", *(f"{n}: {v}" for n, v in request.headers.items()), "", ""]
            connection.sendall("\r\n".join(lines).encode() + b"x" * 100_000)
    while files(server, "incoming"):
        time.sleep(0.01)
    assert files(server) == before
    assert client("HEAD", "gone").status == 404
    assert client("GET", "gone", params={"uploadId": upload_id}).texts("PartNumber") == []


def test_of_concurrent_puts_one_remains(server: RunningServer, client: ServerClient) -> None:
    bodies = [bytes([n]) * (4 * MIB) for n in range(4)]

    def put(body: bytes) -> int:
        own = ServerClient(server)
        try:
            return own("PUT", "contested", body=body).status
        finally:
            own.close()

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(put, bodies)) == {200}
    got = client("GET", "contested")
    assert got.body in bodies
    assert got.headers["etag"] == f'"{hashlib.md5(got.body).hexdigest()}"'
    assert len([name for name in files(server) if name.startswith("contested~")]) == 1


def test_parts_are_listed_page_by_page(client: ServerClient) -> None:
    upload_id = client.begin("paged ü")
    sizes = {n: n + 1 for n in (1, 3, 4, 10, 10_000)}
    etags = {n: client.part("paged ü", upload_id, n, b"x" * size).headers["etag"] for n, size in sizes.items()}
    seen: dict[int, tuple[str, int]] = {}
    marker = "0"
    while True:
        params = {"uploadId": upload_id, "max-parts": "2", "part-number-marker": marker, "encoding-type": "url"}
        page = client("GET", "paged ü", params=params)
        assert page.text("Key") == "paged%20%C3%BC"
        assert (page.text("MaxParts"), page.text("PartNumberMarker")) == ("2", marker)
        for part in page.xml.iterfind("Part"):
            seen[int(part.findtext("PartNumber", ""))] = (part.findtext("ETag", ""), int(part.findtext("Size", "")))
        if page.text("IsTruncated") == "false":
            assert page.text("NextPartNumberMarker") == ""
            break
        marker = page.text("NextPartNumberMarker")
    assert seen == {n: (etags[n], size) for n, size in sizes.items()}


def test_uploads_are_listed_page_by_page(client: ServerClient) -> None:
    keys = ["u/a", "u/a", "u/b/1", "u/b/2", "u/c", "u/z z"]
    begun = [(key, client.begin(key, headers={"x-cos-storage-class": "STANDARD_IA"})) for key in keys]
    whole = client("GET", params={"uploads": "", "prefix": "u/"})
    listed = [(u.findtext("Key", ""), u.findtext("UploadId", "")) for u in whole.xml.iterfind("Upload")]
    assert listed == begun
    assert set(whole.texts("StorageClass")) == {"STANDARD_IA"}
    shown: list[str] = []
    key_marker = id_marker = ""
    while True:
        params = {
            "uploads": "",
            "prefix": "u/",
            "delimiter": "/",
            "max-uploads": "1",
            "key-marker": key_marker,
            "upload-id-marker": id_marker,
            "encoding-type": "url",
        }
        page = client("GET", params=params)
        shown += [element.text or "" for element in page.xml.iterfind("Upload/UploadId")]
        shown += [element.text or "" for element in page.xml.iterfind("CommonPrefixes/Prefix")]
        if page.text("IsTruncated") == "false":
            break
        key_marker, id_marker = page.text("NextKeyMarker"), page.text("NextUploadIdMarker")
    ids = [upload_id for key, upload_id in begun if "/b/" not in key]
    assert shown == [*ids[:2], "u/b/", *ids[2:]]


def test_a_key_marker_alone_skips_the_whole_key(client: ServerClient) -> None:
    for key in ("m/a", "m/a", "m/b"):
        client.begin(key)
    response = client("GET", params={"uploads": "", "prefix": "m/", "key-marker": "m/a"})
    assert response.texts("Key") == ["m/b"]


def test_everything_survives_a_restart(tmp_path: object) -> None:
    with running(root=f"{tmp_path}/root") as first:
        client = ServerClient(first)
        client("PUT", "kept", body=b"kept", headers={"x-cos-meta-a": "b"})
        upload_id = client.begin("unfinished")
        etag = client.part("unfinished", upload_id, 1, b"part").headers["etag"]
        client("PUT", bucket="made-1250000000")
        client.close()
    (first.root / "incoming" / "left-over").write_bytes(b"half")
    with running(root=first.root) as second:
        client = ServerClient(second)
        got = client("GET", "kept")
        assert (got.body, got.headers["x-cos-meta-a"]) == (b"kept", "b")
        assert client.complete("unfinished", upload_id, [(1, etag)]).status == 200
        assert client("GET", "unfinished").body == b"part"
        assert client("HEAD", bucket="made-1250000000").status == 200
        assert files(second, "incoming") == set()
        client.close()
