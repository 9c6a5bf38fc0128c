"""What the library logs, as a person wants to read it: each thing once, and above the bars where there are some."""

from __future__ import annotations

import logging
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from cosxfer.cli.output import printable, put, tell

RETRIES = "cosxfer.retry"
"""The logger of requests that are sent again."""

REPEAT_SECONDS = 5.0
"""Between two words about requests that are sent again for the same reason."""

SHORT = 90
"""Characters of what was said in full before."""

_NOISY = ("httpx", "httpcore", "hpack", "h2", "asyncio", "rich", "markdown_it")


@dataclass
class _Said:
    at: float
    count: int = 1
    """How often it came: that time, and since."""


class Notices(logging.Handler):
    """Tells of each retry's reason every few seconds at most, and of everything else once; ``close`` tells the rest."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self.write: Callable[[str], None] = tell
        self._clock = clock
        self._said: dict[str, _Said] = {}

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
            # Attempts and delays differ where the reason is the same.
            reason = getattr(record, "reason", text)
            said = self._said.get(reason)
            now = self._clock()
            if said is None:
                self._said[reason] = _Said(now)
                self.write(f"cosxfer: {text}")
            elif record.name == RETRIES and now - said.at >= REPEAT_SECONDS:
                more = f" ({said.count - 1} more like it before)" if said.count > 1 else ""
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
    """Everything, as it comes: ``--debug``."""

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
    """Show what is logged while the block lasts."""
    global _handler
    root = logging.getLogger()
    handler: Handler = _Log() if debug else Notices()
    root.addHandler(handler)
    logging.getLogger("cosxfer").setLevel(logging.DEBUG if debug else logging.WARNING)
    logging.getLogger(RETRIES).setLevel(logging.DEBUG if debug else logging.INFO)
    for noisy in _NOISY:
        # What HTTP libraries log below this level holds signatures.
        logging.getLogger(noisy).setLevel(logging.WARNING)
    _handler = handler
    try:
        yield
    finally:
        _handler = None
        root.removeHandler(handler)
        handler.close()


@contextmanager
def written_by(write: Callable[[str], None]) -> Iterator[None]:
    """While the block lasts, notices are written by ``write``: whoever shows bars knows where a line can go."""
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
    """A notice of the command's own; one that begins with a space is a command to copy."""
    line = printable(text if text.startswith(" ") else f"cosxfer: {text}")
    if _handler is None:
        tell(line)
    else:
        _handler.write(line)
