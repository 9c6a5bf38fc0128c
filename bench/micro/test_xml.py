"""pytest-benchmark over the documents that are built and parsed most. Asserts nothing about time."""

from __future__ import annotations

from pytest_benchmark.fixture import BenchmarkFixture

from cosxfer.cos import xml
from cosxfer.cos.responses import HttpResponse, error_of
from cosxfer.cos.xml_page import parse_object_page, parse_page

ETAG = '"5eb63bbbe01eeed093cb22bb8f5acdc3"'
OBJECTS = b"".join(
    f"<Contents><Key>folder/object-{number:06}.bin</Key><LastModified>2026-01-02T03:04:05.000Z</LastModified>"
    f"<ETag>{ETAG.replace(chr(34), '&quot;')}</ETag><Size>16384</Size><Owner><ID>1250000000</ID>"
    "<DisplayName>1250000000</DisplayName></Owner><StorageClass>STANDARD</StorageClass></Contents>".encode()
    for number in range(1000)
)
PAGE = (
    b"<?xml version='1.0' encoding='utf-8' ?>\n<ListBucketResult><Name>examplebucket-1250000000</Name>"
    b"<Prefix>folder/</Prefix><IsTruncated>false</IsTruncated>" + OBJECTS + b"</ListBucketResult>"
)
PARTS = xml.build(
    "ListPartsResult",
    [
        (
            "Part",
            [
                ("PartNumber", number),
                ("LastModified", "2026-01-02T03:04:05.000Z"),
                ("ETag", ETAG),
                ("Size", 8 << 20),
            ],
        )
        for number in range(1, 1001)
    ],
)
ERROR = xml.build(
    "Error",
    [
        ("Code", "SlowDown"),
        ("Message", "Please reduce your request rate."),
        ("Resource", "/folder/object"),
        ("RequestId", "NWFjMzQ0MDZfOTBmYTUw"),
        ("TraceId", "OGVmYzZiMmQzYjA2OWNh"),
    ],
)


def test_complete_of_10000_parts(benchmark: BenchmarkFixture) -> None:
    def once() -> bytes:
        parts = [("Part", [("PartNumber", number), ("ETag", ETAG)]) for number in range(1, 10_001)]
        return xml.build("CompleteMultipartUpload", parts)

    assert benchmark(once).count(b"<Part>") == 10_000


def test_delete_of_1000_keys(benchmark: BenchmarkFixture) -> None:
    def once() -> bytes:
        keys = [("Object", [("Key", f"folder/object-{number}")]) for number in range(1000)]
        return xml.build("Delete", [("Quiet", "false"), *keys])

    assert benchmark(once).count(b"<Key>") == 1000


def test_page_of_1000_objects(benchmark: BenchmarkFixture) -> None:
    _, rows = benchmark(lambda: parse_object_page(PAGE, root="ListBucketResult"))
    assert len(rows) == 1000


def test_page_of_1000_objects_of_another_form(benchmark: BenchmarkFixture) -> None:
    page = PAGE.replace(b"</Size>", b"</Size><Type>NORMAL</Type>")
    root, rows = benchmark(lambda: parse_object_page(page, root="ListBucketResult"))
    assert (len(root.findall("Contents")), len(rows)) == (1000, 0)


def test_page_of_1000_parts(benchmark: BenchmarkFixture) -> None:
    assert len(benchmark(lambda: parse_page(PARTS, root="ListPartsResult"))) == 1000


def test_any_document_with_all_its_bounds(benchmark: BenchmarkFixture) -> None:
    assert len(benchmark(lambda: xml.parse(PARTS, root="ListPartsResult"))) == 1000


def test_error_of_a_response(benchmark: BenchmarkFixture) -> None:
    response = HttpResponse(status=503, headers={"x-cos-request-id": "NWFj"}, body=ERROR)
    error = benchmark(lambda: error_of(response, operation="PUT Object 'k'"))
    assert error is not None
    assert error.code == "SlowDown"
