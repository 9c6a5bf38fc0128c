"""Documents beyond what COS sends: parsing stops early, with little memory."""

from __future__ import annotations

import asyncio
import threading
import tracemalloc

import pytest

from cosxfer.cos import responses, xml
from cosxfer.cos.responses import HttpResponse
from cosxfer.errors import ProtocolError, ServerError
from cosxfer.ops import listing as listing_module
from cosxfer.ops.listing import listing

MANY = b"<R>" + b"<a/>" * (4 * 1024 * 1024 - 100) + b"</R>"
BOMBS = {
    "elements": MANY,
    "attributes": b"<R>" + b'<a b="" c="" d="" e=""/>' * 200_000 + b"</R>",
    "one tag": b"<R " + b" ".join(b'a%d=""' % n for n in range(500_000)) + b"/>",
    "name spaces": b"<R " + b" ".join(b'xmlns:a%d="u"' % n for n in range(200_000)) + b"/>",
    "depth": b"<R>" * 1_000_000,
    "one text": b"<R>" + b"&amp;" * 1_000_000 + b"</R>",
}


@pytest.mark.parametrize("bounds", [xml.SMALL, xml.LISTING, xml.ANY], ids=["small", "listing", "any"])
@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_a_bomb_is_refused_with_little_memory(bomb: bytes, bounds: xml.Bounds) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(xml.XmlError):
            xml.parse(bomb, bounds=bounds)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 48 * 1024 * 1024


def test_an_error_that_is_a_bomb_is_a_server_error_without_a_code() -> None:
    error = responses.error_of(HttpResponse(status=500, headers={}, body=MANY), operation="GET Object k")
    assert isinstance(error, ServerError)
    assert (error.code, len(str(error)) < 1000) == ("", True)


@pytest.mark.parametrize("root", ["InitiateMultipartUploadResult", "CompleteMultipartUploadResult", "PostResponse"])
def test_the_result_of_one_request_is_small(root: str) -> None:
    body = b"<%s>%s</%s>" % (root.encode(), b"<a/>" * 1001, root.encode())
    with pytest.raises(ProtocolError, match="more than 1000 elements"):
        responses.document(HttpResponse(status=200, headers={}, body=body), root, operation="x")


def test_the_largest_page_that_cos_can_send_is_read() -> None:
    key = "&#38;" * 850
    entry = (
        f"<Upload><Key>{key}</Key><UploadId>{'1' * 64}</UploadId><StorageClass>STANDARD</StorageClass>"
        "<Initiator><ID>qcs::cam::uin/1:uin/1</ID><DisplayName>1</DisplayName></Initiator><Owner><ID>1</ID>"
        "<DisplayName>1</DisplayName></Owner><Initiated>2026-01-01T00:00:00Z</Initiated></Upload>"
    )
    body = f"<ListMultipartUploadsResult>{entry * 1000}</ListMultipartUploadsResult>".encode()
    root = xml.parse(body, bounds=xml.LISTING)
    assert len(root.findall("Upload")) == 1000
    assert xml.text_of(root[0], "Key") == "&" * 850


def test_a_large_page_is_parsed_off_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[bool] = []
    usual = listing_module.parse_page

    def watched(document: bytes, *, root: str) -> object:
        threads.append(threading.current_thread() is threading.main_thread())
        return usual(document, root=root)

    monkeypatch.setattr(listing_module, "parse_page", watched)

    async def main() -> None:
        for count in (1, 10_000):
            body = b"<R>" + b"<A> </A>" * count + b"</R>"
            root = await listing(HttpResponse(status=200, headers={}, body=body), "R", operation="List Parts")
            assert root.tag == "R"

    asyncio.run(main())
    assert threads == [True, False]


def test_a_character_in_two_pieces_is_read_whole_and_one_that_is_cut_is_refused() -> None:
    before = b"<R>" + b"<A/>" * (xml.PIECE_BYTES // 4 - 1) + b"x"
    assert before[: xml.PIECE_BYTES] == before
    assert xml.parse(before[:-1] + "€".encode() + b"</R>")[-1].tail == "€"
    with pytest.raises(xml.XmlError, match="not UTF-8"):
        xml.parse(before + "€".encode()[:2])
