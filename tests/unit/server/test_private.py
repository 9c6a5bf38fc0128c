"""A server's directory is private to its owner, with any umask."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cosxfer.server.store import Store
from cosxfer.server.tls import make_certificate


@pytest.fixture
def no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("no_umask")
@pytest.mark.parametrize("made_before", [False, True])
def test_nothing_below_a_root_is_open_to_others(tmp_path: Path, made_before: bool) -> None:
    root = tmp_path / "root"
    if made_before:
        root.mkdir(mode=0o755)
    with ThreadPoolExecutor(1) as executor:
        store = Store(root, executor=executor)
        store.add_bucket("b-1250000000")
        for path in [root, *root.rglob("*")]:
            assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path
        assert list(root.glob("index.sqlite-*"))
        store.close()


@pytest.mark.usefixtures("no_umask")
def test_a_directory_with_other_files_keeps_its_mode(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir(mode=0o755)
    (root / "other").touch()
    with ThreadPoolExecutor(1) as executor:
        Store(root, executor=executor).close()
    assert root.stat().st_mode & 0o777 == 0o755
    assert (root / "index.sqlite").stat().st_mode & 0o777 == 0o600
    assert (root / "bodies").stat().st_mode & 0o777 == 0o700


@pytest.mark.usefixtures("no_umask")
def test_the_certificate_and_its_key_are_private_even_if_they_replace_others(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "tls", tmp_path / "elsewhere"
    folder.mkdir(mode=0o755)
    elsewhere.write_bytes(b"kept")
    (folder / "ca.pem").symlink_to(elsewhere)
    for name in ("server.pem", "server.key"):
        (folder / name).touch(mode=0o666)
    made = make_certificate(folder, host="127.0.0.1")
    for path in (made.ca_file, made.cert_file, made.key_file):
        assert path.stat().st_mode & 0o777 == 0o600, path
        assert path.read_bytes().startswith(b"-----BEGIN")
    assert elsewhere.read_bytes() == b"kept"
