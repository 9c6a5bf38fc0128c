"""New files that native threads write: whole under their names, below a folder without links, or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cosxfer import _native
from tests.native.test_file_service import made, outcomes

pytestmark = pytest.mark.skipif(_native.FileService is None, reason="the native file service is not built")

CONTENT = bytes(range(256)) * 100


@pytest.fixture
def service() -> Iterator[Any]:
    service = made()
    yield service
    service.close()


def write(
    service: Any, path: Path, content: bytes = CONTENT, *, below: Path | None = None, modified: int | None = None
) -> int:
    temporary = os.fsencode(path.with_name(f".{path.name}.part"))
    root = 0 if below is None else len(os.fsencode(below))
    service.write(os.fsencode(path), temporary, content, root, modified, 0.0, "it")
    outcome = outcomes(service, 1)["it"]
    assert isinstance(outcome, int)
    return outcome


@pytest.mark.parametrize("content", [b"", b"x", CONTENT])
def test_a_new_file_gets_its_content_its_time_and_its_name(service: Any, tmp_path: Path, content: bytes) -> None:
    assert write(service, tmp_path / "f é", content, modified=-1_500_000_000) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["f é"]
    assert (tmp_path / "f é").read_bytes() == content
    assert (tmp_path / "f é").stat().st_mtime_ns == -1_500_000_000


def test_the_content_is_copied(service: Any, tmp_path: Path) -> None:
    content = bytearray(CONTENT)
    for number in range(20):
        service.write(b"%s/%d" % (os.fsencode(tmp_path), number), b"%s/t%d" % (os.fsencode(tmp_path), number),
                      content, 0, None, 0.0, number)  # fmt: skip
    content[:] = bytes(len(content))
    del content
    assert set(outcomes(service, 20).values()) == {0}
    assert {path.read_bytes() for path in tmp_path.iterdir()} == {CONTENT}


def test_nothing_is_done_if_the_name_is_taken(service: Any, tmp_path: Path) -> None:
    (tmp_path / "f").symlink_to("nowhere")
    (tmp_path / ".g.part").write_bytes(b"of another writer")
    assert write(service, tmp_path / "f") == -1
    assert write(service, tmp_path / "g") == -1
    assert sorted(path.name for path in tmp_path.iterdir()) == [".g.part", "f"]


def test_no_link_and_no_missing_folder_below_the_root(service: Any, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "a" / "b").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (root / "link").symlink_to(tmp_path / "outside")
    (root / "a" / "link").symlink_to("b")
    (root / "file").touch()
    assert write(service, root / "f", below=root) == 0
    assert write(service, root / "a" / "b" / "f", below=root) == 0
    for path in ("link/f", "a/link/f", "missing/f", "file/f", "link/x/f"):
        assert write(service, root / path, below=root) == -1, path
    assert list((tmp_path / "outside").iterdir()) == []
    # The folder itself may be reached by a link, and without a root every link is followed.
    (tmp_path / "to-root").symlink_to("root")
    assert write(service, tmp_path / "to-root" / "g", below=tmp_path / "to-root") == 0
    assert write(service, root / "link" / "f") == 0
    assert (tmp_path / "outside" / "f").read_bytes() == CONTENT


def test_the_root_may_be_the_root_of_all(service: Any, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    assert write(service, tmp_path / "f", below=Path("/")) == 0
    assert write(service, tmp_path / "link" / "g", below=Path("/")) == -1


def test_a_failure_leaves_nothing(service: Any, tmp_path: Path) -> None:
    service.write(os.fsencode(tmp_path / "missing" / "f"), os.fsencode(tmp_path / "t"), CONTENT, 0, None, 0.0, "it")
    assert outcomes(service, 1) == {"it": errno.ENOENT}
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_path_is_refused(service: Any) -> None:
    for path, temporary, root in ((b"/a\0b", b"/t", 0), (b"/a", b"/t\0", 0), (b"/a", b"/t", 2), (b"/a", b"/t", 3)):
        with pytest.raises(ValueError, match=r"null byte|not below"):
            service.write(path, temporary, b"", root, None, 0.0, None)
    assert service.pending == 0


def test_a_service_that_is_closed_meanwhile_leaves_whole_files(tmp_path: Path) -> None:
    service = made()
    for number in range(200):
        service.write(b"%s/%d" % (os.fsencode(tmp_path), number), b"%s/t%d" % (os.fsencode(tmp_path), number),
                      CONTENT, 0, None, 0.0, number)  # fmt: skip
    outcomes(service, 1, most=1)
    service.close()
    named = [path for path in tmp_path.iterdir() if not path.name.startswith("t")]
    assert named
    assert {path.read_bytes() for path in named} == {CONTENT}
