"""Error messages of the command."""

from __future__ import annotations

from cosxfer.cli.failures import message_of
from cosxfer.errors import SourceError


def test_a_long_path_is_shown_without_its_middle() -> None:
    path = "/first" + "/n" * 5000
    shown = message_of(SourceError(f"cannot open {path!r}: no such file", path=path))
    assert shown.startswith("cannot open '/first/n")
    assert shown.endswith("/n': no such file")
    assert len(shown) < 300
