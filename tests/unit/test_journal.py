"""The journal: what it keeps, what it drops, who may take it over, and what becomes of files that cannot be used."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cosxfer import journal_database
from cosxfer.config import ClientConfig
from cosxfer.journal import BATCH_SECONDS, FILE_NAME, Claim, Entry, Journal, journal_of
from cosxfer.journal_database import ForeignFileError
from cosxfer.journal_owners import Owner
from cosxfer.journal_rows import (
    FinishedObject,
    JournaledUpload,
    JournalPart,
    Place,
    decode_object,
    decode_part,
    decode_upload,
    difference,
    encode_object,
    encode_part,
    encode_upload,
    headers_fingerprint,
    target_of,
    without_secrets,
)
from cosxfer.limits import MIB
from cosxfer.planning import Plan
from cosxfer.sources import SourceIdentity
from tests.unit.unprivileged import reachable_by_others, run_unprivileged
from tests.waiting import until

SECONDS = 60
HEADERS = b"h" * 16
SOURCE = SourceIdentity(device=1, inode=2, size=5 * MIB + 1, mtime_ns=10**18, ctime_ns=10**18 + 1)
PLACE = Place(endpoint="http://localhost/{bucket}", region="", bucket="b-1250000000", key="k", path="/f\udcff")
UPLOAD = JournaledUpload(
    place=PLACE,
    headers=HEADERS,
    parameters={"x-cos-storage-class": "ARCHIVE"},
    complete=True,
    add_md5=False,
    source=SOURCE,
    plan=Plan(size=SOURCE.size, part_size_bytes=MIB),
    upload_id="an id",
    created=1e9,
)
FOUND = FinishedObject(content=b"c" * 8, batch=3, size=5, crc64=2**64 - 1, etag=f'"{"ab" * 16}"')


def part(number: int, etag: str = "") -> JournalPart:
    planned = UPLOAD.plan.part(number)
    md5 = bytes([number]) * 16
    return JournalPart(number, planned.offset, planned.length, md5, 2**64 - number, etag or f'"{md5.hex()}"')


@contextmanager
def journal(path: Path, *, may_replace: bool = True) -> Iterator[Journal]:
    opened = Journal(path, may_replace=may_replace)
    try:
        yield opened
    finally:
        opened.close()


def claim(opened: Journal, **changes: object) -> Claim:
    asked: dict[str, object] = {"headers": HEADERS, "source": SOURCE, "part_size": "auto", **changes}
    return opened.claim(PLACE, **asked).result(SECONDS)  # type: ignore[arg-type]


def wait(opened: Journal) -> None:
    opened.call(lambda _: None, None).result(SECONDS)


def filled(path: Path) -> None:
    """A journal with an upload of three parts that nobody runs, a finished object and an open batch."""
    with journal(path) as opened:
        entry = opened.begin(UPLOAD)
        for number in (1, 2, 6):
            entry.add(part(number, '"not an md5"' if number == 2 else ""))
        opened.finished(b"t" * 12, FOUND)
        opened.open_batch(b"n" * 16).result(SECONDS)


# -- rows -------------------------------------------------------------------------------------------------------------


def test_rows_come_back_as_they_were() -> None:
    assert decode_upload(encode_upload(UPLOAD)) == UPLOAD
    for number in (1, 6):
        for etag in ("", '"other"', '"\udcff"'):
            assert decode_part(UPLOAD, number, encode_part("an id", part(number, etag))) == part(number, etag)
    for etag in (FOUND.etag, f'"{"0f" * 16}-12"', ""):
        found = FOUND._replace(etag=etag)
        assert decode_object(b"t", encode_object(b"t", found)) == found


def test_a_row_with_a_path_that_no_system_has_is_dropped() -> None:
    assert decode_upload(encode_upload(replace(UPLOAD, place=replace(UPLOAD.place, path="/\ud800")))) is None


def test_a_path_that_is_not_utf_8_comes_back() -> None:
    upload = replace(UPLOAD, place=replace(UPLOAD.place, path=os.fsdecode(b"/\xff\xc3")))
    assert decode_upload(encode_upload(upload)) == upload


def test_an_unusual_etag_of_a_finished_object_is_dropped_not_changed() -> None:
    for etag in ('"odd"', f'"{"0f" * 16}-123456"', f'"{"0F" * 16}"', f'"{"0f" * 16}-65535"'):
        found = decode_object(b"t", encode_object(b"t", FOUND._replace(etag=etag)))
        assert found == FOUND._replace(etag="")


def test_a_part_of_another_upload_or_number_is_dropped() -> None:
    row = encode_part("an id", part(1))
    assert decode_part(UPLOAD, 1, row) == part(1)
    assert decode_part(replace(UPLOAD, upload_id="another"), 1, row) is None
    assert decode_part(UPLOAD, 2, row) is None
    assert decode_part(replace(UPLOAD, plan=Plan(size=SOURCE.size, part_size_bytes=2 * MIB)), 1, row) is None


@given(data=st.binary(max_size=300), number=st.one_of(st.integers(), st.none(), st.text(), st.booleans()))
def test_bytes_that_are_no_rows_are_dropped(data: bytes, number: object) -> None:
    assert decode_upload(data) is None
    assert decode_part(UPLOAD, number, data) is None
    assert decode_object(b"t", data) is None
    assert decode_upload(number) is None


@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), cut=st.booleans())
def test_rows_with_one_wrong_bit_or_a_lost_end_are_dropped(where: float, bit: int, cut: bool) -> None:
    def damaged(row: bytes) -> bytes:
        index = int(where * len(row))
        return row[:index] if cut else row[:index] + bytes([row[index] ^ 1 << bit]) + row[index + 1 :]

    assert decode_upload(damaged(encode_upload(UPLOAD))) is None
    assert decode_part(UPLOAD, 1, damaged(encode_part("an id", part(1)))) is None
    assert decode_part(UPLOAD, 1, damaged(encode_part("an id", part(1, '"other"')))) is None
    assert decode_object(b"t", damaged(encode_object(b"t", FOUND))) is None


def test_the_fingerprint_of_headers_has_no_key_and_ignores_what_single_requests_carry() -> None:
    secret = {
        "x-cos-server-side-encryption-customer-key": "c2VjcmV0",
        "x-cos-server-side-encryption-customer-key-md5": "bWQ1",
    }
    plain = headers_fingerprint({"a": "b"}, add_md5=False)
    assert plain == headers_fingerprint(
        {"expect": "100-continue", "x-cos-traffic-limit": "819200", "a": "b"}, add_md5=False
    )
    others = [
        headers_fingerprint({"a": "b"}, add_md5=True),
        headers_fingerprint({"a": "c"}, add_md5=False),
        headers_fingerprint({"ab": ""}, add_md5=False),
        headers_fingerprint({"a": "b", **secret}, add_md5=False),
        headers_fingerprint({"a": "b", **secret, "x-cos-server-side-encryption-customer-key": "eA=="}, add_md5=False),
    ]
    assert len({plain, *others}) == 6


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, ""),
        ({"source": SOURCE._replace(device=7, ctime_ns=1)}, ""),
        ({"part_size": MIB}, ""),
        ({"source": SOURCE._replace(inode=3)}, "the file has changed since (inode)"),
        ({"source": SOURCE._replace(size=3)}, "the file has changed since (size)"),
        ({"source": SOURCE._replace(mtime_ns=3)}, "the file has changed since (mtime)"),
        ({"headers": b"x"}, "its headers, metadata or storage class differ"),
        ({"part_size": 2 * MIB}, f"its parts have {MIB} bytes, and part size is {2 * MIB} now"),
    ],
)
def test_an_upload_is_continued_only_for_the_same_file_headers_and_part_size(
    changes: dict[str, object], why: str
) -> None:
    asked: dict[str, object] = {"headers": HEADERS, "source": SOURCE, "part_size": "auto", **changes}
    assert difference(UPLOAD, **asked) == why  # type: ignore[arg-type]


# -- who may continue what --------------------------------------------------------------------------------------------


def test_what_a_closed_client_has_left_is_continued_with_its_parts(tmp_path: Path) -> None:
    filled(tmp_path / "j")
    with journal(tmp_path / "j") as opened:
        found = claim(opened)
        assert found.entry is not None
        assert found.entry.upload == UPLOAD
        assert list(found.parts) == [part(1), part(2, '"not an md5"'), part(6)]
        assert (found.busy, found.useless) == (False, [])
    assert stat.S_IMODE((tmp_path / "j").stat().st_mode) == 0o600


def test_what_does_not_fit_is_returned_as_useless(tmp_path: Path) -> None:
    filled(tmp_path / "j")
    with journal(tmp_path / "j") as opened:
        found = claim(opened, headers=b"other")
        assert found.entry is None
        [(entry, why)] = found.useless
        assert (entry.upload, why) == (UPLOAD, "its headers, metadata or storage class differ")
        entry.remove()
        assert opened.unfinished().result(SECONDS) == []


def test_changes_are_kept_and_a_removed_upload_is_gone(tmp_path: Path) -> None:
    filled(tmp_path / "j")
    with journal(tmp_path / "j") as opened:
        entry = claim(opened).entry
        assert entry is not None
        entry.change(completing=True)
    with journal(tmp_path / "j") as opened:
        found = claim(opened)
        assert found.entry is not None
        assert found.entry.upload == replace(UPLOAD, completing=True)
        found.entry.remove()
    with journal(tmp_path / "j") as opened:
        assert claim(opened) == Claim(useless=[])


def test_one_client_has_an_upload_at_a_time(tmp_path: Path) -> None:
    filled(tmp_path / "j")
    with journal(tmp_path / "j") as first, journal(tmp_path / "j") as second:
        assert claim(first).entry is not None
        assert claim(second) == Claim(busy=True, useless=[])
        assert claim(second, headers=b"other") == Claim(busy=True, useless=[])
        first.close()
        assert claim(second).entry is not None


def test_another_call_of_the_same_client_takes_over_only_what_no_run_holds(tmp_path: Path) -> None:
    with journal(tmp_path / "j") as opened:
        first = opened.begin(UPLOAD)
        assert claim(opened).busy
        first.hold(False)
        second = claim(opened).entry
        assert second is not None
        assert first.lost
        first.add(part(1))
        first.remove()
        wait(opened)
        assert [found.parts for found in opened.unfinished().result(SECONDS)] == [0]


KILLED = """
import sys, time
from pathlib import Path
from typing import NoReturn
sys.path.insert(0, sys.argv[2])
from tests.unit.test_journal import UPLOAD, part
from cosxfer.journal import Journal
opened = Journal(Path(sys.argv[1]), may_replace=True)
entry = opened.begin(UPLOAD)
entry.add(part(1))
opened.call(lambda _: None, None).result()
entry.add(part(2))
print("ready", flush=True)
time.sleep(600)
"""


def test_a_killed_process_is_seen_as_dead_and_only_its_last_group_is_lost(tmp_path: Path) -> None:
    here = str(Path(__file__).parents[2])
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path / "j"), here], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            with journal(tmp_path / "j") as opened:
                assert claim(opened).busy
                [found] = opened.unfinished().result(SECONDS)
                assert found.running
                process.send_signal(signal.SIGKILL)
                process.wait()
                parts = claim(opened).parts
                assert list(parts) in ([part(1)], [part(1), part(2)])
                assert len(list((tmp_path / "j.owners").iterdir())) == 1
        finally:
            process.kill()


def test_the_files_of_dead_owners_are_removed(tmp_path: Path) -> None:
    (tmp_path / "dead").touch()
    owner, other = Owner(tmp_path), Owner(tmp_path)
    owner.remove_dead()
    assert {path.name for path in tmp_path.iterdir()} == {owner.name, other.name}
    assert owner.is_alive(other.name)
    other.release()
    assert not owner.is_alive(other.name)
    assert not owner.is_alive("../x")
    owner.release()
    assert not list(tmp_path.iterdir())


# -- batches ----------------------------------------------------------------------------------------------------------


def test_an_interrupted_batch_goes_on_and_a_finished_one_begins_again(tmp_path: Path) -> None:
    name, target = b"n" * 16, target_of("e", "r", "b", "k")
    with journal(tmp_path / "j") as opened:
        batch = opened.open_batch(name).result(SECONDS)
        assert not batch.goes_on
        opened.finished(target, FOUND._replace(batch=batch.number))
        opened.finished(b"other target", FOUND._replace(batch=0))
    with journal(tmp_path / "j") as opened:
        assert opened.open_batch(name).result(SECONDS) == replace(batch, goes_on=True)
        assert opened.objects([target, b"unknown"]).result(SECONDS) == {target: FOUND._replace(batch=batch.number)}
        opened.end_batch(batch.number)
        third = opened.open_batch(name).result(SECONDS)
        assert third.number > batch.number
        assert not third.goes_on


def test_the_rows_of_a_batch_are_read_at_once_unless_the_journal_is_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = target_of("e", "r", "b", "k")
    with journal(tmp_path / "j") as opened:
        batch = opened.open_batch(b"n").result(SECONDS)
        opened.finished(target, FOUND._replace(batch=batch.number))
        opened.finished(b"another one.", FOUND._replace(batch=batch.number + 1))
        rows = opened.rows_if_few(batch.number).result(SECONDS)
        assert rows == opened.rows_of([target]).result(SECONDS)
        assert rows is not None
        assert list(rows) == [target]
        monkeypatch.setattr("cosxfer.journal_database.FEW_PAGES", 1)
        assert opened.rows_if_few(batch.number).result(SECONDS) is None


def test_a_batch_that_another_process_runs_is_left_alone(tmp_path: Path) -> None:
    with journal(tmp_path / "j") as first, journal(tmp_path / "j") as second:
        assert first.open_batch(b"n").result(SECONDS).number
        assert second.open_batch(b"n").result(SECONDS).number == 0


def test_an_old_batch_starts_over(tmp_path: Path) -> None:
    filled(tmp_path / "j")
    late = Journal(tmp_path / "j", may_replace=True, clock=lambda: time.time() + BATCH_SECONDS + 1)
    try:
        assert not late.open_batch(b"n" * 16).result(SECONDS).goes_on
    finally:
        late.close()


# -- files that cannot be used ----------------------------------------------------------------------------------------


def use(opened: Journal) -> Claim:
    """Use everything; nothing may raise, and each future must end."""
    found = claim(opened)
    opened.unfinished().result(SECONDS)
    opened.open_batch(b"n" * 16).result(SECONDS)
    assert set(opened.objects([b"t" * 12]).result(SECONDS).values()) <= {FOUND}
    entry = opened.begin(UPLOAD)
    entry.add(part(1))
    entry.change(completing=True)
    entry.remove()
    opened.finished(b"u" * 12, FOUND)
    wait(opened)
    return found


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("journal") / "j"
    filled(path)
    return path.read_bytes()


@pytest.mark.deep
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_costs_time_and_never_gives_a_wrong_part(
    tmp_path: Path, template: bytes, data: st.DataObject
) -> None:
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    content = bytearray(template)
    for _ in range(data.draw(st.integers(1, 8))):
        # Most of the file is zeros between the cells.
        index = data.draw(
            st.one_of(st.integers(0, 200), st.sampled_from([i for i, byte in enumerate(template) if byte]))
        )
        content[index] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    (tmp_path / "j").write_bytes(content)
    with journal(tmp_path / "j", may_replace=data.draw(st.booleans())) as opened:
        found = use(opened)
    whole = {part(1), part(2, '"not an md5"'), part(6)}
    assert set(found.parts) <= whole
    assert found.entry is None or found.entry.upload == UPLOAD


@pytest.mark.parametrize(
    "content", [b"not a database" * 1000, b"SQLite format 3\0" + bytes(5000), b"x", b"SQLite format 3"]
)
def test_a_damaged_journal_is_renamed_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    (tmp_path / "j").write_bytes(content)
    with journal(tmp_path / "j") as opened:
        use(opened)
        assert opened.unfinished().result(SECONDS) == []
        assert not opened.begin(UPLOAD).lost
    assert "is damaged" in caplog.text
    [aside] = tmp_path.glob("j.damaged-*")
    assert aside.read_bytes() == content
    with journal(tmp_path / "j") as opened:
        assert claim(opened).entry is not None


@pytest.mark.parametrize("kind", ["text", "database", "version"])
def test_a_file_that_is_no_journal_of_this_version_is_left_as_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    path = tmp_path / "j"
    if kind == "text":
        path.write_text("my notes\n" * 1000)
    elif kind == "database":
        with sqlite3.connect(path) as other:
            other.execute("CREATE TABLE mine (x)")
        other.close()
    else:
        filled(path)
        with sqlite3.connect(path) as other:
            other.execute("PRAGMA user_version = 2")
        other.close()
    before = path.read_bytes()
    with journal(path, may_replace=False) as opened:
        assert use(opened) == Claim()
    assert path.read_bytes() == before
    assert "cannot be used" in caplog.text
    assert not list(tmp_path.glob("j.damaged-*"))


def test_damage_that_appears_during_the_work_ends_the_journal_and_not_the_work(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "j"
    with journal(path) as opened:
        wait(opened)

        def damage(_: object) -> None:
            error = sqlite3.DatabaseError("database disk image is malformed")
            error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise error

        assert opened.call(damage, None).result(SECONDS) is None
        use(opened)
    assert "is damaged" in caplog.text
    assert not path.exists()
    with journal(path) as opened:
        use(opened)
        assert path.exists()


def test_a_folder_that_cannot_be_written_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    with journal(tmp_path / "file" / "j") as opened:
        assert use(opened) == Claim()
    assert "cannot be used" in caplog.text
    assert caplog.text.count("cannot be used") == 1


def test_a_journal_of_another_user_is_not_used(tmp_path: Path) -> None:
    filled(tmp_path / "j")
    before = (tmp_path / "j").read_bytes()
    reachable_by_others(tmp_path)
    (tmp_path / "j").chmod(0o400)
    tmp_path.chmod(0o555)

    def work() -> None:
        opened = Journal(tmp_path / "j", may_replace=True)
        assert use(opened) == Claim()
        opened.close()

    try:
        run_unprivileged(work)
    finally:
        tmp_path.chmod(0o755)
    assert (tmp_path / "j").read_bytes() == before


FULL = """
import resource, signal, sys
from pathlib import Path
from typing import NoReturn
sys.path.insert(0, sys.argv[2])
from tests.unit.test_journal import UPLOAD, FOUND, part, wait
from cosxfer.journal import Journal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
opened = Journal(Path(sys.argv[1]), may_replace=True)
entry = opened.begin(UPLOAD)
entry.add(part(1))
wait(opened)
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
for number in range(20000):
    opened.finished(number.to_bytes(12, "big"), FOUND)
wait(opened)
entry.add(part(2))
wait(opened)
opened.close()
"""


def test_a_full_disk_is_a_warning_and_keeps_what_was_written(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "j"), str(Path(__file__).parents[2])],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "the disk may be full" in done.stderr
    assert done.stderr.count("journal") == done.stderr.count(str(tmp_path))
    with journal(tmp_path / "j") as opened:
        found = claim(opened)
        assert list(found.parts) == [part(1)]


def test_a_full_file_system_is_a_warning_and_keeps_what_was_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(tmp_path)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this user cannot mount a file system")
    other = tmp_path / "other"
    try:
        other.write_bytes(bytes(64 << 10))
        with journal(tmp_path / "j") as opened:
            opened.begin(UPLOAD).add(part(1))
            wait(opened)
            for number in range(30_000):
                opened.finished(number.to_bytes(12, "big"), FOUND)
            wait(opened)
            assert use(opened) == Claim()
        assert "the disk may be full" in caplog.text
        other.unlink()  # who claims an upload writes a little
        with journal(tmp_path / "j") as opened:
            assert list(claim(opened).parts) == [part(1)]
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_what_was_added_before_a_failure_brings_no_second_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried when the journal is closed."""
    inside, goes_on = threading.Event(), threading.Event()

    def broken(*_: object) -> NoReturn:
        inside.set()
        goes_on.wait(SECONDS)
        raise ForeignFileError("it was removed")

    with journal(tmp_path / "journal") as opened:
        wait(opened)
        monkeypatch.setattr(Journal, "_write", broken)
        first = opened.call(lambda _: None, None)
        assert inside.wait(SECONDS)
        second = opened.call(lambda _: None, None)
        opened.end()
        goes_on.set()
        first.result(SECONDS)
        second.result(SECONDS)
    assert caplog.text.count("cannot be used") == 1


def test_a_thread_that_cannot_be_started_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", refuse)
    with journal(tmp_path / "j") as opened:
        assert use(opened) == Claim()
    assert "cannot be used" in caplog.text


@pytest.mark.parametrize("how", ["replaced", "removed", "folder removed", "owners removed"])
def test_a_journal_that_is_not_at_its_place_any_more_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    folder = tmp_path / "state"
    path = folder / "j"
    filled(tmp_path / "other")
    content = (tmp_path / "other").read_bytes()
    with journal(path) as opened:
        wait(opened)
        if how == "replaced":
            (tmp_path / "other").replace(path)
        elif how == "removed":
            path.unlink()
        elif how == "folder removed":
            shutil.rmtree(folder)
        else:
            shutil.rmtree(folder / "j.owners")
        entry = opened.begin(UPLOAD)
        entry.add(part(2))
        assert claim(opened) == Claim()
        opened.finished(b"t" * 12, FOUND)
        wait(opened)
    assert caplog.text.count("cannot be used") == 1
    assert "was removed" in caplog.text
    assert folder.exists() == (how != "folder removed")
    if how == "replaced":
        assert path.read_bytes() == content
        with journal(path) as opened:
            assert [each.number for each in claim(opened).parts] == [1, 2, 6]


def test_a_journal_that_another_process_has_repaired_is_not_set_aside_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path / "good")
    (tmp_path / "j").write_bytes(b"not a database" * 1000)
    opened_database = journal_database._opened

    def repaired(path: Path) -> journal_database.Database:
        monkeypatch.setattr(journal_database, "_opened", opened_database)
        try:
            return opened_database(path)
        finally:
            path.rename(tmp_path / "aside")
            (tmp_path / "good").rename(path)

    monkeypatch.setattr(journal_database, "_opened", repaired)
    with journal(tmp_path / "j") as opened:
        assert [each.number for each in claim(opened).parts] == [1, 2, 6]
    assert not list(tmp_path.glob("j.damaged-*"))


# -- where it is ------------------------------------------------------------------------------------------------------


def test_the_setting_names_a_file_or_none(tmp_path: Path) -> None:
    def path(setting: object, **environment: str) -> Path | None:
        found = journal_of(ClientConfig(journal=setting), environment)  # type: ignore[arg-type]
        return None if found is None else found.path

    assert path("auto", COSXFER_STATE_DIR=str(tmp_path)) == tmp_path / FILE_NAME
    assert path("auto", COSXFER_STATE_DIR=os.devnull) is None
    assert path("auto") is None
    assert path(None, COSXFER_STATE_DIR=str(tmp_path)) is None
    assert path(tmp_path / "mine", COSXFER_STATE_DIR=os.devnull) == tmp_path / "mine"
    assert path("./auto") == Path.cwd() / "auto"


def test_nothing_is_written_before_the_journal_is_used(tmp_path: Path) -> None:
    with journal(tmp_path / "a" / "j"):
        pass
    assert not (tmp_path / "a").exists()


def test_a_closed_journal_takes_nothing_and_makes_nobody_wait(tmp_path: Path) -> None:
    with journal(tmp_path / "j") as opened:
        wait(opened)
    assert use(opened) == Claim()
    assert isinstance(opened.begin(UPLOAD), Entry)


def test_secrets_are_left_out_of_the_headers_that_are_written() -> None:
    kept = {"content-type": "a/b", "x-cos-server-side-encryption-customer-key-md5": "m", "x-cos-meta-k": "v"}
    secret = {
        "x-cos-server-side-encryption-customer-key": "k",
        "x-cos-security-token": "t",
        "x-cos-meta-password": "p",
        "expect": "100-continue",
    }
    assert without_secrets({**kept, **secret}) == kept


def test_no_secret_is_in_the_file(tmp_path: Path) -> None:
    filled(tmp_path / "j")
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.is_file())
    assert b"an id" in content
    for word in (b"secret", b"token", b"authorization", b"customer"):
        assert word not in content.lower()


def test_errno_of_a_full_disk_reads_the_same(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with journal(tmp_path / "j") as opened:
        wait(opened)

        def fill(_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        opened.call(fill, None).result(SECONDS)
    assert "the disk may be full" in caplog.text


@pytest.mark.parametrize("count", [0, 1, 2, 1500])
def test_finished_objects_that_are_added_together_come_back_each_as_it_was(tmp_path: Path, count: int) -> None:
    targets = [target_of("e", "r", "b", f"{number}") for number in range(count)]
    found = [(target, FOUND._replace(size=number, batch=number % 3)) for number, target in enumerate(targets)]
    database = journal_database.open_database(tmp_path / "j", may_replace=False)
    with closing(database):
        for each in (found, found[:5]):  # the second time they replace what is there
            with database.transaction():
                database.add_objects(each)
        assert database.objects([*targets, b"missing" + bytes(5)]) == dict(found)


def rows_on_disk(path: Path) -> tuple[int, ...]:
    """How many uploads, parts and finished objects other processes see."""
    with closing(sqlite3.connect(path)) as other:
        counts = [f"SELECT count(*) FROM {table}" for table in ("uploads", "parts", "objects")]
        return tuple(other.execute(count).fetchone()[0] for count in counts)


def test_everything_is_written_soon_though_nobody_asks_for_it(tmp_path: Path) -> None:
    with journal(tmp_path / "j") as opened:
        wait(opened)
        entry = opened.begin(UPLOAD)
        until(lambda: rows_on_disk(tmp_path / "j") == (1, 0, 0))
        entry.add(part(1))
        until(lambda: rows_on_disk(tmp_path / "j") == (1, 1, 0))
        opened.finished(b"t" * 12, FOUND)
        until(lambda: rows_on_disk(tmp_path / "j") == (1, 1, 1))


def test_what_the_server_has_stored_waits_for_others_and_goes_with_the_next_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cosxfer.journal.STORED_GROUP_SECONDS", 3600.0)
    with journal(tmp_path / "j") as opened:
        wait(opened)
        entry = opened.begin(UPLOAD)
        until(lambda: rows_on_disk(tmp_path / "j") == (1, 0, 0))
        entry.add(part(1))
        opened.finished(b"t" * 12, FOUND)
        time.sleep(0.1)
        assert rows_on_disk(tmp_path / "j") == (1, 0, 0)
        entry.change(completing=True)
        until(lambda: rows_on_disk(tmp_path / "j") == (1, 1, 1))
        entry.add(part(2))
    assert rows_on_disk(tmp_path / "j") == (1, 2, 1)  # closing writes what waits


def test_a_fault_of_the_journal_leaves_nobody_waiting(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with journal(tmp_path / "j") as opened:
        wait(opened)

        def fail(_: object) -> None:
            raise KeyError("a fault of ours")

        assert opened.call(fail, "otherwise").result(SECONDS) == "otherwise"
        assert opened.call(lambda _: "used", "off").result(SECONDS) == "off"
    assert "cannot be used" in caplog.text


def test_many_that_make_the_same_journal_at_once_all_get_it(tmp_path: Path) -> None:
    def open_one(path: Path, together: threading.Barrier) -> None:
        together.wait()
        journal_database.open_database(path, may_replace=False).close()

    with ThreadPoolExecutor(6) as pool:
        for number in range(15):
            together = threading.Barrier(6)
            opened = [pool.submit(open_one, tmp_path / str(number), together) for _ in range(6)]
            for each in opened:
                each.result()
