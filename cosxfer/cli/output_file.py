"""Writes the file that a command makes, whole or not at all."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from cosxfer.errors import CosxferError, UsageError
from cosxfer.targets import PartFile


def check_free(path: Path) -> None:
    """Raise `UsageError` if there is a file that only ``--force`` may replace."""
    with suppress(OSError):  # writing reports the error
        if path.is_file():
            raise _taken(path)


def write_whole(path: Path, data: bytes, *, replace: bool) -> None:
    """Write the whole file or nothing. Without ``replace``, an existing file stays, and that is a `UsageError`.

    A pipe or a device is written directly. Raises `CosxferError` if the file cannot be written.
    """
    try:
        _write(path, data, replace=replace)
    except FileExistsError:
        raise _taken(path) from None
    except OSError as error:
        raise CosxferError(f"cannot write {str(path)!r}: {(error.strerror or str(error)).lower()}") from error


def _write(path: Path, data: bytes, *, replace: bool) -> None:
    if path.exists() and not path.is_file():
        path.write_bytes(data)
        return
    if not replace and os.path.lexists(path):
        raise FileExistsError(path)
    part = PartFile(path)
    try:
        part.write([data])
        part.commit(replace=replace, sync=True)
    finally:
        part.discard()


def _taken(path: Path) -> UsageError:
    return UsageError(
        f"{str(path)!r} exists already; use --force to replace it or -o to choose another file", name="output"
    )
