"""Which path below a folder belongs to a key, and which keys have none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosxfer.cos.key_paths import KeyPaths


def paths(*, folds_case: bool = False, windows: bool = False) -> KeyPaths:
    return KeyPaths(folds_case=folds_case, windows=windows)


def test_each_part_of_a_key_is_a_name() -> None:
    found = paths()
    assert found.names("a", is_folder=False) == ("a",)
    assert found.names("b/c d/é", is_folder=False) == ("b", "c d", "é")
    assert found.names("b/", is_folder=True) == ("b",)
    assert found.names("e/f/", is_folder=True) == ("e", "f")


OUTSIDE = ["", "/", "/etc/passwd", "..", "../x", "a/../b", "a/..", ".", "./a", "a/./b", "a//b", "a/", "a\0b", "n" * 256]


@pytest.mark.parametrize("key", OUTSIDE)
def test_a_key_without_a_path_of_its_own_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match=r"it |a part of it"):
        paths().names(key, is_folder=False)


WINDOWS = [
    "con",
    "NUL.txt",
    "a/com1",
    "lpt9.log",
    "a:b",
    "c:",
    "a\\b",
    "..\\x",
    "a?",
    "a*",
    "dot.",
    "blank ",
    "a\x01",
    "<",
]


@pytest.mark.parametrize("key", WINDOWS)
def test_names_that_windows_does_not_have_are_refused_there(key: str) -> None:
    with pytest.raises(ValueError, match="on Windows"):
        paths(windows=True).names(key, is_folder=False)
    assert paths().names(key, is_folder=False)


@pytest.mark.parametrize("first", [("a", False), ("a/b", False)])
def test_a_path_is_a_file_or_a_folder_not_both(first: tuple[str, bool]) -> None:
    found = paths()
    found.names(first[0], is_folder=False)
    other = {"a": "a/b", "a/b": "a"}[first[0]]
    with pytest.raises(ValueError, match="folder"):
        found.names(other, is_folder=False)
    assert found.names("a-b", is_folder=False)


def test_a_folder_marker_needs_its_place_too() -> None:
    found = paths()
    found.names("a/", is_folder=True)
    with pytest.raises(ValueError, match="folder"):
        found.names("a", is_folder=False)
    found.names("b", is_folder=False)
    with pytest.raises(ValueError, match="folder"):
        found.names("b/", is_folder=True)
    assert found.names("a/x", is_folder=False) == ("a", "x")


@pytest.mark.parametrize(("one", "other"), [("a", "A"), ("Dir/x", "dir/X"), ("straße", "STRASSE"), ("é", "e\u0301")])
def test_keys_that_differ_in_case_only_are_refused_where_that_is_one_file(one: str, other: str) -> None:
    found = paths(folds_case=True)
    found.names(one, is_folder=False)
    with pytest.raises(ValueError, match="does not tell case apart"):
        found.names(other, is_folder=False)
    apart = paths()
    assert apart.names(one, is_folder=False) != apart.names(other, is_folder=False)


def test_a_folder_in_another_case_is_the_same_folder() -> None:
    found = paths(folds_case=True)
    found.names("Dir", is_folder=False)
    with pytest.raises(ValueError, match="is a file where this key needs a folder"):
        found.names("dir/x", is_folder=False)


@given(st.lists(st.text("aA./\\\0", max_size=8), max_size=12), st.booleans())
def test_no_two_keys_share_a_path_and_none_leaves_the_folder(keys: list[str], folds_case: bool) -> None:
    found = paths(folds_case=folds_case)
    files: set[tuple[str, ...]] = set()
    for key in dict.fromkeys(keys):
        try:
            names = found.names(key, is_folder=False)
        except ValueError:
            continue
        assert not {"", ".", ".."} & set(names)
        assert not any("/" in name or "\0" in name for name in names)
        place = tuple(name.casefold() for name in names) if folds_case else names
        assert place not in files
        assert not any(place[: len(other)] == other or other[: len(place)] == place for other in files)
        files.add(place)
