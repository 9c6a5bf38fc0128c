"""Shows the library's log to the user: each message once, above the progress bars."""

from __future__ import annotations

import logging
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cosxfer.cli.output import printable, put, tell
from cosxfer.records import dataclass

RETRIES = "cosxfer.retry"
"""The logger of retries."""

RESUMED = "cosxfer.resume"
"""The logger of what goes on where an earlier run has ended."""

REPEAT_SECONDS = 5.0
"""Minimum time between two messages about retries for the same reason."""

SHORT = 90
"""Characters of a repeated message."""

_NOISY = ("httpx", "httpcore", "hpack", "h2", "asyncio", "rich", "markdown_it")


@dataclass
class _Said:
    at: float
    count: int = 1
    """How often the message occurred: when it was written, and since."""


class Notices(logging.Handler):
    """Writes each retry's reason at most every few seconds and any other message once. ``close`` writes the counts."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self.write: Callable[[str], None] = tell
        self._clock = clock
        self._said: dict[str, _Said] = {}

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
            # Messages with the same reason differ in attempts and delays.
            reason = getattr(record, "reason", text)
            said = self._said.get(reason)
            now = self._clock()
            if said is None:
                self._said[reason] = _Said(now)
                self.write(f"cosxfer: {text}")
            elif record.name == RETRIES and now - said.at >= REPEAT_SECONDS:
                more = f" ({said.count - 1} similar before)" if said.count > 1 else ""
                self._said[reason] = _Said(now)
                self.write(f"cosxfer: {text}{more}")
            else:
                said.count += 1
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        said, self._said = self._said, {}
        for reason, what in said.items():
            if what.count > 1:
                times = "once more" if what.count == 2 else f"{what.count - 1} times more"
                self.write(f"cosxfer: {times}: {textwrap.shorten(reason, SHORT, placeholder=' …')}")
        super().close()


class _Log(logging.Handler):
    """Writes every record: ``--debug``."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("cosxfer: %(asctime)s.%(msecs)03d %(message)s", "%H:%M:%S"))
        self.write: Callable[[str], None] = put

    def emit(self, record: logging.LogRecord) -> None:
        try:
            for line in self.format(record).split("\n"):  # a traceback has many
                self.write(printable(line))
        except Exception:
            self.handleError(record)


Handler = Notices | _Log
_handler: Handler | None = None


@contextmanager
def noticed(*, debug: bool) -> Iterator[None]:
    """Show log messages during the block."""
    global _handler
    root = logging.getLogger()
    handler: Handler = _Log() if debug else Notices()
    root.addHandler(handler)
    logging.getLogger("cosxfer").setLevel(logging.DEBUG if debug else logging.WARNING)
    for shown in (RETRIES, RESUMED):
        logging.getLogger(shown).setLevel(logging.DEBUG if debug else logging.INFO)
    for noisy in _NOISY:
        # Below this level, HTTP libraries log signatures.
        logging.getLogger(noisy).setLevel(logging.WARNING)
    _handler = handler
    try:
        yield
    finally:
        _handler = None
        root.removeHandler(handler)
        handler.close()


def hide_retries() -> None:
    """Show no more retries: the command ends, and nobody waits for the requests that are left."""
    logging.getLogger(RETRIES).setLevel(logging.ERROR)


@contextmanager
def written_by(write: Callable[[str], None]) -> Iterator[None]:
    """Write messages with ``write`` during the block, so that progress bars can place them."""
    handler = _handler
    if handler is None:
        yield
        return
    before, handler.write = handler.write, write
    try:
        yield
    finally:
        handler.write = before


def show(text: str) -> None:
    """Show a message of the command. If it begins with a space, it is a command to copy."""
    line = printable(text if text.startswith(" ") else f"cosxfer: {text}")
    if _handler is None:
        tell(line)
    else:
        _handler.write(line)
