"""Part files: their permissions from the first byte, and the leftovers of killed processes."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import stat
import struct
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cosxfer.cli.output_file import write_whole
from cosxfer.errors import TargetError
from cosxfer.targets import PartFile, folds_case, make_folders, write_target
from tests.unit.unprivileged import reachable_by_others, run_unprivileged

KILLED = """
import os, signal, sys
from pathlib import Path
from cosxfer.targets import PartFile
part = PartFile(Path(sys.argv[1]))
part.file.write(b"half")
part.file.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def kill_a_writer(target: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", KILLED, str(target)], check=False)
    assert ended.returncode == -signal.SIGKILL


@pytest.mark.parametrize("old", [0o600, 0o640, 0o400, 0o777, 0o4755, 0o2711, 0o1600, 0o6600])
def test_the_permissions_are_the_final_ones_before_the_first_byte(tmp_path: Path, old: int) -> None:
    target = tmp_path / "f"
    target.write_bytes(b"old")
    target.chmod(old)
    part = PartFile(target)
    assert mode(part.path) == old & 0o777
    part.file.write(b"new")
    part.commit()
    assert (mode(target), names(tmp_path)) == (old & 0o777, ["f"])


def test_a_new_file_has_the_mode_that_the_umask_leaves(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        part = PartFile(tmp_path / "f")
        assert mode(part.path) == 0o640
        part.commit()
    finally:
        os.umask(before)
    assert mode(tmp_path / "f") == 0o640


def test_a_file_is_never_more_accessible_than_its_final_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "f"
    target.write_bytes(b"old")
    target.chmod(0o600)
    created: list[int] = []
    usual = os.open

    def watched(path: Path, flags: int, given: int = 0o777) -> int:
        fd = usual(path, flags, given)
        if flags & os.O_CREAT:
            created.append(stat.S_IMODE(os.fstat(fd).st_mode))
        return fd

    monkeypatch.setattr(os, "open", watched)
    before = os.umask(0)
    try:
        PartFile(target).discard()
    finally:
        os.umask(before)
    assert created == [0o600]


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to another user")
def test_a_file_of_another_user_keeps_its_owner(tmp_path: Path) -> None:
    target = tmp_path / "f"
    target.write_bytes(b"old")
    os.chown(target, 1234, 5678)
    part = PartFile(target)
    part.commit()
    assert (target.stat().st_uid, target.stat().st_gid) == (1234, 5678)


def test_if_the_group_cannot_be_kept_it_gets_no_access(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "f"
    target.write_bytes(b"old")
    target.chmod(0o664)
    if os.geteuid() == 0:
        os.chown(target, -1, 5678)
    else:
        pytest.skip("needs a file of another group")

    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "fchown", refuse)
    part = PartFile(target)
    assert mode(part.path) == 0o604
    part.discard()


def test_the_leftover_of_a_killed_process_is_removed_by_the_next_writer(tmp_path: Path) -> None:
    target = tmp_path / "f"
    kill_a_writer(target)
    assert len(names(tmp_path)) == 1
    part = PartFile(target)
    part.file.write(b"whole")
    part.commit()
    assert names(tmp_path) == ["f"]
    assert target.read_bytes() == b"whole"


def test_a_file_that_is_being_written_is_not_removed(tmp_path: Path) -> None:
    target = tmp_path / "f"
    first = PartFile(target)
    first.file.write(b"first")
    kill_a_writer(target)
    second = PartFile(target)
    assert len(names(tmp_path)) == 2
    second.commit()
    first.commit()
    assert names(tmp_path) == ["f"]
    assert target.read_bytes() == b"first"


@pytest.mark.parametrize("locked", [True, False])
def test_a_new_file_that_another_writer_takes_for_an_abandoned_one_is_given_up(
    locked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, others = fcntl.flock, []

    def before(fd: int, how: int) -> None:
        # The other writer sees the file before it is locked: it has the lock, and then removes the file.
        if not others:
            (name,) = names(tmp_path)
            others.append(os.open(tmp_path / name, os.O_RDONLY))
            lock(others[0], fcntl.LOCK_EX)
            if not locked:
                (tmp_path / name).unlink()
                os.close(others[0])
        lock(fd, how)

    monkeypatch.setattr("cosxfer.targets.fcntl.flock", before)
    part = PartFile(tmp_path / "f")
    if locked:
        first, second = names(tmp_path)
        assert part.path.name == second
        (tmp_path / first).unlink()
        os.close(others[0])
    part.write([b"content"])
    part.commit()
    assert names(tmp_path) == ["f"]
    assert (tmp_path / "f").read_bytes() == b"content"


def test_many_writers_of_one_file_at_a_time_do_not_disturb_each_other(tmp_path: Path) -> None:
    rounds, contents = 1000, [bytes([65 + n]) * 100_000 for n in range(4)]
    together = threading.Barrier(len(contents), timeout=60)
    wrong: list[object] = []

    def write(number: int) -> None:
        for index in range(rounds):
            path = tmp_path / str(index)
            together.wait()
            try:
                if number % 2:
                    write_target(str(path), memoryview(contents[number]), modified=None)  # by native code
                else:
                    part = PartFile(path)
                    part.write([contents[number]])
                    part.commit()
            except Exception as error:
                wrong.append(error)
            together.wait()
            if number == 0:
                if path.read_bytes() not in contents or names(tmp_path) != [path.name]:
                    wrong.append(names(tmp_path))
                path.unlink()

    with ThreadPoolExecutor(len(contents)) as pool:
        for done in [pool.submit(write, number) for number in range(len(contents))]:
            done.result()
    assert not wrong


def test_more_writers_than_names_get_a_file_each(tmp_path: Path) -> None:
    parts = [PartFile(tmp_path / "f") for _ in range(12)]
    assert len({part.path for part in parts}) == 12
    for part in parts:
        part.discard()
    assert not names(tmp_path)


def test_links_are_not_mistaken_for_leftovers(tmp_path: Path) -> None:
    kill_a_writer(tmp_path / "f")
    (left,) = tmp_path.iterdir()
    (tmp_path / "precious").hardlink_to(left)
    left.with_name(left.name[:-1] + "1").symlink_to(tmp_path / "precious")
    os.mkfifo(left.with_name(left.name[:-1] + "2"))
    part = PartFile(tmp_path / "f")
    part.commit()
    assert (tmp_path / "precious").read_bytes() == b"half"
    assert len(names(tmp_path)) == 5


def test_a_form_page_keeps_the_permissions_of_the_file_that_it_replaces(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("old")
    page.chmod(0o600)
    write_whole(page, b"new", replace=True)
    assert (page.read_text(), mode(page)) == ("new", 0o600)
    with pytest.raises(FileExistsError):
        PartFile(page).commit(replace=False)


def test_a_folder_that_may_not_be_written_to_is_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    folder.joinpath("f").write_bytes(b"old")
    folder.chmod(0o555)
    reachable_by_others(tmp_path)

    def write() -> None:
        with pytest.raises(PermissionError):
            PartFile(folder / "f")

    run_unprivileged(write)
    folder.chmod(0o755)
    assert names(folder) == ["f"]
    assert (folder / "f").read_bytes() == b"old"


def test_a_folder_removed_during_the_download_is_an_error_and_frees_the_lock(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    part = PartFile(folder / "f")
    part.file.write(b"new")
    shutil.rmtree(folder)
    with pytest.raises(FileNotFoundError):
        part.commit()
    part.discard()
    part.discard()
    held = [os.readlink(link) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]  # noqa: PTH115
    assert not [link for link in held if str(folder) in link]


def access_control_list(*, user: int, mask: int) -> bytes:
    """An access control list in the kernel's format. ``user`` may read and write, within ``mask``."""
    undefined = 0xFFFFFFFF
    entries = [(1, 6, undefined), (2, 6, user), (4, 4, undefined), (16, mask, undefined), (32, 0, undefined)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


ACL = "system.posix_acl_access"


def with_list(path: Path) -> bytes:
    """Create the file with a list; skip the test if the file system has none."""
    path.write_bytes(b"old")
    listed = access_control_list(user=65534, mask=6)
    try:
        os.setxattr(path, ACL, listed)
    except OSError:
        pytest.skip("this file system has no access control lists")
    return listed


def test_a_file_keeps_its_access_control_list(tmp_path: Path) -> None:
    target = tmp_path / "f"
    listed = with_list(target)
    part = PartFile(target)
    assert os.getxattr(part.path, ACL) == listed
    part.file.write(b"new")
    part.commit()
    assert os.getxattr(target, ACL) == listed
    assert target.read_bytes() == b"new"


def test_a_file_without_a_list_does_not_get_that_of_its_folder(tmp_path: Path) -> None:
    target = tmp_path / "f"
    target.write_bytes(b"old")
    target.chmod(0o600)
    try:
        os.setxattr(tmp_path, "system.posix_acl_default", access_control_list(user=65534, mask=6))
    except OSError:
        pytest.skip("this file system has no access control lists")
    part = PartFile(target)
    with pytest.raises(OSError, match="No data"):
        os.getxattr(part.path, ACL)
    assert mode(part.path) == 0o600
    part.discard()


def test_if_the_list_cannot_be_kept_the_group_gets_no_access(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "f"
    with_list(target)

    def refused(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr("cosxfer.targets.os.setxattr", refused)
    part = PartFile(target)
    # With a list, the group bits of the mode are the mask (6), not the group's permissions (4).
    assert mode(part.path) == 0o600
    part.discard()


def test_the_probe_of_a_file_system_leaves_nothing(tmp_path: Path) -> None:
    assert folds_case(str(tmp_path)) is False
    assert names(tmp_path) == []
    with pytest.raises(TargetError):
        folds_case(str(tmp_path / "missing"))


def test_folders_are_made_below_the_root_only(tmp_path: Path) -> None:
    root = tmp_path / "root"
    assert make_folders(str(root), ("a", "b")) == str(root / "a" / "b")
    (root / "link").symlink_to(tmp_path)
    with pytest.raises(TargetError, match="is a link"):
        make_folders(str(root), ("link", "c"))
    assert names(tmp_path) == ["root"]
