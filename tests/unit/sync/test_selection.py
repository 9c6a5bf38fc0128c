"""Ordered rules that choose paths."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosxfer.errors import UsageError
from cosxfer.sync.selection import Rule, rules_of_lines, selection_of


def taken(rules: list[Rule], *paths: str) -> list[str]:
    selection = selection_of(rules)
    assert selection is not None
    return [path for path in paths if selection.takes(path.encode(), is_folder=False)]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([("exclude", "*.tmp")], ["a.jpg", "d/b.jpg", "d/cache/x"]),
        ([("include", "*.jpg")], ["a.jpg", "d/b.jpg"]),
        ([("include", "d/c.tmp"), ("exclude", "*.tmp")], ["a.jpg", "d/b.jpg", "d/c.tmp", "d/cache/x"]),
        ([("exclude", "*.tmp"), ("include", "d/c.tmp")], []),
        ([("exclude", "cache/"), ("include", "d/")], ["d/b.jpg", "d/c.tmp"]),
        ([("include", "x"), ("exclude", "cache/")], ["a.jpg", "k.tmp", "d/b.jpg", "d/c.tmp", "d/cache/x"]),
        ([("exclude", "/d")], ["a.jpg", "k.tmp"]),
    ],
)
def test_the_first_rule_that_matches_decides(rules: list[Rule], expected: list[str]) -> None:
    assert taken(rules, "a.jpg", "k.tmp", "d/b.jpg", "d/c.tmp", "d/cache/x") == [
        path for path in ["a.jpg", "k.tmp", "d/b.jpg", "d/c.tmp", "d/cache/x"] if path in expected
    ]


PATTERNS = st.sampled_from(["a", "b", "a/b", "/a", "b/", "*", "a/**", "**/b"])
RULES = st.lists(st.tuples(st.sampled_from(["include", "exclude"]), PATTERNS), min_size=1, max_size=4)


@given(RULES, st.lists(st.sampled_from("ab"), min_size=1, max_size=3), st.lists(st.sampled_from("ab"), min_size=1))
def test_a_folder_that_is_pruned_holds_nothing_that_is_taken(rules: Any, folder: list[str], rest: list[str]) -> None:
    selection = selection_of(rules)
    assert selection is not None
    if selection.prunes("/".join(folder).encode()):
        assert not selection.takes("/".join([*folder, *rest]).encode(), is_folder=False)


def test_a_folder_is_pruned_unless_an_earlier_rule_may_include_something_in_it() -> None:
    early, late = (
        selection_of([("include", "keep"), ("exclude", "cache/")]),
        selection_of([("exclude", "cache/"), ("include", "keep")]),
    )
    assert early is not None
    assert late is not None
    assert (early.prunes(b"cache"), late.prunes(b"cache"), late.prunes(b"other")) == (False, True, False)
    assert (early.takes(b"cache/keep", is_folder=False), late.takes(b"cache/keep", is_folder=False)) == (True, False)


def test_rules_that_decide_nothing_are_named() -> None:
    selection = selection_of([("exclude", "*.tmp"), ("exclude", "*.bak")])
    assert selection is not None
    selection.takes(b"x.tmp", is_folder=False)
    assert selection.unused == ["*.bak"]


def test_a_filter_file_has_signs_and_comments() -> None:
    lines = ["# comment\n", "\n", "+ a b\n", "- *.tmp\r\n"]
    assert rules_of_lines(lines, source="f") == [("include", "a b"), ("exclude", "*.tmp")]


@pytest.mark.parametrize("line", ["*.tmp", "-*.tmp", "+ ", "! x"])
def test_a_line_that_is_no_rule_is_refused(line: str) -> None:
    with pytest.raises(UsageError, match=r"^f, line 1: "):
        rules_of_lines([line], source="f")


@pytest.mark.parametrize("rules", ["*.tmp", [("drop", "x")], ["x"], [("include", "")], 7])
def test_rules_that_are_none_are_refused(rules: Any) -> None:
    with pytest.raises(UsageError):
        selection_of(rules)


def test_no_rules_are_no_selection() -> None:
    assert selection_of(None) is None
    assert selection_of([]) is None
