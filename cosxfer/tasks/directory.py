"""Finds the files of a directory tree, ordered by path, and the entries that cannot be uploaded."""

from __future__ import annotations

import logging
import os
from collections.abc import Generator, Iterable, Sequence
from typing import NamedTuple

from cosxfer.errors import SourceError
from cosxfer.foreign import shown_path
from cosxfer.patterns import Patterns, parse_patterns
from cosxfer.sources import SourceIdentity
from cosxfer.tree import Entry, walk

logger = logging.getLogger("cosxfer")


class Found(NamedTuple):
    """A file, or an entry that cannot be uploaded."""

    relative: str
    """Path from the tree's root, with ``/``."""
    path: str
    error: SourceError | None = None
    """Why it cannot be uploaded."""
    identity: SourceIdentity | None = None
    """What identified the file when the tree was read."""


def find_files(
    root: str | os.PathLike[str], *, include: Iterable[str] | None = None, exclude: Iterable[str] | None = None
) -> list[Found]:
    """Return what `iter_files` yields, ordered by path."""
    found = list(iter_files(root, include=include, exclude=exclude))
    return sorted(found, key=lambda entry: os.fsencode(entry.relative))


def iter_files(
    root: str | os.PathLike[str], *, include: Iterable[str] | None = None, exclude: Iterable[str] | None = None
) -> Generator[Found, None, None]:
    """Yield the files below ``root`` that match ``include`` (None: all) and not ``exclude``, in no particular order.

    `cosxfer.patterns` defines what a pattern matches. A directory that matches ``exclude`` is not entered; all files in
    one that matches ``include`` are included. A pattern that matches nothing is logged as a warning, at the end.

    A link to a file counts as that file. Entries that cannot be uploaded are yielded with an error. Pipes, sockets and
    devices are yielded only if they are included. Entries that may hide files are yielded for any ``include``:
    unreadable directories, entries that cannot be examined, and links to directories (they are not followed), to
    nothing or to themselves. ``exclude`` omits both.

    Raises `UsageError` at once for a pattern that can never match. Iterating raises `SourceError` if ``root`` is not a
    readable directory, at the beginning, or if no file is included, at the end.
    """
    return _Search(root, include, exclude).run()


class _Search:
    """One search of a tree."""

    def __init__(
        self, root: str | os.PathLike[str], include: Iterable[str] | None, exclude: Iterable[str] | None
    ) -> None:
        self._start = os.fsdecode(root)
        self._wanted, self._unwanted = parse_patterns("include", include), parse_patterns("exclude", exclude)
        self._selection = _Selection(self._wanted, self._unwanted)

    def run(self) -> Generator[Found, None, None]:
        within = os.path.join(self._start, "")  # noqa: PTH118 (it is text)
        takes, of, some = self._selection.takes, SourceIdentity.of, False
        for entry in walk(self._start, self._selection.choose):
            if takes(entry):
                relative = "/".join(entry.names)
                path = within + relative if relative else self._start
                yield Found(relative, path, entry.error, None if entry.status is None else of(entry.status))
                some = True
        self._look_at_patterns(some)

    def _look_at_patterns(self, some: bool) -> None:
        """Report patterns that have matched nothing."""
        start, wanted, unwanted = self._start, self._wanted, self._unwanted
        for patterns in filter(None, (wanted, unwanted)):
            for text in patterns.unmatched:
                what = self._selection.idle(text) if patterns is wanted else "nothing in"
                logger.warning("the %s pattern %r matched %s %s", patterns.argument, text, what, shown_path(start))
        if wanted is not None and not wanted.patterns:
            logger.warning(
                "include is an empty list, which matches no file in %s; None includes all", shown_path(start)
            )
        elif wanted is not None and not some:
            listed = ", ".join(repr(pattern.text) for pattern in wanted.patterns)
            left = " and is not excluded" if unwanted is not None and unwanted.patterns else ""
            raise SourceError(f"no file in {shown_path(start)} matches {listed} (include){left}", path=start)


class _Selection:
    """Decides which entries of a tree are selected."""

    def __init__(self, wanted: Patterns | None, unwanted: Patterns | None) -> None:
        self._wanted = wanted
        self._unwanted = unwanted
        self._left_out: set[str] = set()
        """Patterns of ``wanted`` that match an entry that ``unwanted`` excludes."""
        self._skips_folders = False

    def choose(self, names: Sequence[str], *, is_folder: bool, within: bool) -> bool | None:
        """Return None if the entry is excluded, otherwise whether it or a folder above it is included."""
        if self._unwanted is not None and self._unwanted.match(names, is_folder=is_folder):
            self._skips_folders = self._skips_folders or is_folder
            if self._wanted is not None:
                self._left_out.update(self._wanted.idle_matching(names, is_folder=is_folder))
            return None
        if self._wanted is None:
            return True
        return self._wanted.match(names, is_folder=is_folder) or within

    def idle(self, text: str) -> str:
        """Describe what a pattern of ``wanted`` matched that selected no file. The tree's name follows."""
        if text in self._left_out:
            return "only what is excluded in"
        return "nothing outside of the excluded folders in" if self._skips_folders else "nothing in"

    def takes(self, entry: Entry) -> bool:
        """Whether the entry is uploaded or reported."""
        if entry.is_folder and self._unwanted is not None and self._unwanted.covers(entry.names):
            return False
        return entry.chosen or entry.hides


def joined(prefix: str, relative: str) -> str:
    """Return the key of a file: ``prefix``, a ``/`` unless the prefix is empty or ends with one, and the path."""
    return f"{prefix}{relative}" if not prefix or prefix.endswith("/") else f"{prefix}/{relative}"
