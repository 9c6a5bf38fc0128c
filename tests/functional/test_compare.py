"""``bench/compare.py``: its statistics, what it refuses, and a comparison of a revision with itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))

import compare
from compare import AllCosts, CompareError, NotCompared, commit_of, interval, judged


def test_a_constant_ratio_is_its_own_interval() -> None:
    assert interval([1.0, 2.0, 4.0], [2.0, 4.0, 8.0]) == pytest.approx((2.0, 2.0, 2.0))
    assert interval([3.0] * 3, [3.0] * 3) == (1.0, 1.0, 1.0)


def test_a_drift_of_both_sides_does_not_count() -> None:
    drift = [1.0, 1.5, 0.7, 2.0, 1.1]
    assert interval(drift, [0.5 * value for value in drift]) == pytest.approx((0.5, 0.5, 0.5))


@pytest.mark.parametrize("rounds", [3, 5, 15])
def test_of_twenty_intervals_about_one_misses(rounds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "RESAMPLES", 1000)
    drawn = np.random.default_rng(7)
    missed = 0
    for _ in range(300):
        old, new = (np.exp(drawn.normal(0, 0.2, rounds)).tolist() for _ in range(2))
        mean, low, high = interval(old, new)
        assert low <= mean <= high
        missed += not low <= 1 <= high
    assert 0.015 <= missed / 300 <= 0.09


def test_only_what_ran_on_both_sides_in_each_round_is_compared() -> None:
    costs = AllCosts(
        values={
            ("xml", "both"): {"old": [1.0, 1.1, 1.0], "new": [2.0, 2.1, 2.0]},
            ("xml", "same"): {"old": [1.0, 1.2, 1.0], "new": [1.1, 1.1, 1.1]},
            ("xml", "better"): {"old": [1.0, 1.1, 1.0], "new": [0.5, 0.5, 0.5]},
            ("xml", "once"): {"old": [1.0, 1.0, 1.0], "new": [1.0, 1.0]},
            ("xml", "added"): {"new": [1.0, 1.0, 1.0]},
        },
        units=dict.fromkeys([("xml", name) for name in ("both", "same", "better", "once", "added")], "s"),
        failures={("xml", "added"): {"old": "ImportError: no such name"}, ("queue", ""): {"old": "why", "new": "why"}},
    )
    ratios, missing = judged(costs, 3)
    assert {one.name: one.verdict for one in ratios} == {"both": "worse", "same": "same", "better": "better"}
    assert ratios[0].ratio == pytest.approx(2.0, rel=0.1)
    assert (ratios[0].old, ratios[0].new) == (1.0, 2.0)
    assert missing == [
        NotCompared(suite="xml", name="added", side="old", why="ImportError: no such name"),
        NotCompared(suite="queue", name="", side="old", why="why"),
        NotCompared(suite="queue", name="", side="new", why="why"),
        NotCompared(suite="xml", name="once", side="new", why="it ran in 2 of 3 rounds"),
    ]


def test_failures_are_read_from_the_summary_of_pytest() -> None:
    summary = (
        "FAILED bench/micro/test_xml.py::test_page[a b] - AssertionError: x\n"
        "ERROR bench/micro/test_heads.py - ImportError: cannot import name 'Puts'\n"
        "FAILED bench/micro/test_xml.py::test_other\n1 passed"
    )
    assert dict(compare._FAILED.findall(summary)) == {
        "test_page[a b]": "AssertionError: x",
        "": "ImportError: cannot import name 'Puts'",
        "test_other": "",
    }


def test_without_a_history_the_error_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "ROOT", tmp_path)
    with pytest.raises(CompareError, match=r"there is no git history in .*run this in a clone"):
        commit_of("HEAD")


def test_without_git_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(CompareError, match="git cannot be run"):
        commit_of("HEAD")


@pytest.fixture
def head() -> str:
    try:
        return commit_of("HEAD")
    except CompareError as error:
        pytest.skip(str(error))


def test_a_revision_that_does_not_exist_is_named(head: str) -> None:
    for revision in ("nonsense", "--help", ""):
        with pytest.raises(CompareError, match=f"'{revision}' is no revision of this repository"):
            commit_of(revision)


@pytest.mark.deep
@pytest.mark.timeout(900)  # it builds the extension
def test_a_revision_is_compared_with_itself_and_nothing_is_left(head: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, compare.__file__, head, "HEAD", "--suite", "signing", "--rounds", "3", "--json"],
        env={**os.environ, "TMPDIR": str(tmp_path), "COSXFER_CFLAGS": "-O0"},  # a fast build
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["old"]["commit"], told["new"]["commit"]) == (head, head)
    assert (told["old"]["revision"], told["new"]["revision"]) == (head, "HEAD")
    assert (told["rounds"], told["confidence"], told["not_compared"]) == (3, 0.95, [])
    assert {"cpu", "cores", "python", "cosxfer"} <= set(told["machine"])
    names = {one["name"] for one in told["ratios"]}
    assert {"test_authorization_of_a_put", "test_prepared_head_of_a_put"} <= names
    for one in told["ratios"]:
        assert (one["suite"], one["unit"]) == ("signing", "s")
        assert 0 < one["low"] <= one["ratio"] <= one["high"]
        assert one["old"] > 0
        assert one["new"] > 0
        assert one["verdict"] in ("better", "worse", "same")
    assert list(tmp_path.iterdir()) == []
