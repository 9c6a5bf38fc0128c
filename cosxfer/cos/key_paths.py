"""Which path below a folder belongs to a key. Pure.

A key is split at ``/``, and each part is the name of a folder or file. A key is refused if that gives it no path of its
own below the folder:

- A part is empty, ``.`` or ``..``, has a NUL, or is too long for a file name. On Windows also: a part has one of
  ``<>:"|?*\\`` or a control character, ends with a dot or a blank, or is the name of a device.
- An earlier key is a file where this one needs a folder, or the other way round.
- It differs from an earlier key in case only, and the file system does not tell case apart.

Nothing is renamed.

A key that ends with ``/`` and has no content stands for a folder.
"""

from __future__ import annotations

import re
import unicodedata

_LONGEST_NAME_BYTES = 255
_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)(\..*)?", re.IGNORECASE)
_NOT_ON_WINDOWS = re.compile(r'[<>:"|?*\\\x00-\x1f]|[. ]$')


class KeyPaths:
    """The paths of the keys of one download, in the order of the listing."""

    def __init__(self, *, folds_case: bool, windows: bool) -> None:
        """``folds_case``: the file system does not tell upper from lower case."""
        self._folds_case = folds_case
        self._windows = windows
        self._files: dict[tuple[str, ...], str] = {}
        self._folders: dict[tuple[str, ...], str] = {}

    def names(self, relative: str, *, is_folder: bool) -> tuple[str, ...]:
        """Return the names on the path of a key, which is given from the end of the prefix on.

        Raises ``ValueError`` with the reason if the key is refused.
        """
        names = tuple((relative.removesuffix("/") if is_folder else relative).split("/"))
        for name in names:
            if (reason := self._problem(name)) is not None:
                raise ValueError(reason)
        place = tuple(map(self._folded, names))
        for length in range(1, len(place)):
            if (other := self._files.get(place[:length])) is not None:
                raise ValueError(f"the object {other!r} is a file where this key needs a folder")
        if is_folder:
            if place in self._files:
                raise ValueError("another object is a file where this key needs a folder")
        elif (other := self._files.get(place)) is not None:
            raise ValueError(f"it has the same path as {other!r} on a file system that does not tell case apart")
        elif (other := self._folders.get(place)) is not None:
            raise ValueError(f"the object {other!r} needs a folder where this key is a file")
        for length in range(1, len(place) + is_folder):
            self._folders.setdefault(place[:length], relative)
        if not is_folder:
            self._files[place] = relative
        return names

    def _folded(self, name: str) -> str:
        return unicodedata.normalize("NFC", name).casefold() if self._folds_case else name

    def _problem(self, name: str) -> str | None:
        if not name:
            return "it begins or ends with / or has two of them in a row"
        if name in (".", ".."):
            return f"a part of it is {name!r}, which means another folder"
        if "\0" in name:
            return "it has a NUL"
        if len(name.encode("utf-8", "surrogatepass")) > _LONGEST_NAME_BYTES:
            return f"a part of it is longer than {_LONGEST_NAME_BYTES} bytes"
        if self._windows and (_NOT_ON_WINDOWS.search(name) or _DEVICES.fullmatch(name)):
            return f"{name!r} cannot be the name of a file on Windows"
        return None
