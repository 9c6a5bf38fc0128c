"""A server that accepts so many requests a second: the client finds the rate, and each file arrives once and whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import cosxfer
from cosxfer.config import HttpVersion
from cosxfer.server import RunningServer
from cosxfer.transport.choose import TransportChoice
from cosxfer.tuning_rules import SEED_LEVEL

RATE = 250
FILES = 4 * RATE


@pytest.mark.parametrize(("transport", "version"), [("native", "1.1"), ("native", "2"), ("httpx", "1.1")])
def test_small_files_start_at_the_rate_that_the_server_accepts(
    server: RunningServer, no_faults: None, tmp_path: Path, transport: TransportChoice, version: HttpVersion
) -> None:
    source = tmp_path / "tree"
    source.mkdir()
    for number in range(FILES):
        (source / f"{number:04}").write_bytes(b"%d" % number)
    trace = tmp_path / "trace"
    limit = {"operation": "put_object", "above_per_second": RATE, "do": "error", "status": 503, "code": "SlowDown"}
    server.set_faults([limit])
    server.requests(clear=True)
    with cosxfer.Client(
        endpoint=server.endpoint,
        credentials=server.credentials,
        transport=transport,
        http_version=version,
        trace=trace,
        endpoint_memory=False,
    ) as client:
        results = client.upload_directory(server.bucket, "rated", source)
        assert [result.error for result in results if result.error is not None] == []
        assert len(results) == FILES
        server.set_faults([])
        assert sum(1 for _ in client.iter_list_objects(server.bucket, prefix="rated/")) == FILES
        assert client.get_object(server.bucket, "rated/0777").body == b"777"
    ticks = [json.loads(line) for line in trace.read_text().splitlines()]
    refused = sum(tick.get("refused", 0) for tick in ticks if tick["type"] == "tick")
    assert refused == sum(request["status"] == 503 for request in server.requests()), "each is counted once"
    # A machine that sends fewer requests a second is never refused. One that sends more is, until the rate is known.
    assert refused < FILES / 4, refused
    if refused > SEED_LEVEL:  # not only the last requests, after which nothing waits
        assert any(tick.get("requests_per_second") for tick in ticks)
