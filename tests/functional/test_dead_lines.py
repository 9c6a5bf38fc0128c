"""A line that worked and then dies for good: each upload ends with an error, after few attempts."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))

from _chaos import Kind, Trouble, chaos

import cosxfer
from cosxfer.limits import MIB
from cosxfer.server import RunningServer, running

ATTEMPTS = 3
AT_ONCE = 4


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[bool, RunningServer]]:
    with running() as plain, running(tls=True) as tls:
        yield {False: plain, True: tls}


@pytest.mark.parametrize(
    "kind", ["reset", pytest.param("cut", marks=pytest.mark.deep), pytest.param("freeze", marks=pytest.mark.deep)]
)
@pytest.mark.parametrize("protocol", ["http1", "h2c", "tls1", "tls2"])
@pytest.mark.parametrize("transport", ["native", "httpx"])
def test_a_line_that_dies_ends_each_upload(
    servers: dict[bool, RunningServer],
    tmp_path: Path,
    transport: Literal["native", "httpx"],
    protocol: str,
    kind: Kind,
) -> None:
    server = servers[protocol.startswith("tls")]
    paths = []
    for number in range(3):
        paths.append(tmp_path / f"{number}")
        paths[-1].write_bytes(random.Random(number).randbytes(200_000 + number * MIB))
    trouble = Trouble(kind=kind, way="up", at=900_000, for_good=True)
    with (
        chaos(server.port, [trouble]) as proxy,
        cosxfer.Client(
            endpoint=f"{server.url.partition(':')[0]}://127.0.0.1:{proxy.port}/{{bucket}}",
            credentials=server.credentials,
            http_version="2" if protocol in ("h2c", "tls2") else "1.1",
            verify=str(server.ca_file) if server.ca_file else True,
            transport=transport,
            max_attempts=ATTEMPTS,
            retry_for_seconds=0,
            concurrency=AT_ONCE,
            connect_timeout_seconds=0.5,
            stall_timeout_seconds=0.5,
        ) as client,
    ):
        results = client.upload_files(
            [{"bucket": server.bucket, "key": f"{kind}-{path.name}", "path": path} for path in paths]
        )
        errors = [result.error for result in results if result.error is not None]
        assert errors
        assert all(isinstance(error, cosxfer.TransportError) for error in errors), errors
        # Each attempt of each request, and of each abort, makes a connection or two.
        assert proxy.connections <= 2 * ATTEMPTS * (AT_ONCE + 2 * len(paths)), "it connects without end"
