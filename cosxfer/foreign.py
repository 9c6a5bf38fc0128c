"""Makes foreign text safe for a message, a log or a terminal: one line of visible characters, of limited length."""

from __future__ import annotations

import logging

LONGEST_MESSAGE = 4000
"""Maximum characters of an error's message or note. `foreign` cuts text of a server or a file name before."""

LONGEST_RECORD = 8000
"""Maximum characters of one log record."""

SHOWN_CHARACTERS = 200
"""Maximum characters of a path in a message."""

_LIBRARIES = frozenset({"anyio", "h11", "h2", "hpack", "httpcore", "httpx", "hyperframe", "socksio", "ssl", "xml"})
"""Libraries whose exceptions quote what a server or a proxy sent."""

_LONGEST_CHAIN = 16


def printable(text: str) -> str:
    """Escape every invisible character of ``text``: controls, line ends, bidi controls, zero width.

    So foreign text cannot move the cursor, recolour a terminal or forge a log line. Bytes of a file name that the
    locale cannot decode are shown as bytes (``\\xff``). A second call changes nothing.
    """
    return text if text.isprintable() else "".join(map(_visible, text))


def foreign(text: str, limit: int = 200) -> str:
    """Return `printable` text, cut to ``limit`` characters."""
    shown = printable(text[: limit + 1])
    return shown if len(shown) <= limit else f"{shown[: limit - 1]}…"


def shorten(value: object, limit: int = 80) -> str:
    """Return the repr of ``value``, cut to ``limit`` characters."""
    try:
        text = repr(value)
    except ValueError:
        # Python refuses to write a number of more than 4,300 digits.
        text = f"a value of type {type(value).__name__} that is too long to show"
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def shown_path(path: str) -> str:
    """Return ``path`` as a literal for a message, without the middle of a long one."""
    if len(path) <= SHOWN_CHARACTERS:
        return repr(path)
    half = SHOWN_CHARACTERS // 2
    return f"{path[:half]!r} … ({len(path):,} characters) … {path[-half:]!r}"


def clean_causes(error: BaseException) -> None:
    """Escape the messages of library exceptions that caused ``error``, because a traceback prints them.

    Exceptions of the program's own classes, such as one that a body raised, are not changed.
    """
    cause: BaseException | None = error
    for _ in range(_LONGEST_CHAIN):
        if cause is None:
            return
        if type(cause).__module__.partition(".")[0] in _LIBRARIES and not str(cause).isprintable():
            cause.args = tuple(map(_clean_argument, cause.args))
        cause = cause.__cause__ or cause.__context__


def _clean_argument(value: object) -> object:
    if isinstance(value, int | float | bytes | tuple | None):
        return value  # their repr is printable
    return foreign(str(value), LONGEST_MESSAGE)


def _visible(character: str) -> str:
    if character.isprintable():
        return character
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    return repr(character)[1:-1]


class _OneLine(logging.Filter):
    """Makes each record one line of visible characters, for all handlers."""

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if not text.isprintable() or len(text) > LONGEST_RECORD:
            record.msg, record.args = foreign(text, LONGEST_RECORD), ()
        return True


def clean_logger(name: str) -> logging.Logger:
    """Return the logger ``name``. Each of its records is one line of visible characters."""
    logger = logging.getLogger(name)
    if not any(isinstance(known, _OneLine) for known in logger.filters):
        logger.addFilter(_OneLine())
    return logger
