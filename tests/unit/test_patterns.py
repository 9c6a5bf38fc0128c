"""Patterns follow the rules of a .gitignore. They are compared with git if git is installed."""

from __future__ import annotations

import shutil
import subprocess
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cosxfer.errors import UsageError
from cosxfer.patterns import Pattern, Patterns, parse_patterns

PATHS = ("x", "a/x", "a/b/x", "a/b/c/x", "b/a/x", "x/y", "a/x/y", ".x", "a/.x", "é", "[", "a\\b", "!x", "#x", "x y")
"""Paths of files; every parent of one is a folder."""


def selected(pattern: str, paths: tuple[str, ...] = PATHS) -> list[str]:
    """The files that a pattern selects, directly or by selecting their folder."""
    compiled = Pattern(pattern, argument="exclude")
    return [path for path in paths if stands_for(compiled, path)]


def stands_for(pattern: Pattern, path: str) -> bool:
    names = path.split("/")
    return any(
        pattern.matches(names[:count], is_folder=count < len(names)) for count in range(1, len(names) + 1)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("pattern", "files"),
    [
        ("x", ["x", "a/x", "a/b/x", "a/b/c/x", "b/a/x", "x/y", "a/x/y"]),
        ("/x", ["x", "x/y"]),
        ("./x", ["x", "x/y"]),
        ("x/", ["x/y", "a/x/y"]),
        ("/x/", ["x/y"]),
        ("a/x", ["a/x", "a/x/y"]),
        ("/a/x/", ["a/x/y"]),
        ("b/x", []),
        ("**/x", ["x", "a/x", "a/b/x", "a/b/c/x", "b/a/x", "x/y", "a/x/y"]),
        ("**/b/x", ["a/b/x"]),
        ("a/**", ["a/x", "a/b/x", "a/b/c/x", "a/x/y", "a/.x"]),
        ("a/**/x", ["a/x", "a/b/x", "a/b/c/x", "a/x/y"]),
        ("**/a/**/x", ["a/x", "a/b/x", "a/b/c/x", "b/a/x", "a/x/y"]),
        ("a/*", ["a/x", "a/b/x", "a/b/c/x", "a/x/y", "a/.x"]),
        ("a/*/x", ["a/b/x"]),
        ("*/x", ["a/x", "a/x/y"]),
        ("a*x", []),
        ("a**/x", ["a/x", "a/x/y"]),
        ("**", list(PATHS)),
        ("*", list(PATHS)),
        ("/**", list(PATHS)),
        (".*", [".x", "a/.x"]),
        ("?", [path for path in PATHS if path not in (".x", "a\\b", "!x", "#x", "x y")]),
        (r"\!x", ["!x"]),
        ("#x", ["#x"]),
        ("[[]", ["["]),
        (r"\[", ["["]),
        (r"a\\b", ["a\\b"]),
        ("[!a-wyz]", [path for path in PATHS if "x" in path.split("/") or path in ("x", "é", "[")]),
        ("x y", ["x y"]),
    ],
)
def test_a_pattern_selects(pattern: str, files: list[str]) -> None:
    assert selected(pattern) == [path for path in PATHS if path in files]


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("", "is empty"),
        ("a\0", "has a NUL"),
        ("[a", r"has a \[ without its \]"),
        ("[]", r"has a \[ without its \]"),
        ("[!]", r"has a \[ without its \]"),
        ("x/[[:alpha:]", r"has a \[ without its \]"),
        ("[[:nonsense:]]", "unknown class"),
        ("[z-a]", "range from 'z' to 'a'"),
        ("a\\", "ends with a"),
        ("/", "root of the tree"),
        ("./", "root of the tree"),
        (".", "can never match"),
        ("a//b", "can never match"),
        ("a/./b", "can never match"),
        ("../a", "can never match"),
        ("x//", "can never match"),
        ("!x", "the other list"),
        ("\ud800", "cannot be encoded"),
    ],
)
def test_a_pattern_that_can_never_match_is_refused_by_name(pattern: str, why: str) -> None:
    with pytest.raises(UsageError, match=why) as caught:
        Pattern(pattern, argument="include")
    assert caught.value.name == "include"
    assert "include pattern" in str(caught.value)


@pytest.mark.parametrize("given", ["*.log", b"*", 3])
def test_a_string_is_not_a_list_of_patterns(given: object) -> None:
    with pytest.raises(UsageError, match="it must be a list of patterns"):
        parse_patterns("exclude", given)  # type: ignore[arg-type]


def test_a_pattern_may_have_bytes_that_are_not_text() -> None:
    assert selected("bad\udcff", ("bad\udcff", "bad")) == ["bad\udcff"]


def test_patterns_that_matched_nothing_are_reported() -> None:
    patterns = Patterns("exclude", ["a", "b", "a", "c/*", "d/*"])
    assert patterns.match(["a"], is_folder=False)
    assert not patterns.match(["x"], is_folder=True)
    assert patterns.unmatched == ["b", "c/*", "d/*"]
    assert patterns.covers(["c"])
    assert patterns.unmatched == ["b", "d/*"]


@pytest.mark.parametrize("pattern", ["p/*", "/p/**", "**/p/*", "p/**/*", "*/*", "**", "*"])
def test_a_pattern_covers_a_folder_if_it_matches_any_content(pattern: str) -> None:
    assert Pattern(pattern, argument="exclude").covers(["p"])


@pytest.mark.parametrize("pattern", ["p/*/", "p/*.jpg", "p/[!.]*", "p/?*", "q/*", "p", "p/", "p/a/*"])
def test_a_pattern_does_not_cover_a_folder_with_other_possible_content(pattern: str) -> None:
    assert not Pattern(pattern, argument="exclude").covers(["p"])


NAMES = st.text(alphabet="ab.é-", min_size=1, max_size=6).filter(lambda name: name not in (".", ".."))


@given(names=st.lists(NAMES, min_size=1, max_size=5), folder=st.booleans())
def test_a_path_with_a_slash_matches_only_at_the_root(names: list[str], folder: bool) -> None:
    pattern = Pattern("/" + "/".join(names), argument="exclude")
    assert pattern.matches(names, is_folder=folder)
    assert not pattern.matches(["more", *names], is_folder=folder)
    assert not pattern.matches([*names, "more"], is_folder=folder)


@given(names=st.lists(NAMES, max_size=4), name=NAMES, text=st.text(alphabet="ab*?.", min_size=1, max_size=6))
def test_without_a_slash_a_pattern_is_a_glob_of_the_name(names: list[str], name: str, text: str) -> None:
    if text in (".", ".."):
        return
    matched = Pattern(text, argument="exclude").matches([*names, name], is_folder=False)
    assert matched == fnmatchcase(name, text)
    assert matched == Pattern(f"**/{text}", argument="exclude").matches([*names, name], is_folder=False)


@given(names=st.lists(NAMES, min_size=1, max_size=6), data=st.data())
def test_two_stars_match_any_number_of_folders(names: list[str], data: st.DataObject) -> None:
    kept = [name for name in names[:-1] if data.draw(st.booleans())]
    text = "/".join(["**", *[part for name in kept for part in (name, "**")], names[-1]])
    assert Pattern(text, argument="exclude").matches(names, is_folder=False)


@pytest.mark.parametrize("pattern", ["*a*a*a*a*a*a*a*a*b", "**/*a*a*b/**/*a*b/**/x", "[a-z]*[a-z]*[a-z]*[a-z]*!"])
def test_the_time_of_a_match_does_not_explode(pattern: str) -> None:
    compiled = Pattern(pattern, argument="exclude")
    # A matcher that tries every way to divide the name among the stars would never end.
    assert not compiled.matches(["a" * 255] * 400, is_folder=False)


FOLDERS = ("a", "b", "ab", "a.b", "-", "a/a", "a/b", "b/a", "a/b/a", "a/b/b", "ab/a")
LEAVES = ("x", "a.a", "-b", "]", "b.x")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("git") is None:
        pytest.skip("there is no git")
    root = tmp_path_factory.mktemp("repository")
    subprocess.run(["git", "init", "-q", root], check=True, env=git_environment(root))
    for folder in FOLDERS:
        (root / folder).mkdir(parents=True, exist_ok=True)
    for folder in (".", *FOLDERS):
        for leaf in LEAVES:
            (root / folder / leaf).touch()
    return root


def git_environment(root: Path) -> dict[str, str]:
    return {"HOME": str(root), "PATH": "/usr/local/bin:/usr/bin:/bin", "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C"}


def ignored_by_git(repository: Path, pattern: str, paths: list[str]) -> set[str]:
    (repository / ".git/info/exclude").write_text(pattern + "\n")
    done = subprocess.run(
        ["git", "check-ignore", "--no-index", "-z", "--stdin"],
        cwd=repository,
        env=git_environment(repository),
        input="\0".join(paths),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    return set(filter(None, done.stdout.split("\0")))


def ours_and_gits(repository: Path, pattern: str) -> tuple[set[str], set[str]]:
    files = [f"{folder}/{leaf}" for folder in FOLDERS for leaf in LEAVES] + list(LEAVES)
    compiled = Pattern(pattern, argument="exclude")
    return {path for path in files if stands_for(compiled, path)}, ignored_by_git(repository, pattern, files)


@pytest.mark.parametrize(
    "pattern",
    [
        "a", "/a", "a/", "/a/", "*.x", "a/*", "a/**", "**/a", "**/a/**", "a/**/x", "a/*/x", "*/x", "**/b/x", "a/**/",
        "**/", "**", "/**", "/*", "*", "*/", "/*/", "**a/x", "a/**b/x", "***/x", "a/***/x", "[ab]", "[!ab]",
        "[^ab]", "[]]", "[]-a]", "[-]", "[a-]", "[--0]", "a[.]b", "a?b", "?", r"\a", r"\]", "[[:alpha:]]",
        "[![:punct:]]*", "[[:alpha:].]*", r"[\]]", r"[\a-\b]", "[a-b-z]*", "[[]", "[:a]", "[[:a]", "#x", "a/b/",
        "a//b", "a/./b",
    ],
)  # fmt: skip
def test_git_agrees(repository: Path, pattern: str) -> None:
    try:
        ours, gits = ours_and_gits(repository, pattern)
    except UsageError:
        assert pattern in ("a//b", "a/./b")
        return
    if pattern == "#x":
        gits = set()  # git takes this for a comment
    assert ours == gits


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(st.sampled_from(["a", "b", ".", "x", "*", "**", "?", "/", "/", "[ab]", "[!a]", "-", "]"])))
def test_git_agrees_on_any_pattern(repository: Path, parts: list[str]) -> None:
    pattern = "".join(parts)
    if pattern.startswith("./"):
        return  # we read this as a leading /; git ignores it
    if any("**" in segment and segment.strip("*") for segment in pattern.split("/")):
        return  # git treats the ** of a**/b like a whole segment, against its documentation
    try:
        ours, gits = ours_and_gits(repository, pattern)
    except UsageError:
        return
    assert ours == gits
