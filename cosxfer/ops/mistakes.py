"""Warnings about input that is allowed but probably a mistake."""

from __future__ import annotations

import logging
import os

from cosxfer.errors import CosxferError
from cosxfer.foreign import shorten
from cosxfer.threads import Workers, in_thread

logger = logging.getLogger("cosxfer")

LONGEST_PATH = 4096

MOST_WARNINGS = 1000

_warned: set[str] = set()
"""The texts that a warning has quoted: each once in a process, at most `MOST_WARNINGS`."""


def warn_if_folder(key: str, content_length: int | None) -> None:
    """Warn if ``key`` ends in a slash, like that of a folder, and there is content; None if that is not known yet."""
    if key.endswith("/") and content_length != 0:
        logger.warning(
            "the key %s ends in a slash, which means a folder: consoles show no file there. Add the name of the file: "
            "%s",
            shorten(key),
            shorten(f"{key}NAME"),
        )


def may_be_path(text: str) -> bool:
    """Whether a text can be a path: one short line."""
    return 0 < len(text) <= LONGEST_PATH and "\n" not in text and "\0" not in text


async def warn_if_path(text: str, executor: Workers) -> None:
    """Warn if a text that is sent as a body is the path of a file. A thread looks it up."""
    if not may_be_path(text) or text in _warned or len(_warned) >= MOST_WARNINGS:
        return
    try:
        found = await in_thread(executor.waiting, os.path.isfile, text)
    except CosxferError:
        return  # no thread is available, but the call itself needs none
    if found:
        _warned.add(text)
        logger.warning(
            "the body is the text %s, and a file of that name exists: the text is sent, not the file. Pass "
            "pathlib.Path(…) to send the file",
            shorten(text),
        )
