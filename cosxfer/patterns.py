"""Patterns that select files of a directory tree. They work as in a ``.gitignore``.

Patterns are case-sensitive. A leading dot is not special.

- A pattern without a ``/`` matches a name at any depth: ``*.tmp``, ``node_modules``.
- A ``/`` at the front or in the middle anchors the pattern at the root of the tree: ``/build``, ``photos/*.jpg``. A
  leading ``./`` is the same as a leading ``/``.
- A pattern with a ``/`` at the end matches only folders and links to folders: ``cache/``. This ``/`` does not anchor.
- ``*`` matches any characters but ``/``, ``?`` one character but ``/``, ``[a-z]`` one of a set, ``[!a-z]`` one not in
  the set. ``\\`` makes the next character literal.
- ``**/x`` matches ``x`` at any depth, also in the root; ``a/**`` everything inside ``a``; ``a/**/b`` ``b`` with any
  number of folders between, or none. Elsewhere ``**`` is ``*``.
- A folder that matches includes everything in it.

Differences from git: a leading ``!`` (which negates) is an error, because a call has one list to include and one to
exclude. A pattern that can never match is an error. ``?`` is a character, not a byte. A leading ``#`` is a character.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from cosxfer.arguments import wrong_type
from cosxfer.errors import UsageError

_CLASSES = {
    "alnum": "a-zA-Z0-9",
    "alpha": "a-zA-Z",
    "blank": r" \t",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": r"\x21-\x7e",
    "lower": "a-z",
    "print": r"\x20-\x7e",
    "punct": r"!-/:-@\[-`{-~",
    "space": r" \t-\r",
    "upper": "A-Z",
    "xdigit": "0-9a-fA-F",
}

_Matcher = Callable[[str], object]


class Pattern:
    """One compiled pattern. ``argument`` is the name of the caller's list, for messages."""

    def __init__(self, text: str, *, argument: str) -> None:
        self.text = text
        self._argument = argument
        self._check_characters()
        rest = text
        while rest.startswith("./"):
            rest = rest[1:]
        self._folders_only = rest.endswith("/")
        rest = rest.removesuffix("/")
        self._anchored = "/" in rest
        segments = rest.removeprefix("/").split("/")
        self._takes_any_name = not segments[-1].strip("*") and not self._folders_only
        if segments == [""]:
            raise self._refused("means the root of the tree; use ** for its content")
        if not {"", ".", ".."}.isdisjoint(segments):
            raise self._refused('can never match: it has an empty part, "." or ".."')
        self._groups = self._grouped(segments)

    def __repr__(self) -> str:
        return f"<Pattern {self.text!r}>"

    def matches(self, names: Sequence[str], *, is_folder: bool) -> bool:
        """Whether the pattern matches a path itself. ``names`` are its parts, from the root of the tree.

        The caller checks the folders above the path, which it has visited before.
        """
        if self._folders_only and not is_folder:
            return False
        if not self._anchored:
            return bool(self._groups[0][0](names[-1]))
        return _match_groups(self._groups, names)

    def covers(self, names: Sequence[str]) -> bool:
        """Whether the pattern matches everything in the folder at ``names``: ``folder/*``."""
        return self._takes_any_name and self.matches([*names, "any"], is_folder=False)

    def _grouped(self, segments: list[str]) -> list[list[_Matcher]]:
        """Return the matchers of the parts, split at each ``**``, which matches any number of parts."""
        if not self._anchored:
            return [[self._matcher(segments[0])]]
        groups: list[list[_Matcher]] = [[]]
        for segment in segments:
            if len(segment) > 1 and not segment.strip("*"):
                groups.append([])
            else:
                groups[-1].append(self._matcher(segment))
        if len(groups) > 1 and not groups[-1]:
            groups[-1].append(self._matcher("*"))  # a/** matches the content, not the folder itself
        return groups

    def _matcher(self, segment: str) -> _Matcher:
        """Return a matcher for one part of a path.

        Every ``*`` but the last ends at the first place where the following text matches. So the time is bounded by the
        product of the two lengths.
        """
        first, *rest = self._pieces(segment)
        if not rest:
            return re.compile(first, re.DOTALL).fullmatch
        middle = "".join(f"(?>.*?{piece})" for piece in rest[:-1] if piece)
        return re.compile(f"{first}{middle}.*{rest[-1]}", re.DOTALL).fullmatch

    def _pieces(self, segment: str) -> list[str]:
        """Return regular expressions for the pieces between the ``*`` of a part."""
        pieces = [""]
        at = 0
        while at < len(segment):
            character = segment[at]
            at += 1
            if character == "*":
                pieces.append("")
            elif character == "?":
                pieces[-1] += "."
            elif character == "[":
                found, at = self._bracket(segment, at)
                pieces[-1] += found
            elif character == "\\":
                if at == len(segment):
                    raise self._refused("ends with a \\; write \\\\ for the character")
                pieces[-1] += re.escape(segment[at])
                at += 1
            else:
                pieces[-1] += re.escape(character)
        return pieces

    def _bracket(self, segment: str, at: int) -> tuple[str, int]:
        """Return the set that begins after the ``[`` at ``at - 1``, and the position after it."""
        negated = segment[at : at + 1] in ("!", "^")
        begin = at = at + negated
        members = ""
        low = ""
        while at == begin or segment[at : at + 1] != "]":
            if low and segment[at : at + 1] == "-" and segment[at + 1 : at + 2] not in ("", "]"):
                high, at = self._member(segment, at + 1)
                if high < low:
                    raise self._refused(f"has a range from {low!r} to {high!r}, which is empty")
                members += f"{re.escape(low)}-{re.escape(high)}"
                low = ""
                continue
            known = re.compile(r"\[:([^]]*):\]").match(segment, at)
            if known is not None:
                if known.group(1) not in _CLASSES:
                    raise self._refused(f"has the unknown class {known.group(0)}")
                members += _CLASSES[known.group(1)]
                low, at = "", known.end()
                continue
            low, at = self._member(segment, at)
            members += re.escape(low)
        return f"[{'^' if negated else ''}{members}]", at + 1

    def _member(self, segment: str, at: int) -> tuple[str, int]:
        if segment[at : at + 1] == "\\":
            at += 1
        if at >= len(segment):
            raise self._refused("has a [ without its ]; write \\[ for the character")
        return segment[at], at + 1

    def _check_characters(self) -> None:
        if not isinstance(self.text, str):
            raise wrong_type(self._argument, self.text, "a list of strings")
        if not self.text:
            raise self._refused("is empty")
        if "\0" in self.text:
            raise self._refused("has a NUL, which no file name has")
        if self.text.startswith("!"):
            raise self._refused(
                "begins with !; use the other list (include or exclude) instead. Write \\! for the character"
            )
        try:
            self.text.encode("utf-8", "surrogateescape")  # like file names of the system
        except UnicodeEncodeError as error:
            raise self._refused(f"cannot be encoded as UTF-8: {error.reason}") from error

    def _refused(self, why: str) -> UsageError:
        return UsageError(f"{self._argument} pattern {self.text!r} {why}", name=self._argument, value=self.text)


class Patterns:
    """The patterns of one list. Records which of them have matched."""

    def __init__(self, argument: str, texts: Iterable[str]) -> None:
        self.argument = argument
        self.patterns = tuple(Pattern(text, argument=argument) for text in texts)
        self._idle = list(self.patterns)

    @property
    def unmatched(self) -> list[str]:
        """Patterns without a match so far."""
        return [pattern.text for pattern in self._idle]

    def idle_matching(self, names: Sequence[str], *, is_folder: bool) -> list[str]:
        """The patterns that have matched nothing so far and match this path, which is not counted."""
        return [pattern.text for pattern in self._idle if pattern.matches(names, is_folder=is_folder)]

    def match(self, names: Sequence[str], *, is_folder: bool) -> bool:
        """Whether a pattern matches this path itself. See `Pattern.matches`."""
        if self._idle:
            # Try all of them, to record each that matches.
            self._idle = [pattern for pattern in self._idle if not pattern.matches(names, is_folder=is_folder)]
        return any(pattern.matches(names, is_folder=is_folder) for pattern in self.patterns)

    def covers(self, names: Sequence[str]) -> bool:
        """Whether a pattern matches everything in a folder. See `Pattern.covers`."""
        covering = [pattern for pattern in self.patterns if pattern.covers(names)]
        self._idle = [pattern for pattern in self._idle if pattern not in covering]
        return bool(covering)


def parse_patterns(argument: str, given: Iterable[str] | None) -> Patterns | None:
    """Parse a list of patterns; None gives None. Raises `UsageError` for a pattern that cannot match."""
    if given is None:
        return None
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise wrong_type(argument, given, 'a list of patterns such as ["*.log"]')
    return Patterns(argument, given)


def _match_groups(groups: list[list[_Matcher]], names: Sequence[str]) -> bool:
    """Whether the groups match in order: the first at the front, the last at the end, the others between."""
    if len(groups) == 1:
        return len(names) == len(groups[0]) and _fit(groups[0], names, 0)
    first, *between, last = groups
    start, end = len(first), len(names) - len(last)
    if start > end or not (_fit(first, names, 0) and _fit(last, names, end)):
        return False
    for group in between:
        # Take the first match: it leaves the most room for the rest.
        while start + len(group) <= end and not _fit(group, names, start):
            start += 1
        start += len(group)
        if start > end:
            return False
    return True


def _fit(group: list[_Matcher], names: Sequence[str], start: int) -> bool:
    return all(matcher(names[start + index]) for index, matcher in enumerate(group))
