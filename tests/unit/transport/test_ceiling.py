"""How many connections a server allows, as far as refusals tell."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cosxfer.transport.ceiling import FIRST_BACK_OFF_SECONDS, Ceiling


def test_there_is_none_before_a_refusal() -> None:
    assert Ceiling().bounds(500) == 500


def test_a_refusal_bounds_to_what_works() -> None:
    ceiling = Ceiling()
    assert ceiling.refused(works=8, opening=3) == FIRST_BACK_OFF_SECONDS
    assert (ceiling.bounds(500), ceiling.bounds(4)) == (8, 4)
    ceiling.opened(10)
    assert ceiling.bounds(500) == 10


def test_a_refusal_without_any_other_connection_is_no_bound() -> None:
    ceiling = Ceiling()
    ceiling.refused(works=8, opening=0)
    assert ceiling.refused(works=0, opening=1) is None
    assert ceiling.bounds(500) == 0
    assert ceiling.refused(works=0, opening=0) is None
    assert ceiling.bounds(500) == 500


def test_after_a_success_the_next_refusal_waits_the_first_time_again() -> None:
    ceiling = Ceiling()
    for expected in (1, 2, 4):
        assert ceiling.refused(works=8, opening=0) == expected * FIRST_BACK_OFF_SECONDS
        ceiling.try_again()
    ceiling.proved(9)
    assert ceiling.refused(works=9, opening=0) == FIRST_BACK_OFF_SECONDS


@given(st.integers(1, 400), st.integers(1, 600))
def test_a_server_that_allows_a_number_of_connections_gets_them_in_few_steps(allowed: int, wanted: int) -> None:
    """The server allowed one connection at first."""
    ceiling, works, refused, tries = Ceiling(), 1, 0, 0
    ceiling.refused(works=1, opening=0)
    ceiling.try_again()
    while works < min(allowed, wanted):
        tries += 1
        for _ in range(ceiling.bounds(wanted) - works):
            if works < allowed:
                works += 1
                ceiling.proved(works)
            else:
                refused += 1
                ceiling.refused(works=works, opening=0)
                break
    assert works == min(allowed, wanted)
    assert refused <= 1
    assert tries <= 12
