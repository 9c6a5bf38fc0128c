"""The six multipart operations: arguments, responses and bodies."""

from __future__ import annotations

import asyncio
import hashlib
from base64 import b64encode
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

import cosxfer
from cosxfer.cos.requests import HttpRequest
from cosxfer.cos.responses import HttpResponse
from cosxfer.errors import ConnectError
from cosxfer.limits import GIB, MIB
from tests.unit.fake_cos import BUCKET, FakeCos, change, document, error, lose_response, refuse
from tests.unit.files import content_of, write

Use = Callable[[cosxfer.AsyncClient], Awaitable[object]]


def run(cos: FakeCos, use: Use) -> object:
    async def main() -> object:
        async with cos.client() as client:
            return await use(client)

    return asyncio.run(main())


PART = cosxfer.Part(part_number=1, etag='"e"')

REFUSED: dict[str, tuple[str, Use]] = {
    "upload without an id": (
        "upload_id",
        lambda c: c.multipart_upload(BUCKET, "k", b"x", upload_id="", part_number=1),
    ),
    "complete without an id": ("upload_id", lambda c: c.multipart_complete(BUCKET, "k", upload_id="", parts=[PART])),
    # Without an upload ID, this request would delete the object itself.
    "abort without an id": ("upload_id", lambda c: c.multipart_abort(BUCKET, "k", upload_id="")),
    "list parts without an id": ("upload_id", lambda c: c.multipart_list_part(BUCKET, "k", upload_id="")),
    "abort with None": ("upload_id", lambda c: c.multipart_abort(BUCKET, "k", upload_id=None)),  # type: ignore[arg-type]
    "part 0": ("part_number", lambda c: c.multipart_upload(BUCKET, "k", b"x", upload_id="u", part_number=0)),
    "part 10001": ("part_number", lambda c: c.multipart_upload(BUCKET, "k", b"x", upload_id="u", part_number=10_001)),
    "part True": ("part_number", lambda c: c.multipart_upload(BUCKET, "k", b"x", upload_id="u", part_number=True)),
    "part '1a'": (
        "part_number",
        lambda c: c.multipart_upload(BUCKET, "k", b"x", upload_id="u", part_number="1a"),
    ),
    "traffic": (
        "traffic_limit",
        lambda c: c.multipart_upload(BUCKET, "k", b"x", upload_id="u", part_number=1, traffic_limit=1),
    ),
    "traffic with another header in it": (
        "traffic_limit",
        lambda c: c.multipart_upload(
            BUCKET,
            "k",
            b"x",
            upload_id="u",
            part_number=1,
            traffic_limit="819200\r\nx-a: b",  # type: ignore[arg-type]
        ),
    ),
    "no parts": ("parts", lambda c: c.multipart_complete(BUCKET, "k", upload_id="u", parts=[])),
    "a part twice": ("parts", lambda c: c.multipart_complete(BUCKET, "k", upload_id="u", parts=[PART, PART])),
    "a part without ETag": (
        "parts",
        lambda c: c.multipart_complete(BUCKET, "k", upload_id="u", parts=[cosxfer.Part(part_number=1, etag='""')]),
    ),
    "a part 0": (
        "parts",
        lambda c: c.multipart_complete(BUCKET, "k", upload_id="u", parts=[cosxfer.Part(part_number=0, etag="e")]),
    ),
    "an ETag that XML cannot hold": (
        "parts",
        lambda c: c.multipart_complete(BUCKET, "k", upload_id="u", parts=[cosxfer.Part(part_number=1, etag="\x01")]),
    ),
    "a page of 0 parts": ("max_parts", lambda c: c.multipart_list_part(BUCKET, "k", upload_id="u", max_parts=0)),
    "a page of 1001 uploads": ("max_uploads", lambda c: c.multipart_list(BUCKET, max_uploads=1001)),
    "an MD5 that is none": ("content_md5", lambda c: c.put_object(BUCKET, "k", b"x", content_md5="abc")),
    "an MD5 in hex": ("content_md5", lambda c: c.put_object(BUCKET, "k", b"x", content_md5="0" * 32)),
    "an MD5 of another alphabet": ("content_md5", lambda c: c.put_object(BUCKET, "k", b"x", content_md5="é" * 24)),
    "a body that is a number": ("body", lambda c: c.put_object(BUCKET, "k", 5)),  # type: ignore[arg-type]
    "a body with holes": ("body", lambda c: c.put_object(BUCKET, "k", memoryview(b"abcdef")[::2])),
}


@pytest.mark.parametrize(("name", "use"), REFUSED.values(), ids=REFUSED.keys())
def test_an_invalid_argument_is_refused_before_any_request(cos: FakeCos, name: str, use: Use) -> None:
    with pytest.raises(cosxfer.UsageError) as caught:
        run(cos, use)
    assert caught.value.name == name
    assert not cos.calls


def test_more_than_5_gib_in_one_request_is_refused_before_it_is_read(cos: FakeCos, tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(5 * GIB + 1)
    with pytest.raises(cosxfer.UsageError, match=str(5 * GIB)) as caught:
        run(cos, lambda client: client.put_object(BUCKET, "k", path))
    assert caught.value.name == "body"
    assert not cos.calls


@pytest.mark.parametrize("size", [0, 1, 300_000])
def test_a_body_may_be_bytes_text_a_buffer_or_a_path(cos: FakeCos, tmp_path: Path, size: int) -> None:
    path = write(tmp_path / "f", size)
    content = content_of(size)
    for body in (content, bytearray(content), memoryview(content), path):
        cos.objects.clear()
        result = run(cos, lambda client, body=body: client.put_object(BUCKET, "k", body))  # type: ignore[misc]
        assert cos.objects["k"].content == content
        assert isinstance(result, cosxfer.PutObjectResult)
        assert result.etag == f'"{hashlib.md5(content).hexdigest()}"'
    run(cos, lambda client: client.put_object(BUCKET, "k", "größer"))
    assert cos.objects["k"].content == "größer".encode()


def test_a_buffer_of_wider_items_is_sent_as_its_bytes(cos: FakeCos) -> None:
    run(cos, lambda client: client.put_object(BUCKET, "k", memoryview(b"abcdefgh").cast("Q")))
    assert cos.objects["k"].content == b"abcdefgh"


def test_content_md5_is_computed_unless_it_is_given(cos: FakeCos) -> None:
    digest = b64encode(hashlib.md5(b"x").digest()).decode()
    run(cos, lambda client: client.put_object(BUCKET, "k", b"x"))
    run(cos, lambda client: client.put_object(BUCKET, "k", b"x", content_md5=digest))
    assert {call.request.headers["content-md5"] for call in cos.calls} == {digest}
    other = b64encode(hashlib.md5(b"y").digest()).decode()
    with pytest.raises(cosxfer.ServerError, match="BadDigest"):
        run(cos, lambda client: client.put_object(BUCKET, "k", b"x", content_md5=other))


def test_a_corrupted_object_is_an_integrity_error(cos: FakeCos) -> None:
    cos.fault("put_object", change(x_cos_hash_crc64ecma="5"), times=9)
    with pytest.raises(cosxfer.IntegrityError) as caught:
        run(cos, lambda client: client.put_object(BUCKET, "k", b"123456789"))
    assert caught.value.actual == 5
    assert caught.value.expected == 11051210869376104954


@pytest.mark.parametrize("key", ["a b", "ü/ö+%25&=?#", "a//b", "a/../b", "./x/y", "~-_.", "\t\n\r\x00", "/x/", "汉字"])
def test_a_key_is_sent_unchanged_except_for_one_leading_slash(cos: FakeCos, key: str) -> None:
    result = run(cos, lambda client: client.put_object(BUCKET, key, b"x"))
    assert set(cos.objects) == {key.removeprefix("/")}
    assert isinstance(result, cosxfer.PutObjectResult)
    assert "://" not in result.location
    fetched = run(cos, lambda client: client.get_object(BUCKET, key))
    assert isinstance(fetched, cosxfer.GetObjectResult)
    assert fetched.body == b"x"


def test_metadata_is_returned_unchanged(cos: FakeCos) -> None:
    given = {"plain": "value", "X-Cos-Meta-Prefixed": "v", "utf-8": "größe ✓", "empty": ""}
    run(cos, lambda client: client.put_object(BUCKET, "k", b"x", metadata=given))
    head = run(cos, lambda client: client.head_object(BUCKET, "k"))
    assert isinstance(head, cosxfer.HeadObjectResult)
    assert head.metadata == {"plain": "value", "prefixed": "v", "utf-8": "größe ✓", "empty": ""}


def test_the_content_type_is_guessed_from_the_key(cos: FakeCos) -> None:
    for key, given, expected in (
        ("a.html", {}, "text/html"),
        ("a.unheard-of", {}, "application/octet-stream"),
        # Compressed text is not text, unless Content-Encoding tells the receiver to decompress it.
        ("a.csv.gz", {}, "application/gzip"),
        ("a.tar.bz2", {}, "application/x-bzip2"),
        ("a.xz", {}, "application/x-xz"),
        ("a.csv.gz", {"content_encoding": "gzip"}, "text/csv"),
        ("a.csv.br", {}, "application/octet-stream"),
        # A key is not a URL, so the type in a data URL does not count.
        ("data:text/html,a.png", {}, "image/png"),
        ("data:text/html\r\nx-cos-acl: public-read,a", {}, "application/octet-stream"),
        ("http://host/a.png?b", {}, "application/octet-stream"),
        ("a.html", {"content_type": "text/plain"}, "text/plain"),
        ("a.html", {"headers": {"Content-Type": "text/css"}}, "text/css"),
    ):
        run(cos, lambda client, key=key, given=given: client.put_object(BUCKET, key, b"x", **given))  # type: ignore[misc]
        assert cos.calls[-1].request.headers["content-type"] == expected


def test_the_type_of_a_key_that_looks_like_a_host_is_guessed(cos: FakeCos) -> None:
    for key in ("//[draft/a.html", "//\u2100/a.html"):
        run(cos, lambda client, key=key: client.put_object(BUCKET, key, b"x"))  # type: ignore[misc]
        assert cos.calls[-1].request.headers["content-type"] == "text/html"


@pytest.mark.parametrize(
    ("settings", "patience"),
    [
        ({}, 600.0),
        ({"complete_timeout_seconds": 90}, 90.0),
        ({"stall_timeout_seconds": 5.0, "complete_timeout_seconds": 7.5}, 7.5),
        # A longer timeout for all responses applies to Complete too.
        ({"stall_timeout_seconds": 900.0}, 900.0),
        ({"stall_timeout_seconds": 60.0, "complete_timeout_seconds": 1.0}, 60.0),
    ],
)
def test_complete_has_its_own_timeout(cos: FakeCos, settings: dict[str, float], patience: float) -> None:
    async def main() -> None:
        async with cos.client(**settings) as client:
            upload_id = (await client.multipart_init(BUCKET, "k")).upload_id
            part = await client.multipart_upload(BUCKET, "k", b"x", upload_id=upload_id, part_number=1)
            await client.multipart_complete(BUCKET, "k", upload_id=upload_id, parts=[part])

    asyncio.run(main())
    *others, complete = [call.request.stall_timeout_seconds for call in cos.calls]
    assert (set(others), complete) == ({settings.get("stall_timeout_seconds", 60.0)}, patience)


def test_complete_sorts_the_parts_and_quotes_their_etags(cos: FakeCos) -> None:
    async def use(client: cosxfer.AsyncClient) -> None:
        upload_id = (await client.multipart_init(BUCKET, "k")).upload_id
        first = await client.multipart_upload(BUCKET, "k", b"a" * (1 << 20), upload_id=upload_id, part_number=2)
        last = await client.multipart_upload(BUCKET, "k", b"b", upload_id=upload_id, part_number=10_000)
        parts = (cosxfer.Part(part_number=part.part_number, etag=part.etag.strip('"')) for part in (last, first))
        await client.multipart_complete(BUCKET, "k", upload_id=upload_id, parts=parts)

    run(cos, use)
    assert cos.objects["k"].content == b"a" * (1 << 20) + b"b"


async def one_part(client: cosxfer.AsyncClient) -> cosxfer.MultipartUploadResult:
    upload_id = (await client.multipart_init(BUCKET, "k", server_side_encryption="cos/kms")).upload_id
    return await client.multipart_upload(BUCKET, "k", b"a", upload_id=upload_id, part_number=1)


def test_without_a_crc64_multipart_upload_checks_the_etag(cos: FakeCos) -> None:
    cos.with_crc64 = False
    cos.fault("multipart_upload", change(etag='"0"'), times=9)
    with pytest.raises(cosxfer.IntegrityError, match="ETag"):
        run(cos, one_part)


def test_multipart_upload_checks_the_crc64_and_ignores_the_etag(cos: FakeCos) -> None:
    # Initiate may have requested KMS encryption, which a part's request does not show.
    cos.fault("multipart_upload", change(etag='"opaque"'))
    part = run(cos, one_part)
    assert isinstance(part, cosxfer.MultipartUploadResult)
    assert part.etag == '"opaque"'
    cos.fault("multipart_upload", change(x_cos_hash_crc64ecma="1"), times=9)
    with pytest.raises(cosxfer.IntegrityError, match="CRC64"):
        run(cos, one_part)


@pytest.mark.parametrize(
    "told",
    [
        {"x-cos-server-side-encryption": "cos/kms"},
        {"x-cos-server-side-encryption-customer-algorithm": "AES256"},
    ],
)
def test_the_etag_of_an_encrypted_part_is_not_compared(cos: FakeCos, told: dict[str, str]) -> None:
    cos.with_crc64 = False
    cos.fault("multipart_upload", change(etag='"opaque"', **told))
    part = run(cos, one_part)
    assert isinstance(part, cosxfer.MultipartUploadResult)
    assert part.etag == '"opaque"'


# -- 409: an earlier attempt at the part is still running -------------------------------------------------------------


def test_a_part_that_the_server_has_after_a_409_is_not_sent_again(cos: FakeCos) -> None:
    def stored(request: HttpRequest, proceed: Callable[[], HttpResponse]) -> HttpResponse:
        proceed()
        return error(409, "UploadConflict")

    cos.fault("multipart_upload", stored)
    part = run(cos, one_part)
    assert isinstance(part, cosxfer.MultipartUploadResult)
    assert (part.part_number, part.etag, part.status_code) == (1, f'"{hashlib.md5(b"a").hexdigest()}"', 200)
    assert cos.operations() == ["multipart_init", "multipart_upload", "multipart_list_part"]
    asked = cos.calls[-1].request.target
    assert "max-parts=1" in asked
    assert "part-number-marker=0" in asked


OTHERWISE: dict[str, Callable[[FakeCos], None]] = {
    "it is not there": lambda cos: None,
    "other bytes are there": lambda cos: cos.uploads["upload-1"].parts.update({1: b"b"}),
    "fewer bytes are there": lambda cos: cos.uploads["upload-1"].parts.update({1: b""}),
    "another part is there": lambda cos: cos.uploads["upload-1"].parts.update({2: b"a"}),
    "the parts may not be listed": lambda cos: cos.fault("multipart_list_part", refuse(403, "AccessDenied")),
}


@pytest.mark.parametrize("code", ["UploadConflict", "PathConflict", "SomethingNew"])
@pytest.mark.parametrize("otherwise", OTHERWISE.values(), ids=OTHERWISE.keys())
def test_a_part_that_the_server_lacks_after_a_409_is_sent_again(
    cos: FakeCos, waits: list[float], otherwise: Callable[[FakeCos], None], code: str
) -> None:
    def conflict(request: HttpRequest, proceed: Callable[[], HttpResponse]) -> HttpResponse:
        otherwise(cos)
        return error(409, code)

    cos.fault("multipart_upload", conflict)
    run(cos, one_part)
    assert cos.uploads["upload-1"].parts[1] == b"a"
    assert cos.operations()[1:] == ["multipart_upload", "multipart_list_part", "multipart_upload"]
    assert len(waits) == 1


def test_a_409_at_every_attempt_is_raised(cos: FakeCos) -> None:
    cos.fault("multipart_upload", refuse(409, "UploadConflict"), times=99)
    with pytest.raises(cosxfer.ServerError) as caught:
        run(cos, one_part)
    assert (caught.value.status, caught.value.code) == (409, "UploadConflict")
    assert cos.count("multipart_upload") == 5
    assert cos.count("multipart_list_part") == 5


def test_a_listing_of_uploads_is_read_whole_and_decoded(cos: FakeCos) -> None:
    response = document(
        "ListMultipartUploadsResult",
        [
            ("Bucket", BUCKET),
            ("Encoding-Type", "url"),
            ("Prefix", "a%20b"),
            ("Delimiter", "%2F"),
            ("NextKeyMarker", "a%20b/%E6%B1%89"),
            ("NextUploadIdMarker", "u%202"),
            ("MaxUploads", 2),
            ("IsTruncated", "true"),
            (
                "Upload",
                [
                    ("Key", "a%20b/%E6%B1%89"),
                    ("UploadId", "u%202"),
                    ("StorageClass", "STANDARD"),
                    ("Initiator", [("ID", "me"), ("DisplayName", "Me")]),
                    ("Initiated", "2024-01-01T00:00:00Z"),
                ],
            ),
            ("CommonPrefixes", [("Prefix", "a%20b/x/")]),
            ("CommonPrefixes", [("Prefix", "a%20b/y/")]),
        ],
    )
    cos.fault("multipart_list", lambda request, proceed: response)
    page = run(cos, lambda client: client.multipart_list(BUCKET, encoding_type="url", max_uploads=2, prefix="a b"))
    assert isinstance(page, cosxfer.MultipartListResult)
    assert (page.prefix, page.delimiter, page.is_truncated, page.max_uploads) == ("a b", "/", True, 2)
    # An upload ID is never encoded.
    assert (page.next_key_marker, page.next_upload_id_marker) == ("a b/汉", "u%202")
    [upload] = page.uploads
    assert (upload.key, upload.upload_id, upload.owner) == ("a b/汉", "u%202", None)
    assert upload.initiator == cosxfer.Identity(id="me", display_name="Me")
    assert page.common_prefixes == ("a b/x/", "a b/y/")
    assert cos.calls[0].request.target == "/?uploads&prefix=a%20b&encoding-type=url&max-uploads=2"


def test_without_encoding_names_in_a_listing_are_not_decoded(cos: FakeCos) -> None:
    response = document("ListMultipartUploadsResult", [("Upload", [("Key", "100%25"), ("UploadId", "u")])])
    cos.fault("multipart_list", lambda request, proceed: response)
    page = run(cos, lambda client: client.multipart_list(BUCKET))
    assert isinstance(page, cosxfer.MultipartListResult)
    assert page.uploads[0].key == "100%25"


@pytest.mark.parametrize("field", ["PartNumber", "Size", "NextPartNumberMarker", "MaxParts"])
@pytest.mark.parametrize("value", ["-1", "x", "1" * 20, "٣"])
def test_an_invalid_number_in_a_listing_is_a_protocol_error(cos: FakeCos, field: str, value: str) -> None:
    part = {"PartNumber": "1", "Size": "1", **({field: value} if field in ("PartNumber", "Size") else {})}
    head = [] if field in ("PartNumber", "Size") else [(field, value)]
    response = document("ListPartsResult", [*head, ("Part", list(part.items()))])
    cos.fault("multipart_list_part", lambda request, proceed: response, times=9)
    with pytest.raises(cosxfer.ProtocolError, match=field):
        run(cos, lambda client: client.multipart_list_part(BUCKET, "k", upload_id="u"))


def test_pages_are_requested_by_their_markers(cos: FakeCos) -> None:
    cos.fault(
        "multipart_list_part", lambda request, proceed: document("ListPartsResult", [("NextPartNumberMarker", 7)])
    )
    page = run(
        cos, lambda client: client.multipart_list_part(BUCKET, "k", upload_id="u", max_parts=7, part_number_marker=3)
    )
    assert isinstance(page, cosxfer.MultipartListPartResult)
    assert (page.next_part_number_marker, page.max_parts, page.is_truncated) == (7, 1000, False)
    assert cos.calls[0].request.target == "/k?uploadId=u&max-parts=7&part-number-marker=3"


def test_a_response_of_another_server_is_shown_shortened(cos: FakeCos) -> None:
    html = b"<html>" + b"login here " * 1000
    cos.fault("head_object", lambda request, proceed: HttpResponse(status=404, headers={}, body=html))
    with pytest.raises(cosxfer.NotFoundError, match="not from COS: '<html>login here") as caught:
        run(cos, lambda client: client.head_object(BUCKET, "k"))
    assert len(str(caught.value)) < 400
    assert caught.value.code == ""


def test_the_region_of_a_call_overrides_the_clients(cos: FakeCos) -> None:
    cos.fault("head_object", refuse(404, "NoSuchBucket"))
    with pytest.raises(cosxfer.NotFoundError):
        run(cos, lambda client: client.head_object(BUCKET, "k", region="eu-frankfurt"))
    assert cos.calls[0].request.url == f"https://{BUCKET}.cos.eu-frankfurt.myqcloud.com/k"


# -- Initiate may have begun an upload in spite of its error -----------------------------------------------------------


def in_a_200(request: HttpRequest, proceed: Callable[[], HttpResponse]) -> HttpResponse:
    """Initiate works, and the server reports an error inside a 200."""
    proceed()
    return error(200, "InternalError")


def refused(request: HttpRequest, proceed: Callable[[], HttpResponse]) -> HttpResponse:
    raise ConnectError("connection refused")


BEGUN = {"lost": lose_response, "500": refuse(500, "InternalError"), "503": refuse(503, "ServiceUnavailable")}
NOT_BEGUN = {"throttled": refuse(503, "SlowDown"), "conflict": refuse(409, "PathConflict"), "no connection": refused}


def initiates(path: Path) -> dict[str, Use]:
    return {
        "by hand": lambda c: c.multipart_init(BUCKET, "my key"),
        "file": lambda c: c.slice_upload_file(BUCKET, "my key", path),
        "stream": lambda c: c.upload_stream(BUCKET, "my key", iter([path.read_bytes()]), part_size=MIB),
    }


@pytest.mark.parametrize("call", ["by hand", "file", "stream"])
@pytest.mark.parametrize("why", [*BEGUN, "error in a 200", *NOT_BEGUN])
def test_a_retry_of_initiate_warns_if_the_first_one_may_have_begun_an_upload(
    cos: FakeCos, tmp_path: Path, caplog: pytest.LogCaptureFixture, call: str, why: str
) -> None:
    cos.fault("multipart_init", {**BEGUN, **NOT_BEGUN, "error in a 200": in_a_200}[why])
    run(cos, initiates(write(tmp_path / "f", 2 * MIB + 5))[call])
    told = [record.getMessage() for record in caplog.records if "empty multipart upload" in record.getMessage()]
    if why in NOT_BEGUN:
        assert told == []
    else:
        assert len(told) == 1
        assert "my key" in told[0]
        assert "multipart_list shows it" in told[0]


@pytest.mark.parametrize("call", ["by hand", "file", "stream"])
@pytest.mark.parametrize("why", [*BEGUN, "error in a 200", *NOT_BEGUN])
def test_the_last_error_of_initiate_says_if_it_may_have_begun_an_upload(
    cos: FakeCos, tmp_path: Path, call: str, why: str
) -> None:
    cos.fault("multipart_init", {**BEGUN, **NOT_BEGUN, "error in a 200": in_a_200}[why], times=99)
    with pytest.raises(cosxfer.CosxferError) as caught:
        run(cos, initiates(write(tmp_path / "f", 2 * MIB + 5))[call])
    told = " ".join([str(caught.value), *getattr(caught.value, "__notes__", [])])
    assert ("may have begun an empty multipart upload" in told) == (why not in NOT_BEGUN)
