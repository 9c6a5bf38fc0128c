"""Random faults: a few scenarios of `bench/survival.py`, or 1,000; and controls that show that its judge sees."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))

from _controls import CONTROLS, Control, taken_away
from _flips import CAMPAIGNS, CONTENT, Campaign, Flipper
from _kills import WINDOW_BYTES, Killer, kill
from _move_controls import MOVE_CONTROLS, MoveControl
from _move_controls import taken_away as move_taken_away
from _moves import MOVES, draw_move
from _scenario import OPERATIONS, Scenario, draw
from _survive import Outcome, World, play
from _survive_moves import play_move
from survival import run_all

from cosxfer.limits import MIB

SEED = 14
MOST_PLAYS = 10
"""How often a control is tried."""


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with World.opened() as world:
        yield world


def check(outcomes: list[Outcome]) -> None:
    assert [outcome for outcome in outcomes if not outcome.clean] == []


def test_a_few_scenarios_end_done_or_with_the_right_error() -> None:
    check(run_all(SEED, range(4)))


@pytest.mark.deep
@pytest.mark.timeout(1800)
def test_a_thousand_scenarios_end_done_or_with_the_right_error() -> None:
    outcomes = run_all(SEED, range(1000))
    check(outcomes)
    assert len(outcomes) == 1000
    # Most faults can be survived.
    assert sum(outcome.done for outcome in outcomes) > 700
    assert {outcome.operation for outcome in outcomes} == set(OPERATIONS)


def test_a_few_downloads_copies_and_syncs_end_done_or_with_the_right_error() -> None:
    check(run_all(SEED, range(3), moves=True))


@pytest.mark.deep
@pytest.mark.timeout(1800)
def test_hundreds_of_downloads_copies_and_syncs_end_done_or_with_the_right_error() -> None:
    outcomes = run_all(SEED, range(300), moves=True)
    check(outcomes)
    assert len(outcomes) == 300
    assert sum(outcome.done for outcome in outcomes) > 210
    assert {outcome.operation for outcome in outcomes} == set(MOVES)


def test_a_scenario_is_a_function_of_its_seed_and_number() -> None:
    for number in range(200):
        assert draw(SEED, number) == draw(SEED, number)
        assert draw_move(SEED, number) == draw_move(SEED, number)
    assert draw(SEED, 1) != draw(SEED + 1, 1)
    assert draw_move(SEED, 1) != draw_move(SEED + 1, 1)


def test_a_fresh_seed_draws_every_operation_event_and_trouble() -> None:
    drawn = [draw(77, number) for number in range(1000)]
    names = {name for scenario in drawn for name in scenario.classes()}
    for kind in ("delay", "rate", "reset", "cut", "half_close", "swallow", "freeze", "flip"):
        assert {f"{kind} up", f"{kind} down"} <= names
    assert {"pause", "new_client", "restart_server", "kill_server", "change_source"} <= names
    assert {scenario.operation for scenario in drawn} == set(OPERATIONS)


def test_a_fresh_seed_draws_every_move_and_event() -> None:
    drawn = [draw_move(77, number) for number in range(1000)]
    names = {name for scenario in drawn for name in scenario.classes()}
    events = {"pause", "new_client", "restart_server", "kill_server", "replace_source", "damage", "remove_temporary"}
    assert {"full disk", "flip down", "reset up"} | events <= names
    assert {scenario.operation for scenario in drawn} == set(MOVES)


# -- the judge -------------------------------------------------------------------------------------------------------


def is_caught(control: Control | MoveControl, play_once: Callable[[], Outcome]) -> bool:
    """Whether the judge sees what ``control`` breaks. An event may come too early or too late to do the harm."""
    return any(getattr(play_once(), control.caught_by) for _ in range(MOST_PLAYS))


@pytest.mark.deep
@pytest.mark.parametrize("control", CONTROLS, ids=lambda control: control.name)
def test_a_protection_that_is_taken_away_is_missed(world: World, control: Control) -> None:
    assert play(control.scenario, world).clean
    with taken_away(control):
        assert is_caught(control, lambda: play(control.scenario, world))


@pytest.mark.deep
@pytest.mark.parametrize("control", MOVE_CONTROLS, ids=lambda control: control.name)
def test_a_protection_of_downloads_and_copies_is_missed(world: World, control: MoveControl) -> None:
    assert play_move(control.scenario, world).clean
    with move_taken_away(control):
        assert is_caught(control, lambda: play_move(control.scenario, world))


def test_the_judge_sees_an_object_that_is_damaged_on_the_server(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = Scenario(
        seed=SEED,
        number=0,
        operation="put",
        body="bytes",
        sizes=(1000,),
        part_bytes=1 << 20,
        protocol="http1",
        transport="native",
    )
    assert play(scenario, world).clean
    monkeypatch.setattr("_survive.Direct.content", lambda self, key: b"other")
    assert play(replace(scenario, number=1), world).wrong


# -- kills -----------------------------------------------------------------------------------------------------------


@pytest.mark.deep
def test_a_killed_upload_sends_again_only_what_was_in_flight() -> None:
    kills = kill(3, size=96 * MIB, seed=SEED)
    assert len(kills.again) >= 3
    assert max(kills.again) <= WINDOW_BYTES
    assert (kills.differ, kills.left) == (0, 0)


@pytest.mark.deep
def test_an_upload_that_begins_anew_after_a_kill_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    start = Killer._start

    def without_journal(killer: Killer) -> subprocess.Popen[str]:
        for path in killer._path.parent.glob("journal*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return start(killer)

    monkeypatch.setattr(Killer, "_start", without_journal)
    seed = SEED
    while not (kills := kill(4, size=96 * MIB, seed=seed)).left:  # a kill may come before the first part
        seed += 1
    assert kills.differ == 0


# -- flipped bits ----------------------------------------------------------------------------------------------------

FOUND_BY = {
    "request body": {"the server's check of Content-MD5 (BadDigest)"},
    "stored part": {"ETag", "CRC64"},
    "disk": {"CRC64"},
    "response body": {"CRC64"},
}


@pytest.mark.parametrize("count", [12, pytest.param(200, marks=pytest.mark.deep)])
@pytest.mark.parametrize("campaign", CAMPAIGNS)
def test_every_flipped_bit_is_found(world: World, campaign: Campaign, count: int) -> None:
    flips = Flipper(world, SEED).run(campaign, count)
    assert flips.missed == []
    assert flips.flips == count == sum(flips.found_by.values()) + flips.harmless
    if campaign in CONTENT:
        assert flips.harmless == 0
        assert set(flips.found_by) <= FOUND_BY[campaign]


@pytest.mark.deep
def test_a_flip_is_missed_if_nothing_is_compared(world: World) -> None:
    with taken_away(CONTROLS[0]), pytest.MonkeyPatch.context() as patch:
        patch.setattr("cosxfer.ops.put_object.check_proof", lambda *_, **__: None)
        assert Flipper(world, SEED).run("stored part", 8).missed
