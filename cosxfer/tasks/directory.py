"""The files of a directory tree, in an order that does not depend on the file system, and what cannot be uploaded."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cosxfer.errors import SourceError
from cosxfer.foreign import shown_path
from cosxfer.patterns import Patterns, parse_patterns
from cosxfer.tree import Entry, walk

logger = logging.getLogger("cosxfer")


@dataclass(frozen=True, slots=True)
class Found:
    """A file, or something that is none."""

    relative: str
    """Path from the tree's root, with ``/``."""
    path: str
    error: SourceError | None = None
    """Why it cannot be uploaded."""


def find_files(
    root: str | os.PathLike[str], *, include: Iterable[str] | None = None, exclude: Iterable[str] | None = None
) -> list[Found]:
    """The files below ``root`` that match one of ``include`` (None: all) and none of ``exclude``, ordered by path.

    `cosxfer.patterns` says what a pattern matches. A directory that matches ``exclude`` is not entered; all files in
    one that matches ``include`` are included. A pattern that matches nothing is logged as a warning.

    A link to a file is that file. What cannot be uploaded comes back with an error. Pipes, sockets and devices do so if
    they are included. What may hide files does so whatever ``include`` says: directories that cannot be read, links to
    directories (they are not followed), to nothing or to themselves, and what cannot be looked at. ``exclude`` leaves
    out both.

    Raises `SourceError` if ``root`` is no directory that can be read, or if nothing is found that is included, and
    `UsageError` for a pattern that can never match.
    """
    wanted, unwanted = parse_patterns("include", include), parse_patterns("exclude", exclude)
    start = os.fsdecode(root)
    selection = _Selection(wanted, unwanted)
    found = [
        Found(relative, os.path.join(start, relative) if relative else start, entry.error)  # noqa: PTH118 (it is text)
        for entry in walk(start, selection.choose)
        if selection.takes(entry)
        for relative in ["/".join(entry.names)]
    ]
    for patterns in filter(None, (wanted, unwanted)):
        for text in patterns.unmatched:
            what = selection.idle(text) if patterns is wanted else "nothing in"
            logger.warning("the %s pattern %r matched %s %s", patterns.argument, text, what, shown_path(start))
    if wanted is not None and not wanted.patterns:
        logger.warning("include is an empty list, which matches no file in %s; None includes all", shown_path(start))
    elif wanted is not None and not found:
        listed = ", ".join(repr(pattern.text) for pattern in wanted.patterns)
        left = " and is not excluded" if unwanted is not None and unwanted.patterns else ""
        raise SourceError(f"no file in {shown_path(start)} matches {listed} (include){left}", path=start)
    return sorted(found, key=lambda entry: os.fsencode(entry.relative))


class _Selection:
    """Which entries of a tree are asked for."""

    def __init__(self, wanted: Patterns | None, unwanted: Patterns | None) -> None:
        self._wanted = wanted
        self._unwanted = unwanted
        self._left_out: set[str] = set()
        """Patterns of ``wanted`` that match something that ``unwanted`` leaves out."""
        self._skips_folders = False

    def choose(self, names: Sequence[str], *, is_folder: bool, within: bool) -> bool | None:
        """None for what is excluded, else whether it is included, as everything in a folder that is included."""
        if self._unwanted is not None and self._unwanted.match(names, is_folder=is_folder):
            self._skips_folders = self._skips_folders or is_folder
            if self._wanted is not None:
                self._left_out.update(self._wanted.idle_matching(names, is_folder=is_folder))
            return None
        if self._wanted is None:
            return True
        return self._wanted.match(names, is_folder=is_folder) or within

    def idle(self, text: str) -> str:
        """What a pattern of ``wanted`` matched that has chosen no file, as it reads before the tree's name."""
        if text in self._left_out:
            return "only what is excluded in"
        return "nothing outside of the excluded folders in" if self._skips_folders else "nothing in"

    def takes(self, entry: Entry) -> bool:
        """Whether it is to be uploaded, or to be reported."""
        if entry.is_folder and self._unwanted is not None and self._unwanted.covers(entry.names):
            return False
        return entry.chosen or entry.hides


def joined(prefix: str, relative: str) -> str:
    """The key of a file: ``prefix``, a ``/`` unless it is empty or has one, and the path."""
    return f"{prefix}{relative}" if not prefix or prefix.endswith("/") else f"{prefix}/{relative}"
