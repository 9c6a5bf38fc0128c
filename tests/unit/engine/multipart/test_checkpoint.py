"""Which parts an interrupted upload keeps when it resumes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import cosxfer
from cosxfer.engine.multipart.checkpoint import Checkpoint
from cosxfer.engine.multipart.source import HashedPart
from cosxfer.models import Part
from cosxfer.planning import PartRange, Plan
from cosxfer.sources import FileSource
from tests.unit.files import write

PLAN = Plan(size=300, part_size_bytes=100)


def hashed(number: int, *, offset: int = 0) -> HashedPart:
    return HashedPart(range=PartRange(number=number, offset=offset, length=100 + number), md5=bytes(16), crc64=number)


def listed(number: int) -> Part:
    return Part(part_number=number, etag=f'"{number:032x}"', size=100 + number)


@pytest.fixture
def checkpoint() -> Checkpoint:
    checkpoint = Checkpoint()
    checkpoint.begin("u", PLAN, None)
    for number in (1, 2, 4):
        checkpoint.add(hashed(number), f'"{number:032x}"')
    return checkpoint


def test_parts_that_the_server_lists_unchanged_are_kept(checkpoint: Checkpoint) -> None:
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
def test_a_part_with_another_digest_length_or_number_is_sent_again(checkpoint: Checkpoint, damage: object) -> None:
    parts = [listed(1), damage(listed(2)), listed(4)]  # type: ignore[operator]
    assert checkpoint.keep_listed(parts)[0] == 1
    assert set(checkpoint.done) == {1, 4}


def test_quotes_and_case_of_an_etag_do_not_matter(checkpoint: Checkpoint) -> None:
    parts = [replace(part, etag=part.etag.strip('"').upper()) for part in map(listed, (1, 2, 4))]
    assert checkpoint.keep_listed(parts)[0] == 0


def test_a_cleared_checkpoint_starts_again(checkpoint: Checkpoint) -> None:
    checkpoint.begin_completion()
    checkpoint.clear()
    assert (checkpoint.upload_id, [*checkpoint.done], checkpoint.completing, checkpoint.loaded) == ("", [], False, 0)


@pytest.mark.parametrize(
    ("field", "changed"),
    [("inode", "inode"), ("device", "inode"), ("size", "size"), ("mtime_ns", "mtime")],
)
def test_another_file_is_refused_and_the_error_names_the_difference(
    checkpoint: Checkpoint, tmp_path: Path, field: str, changed: str
) -> None:
    with FileSource.open(write(tmp_path / "f", 10)) as source:
        checkpoint.begin("u", PLAN, source.identity)
        checkpoint.check_source(source)
        checkpoint.begin("u", PLAN, source.identity._replace(**{field: getattr(source.identity, field) + 1}))
        with pytest.raises(cosxfer.SourceChangedError) as caught:
            checkpoint.check_source(source)
        assert caught.value.changed == changed
        checkpoint.clear()
        checkpoint.check_source(source)


def test_a_file_with_only_another_ctime_is_compared(checkpoint: Checkpoint, tmp_path: Path) -> None:
    with FileSource.open(write(tmp_path / "f", 10)) as source:
        checkpoint.begin("u", PLAN, source.identity)
        assert checkpoint.check_source(source)
        checkpoint.begin("u", PLAN, source.identity._replace(ctime_ns=source.identity.ctime_ns + 1))
        assert not checkpoint.check_source(source)


def test_a_begun_upload_keeps_its_plan_until_it_is_cleared() -> None:
    checkpoint = Checkpoint()
    assert checkpoint.plan is None
    checkpoint.begin("u", PLAN, None)
    assert checkpoint.plan == PLAN
    checkpoint.clear()
    assert checkpoint.plan is None


def test_parts_have_the_offsets_at_which_they_were_hashed(checkpoint: Checkpoint) -> None:
    assert [part.range.number for part in checkpoint.hashed()] == [1, 2, 4]
    assert [part.etag for part in checkpoint.to_complete()] == [f'"{number:032x}"' for number in (1, 2, 4)]


def test_a_gap_an_overlap_or_a_wrong_total_is_never_completed() -> None:
    checkpoint = Checkpoint()
    checkpoint.begin("u", PLAN, None)
    checkpoint.add(hashed(1), "e")
    assert checkpoint.check_contiguous(101) == 1
    with pytest.raises(AssertionError, match="101 of 102"):
        checkpoint.check_contiguous(102)
    checkpoint.add(hashed(3, offset=101), "e")
    with pytest.raises(AssertionError, match="part 2 is missing"):
        checkpoint.check_contiguous(204)
    checkpoint.add(hashed(2, offset=100), "e")
    with pytest.raises(AssertionError, match="part 2 begins at 100, not at 101"):
        checkpoint.check_contiguous(306)
