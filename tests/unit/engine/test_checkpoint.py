"""What an interrupted upload believes when it goes on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import cosxfer
from cosxfer.engine.checkpoint import Checkpoint, DonePart
from cosxfer.models import Part
from cosxfer.sources import FileSource
from tests.unit.files import write


def done(number: int) -> DonePart:
    return DonePart(length=100 + number, md5=bytes(16), crc64=number, etag=f'"{number:032x}"')


def listed(number: int) -> Part:
    return Part(part_number=number, etag=f'"{number:032x}"', size=100 + number)


@pytest.fixture
def checkpoint() -> Checkpoint:
    return Checkpoint(upload_id="u", done={number: done(number) for number in (1, 2, 4)})


def test_what_the_server_lists_as_it_was_sent_is_kept(checkpoint: Checkpoint) -> None:
    assert checkpoint.keep_listed([listed(number) for number in (1, 2, 3, 4, 5)])[0] == 0
    assert set(checkpoint.done) == {1, 2, 4}
    assert checkpoint.loaded == 101 + 102 + 104


@pytest.mark.parametrize(
    "damage",
    [
        lambda part: replace(part, etag='"other"'),
        lambda part: replace(part, size=part.size - 1),
        lambda part: replace(part, part_number=3),
    ],
)
def test_a_part_with_another_digest_length_or_number_is_to_be_sent_again(
    checkpoint: Checkpoint, damage: object
) -> None:
    parts = [listed(1), damage(listed(2)), listed(4)]  # type: ignore[operator]
    assert checkpoint.keep_listed(parts)[0] == 1
    assert set(checkpoint.done) == {1, 4}


def test_quotes_and_case_of_an_etag_do_not_matter(checkpoint: Checkpoint) -> None:
    parts = [replace(part, etag=part.etag.strip('"').upper()) for part in map(listed, (1, 2, 4))]
    assert checkpoint.keep_listed(parts)[0] == 0


def test_a_cleared_one_begins_anew(checkpoint: Checkpoint) -> None:
    checkpoint.completing = True
    checkpoint.clear()
    assert (checkpoint.upload_id, checkpoint.done, checkpoint.completing, checkpoint.loaded) == ("", {}, False, 0)


@pytest.mark.parametrize(
    ("field", "changed"),
    [("inode", "inode"), ("device", "inode"), ("size", "size"), ("mtime_ns", "mtime")],
)
def test_another_file_is_refused_with_what_differs(
    checkpoint: Checkpoint, tmp_path: Path, field: str, changed: str
) -> None:
    with FileSource.open(write(tmp_path / "f", 10)) as source:
        checkpoint.identity = source.identity
        checkpoint.check_source(source)
        checkpoint.identity = replace(source.identity, **{field: getattr(source.identity, field) + 1})
        with pytest.raises(cosxfer.SourceChangedError) as caught:
            checkpoint.check_source(source)
        assert caught.value.changed == changed
        checkpoint.upload_id = ""
        checkpoint.check_source(source)


def test_a_file_whose_ctime_alone_differs_is_to_be_compared(checkpoint: Checkpoint, tmp_path: Path) -> None:
    with FileSource.open(write(tmp_path / "f", 10)) as source:
        checkpoint.identity = source.identity
        assert checkpoint.check_source(source)
        checkpoint.identity = replace(source.identity, ctime_ns=source.identity.ctime_ns + 1)
        assert not checkpoint.check_source(source)
