"""pytest-benchmark over the journal: its rows, its database, and its thread. Asserts nothing about time."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from cosxfer.journal import Journal
from cosxfer.journal_database import Database, open_database
from cosxfer.journal_rows import (
    FinishedObject,
    JournaledUpload,
    JournalPart,
    Place,
    content_fingerprint,
    decode_object,
    decode_part,
    decode_upload,
    encode_object,
    encode_part,
    encode_upload,
    targets_of,
)
from cosxfer.limits import MIB
from cosxfer.planning import Plan
from cosxfer.sources import SourceIdentity

ENDPOINT, REGION, BUCKET = "https://{bucket}.cos.{region}.myqcloud.com", "ap-guangzhou", "examplebucket-1250000000"
PARTS = 1000
SOURCE = SourceIdentity(device=1, inode=2, size=PARTS * 8 * MIB, mtime_ns=10**18, ctime_ns=10**18 + 1)
UPLOAD = JournaledUpload(
    place=Place(endpoint=ENDPOINT, region=REGION, bucket=BUCKET, key="folder/large.bin", path="/folder/large.bin"),
    headers=b"h" * 16,
    parameters={"content-type": "application/octet-stream"},
    complete=True,
    add_md5=False,
    source=SOURCE,
    plan=Plan(size=SOURCE.size, part_size_bytes=8 * MIB),
    upload_id="1585130821cbb7df1d11846c073ad648e8f33b087cec2381df43",
    created=1.7e9,
)
KEYS = [f"folder/object-{number}.bin" for number in range(PARTS)]
TARGETS = targets_of(ENDPOINT, REGION, BUCKET, KEYS)
FOUND = FinishedObject(content=b"c" * 8, batch=1, size=16384, crc64=2**63, etag=f'"{"ab" * 16}"')
SECONDS = 60


def parts() -> list[JournalPart]:
    return [
        JournalPart(part.number, part.offset, part.length, b"m" * 16, 2**63, f'"{(b"m" * 16).hex()}"')
        for part in UPLOAD.plan
    ]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = open_database(tmp_path / "journal", may_replace=False)
    yield opened
    opened.close()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(tmp_path / "journal", may_replace=False)
    yield opened
    opened.close()


def test_write_and_read_the_row_of_an_upload(benchmark: BenchmarkFixture) -> None:
    assert benchmark(lambda: decode_upload(encode_upload(UPLOAD))) == UPLOAD


def test_write_and_read_the_row_of_a_part(benchmark: BenchmarkFixture) -> None:
    part = parts()[0]
    assert benchmark(lambda: decode_part(UPLOAD, 1, encode_part(UPLOAD.upload_id, part))) == part


def test_write_and_read_the_row_of_an_object(benchmark: BenchmarkFixture) -> None:
    assert benchmark(lambda: decode_object(TARGETS[0], encode_object(TARGETS[0], FOUND))) == FOUND


def test_names_of_1000_objects(benchmark: BenchmarkFixture) -> None:
    assert benchmark(lambda: targets_of(ENDPOINT, REGION, BUCKET, KEYS)) == TARGETS


def test_fingerprint_of_a_file(benchmark: BenchmarkFixture) -> None:
    assert len(benchmark(lambda: content_fingerprint("/folder/file", SOURCE, b"h" * 16))) == 8


def test_open_a_journal(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    path = tmp_path / "journal"
    open_database(path, may_replace=False).close()
    benchmark(lambda: open_database(path, may_replace=False).close())


def test_commit_1000_objects(benchmark: BenchmarkFixture, database: Database) -> None:
    objects = [(target, FOUND) for target in TARGETS]

    def once() -> None:
        with database.transaction():
            database.add_objects(objects)

    benchmark(once)
    assert len(database.objects(TARGETS)) == PARTS


def test_look_up_1000_objects(benchmark: BenchmarkFixture, database: Database) -> None:
    with database.transaction():
        database.add_objects([(target, FOUND) for target in TARGETS])
    assert len(benchmark(lambda: database.rows_of(TARGETS))) == PARTS


def test_an_upload_of_1000_parts_from_its_begin_to_its_end(benchmark: BenchmarkFixture, journal: Journal) -> None:
    rows = parts()

    def once() -> None:
        entry = journal.begin(UPLOAD)
        for part in rows:
            entry.add(part)
        entry.remove()
        journal.call(lambda _: None, None).result(SECONDS)

    benchmark(once)
    assert journal.works


def test_claim_an_upload_of_1000_parts(benchmark: BenchmarkFixture, journal: Journal) -> None:
    entry = journal.begin(UPLOAD)
    for part in parts():
        entry.add(part)

    def once() -> int:
        for held in list(journal.held):
            held.hold(False)
        claim = journal.claim(UPLOAD.place, headers=UPLOAD.headers, source=SOURCE, part_size="auto")
        return len(claim.result(SECONDS).parts)

    assert benchmark(once) == PARTS


def test_note_a_change(benchmark: BenchmarkFixture, journal: Journal) -> None:
    """What the event loop pays for each finished object."""
    numbers = count()
    benchmark.pedantic(
        lambda: journal.finished(b"%012d" % next(numbers), FOUND), rounds=100, iterations=100, warmup_rounds=1
    )
    assert journal.works
