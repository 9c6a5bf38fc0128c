"""The file of what clients learned: it is read back, and no damage to it fails a transfer or harms other files."""

from __future__ import annotations

import errno
import json
import logging
import math
import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosxfer.config import ClientConfig
from cosxfer.endpoint_memory import (
    ENTRY_SECONDS,
    FILE_NAME,
    MAX_ENTRIES,
    MAX_FILE_BYTES,
    EndpointMemory,
    endpoint_key,
    state_directory,
)
from cosxfer.tuning_rules import CEILING_SECONDS, Learned
from tests.unit.unprivileged import reachable_by_others, run_unprivileged

HERE, THERE = "https://{bucket}.cos.ap-guangzhou.myqcloud.com", "http://127.0.0.1:9000"
LEARNED = Learned(level=24, stream_bytes_per_second=12.5e6, ceiling=48)
NOW = 1_800_000_000.0


def memory(folder: Path | None, *, now: float = NOW) -> EndpointMemory:
    return EndpointMemory(folder, clock=lambda: now)


def entry(**changes: object) -> dict[str, object]:
    return {"level": 24, "stream_bytes_per_second": 12.5e6, "ceiling": 48, "saved": NOW, **changes}


def write(folder: Path, content: object) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / FILE_NAME
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


# -- remembering ------------------------------------------------------------------------------------------------------


def test_what_was_learned_is_found_by_the_next_client(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    assert memory(folder).recall(HERE) is None
    memory(folder).remember(HERE, LEARNED)
    memory(folder).remember(THERE, replace(LEARNED, level=1))
    assert memory(folder).recall(HERE) == LEARNED
    assert memory(folder).recall(THERE) == replace(LEARNED, level=1)
    memory(folder).remember(HERE, replace(LEARNED, level=99))
    assert memory(folder).recall(HERE) == replace(LEARNED, level=99)


def test_what_misleads_is_forgotten_and_the_rest_stays(tmp_path: Path) -> None:
    known = memory(tmp_path)
    known.remember(HERE, LEARNED)
    known.remember(THERE, LEARNED)
    known.forget(HERE)
    known.forget("https://unknown.example.com")
    assert known.recall(HERE) is None
    assert known.recall(THERE) == LEARNED


def test_only_its_user_may_read_the_file_and_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    before = os.umask(0)
    try:
        memory(folder).remember(HERE, LEARNED)
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / FILE_NAME).stat().st_mode) == 0o600
    assert [path.name for path in folder.iterdir()] == [FILE_NAME]


def test_an_entry_expires_after_30_days_and_its_ceiling_after_ten_minutes(tmp_path: Path) -> None:
    memory(tmp_path).remember(HERE, LEARNED)
    without = replace(LEARNED, ceiling=None)
    assert memory(tmp_path, now=NOW + CEILING_SECONDS - 1).recall(HERE) == LEARNED
    assert memory(tmp_path, now=NOW + CEILING_SECONDS).recall(HERE) == without
    assert memory(tmp_path, now=NOW + ENTRY_SECONDS - 1).recall(HERE) == without
    assert memory(tmp_path, now=NOW + ENTRY_SECONDS).recall(HERE) is None


def test_an_entry_from_a_clock_that_was_wrong_does_not_stay_for_ever(tmp_path: Path) -> None:
    memory(tmp_path, now=NOW + 2 * ENTRY_SECONDS).remember(HERE, LEARNED)
    assert memory(tmp_path).recall(HERE) is None
    memory(tmp_path).remember(THERE, LEARNED)
    assert HERE not in (tmp_path / FILE_NAME).read_text()


def test_of_too_many_endpoints_the_oldest_are_forgotten(tmp_path: Path) -> None:
    names = [f"http://{number}.{'x' * 280}" for number in range(MAX_ENTRIES + 5)]
    write(tmp_path, {"version": 1, "endpoints": {name: entry(saved=NOW - 5000 + at) for at, name in enumerate(names)}})
    memory(tmp_path).remember(HERE, LEARNED)
    path = tmp_path / FILE_NAME
    assert path.stat().st_size < MAX_FILE_BYTES
    assert set(json.loads(path.read_text())["endpoints"]) == {*names[6:], HERE}


@given(
    level=st.integers(1, 256),
    rate=st.floats(0, 1e12),
    ceiling=st.one_of(st.none(), st.integers(1, 256)),
)
def test_each_legal_value_comes_back_unchanged(
    tmp_path_factory: pytest.TempPathFactory, level: int, rate: float, ceiling: int | None
) -> None:
    folder = tmp_path_factory.getbasetemp() / "legal"
    learned = Learned(level=level, stream_bytes_per_second=rate, ceiling=ceiling)
    memory(folder).remember(HERE, learned)
    assert memory(folder).recall(HERE) == learned


@pytest.mark.parametrize(
    "learned",
    [
        replace(LEARNED, level=0),
        replace(LEARNED, level=257),
        replace(LEARNED, stream_bytes_per_second=math.nan),
        replace(LEARNED, stream_bytes_per_second=math.inf),
        replace(LEARNED, stream_bytes_per_second=-1.0),
        replace(LEARNED, ceiling=0),
    ],
)
def test_a_value_that_cannot_be_true_is_not_kept(tmp_path: Path, learned: Learned) -> None:
    memory(tmp_path).remember(HERE, learned)
    assert not list(tmp_path.iterdir())


# -- damaged and hostile files ----------------------------------------------------------------------------------------

DAMAGED = {
    "empty": "",
    "half": '{"version": 1, "endpoints": {"a": ',
    "no JSON": "level: 3",
    "a list": [],
    "no version": {"endpoints": {}},
    "an old version": {"version": 0, "endpoints": {}},
    "a list of endpoints": {"version": 1, "endpoints": []},
    "deep": "[" * 100_000,
    "huge": " " * (MAX_FILE_BYTES + 1),
    "a vast number": '{"version": ' + "9" * 5000 + "}",
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_file_is_reported_once_and_replaced(
    tmp_path: Path, content: object, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, content)
    known = memory(tmp_path)
    with caplog.at_level(logging.DEBUG, "cosxfer"):
        assert known.recall(HERE) is None
        known.remember(HERE, LEARNED)
        assert known.recall(HERE) == LEARNED
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "is damaged; it will be replaced" in caplog.text


def test_bytes_that_are_no_text_are_damage(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"\xff\xfe\x00" * 100)
    assert memory(tmp_path).recall(HERE) is None


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"level": 4},
        *(entry(level=level) for level in (0, -1, 257, 10**30, 1.5, True, "8", None, [])),
        *(entry(stream_bytes_per_second=rate) for rate in (-1, 1e13, math.nan, math.inf, 10**400, True, "8", None)),
        *(entry(ceiling=ceiling) for ceiling in (0, 257, 1.5, True, "8", [])),
        *(entry(saved=saved) for saved in (math.nan, math.inf, 10**400, True, "8", None, 0)),
    ],
)
def test_an_entry_that_cannot_be_true_is_ignored_and_the_others_are_not(tmp_path: Path, value: object) -> None:
    write(tmp_path, {"version": 1, "endpoints": {HERE: value, THERE: entry(), "http://\x1b": entry()}})
    assert memory(tmp_path).recall(HERE) is None
    assert memory(tmp_path).recall(THERE) == LEARNED
    memory(tmp_path).remember("http://new", LEARNED)
    assert set(json.loads((tmp_path / FILE_NAME).read_text())["endpoints"]) == {THERE, "http://new"}


def test_the_file_of_a_newer_version_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = {"version": 2, "endpoints": {HERE: entry()}, "more": 1}
    path = write(tmp_path, content)
    with caplog.at_level(logging.DEBUG, "cosxfer"):
        for known in (memory(tmp_path), memory(tmp_path)):
            for _ in range(2):
                assert known.recall(HERE) is None
                known.remember(HERE, LEARNED)
                known.forget(HERE)
    assert json.loads(path.read_text()) == content
    assert len(caplog.records) == 4  # of each memory: one read and one write
    assert {record.levelname for record in caplog.records} == {"DEBUG"}


def in_its_place(path: Path, kind: str) -> None:
    other = path.with_name("other")
    if kind == "directory":
        path.mkdir()
    elif kind == "full directory":
        path.mkdir()
        (path / "file").write_text("x")
    elif kind == "FIFO":
        os.mkfifo(path)
    elif kind == "dangling link":
        path.symlink_to(other)
    elif kind == "link":
        other.write_text(json.dumps({"version": 1, "endpoints": {HERE: entry()}}))
        path.symlink_to(other)
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")


@pytest.mark.parametrize("kind", ["directory", "full directory", "FIFO", "dangling link", "link", "loop", "device"])
def test_what_is_no_file_is_neither_followed_nor_touched(tmp_path: Path, kind: str) -> None:
    path = tmp_path / FILE_NAME
    in_its_place(path, kind)
    before = {found.name: found.lstat().st_mode for found in tmp_path.iterdir()}
    content = (tmp_path / "other").read_text() if kind == "link" else ""
    known = memory(tmp_path)
    assert known.recall(HERE) is None
    known.remember(HERE, LEARNED)
    known.forget(HERE)
    assert known.recall(HERE) is None
    assert {found.name: found.lstat().st_mode for found in tmp_path.iterdir()} == before
    assert kind != "link" or (tmp_path / "other").read_text() == content


@pytest.mark.parametrize("folder", ["file", "file/below", "dangling", "loop", "n" * 300])
def test_a_folder_that_cannot_be_made_is_no_error(tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    known = memory(tmp_path / folder)
    known.remember(HERE, LEARNED)
    known.forget(HERE)
    assert known.recall(HERE) is None
    assert (tmp_path / "file").read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()


def test_without_a_folder_nothing_is_remembered() -> None:
    known = memory(None)
    known.remember(HERE, LEARNED)
    known.forget(HERE)
    assert known.recall(HERE) is None


def test_a_folder_that_may_only_be_read_is_read(tmp_path: Path) -> None:
    reachable_by_others(tmp_path)
    folder = tmp_path / "state"
    memory(folder).remember(HERE, LEARNED)
    (folder / FILE_NAME).chmod(0o444)
    folder.chmod(0o555)

    def work() -> None:
        known = memory(folder)
        assert known.recall(HERE) == LEARNED
        known.remember(HERE, replace(LEARNED, level=2))
        known.forget(HERE)
        assert known.recall(HERE) == LEARNED

    run_unprivileged(work)
    folder.chmod(0o755)


def test_a_file_that_may_not_be_read_is_no_error(tmp_path: Path) -> None:
    reachable_by_others(tmp_path)
    folder = tmp_path / "state"
    memory(folder).remember(HERE, LEARNED)
    (folder / FILE_NAME).chmod(0)
    folder.chmod(0)

    def work() -> None:
        known = memory(folder)
        assert known.recall(HERE) is None
        known.remember(HERE, LEARNED)

    run_unprivileged(work)
    folder.chmod(0o755)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_root_makes_no_folder_in_the_home_of_another_user(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, 65534, 65534)
    memory(home / ".local" / "state" / "cosxfer").remember(HERE, LEARNED)
    assert not list(home.iterdir())


FULL = """
import resource, sys
from pathlib import Path
from cosxfer.endpoint_memory import EndpointMemory
from cosxfer.tuning_rules import Learned
resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
EndpointMemory(Path(sys.argv[1])).remember("http://other", Learned(level=1, stream_bytes_per_second=1.0))
"""
"""Writes beyond ten bytes fail, as they do on a full disk."""


def test_a_full_disk_leaves_the_file_as_it_was_and_nothing_beside_it(tmp_path: Path) -> None:
    memory(tmp_path).remember(HERE, LEARNED)
    before = (tmp_path / FILE_NAME).read_bytes()
    subprocess.run([sys.executable, "-c", FULL, tmp_path], check=True)
    assert (tmp_path / FILE_NAME).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_a_file_that_cannot_be_replaced_is_reported_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    known = memory(tmp_path)
    known.remember(HERE, LEARNED)

    def fails(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "replace", fails)
    with caplog.at_level(logging.DEBUG, "cosxfer"):
        for _ in range(3):
            known.remember(HERE, replace(LEARNED, level=2))
    assert known.recall(HERE) == LEARNED
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]
    assert [record.levelname for record in caplog.records] == ["DEBUG"]


def test_what_a_killed_process_left_is_removed_when_it_is_old(tmp_path: Path) -> None:
    old, young = tmp_path / f"{FILE_NAME}.1.tmp", tmp_path / f"{FILE_NAME}.2.tmp"
    for path, age in ((old, 4000), (young, 10)):
        path.write_text("half")
        os.utime(path, (NOW - age, NOW - age))
    memory(tmp_path).remember(HERE, LEARNED)
    assert sorted(path.name for path in tmp_path.iterdir()) == [FILE_NAME, young.name]


WRITER = """
import sys
from pathlib import Path
from cosxfer.endpoint_memory import EndpointMemory
from cosxfer.tuning_rules import Learned
memory = EndpointMemory(Path(sys.argv[1]))
for round in range(200):
    memory.remember(f"http://{sys.argv[2]}", Learned(level=1 + round, stream_bytes_per_second=1.0))
    known = memory.recall("http://stays")
    assert known is not None, "a reader saw half of a file"
"""


def test_two_processes_never_see_half_of_a_file_and_keep_what_neither_changes(tmp_path: Path) -> None:
    EndpointMemory(tmp_path).remember("http://stays", LEARNED)
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, tmp_path, name]) for name in ("one", "two")]
    assert [writer.wait() for writer in writers] == [0, 0]
    known = EndpointMemory(tmp_path)
    assert known.recall("http://stays") == LEARNED
    last = [known.recall(f"http://{name}") for name in ("one", "two")]
    assert any(learned is not None and learned.level == 200 for learned in last)
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


# -- names and places -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("endpoint", "region", "key"),
    [
        ("https://{bucket}.cos.{region}.myqcloud.com", "ap-guangzhou", HERE),
        ("{bucket}.cos.{region}.myqcloud.com", "ap-guangzhou", HERE),
        ("cos.ap-guangzhou.myqcloud.com", None, HERE),
        ("HTTPS://examplebucket-1250000000.cos.ap-guangzhou.myqcloud.com", None, HERE),
        ("https://{bucket}.cos.{region}.myqcloud.com", None, "https://{bucket}.cos.{region}.myqcloud.com"),
        ("http://127.0.0.1:9000/{bucket}", "ap-guangzhou", THERE),
        ("http://user:secret@127.0.0.1:9000/examplebucket-1250000000", None, THERE),
        ("http://[::1]:9000", None, "http://[::1]:9000"),
        ("https://files.example.com", "ap-guangzhou", "https://files.example.com"),
    ],
)
def test_an_endpoint_is_known_by_scheme_and_host_and_not_by_its_bucket(
    endpoint: str, region: str | None, key: str
) -> None:
    assert endpoint_key(ClientConfig(endpoint=endpoint, region=region)) == key


@pytest.mark.parametrize(
    ("environment", "platform", "folder"),
    [
        ({"HOME": "/home/a"}, "linux", "/home/a/.local/state/cosxfer"),
        ({"HOME": "/home/a", "XDG_STATE_HOME": "/state"}, "linux", "/state/cosxfer"),
        ({"HOME": "/home/a", "XDG_STATE_HOME": "state"}, "linux", "/home/a/.local/state/cosxfer"),
        ({"HOME": "/home/a", "XDG_STATE_HOME": ""}, "freebsd14", "/home/a/.local/state/cosxfer"),
        ({"HOME": "/Users/a", "XDG_STATE_HOME": "/state"}, "darwin", "/Users/a/Library/Application Support/cosxfer"),
        ({"LOCALAPPDATA": "/c/local", "USERPROFILE": "/c/a"}, "win32", "/c/local/cosxfer"),
        ({"USERPROFILE": "/c/a"}, "win32", "/c/a/AppData/Local/cosxfer"),
        ({"HOME": "/home/a", "COSXFER_STATE_DIR": "/elsewhere"}, "linux", "/elsewhere"),
        ({"HOME": "/home/a", "COSXFER_STATE_DIR": ""}, "linux", "/home/a/.local/state/cosxfer"),
        ({}, "linux", None),
        ({"HOME": ""}, "linux", None),
        ({"HOME": "a"}, "darwin", None),
        ({}, "win32", None),
    ],
)
def test_the_folder_is_the_one_for_the_state_of_programs(
    environment: dict[str, str], platform: str, folder: str | None
) -> None:
    assert state_directory(environment, platform) == (None if folder is None else Path(folder))
