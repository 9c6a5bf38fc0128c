"""The mapping: slices without copies, life after close, and SIGBUS."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.native.reference import noise

PAGE = os.sysconf("SC_PAGESIZE")
STORM = Path(__file__).with_name("truncation_storm.py")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.write_bytes(noise(10 * PAGE + 123))
    return path


def mapped(slicing: ModuleType, path: Path) -> object:
    with path.open("rb") as file:
        return slicing.MappedFile(file.fileno(), path.stat().st_size)


def test_slices_have_the_content_of_the_file(slicing: ModuleType, path: Path) -> None:
    data = path.read_bytes()
    with mapped(slicing, path) as mapping:
        assert mapping.size == len(data)
        for offset, length in ((0, len(data)), (1, 5), (PAGE - 1, 2), (len(data), 0), (len(data) - 1, 1), (0, 0)):
            view = mapping.slice(offset, length)
            assert view == data[offset : offset + length]
            assert view.readonly
            mapping.prefetch(offset, length)
            mapping.release(offset, length)
            assert view == data[offset : offset + length]
        assert not mapping.lost


@pytest.mark.parametrize(("offset", "length"), [(-1, 1), (0, -1), (0, 10**6), (10**6, 0), (1, 10 * PAGE + 123)])
def test_a_range_outside_the_file_is_refused(slicing: ModuleType, path: Path, offset: int, length: int) -> None:
    with mapped(slicing, path) as mapping:
        for call in (mapping.slice, mapping.prefetch, mapping.release):
            with pytest.raises(ValueError, match="not inside"):
                call(offset, length)


def test_an_empty_file_maps_to_nothing(slicing: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with mapped(slicing, tmp_path / "empty") as mapping:
        assert mapping.slice(0, 0) == b""
        mapping.prefetch(0, 0)
        assert not mapping.lost


def test_slices_outlive_close_and_the_mapping_object(slicing: ModuleType, path: Path) -> None:
    mapping = mapped(slicing, path)
    view = mapping.slice(PAGE, 100)
    mapping.close()
    assert mapping.closed
    with pytest.raises(ValueError, match="closed"):
        mapping.slice(0, 1)
    del mapping
    assert view == path.read_bytes()[PAGE : PAGE + 100]


def test_the_mapping_is_freed_with_its_last_slice(path: Path, needs_compiled: None) -> None:
    from cosxfer._native import slicing

    def still_mapped() -> bool:
        return str(path) in Path("/proc/self/maps").read_text()

    mapping = mapped(slicing, path)
    view = mapping.slice(0, 10)
    mapping.close()
    assert still_mapped()
    view.release()
    assert not still_mapped()


def test_a_truncated_file_reads_as_zeros_and_is_marked_lost(slicing: ModuleType, path: Path) -> None:
    data = path.read_bytes()
    mapping = mapped(slicing, path)
    os.truncate(path, 4 * PAGE)
    view = mapping.slice(0, mapping.size)
    assert view[: 4 * PAGE] == data[: 4 * PAGE]
    assert not any(view[4 * PAGE :])
    assert mapping.lost
    del view
    mapping.close()
    assert mapping.lost  # it stays low afterwards too


def test_release_keeps_memory_low(tmp_path: Path, needs_compiled: None) -> None:
    from cosxfer._native import hashing, slicing

    path = tmp_path / "large"
    size = 64 << 20
    with path.open("wb") as file:
        file.truncate(size)
    mapping = mapped(slicing, path)

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[2]) * PAGE  # shared memory: mapped pages of files

    before = resident()
    peak = 0
    for offset in range(0, size, 4 << 20):
        mapping.prefetch(offset, 4 << 20)
        hashing.crc64(mapping.slice(offset, 4 << 20))
        peak = max(peak, resident())
        mapping.release(offset, 4 << 20)
    assert 4 << 20 <= peak - before < 16 << 20
    assert resident() - before < 4 << 20


def run(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, str(STORM), *arguments], capture_output=True, text=True, timeout=100)
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.mark.parametrize(
    "reader", ["hash", *(pytest.param(r, marks=pytest.mark.deep) for r in ("socket", "tls", "copy"))]
)
def test_hundreds_of_truncations_while_the_file_is_read(tmp_path: Path, needs_compiled: None, reader: str) -> None:
    out = run("storm", reader, str(tmp_path / "victim"), "150").stdout
    rounds, lost = (int(word) for word in out.split()[:2])
    assert rounds == 150
    assert lost > 0  # otherwise no truncation hit a read, and the test proved nothing


def test_a_forked_child_is_guarded_too(tmp_path: Path, needs_compiled: None) -> None:
    run("fork", str(tmp_path / "victim"))


@pytest.mark.parametrize("order", ["before", "after"])
def test_a_foreign_fault_still_kills_and_is_reported(tmp_path: Path, needs_compiled: None, order: str) -> None:
    done = run("foreign", order, str(tmp_path / "victim"), check=False)
    assert done.returncode == -signal.SIGBUS, done.stdout + done.stderr
    assert done.stderr.count("Fatal Python error: Bus error") == 1


def test_without_any_handler_a_foreign_fault_kills(tmp_path: Path, needs_compiled: None) -> None:
    done = run("foreign", "none", str(tmp_path / "victim"), check=False)
    assert done.returncode == -signal.SIGBUS
    assert done.stderr == ""


def test_a_sigbus_that_is_sent_has_its_usual_effect(tmp_path: Path, needs_compiled: None) -> None:
    assert run("sent", str(tmp_path / "victim"), check=False).returncode == -signal.SIGBUS
    assert run("sent-handled", str(tmp_path / "victim")).stdout == "handled\n"


def test_our_handler_is_installed_again_above_a_handler_that_replaced_it(tmp_path: Path, needs_compiled: None) -> None:
    run("replaced", str(tmp_path / "victim"))
