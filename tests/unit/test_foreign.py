"""Foreign text in messages is short and printable. `tests/functional/test_hostile_text.py` has the rest."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cosxfer.foreign import shorten


@given(st.text(max_size=300))
def test_a_shortened_value_fits_and_is_printable(value: str) -> None:
    assert len(shorten(value)) <= 80
    assert shorten(value).isprintable()
