"""The files of a directory tree, in an order that does not depend on the file system, and what cannot be uploaded."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from cosxfer.arguments import check_text, wrong_type
from cosxfer.errors import SourceError


@dataclass(frozen=True, slots=True)
class Found:
    """A file, or something that is none."""

    relative: str
    """Path from the tree's root, with ``/``."""
    path: str
    error: SourceError | None = None
    """Why it cannot be uploaded."""


def find_files(
    root: str | os.PathLike[str], *, include: Sequence[str] | None = None, exclude: Sequence[str] | None = None
) -> list[Found]:
    """The files below ``root`` that match one of ``include`` (None: all) and none of ``exclude``, ordered by path.

    A pattern is a glob (``*``, ``?``, ``[…]``), case-sensitive: without a ``/`` it is compared with the file's name,
    with one with the path from the root, where ``*`` also stands for ``/``. A directory that matches ``exclude`` is
    not entered.

    A link to a file is that file. A link to a directory is not followed; it, links to nothing, directories that cannot
    be read, and pipes, sockets and devices come back with an error. Raises `SourceError` where ``root`` is no
    directory that can be read.
    """
    wanted, unwanted = _patterns("include", include), _patterns("exclude", exclude)
    start = os.fsdecode(root)
    found = list(_walk(start, "", unwanted or (), at_root=True))
    if wanted is not None:
        found = [entry for entry in found if _matches(entry.relative, wanted)]
    return sorted(found, key=lambda entry: os.fsencode(entry.relative))


def _patterns(name: str, given: Iterable[str] | None) -> tuple[str, ...] | None:
    if given is None:
        return None
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise wrong_type(name, given, 'a list of patterns such as ["*.log"]')
    patterns = tuple(given)  # an iterator can be looked at once
    for pattern in patterns:
        check_text(pattern, name, optional=False)
    return patterns


def _walk(directory: str, prefix: str, exclude: Sequence[str], *, at_root: bool = False) -> Iterator[Found]:
    try:
        with os.scandir(directory) as scan:
            entries = list(scan)
    except (OSError, ValueError) as error:
        why = (error.strerror or str(error)).lower() if isinstance(error, OSError) else str(error)
        problem = SourceError(f"cannot read the directory {directory!r}: {why}", path=directory)
        if at_root:
            raise problem from error
        yield Found(prefix.rstrip("/"), directory, problem)
        return
    for entry in entries:
        relative = prefix + entry.name
        if _matches(relative, exclude):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path, f"{relative}/", exclude)
        else:
            yield Found(relative, entry.path, _problem(entry))


def _problem(entry: os.DirEntry[str]) -> SourceError | None:
    try:
        if entry.is_file():
            return None
        if entry.is_dir():
            why = "is a link to a directory, which is not followed"
        elif entry.is_symlink():
            why = "is a link to nothing"
        else:
            why = "is not a regular file"
    except OSError as error:
        why = f"cannot be looked at: {(error.strerror or str(error)).lower()}"
    return SourceError(f"{entry.path!r} {why}", path=entry.path)


def _matches(relative: str, patterns: Sequence[str]) -> bool:
    name = relative.rpartition("/")[2]
    return any(fnmatchcase(relative if "/" in pattern else name, pattern) for pattern in patterns)


def joined(prefix: str, relative: str) -> str:
    """The key of a file: ``prefix``, a ``/`` unless it is empty or has one, and the path."""
    return f"{prefix}{relative}" if not prefix or prefix.endswith("/") else f"{prefix}/{relative}"
