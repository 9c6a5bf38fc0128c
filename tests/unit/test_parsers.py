"""Parsers of what comes from outside, with a corpus, its mutations, and any bytes: `tests/fuzz`."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.run import mutated
from tests.fuzz.targets import TARGETS, seeds


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_is_parsed_or_refused(name: str) -> None:
    found = seeds(name)
    assert found
    assert sum(map(len, found)) < 20_000
    for data in found:
        TARGETS[name](data)


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=200)
@given(data=st.binary(max_size=300))
def test_any_bytes_are_parsed_or_refused(name: str, data: bytes) -> None:
    TARGETS[name](data)


@pytest.mark.parametrize("count", [300, pytest.param(20_000, marks=pytest.mark.deep)])
@pytest.mark.parametrize("name", TARGETS)
def test_mutations_of_the_corpus_are_parsed_or_refused(name: str, count: int) -> None:
    rng, corpus = random.Random(f"{name} {count}"), seeds(name)
    for _ in range(count):
        TARGETS[name](mutated(rng, corpus))
