"""Ordered rules that choose paths. Pure.

The first rule that matches a path, or a folder above it, decides. A path that no rule matches is treated as the
opposite of the last rule: after ``exclude`` it is included, after ``include`` it is excluded. The patterns are those of
`cosxfer.patterns`. The same rules apply to both sides, so what they exclude is neither transferred nor deleted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypeAlias

from cosxfer.arguments import wrong_type
from cosxfer.errors import UsageError
from cosxfer.foreign import shorten
from cosxfer.patterns import Pattern

Rule: TypeAlias = tuple[Literal["include", "exclude"], str]

_SIGNS: dict[str, Literal["include", "exclude"]] = {"+": "include", "-": "exclude"}
_REMEMBERED = 10_000


class Selection:
    """The rules of one run."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = [(kind == "include", Pattern(text, argument=kind)) for kind, text in rules]
        self._otherwise = not self._rules[-1][0]
        first_include = next((n for n, (included, _) in enumerate(self._rules) if included), len(rules))
        self._first_include = first_include
        self._used: set[int] = set()
        self._folders: dict[bytes, int] = {}
        """The first rule that matches a folder or one above it, by the path of the folder."""

    def takes(self, path: bytes, *, is_folder: bool) -> bool:
        """Whether the path belongs to both trees. ``path`` may end with a ``/`` (the key of a folder)."""
        plain = path.removesuffix(b"/")
        number = self._first(plain, self._of_folder(plain.rpartition(b"/")[0]), is_folder=is_folder or plain != path)
        if number == len(self._rules):
            return self._otherwise
        self._used.add(number)
        return self._rules[number][0]

    def prunes(self, path: bytes) -> bool:
        """Whether everything in the folder at ``path`` is excluded."""
        number = self._of_folder(path)
        if number >= self._first_include:
            return False  # an earlier or the same rule may include something in it
        self._used.add(number)
        return True

    @property
    def unused(self) -> list[str]:
        """The patterns that decided nothing."""
        return [pattern.text for number, (_, pattern) in enumerate(self._rules) if number not in self._used]

    def _of_folder(self, path: bytes) -> int:
        if not path:
            return len(self._rules)
        known = self._folders.get(path)
        if known is None:
            if len(self._folders) >= _REMEMBERED:
                self._folders.clear()
            known = self._first(path, self._of_folder(path.rpartition(b"/")[0]), is_folder=True)
            self._folders[path] = known
        return known

    def _first(self, path: bytes, end: int, *, is_folder: bool) -> int:
        """Return the first rule before ``end`` that matches the path itself; else ``end``."""
        names = path.decode("utf-8", "surrogateescape").split("/")
        for number in range(end):
            if self._rules[number][1].matches(names, is_folder=is_folder):
                return number
        return end


def selection_of(rules: Iterable[Any] | None) -> Selection | None:
    """Check rules, which are pairs like `Rule`; None if there are none. Raises `UsageError`."""
    if rules is None:
        return None
    form = 'a list of pairs such as ("exclude", "*.tmp")'
    if isinstance(rules, str | bytes) or not isinstance(rules, Iterable):
        raise wrong_type("filters", rules, form)
    listed = list(rules)
    for rule in listed:
        if not isinstance(rule, tuple | list) or len(rule) != 2 or rule[0] not in ("include", "exclude"):
            raise wrong_type("filters", rule, form, where="one of ")
    return Selection(listed) if listed else None


def rules_of_lines(lines: Iterable[str], *, source: str) -> list[Rule]:
    """Parse the lines of a filter file: ``+ pattern`` includes, ``- pattern`` excludes, ``#`` begins a comment.

    ``source`` is the name of the file, for messages. Raises `UsageError`.
    """
    rules: list[Rule] = []
    for number, line in enumerate(lines, 1):
        text = line.rstrip("\r\n")
        if not text.strip() or text.startswith("#"):
            continue
        sign, blank, pattern = text[:1], text[1:2], text[2:]
        if sign not in _SIGNS or blank != " " or not pattern:
            raise UsageError(
                f"{source}, line {number}: {shorten(text)} is no rule; write '+ PATTERN' or '- PATTERN'",
                name="--filter-from",
            )
        rules.append((_SIGNS[sign], pattern))
    return rules
