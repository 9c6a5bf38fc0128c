"""Warnings of what is allowed, and probably a mistake."""

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
"""The texts that a warning named: each is named once in a process, `MOST_WARNINGS` in all."""


def warn_if_folder(key: str, content_length: int | None) -> None:
    """Warn if ``key`` ends in a slash, as that of a folder does, and there is content; None: it is not known yet."""
    if key.endswith("/") and content_length != 0:
        logger.warning(
            "the key %s ends in a slash, which stands for a folder: consoles show no file there. Give the file's name "
            "too: %s",
            shorten(key),
            shorten(f"{key}NAME"),
        )


def may_be_path(text: str) -> bool:
    """Whether a text can be a path at all: one short line."""
    return 0 < len(text) <= LONGEST_PATH and "\n" not in text and "\0" not in text


async def warn_if_path(text: str, executor: Workers) -> None:
    """Warn if a body that is text names a file; looked up in a thread."""
    if not may_be_path(text) or text in _warned or len(_warned) >= MOST_WARNINGS:
        return
    try:
        found = await in_thread(executor.waiting, os.path.isfile, text)
    except CosxferError:
        return  # no thread: the call itself needs none
    if found:
        _warned.add(text)
        logger.warning(
            "the body is the text %s, and there is a file of that name: the text is sent, not the file. Pass "
            "pathlib.Path(…) for the file's content",
            shorten(text),
        )
