"""Fixtures for the engine: the threads of a client, and a session with an in-memory COS."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cosxfer.config import ClientConfig
from cosxfer.credentials import Credentials, CredentialsResolver
from cosxfer.ops.session import Session
from cosxfer.threads import Workers
from tests.unit.fake_cos import REGION, SECRET_ID, SECRET_KEY, FakeCos


@pytest.fixture
def workers() -> Iterator[Workers]:
    workers = Workers()
    yield workers
    workers.end()


@pytest.fixture
def session(cos: FakeCos) -> Session:
    keys = CredentialsResolver(Credentials(secret_id=SECRET_ID, secret_key=SECRET_KEY))
    return Session(config=ClientConfig(region=REGION, retry_for_seconds=0), transport=cos.transport(), credentials=keys)
