"""Content types: the built-in table, and what counts as an extension."""

from __future__ import annotations

import mimetypes

import pytest

from cosxfer.cos import content_types
from cosxfer.cos.content_types import content_type_of
from cosxfer.cos.requests import object_headers

OFFICE = "application/vnd.openxmlformats-officedocument."


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("a.webp", "image/webp"),
        ("a.avif", "image/avif"),
        ("a.woff2", "font/woff2"),
        ("a.docx", f"{OFFICE}wordprocessingml.document"),
        ("a.xlsx", f"{OFFICE}spreadsheetml.sheet"),
        ("a.pptx", f"{OFFICE}presentationml.presentation"),
        ("a.ts", "video/mp2t"),
        ("a.m3u8", "application/vnd.apple.mpegurl"),
        ("a.js", "text/javascript"),
        ("a.mjs", "text/javascript"),
        ("a.wasm", "application/wasm"),
        ("a.md", "text/markdown"),
        ("a.yaml", "application/yaml"),
        ("a.yml", "application/yaml"),
        ("a.json", "application/json"),
        ("a.jsonl", "application/jsonl"),
        ("a.parquet", "application/vnd.apache.parquet"),
        ("a.7z", "application/x-7z-compressed"),
        ("a.rar", "application/vnd.rar"),
        ("a.zst", "application/zstd"),
        ("a.flac", "audio/flac"),
        ("a.mkv", "video/x-matroska"),
        ("a.apk", "application/vnd.android.package-archive"),
        ("a.exe", "application/octet-stream"),
        # The last extension counts, in upper or lower case.
        ("A.HTML", "text/html"),
        ("photo.JPG", "image/jpeg"),
        ("v1.2/report.final.PDF", "application/pdf"),
        # Compressed.
        ("a.tar.gz", "application/gzip"),
        ("a.TAR.GZ", "application/gzip"),
        ("a.tgz", "application/gzip"),
        ("a.tar.zst", "application/zstd"),
        ("a.tbz2", "application/x-bzip2"),
        ("a.csv.Z", "application/x-compress"),
        ("a.html.br", "application/octet-stream"),
        ("a.svgz", "application/gzip"),
        # No ending.
        ("Makefile", "application/octet-stream"),
        ("a.b/c", "application/octet-stream"),
        ("a.", "application/octet-stream"),
        (".html", "application/octet-stream"),
        ("..html", "application/octet-stream"),
        ("dir/.gz", "application/octet-stream"),
        ("dir/", "application/octet-stream"),
        ("dir.html/", "application/octet-stream"),
        ("a.html?x", "application/octet-stream"),
        ("a.html ", "application/octet-stream"),
        ("data:text/html,x", "application/octet-stream"),
        ("", "application/octet-stream"),
    ],
)
def test_an_extension_has_a_content_type(key: str, expected: str) -> None:
    assert content_type_of(key) == expected


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("a.csv.gz", "text/csv"),
        ("a.svgz", "image/svg+xml"),
        ("a.tgz", "application/x-tar"),
        ("a.html.br", "text/html"),
        ("a.gz", "application/octet-stream"),
        (".csv.gz", "application/octet-stream"),
        ("a.csv", "text/csv"),
    ],
)
def test_an_object_with_a_content_encoding_has_the_type_of_its_content(key: str, expected: str) -> None:
    assert content_type_of(key, unpacked=True) == expected
    assert object_headers(key, {"content_encoding": "gzip"})["content-type"] == expected


def test_content_types_are_the_same_on_every_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mimetypes, "guess_type", lambda *given, **more: ("x/of-the-machine", None))
    monkeypatch.setattr(mimetypes, "guess_file_type", lambda *given, **more: ("x/of-the-machine", None), raising=False)
    assert object_headers("a.webp", {})["content-type"] == "image/webp"
    assert object_headers("a.of-the-machine", {})["content-type"] == "application/octet-stream"


def test_each_extension_is_in_the_table_once() -> None:
    endings = [ending for listed in content_types._ENDINGS.values() for ending in listed.split()]
    assert len(endings) == len(set(endings))
    assert not set(endings) & {*content_types._PACKED, *content_types._SHORT}
    assert all(ending == ending.lower() and "." not in ending for ending in endings)


def test_the_types_that_python_knows_are_in_the_table() -> None:
    """Every extension in Python's own table, without the machine's, has a type."""
    known = mimetypes.MimeTypes(filenames=()).types_map[1]
    plain = {"application/octet-stream"}
    web = ("image/", "video/", "audio/", "font/", "text/html", "text/css", "text/csv", "application/pdf")
    lost = {
        ending
        for ending, kind in known.items()
        if kind.startswith(web) and kind not in plain and content_type_of(f"a{ending}") in plain
    }
    assert lost <= {".ief", ".ras", ".rgb", ".xwd", ".movie", ".ra", ".ass", ".loas", ".fits", ".g3", ".jpm", ".t38"}, (
        lost
    )
