from __future__ import annotations

import gc
import logging
from collections.abc import Iterator

import pytest

from tests.unit.server.asking import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("root"))
    yield server
    server.close()


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    gc.collect()  # tasks that earlier tests have left report their errors when they are collected
    caplog.set_level(logging.WARNING)
    caplog.clear()
    return caplog
