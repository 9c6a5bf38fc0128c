"""Calls accept every key that a result or a listing shows. A key that XML cannot hold begins no upload."""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

import cosxfer
from cosxfer.address import shown_key
from cosxfer.cos import xml
from cosxfer.cos.identifiers import check_key
from cosxfer.cos.requests import HttpRequest
from cosxfer.cos.responses import HttpResponse
from cosxfer.limits import MIB
from tests.unit.fake_cos import BUCKET, FakeCos, document, lose_response
from tests.unit.files import write

KEYS = [("x", "x", "x"), ("/x", "x", "x"), ("//x", "/x", "//x"), ("///x", "//x", "///x"), ("a//b/", "a//b/", "a//b/")]
"""Keys as given, as sent and as shown."""


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20))
def test_a_key_that_is_shown_leads_back_to_the_same_object(text: str) -> None:
    try:
        sent = check_key(text)
    except cosxfer.UsageError:
        return
    assert check_key(shown_key(sent)) == sent


@pytest.mark.parametrize("key", ["", "/", "//", "///"])
def test_a_key_of_slashes_alone_is_refused(key: str) -> None:
    with pytest.raises(cosxfer.UsageError):
        check_key(key)


@pytest.mark.parametrize(("given", "sent", "shown"), KEYS)
@pytest.mark.parametrize("size", [1000, 2 * MIB + 5])
def test_the_key_of_an_upload_finds_its_object(
    cos: FakeCos, tmp_path: Path, given: str, sent: str, shown: str, size: int
) -> None:
    path = write(tmp_path / "f", size)

    async def main() -> None:
        async with cos.client() as client:
            task = client.submit_upload_file(BUCKET, given, path)
            result = await task.result()
            assert set(cos.objects) == {sent}
            assert result.key == task.info.key == shown
            assert result.location.endswith(f"/{sent}")
            for key in (given, result.key):
                assert (await client.head_object(BUCKET, key)).size == size

    asyncio.run(main())


@pytest.mark.parametrize(("given", "sent", "shown"), KEYS)
def test_a_multipart_upload_is_found_by_the_keys_that_are_shown(
    cos: FakeCos, given: str, sent: str, shown: str
) -> None:
    async def main() -> None:
        async with cos.client() as client:
            init = await client.multipart_init(BUCKET, given)
            assert init.key == shown
            part = await client.multipart_upload(BUCKET, init.key, b"x", upload_id=init.upload_id, part_number=1)
            listed = await client.multipart_list_part(BUCKET, init.key, upload_id=init.upload_id)
            assert listed.key == shown
            [upload] = (await client.multipart_list(BUCKET)).uploads
            assert upload.key == shown
            done = await client.multipart_complete(BUCKET, upload.key, upload_id=init.upload_id, parts=[part])
            assert done.key == shown
            assert set(cos.objects) == {sent}
            init = await client.multipart_init(BUCKET, given)
            [upload] = (await client.multipart_list(BUCKET)).uploads
            await client.multipart_abort(BUCKET, upload.key, upload_id=upload.upload_id)
            assert not cos.uploads

    asyncio.run(main())


def test_the_object_of_a_lost_complete_has_the_location_of_its_key(cos: FakeCos, tmp_path: Path) -> None:
    cos.fault("multipart_complete", lose_response)
    path = write(tmp_path / "f", 2 * MIB + 5)

    async def main() -> cosxfer.UploadResult:
        async with cos.client() as client:
            return await client.upload_file(BUCKET, "/x", path)

    result = asyncio.run(main())
    assert result.key == "x"
    assert result.location.endswith(".com/x")


def test_prefix_and_markers_of_a_listing_follow_the_rule_of_keys(cos: FakeCos) -> None:
    seen: list[str] = []

    def response(request: HttpRequest, proceed: object) -> HttpResponse:
        seen.append(request.target)
        return document(
            "ListMultipartUploadsResult",
            [
                ("Prefix", "/a"),
                ("KeyMarker", "/a/b"),
                ("NextKeyMarker", "/a/c"),
                ("Upload", [("Key", "/a/c"), ("UploadId", "u")]),
                ("CommonPrefixes", [("Prefix", "/a/d/")]),
            ],
        )

    cos.fault("multipart_list", response, times=9)

    async def main() -> None:
        async with cos.client() as client:
            await client.multipart_list(BUCKET, prefix="/a", key_marker="/b")
            page = await client.multipart_list(BUCKET, prefix="//a", key_marker="//a/b")
            assert (page.prefix, page.key_marker, page.next_key_marker) == ("//a", "//a/b", "//a/c")
            assert page.uploads[0].key == "//a/c"
            assert page.common_prefixes == ("//a/d/",)

    asyncio.run(main())
    assert "prefix=a&key-marker=b" in seen[0]
    assert "prefix=%2Fa&key-marker=%2Fa%2Fb" in seen[1]


NOT_XML = ["a\x01b", "a\x0bb", "a\x1fb", "a\ufffeb", "a\uffff"]


@pytest.mark.parametrize("key", NOT_XML)
def test_a_key_that_xml_cannot_hold_begins_no_multipart_upload(cos: FakeCos, tmp_path: Path, key: str) -> None:
    path = write(tmp_path / "f", 2 * MIB + 5)

    async def main() -> None:
        async with cos.client() as client:
            for call in (
                lambda: client.multipart_init(BUCKET, key),
                lambda: client.upload_file(BUCKET, key, path),
                lambda: client.slice_upload_file(BUCKET, key, path),
                lambda: client.multipart_complete(
                    BUCKET, key, upload_id="u", parts=[cosxfer.Part(part_number=1, etag="e")]
                ),
            ):
                with pytest.raises(cosxfer.UsageError, match="which XML cannot hold"):
                    await call()  # type: ignore[no-untyped-call]
            assert not cos.calls
            await client.put_object(BUCKET, key, b"one request")
            assert set(cos.objects) == {key}

    asyncio.run(main())


@pytest.mark.parametrize("key", ["a\tb", "a\nb", "a\rb", "a\r\nb", " a ", "a]]>b", "a&amp;b", "\U0001f600"])
def test_a_key_that_xml_can_hold_is_returned_unchanged(cos: FakeCos, tmp_path: Path, key: str) -> None:
    path = write(tmp_path / "f", 2 * MIB + 5)

    async def main() -> None:
        async with cos.client() as client:
            assert (await client.multipart_init(BUCKET, key)).key == key
            [upload] = (await client.multipart_list(BUCKET)).uploads
            assert upload.key == key
            await client.multipart_abort(BUCKET, upload.key, upload_id=upload.upload_id)
            assert (await client.upload_file(BUCKET, key, path)).key == key
            assert set(cos.objects) == {key}

    asyncio.run(main())


@pytest.mark.parametrize("key", [*NOT_XML, "a\rb"])
def test_foreign_uploads_of_such_keys_are_listed_and_can_be_aborted(cos: FakeCos, key: str) -> None:
    """The server puts the raw key into its document."""

    def raw(request: HttpRequest, proceed: object) -> HttpResponse:
        url = "encoding-type=url" in request.target
        shown = quote(key) if url else key
        kind = "<EncodingType>url</EncodingType>" if url else ""
        body = f"<ListMultipartUploadsResult>{kind}<Upload><Key>{shown}</Key><UploadId>u</UploadId></Upload>"
        return HttpResponse(status=200, headers={}, body=f"{body}</ListMultipartUploadsResult>".encode())

    def parts(request: HttpRequest, proceed: object) -> HttpResponse:
        shown = quote(key) if "encoding-type=url" in request.target else key
        body = f"<ListPartsResult><Key>{shown}</Key></ListPartsResult>"
        return HttpResponse(status=200, headers={}, body=body.encode())

    cos.fault("multipart_list", raw, times=9)
    cos.fault("multipart_list_part", parts, times=9)
    cos.fault("multipart_abort", lambda request, proceed: HttpResponse(status=204, headers={}))

    async def main() -> None:
        async with cos.client() as client:
            [upload] = (await client.multipart_list(BUCKET)).uploads
            assert upload.key == key
            assert (await client.multipart_list_part(BUCKET, key, upload_id="u")).key == key
            await client.multipart_abort(BUCKET, upload.key, upload_id=upload.upload_id)

    asyncio.run(main())
    assert cos.calls[-1].request.target == f"/{quote(key)}?uploadId=u"


UNREADABLE = [b"", b"<html/>", b"<InitiateMultipartUploadResult><Key>a\x01</Key>", b"<InitiateMultipartUploadResult/>"]


@pytest.mark.parametrize("body", UNREADABLE)
def test_an_initiate_that_cannot_be_read_says_that_an_upload_may_have_begun(
    cos: FakeCos, tmp_path: Path, body: bytes
) -> None:
    cos.fault("multipart_init", lambda request, proceed: HttpResponse(status=200, headers={}, body=body), times=9)
    path = write(tmp_path / "f", 2 * MIB + 5)

    async def main() -> None:
        async with cos.client() as client:
            for call in (
                lambda: client.multipart_init(BUCKET, "k"),
                lambda: client.upload_file(BUCKET, "k", path),
                lambda: client.slice_upload_file(BUCKET, "k", path),
            ):
                with pytest.raises(cosxfer.ProtocolError) as caught:
                    await call()  # type: ignore[no-untyped-call]
                assert "an empty multipart upload of this key: multipart_list shows it" in "".join(
                    caught.value.__notes__
                )

    asyncio.run(main())


def test_a_lost_response_to_initiate_says_that_an_upload_may_have_begun(cos: FakeCos) -> None:
    cos.fault("multipart_init", lose_response, times=9)

    async def main() -> None:
        async with cos.client(max_attempts=1) as client:
            await client.multipart_init(BUCKET, "k")

    with pytest.raises(cosxfer.TransportError) as caught:
        asyncio.run(main())
    assert "may have begun" in "".join(caught.value.__notes__)


def test_documents_of_the_server_contain_only_characters_of_xml() -> None:
    for text in NOT_XML:
        with pytest.raises(xml.XmlError):
            xml.build("a", text)
