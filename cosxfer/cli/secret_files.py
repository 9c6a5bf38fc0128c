"""Files that hold secrets: read with a limit, and with a warning if other users can access them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from cosxfer.cli.notices import show
from cosxfer.cli.stdin import is_given, read_blocks
from cosxfer.cli.values import STREAM
from cosxfer.errors import CredentialsError
from cosxfer.foreign import shown_path

MAX_FILE_BYTES = 4096
"""Keys are shorter."""


def read_secret_key(text: str) -> str:
    """Return the single line of a file or of standard input (``-``). Warns if other users can access the file."""
    if text == STREAM:
        if not is_given():
            raise CredentialsError("--secret-key-file is '-', but standard input is no pipe or file; name a file")
        where, content = "standard input", _read_stdin()
    else:
        where, content = shown_path(text), read_key_file(text, name="--secret-key-file")
    if len(content) > MAX_FILE_BYTES:
        raise CredentialsError(
            f"{where} has more than {MAX_FILE_BYTES} bytes; --secret-key-file must contain only the key"
        )
    lines = content.decode("utf-8", "replace").splitlines()
    if len(lines) != 1 or not lines[0]:
        has = f"{len(lines)} lines" if len(lines) > 1 else "no key"
        raise CredentialsError(f"{where} has {has}; --secret-key-file must contain only the key, on one line")
    return lines[0]


def _read_stdin() -> bytes:
    content = b""
    for block in read_blocks():
        content += block
        if len(content) > MAX_FILE_BYTES:
            break
    return content


def read_key_file(text: str, *, name: str) -> bytes:
    """Return the first bytes of a file that holds a key; ``name`` is its option. Warns if other users can access it."""
    if not text:
        raise CredentialsError(f"{name} is empty; give a path or omit the option")
    try:
        with Path(text).open("rb") as file:
            warn_of_access(text, os.fstat(file.fileno()))
            return file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        why = (error.strerror or str(error)).lower() if isinstance(error, OSError) else str(error)
        raise CredentialsError(f"cannot read {name} {shown_path(text)}: {why}") from error


def warn_of_access(path: str, status: os.stat_result) -> None:
    """Warn if other users can read or change a file that holds secrets."""
    if stat.S_ISREG(status.st_mode) and status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        show(f"{shown_path(path)} can be read or changed by other users; protect it with chmod 600")
