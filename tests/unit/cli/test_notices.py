"""How the command shows log messages."""

from __future__ import annotations

import logging

import pytest

from cosxfer.cli.notices import REPEAT_SECONDS, RETRIES, Notices
from cosxfer.ops import session


class Told:
    """Notices with a fake clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.lines: list[str] = []
        self.notices = Notices(clock=lambda: self.now)
        self.notices.write = self.lines.append

    def retry(self, reason: str, attempt: int) -> None:
        record = logging.LogRecord(RETRIES, logging.INFO, "", 0, f"{reason}; attempt {attempt}", (), None)
        record.reason = reason
        self.notices.emit(record)

    def warning(self, text: str) -> None:
        self.notices.emit(logging.LogRecord("cosxfer", logging.WARNING, "", 0, text, (), None))


@pytest.fixture
def told() -> Told:
    return Told()


def test_the_logger_of_retries_has_the_librarys_name() -> None:
    assert RETRIES == session.RETRIES


def test_the_same_warning_is_shown_once_and_counted(told: Told) -> None:
    for _ in range(3):
        told.warning("Initiate was lost")
        told.now += 100
    told.warning("something else")
    told.notices.close()
    assert told.lines == [
        "cosxfer: Initiate was lost",
        "cosxfer: something else",
        "cosxfer: 2 times more: Initiate was lost",
    ]


def test_retries_for_the_same_reason_are_shown_again_after_a_while(told: Told) -> None:
    told.retry("silent", 2)
    told.retry("silent", 3)
    told.retry("silent", 4)
    told.retry("refused", 2)
    told.now += REPEAT_SECONDS
    told.retry("silent", 5)
    told.now += REPEAT_SECONDS
    told.retry("silent", 6)
    told.notices.close()
    assert told.lines == [
        "cosxfer: silent; attempt 2",
        "cosxfer: refused; attempt 2",
        "cosxfer: silent; attempt 5 (2 similar before)",
        "cosxfer: silent; attempt 6",
    ]


def test_a_long_reason_is_shortened_the_second_time(told: Told) -> None:
    for _ in range(2):
        told.warning("word " * 100)
    told.notices.close()
    assert told.lines[1].startswith("cosxfer: once more: word")
    assert len(told.lines[1]) < 120
