"""What a discarding server remembers: the names that were used last."""

from __future__ import annotations

import re

import pytest

from cosxfer.server import discard
from tests.unit.server.asking import Server


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discard, "REMEMBERED", 3)


def _put(server: Server, name: bytes) -> None:
    assert server.ask("discard", "PUT", b"/bucket/" + name, body=b"content")[0] == 200


def _status(server: Server, name: bytes) -> int:
    return server.ask("discard", "HEAD", b"/bucket/" + name)[0]


def test_the_oldest_object_is_forgotten(server: Server) -> None:
    for name in (b"a1", b"a2", b"a3", b"a4"):
        _put(server, name)
    assert [_status(server, name) for name in (b"a1", b"a2", b"a3", b"a4")] == [404, 200, 200, 200]


def test_an_object_that_is_sent_again_is_not_the_oldest(server: Server) -> None:
    for name in (b"b1", b"b2", b"b3", b"b1", b"b4"):
        _put(server, name)
    assert [_status(server, name) for name in (b"b1", b"b2", b"b3", b"b4")] == [200, 404, 200, 200]


def test_an_upload_that_goes_on_is_not_the_oldest(server: Server) -> None:
    def begin() -> bytes:
        body = server.ask("discard", "POST", b"/bucket/whole", b"uploads")[1]
        found = re.search(rb"<UploadId>(\w+)<", body)
        assert found is not None
        return found[1]

    def part(upload_id: bytes, number: bytes) -> None:
        query = b"partNumber=" + number + b"&uploadId=" + upload_id
        assert server.ask("discard", "PUT", b"/bucket/whole", query, body=b"content")[0] == 200

    upload_id = begin()
    part(upload_id, b"1")
    for _ in range(2):
        begin()
    part(upload_id, b"2")
    begin()
    part(upload_id, b"3")
    assert server.ask("discard", "POST", b"/bucket/whole", b"uploadId=" + upload_id, body=b"<x/>")[0] == 200
    contents = server.apps["discard"]._objects["/bucket/whole"]
    assert contents.size == 3 * len(b"content")
