"""Temporary folders are removed with their owner, or by the next one if the owner was killed."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from cosxfer.server.temporary import OWNER, PREFIX, TemporaryFolder, temporary_folder

KILLED = f"""
import os, signal
from cosxfer.server.temporary import TemporaryFolder
folder = TemporaryFolder({PREFIX!r})
(folder.path / "object").write_bytes(b"x")
print(folder.path, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def killed() -> Path:
    """The folder of a process that was killed."""
    done = subprocess.run([sys.executable, "-c", KILLED], capture_output=True, text=True, check=False, timeout=60)
    return Path(done.stdout.strip())


def test_a_folder_is_private_and_removed_after_its_block() -> None:
    with temporary_folder(PREFIX) as path:
        assert path.stat().st_mode & 0o777 == 0o700
        (path / "object").write_bytes(b"x")
    assert not path.exists()


def test_the_folder_of_a_killed_owner_is_removed_by_the_next_one(place: Path) -> None:
    left = killed()
    assert (left / "object").exists()
    with temporary_folder(PREFIX) as path:
        assert list(place.iterdir()) == [path]


def test_folders_of_running_processes_stay() -> None:
    first = TemporaryFolder(PREFIX)
    second = TemporaryFolder(PREFIX)
    assert first.path.exists()
    first.remove()
    first.remove()
    assert not first.path.exists()
    assert second.path.exists()
    second.remove()


def test_folders_that_may_be_in_use_stay(place: Path) -> None:
    left = killed()
    linked = place / f"{PREFIX}link"
    linked.symlink_to(place / "elsewhere")
    left.rename(place / "elsewhere")
    unowned = place / f"{PREFIX}unowned"
    unowned.mkdir()
    foreign = place / f"{PREFIX}foreign"
    foreign.mkdir()
    (foreign / OWNER).symlink_to(place / "elsewhere" / OWNER)
    with temporary_folder(PREFIX):
        pass
    assert (place / "elsewhere" / "object").exists()
    assert unowned.exists()
    assert foreign.exists()
