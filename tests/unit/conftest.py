"""Fixtures for all unit tests: no test waits, and none sees the machine's own credentials."""

from __future__ import annotations

import asyncio
import types

import pytest

from tests.unit.fake_cos import FakeCos

NAMES = ("COS_SECRET_ID", "COS_SECRET_KEY", "COS_TOKEN", "COS_REGION", "COS_ENDPOINT")


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Records the pauses before retries instead of waiting."""
    seconds: list[float] = []

    async def note(delay: float) -> None:
        seconds.append(delay)
        await asyncio.sleep(0)

    monkeypatch.setattr("cosxfer.ops.session.asyncio", types.SimpleNamespace(sleep=note))
    return seconds


@pytest.fixture
def cos() -> FakeCos:
    return FakeCos()
