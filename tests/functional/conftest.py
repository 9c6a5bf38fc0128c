"""Fixtures for tests of client against server. A file that needs another server defines its own `server`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import cosxfer
from cosxfer.server import RunningServer, running


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    """An embedded server with one bucket, shared by the tests of a file."""
    with running() as server:
        yield server


@pytest.fixture
def client(server: RunningServer, no_faults: None) -> Iterator[cosxfer.Client]:
    """A blocking client of `server`."""
    with cosxfer.Client(endpoint=server.endpoint, credentials=server.credentials) as client:
        yield client


@pytest.fixture
def no_faults(server: RunningServer) -> Iterator[None]:
    """Remove the faults that a test has set."""
    yield
    server.set_faults([])
