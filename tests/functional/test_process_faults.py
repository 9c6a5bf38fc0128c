"""Faults of the process and of the disk: each call ends done and verified, or with an error that names the cause."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import cosxfer
from cosxfer.config import HttpVersion
from cosxfer.limits import MIB
from cosxfer.server import RunningServer
from tests.functional.preload import preload
from tests.waiting import until

CALLS = ["file", "append", *(pytest.param(call, marks=pytest.mark.deep) for call in ("put", "object", "stream"))]
CHILD = Path(__file__).parent / "upload_child.py"
BAD_FROM, BAD_TO = 2 * MIB, 2 * MIB + 4096
SIZE = 4 * MIB
SUSPENDED_SECONDS = 1.2
"""Longer than each timeout of the client that is suspended."""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "damaged"
    path.write_bytes(random.Random(5).randbytes(SIZE))
    (tmp_path / "warm").write_bytes(bytes(3 * MIB))
    return path


def start(
    server: RunningServer, source: Path, call: str, *, environment: dict[str, str] | None = None, **more: Any
) -> subprocess.Popen[str]:
    task = {
        "endpoint": server.endpoint,
        "secret_id": server.credentials.secret_id,
        "secret_key": server.credentials.secret_key,
        "bucket": server.bucket,
        "key": f"process-{call}",
        "path": str(source),
        "warm": str(source.with_name("warm")),
        "call": call,
        **more,
    }
    root = str(Path(cosxfer.__file__).parents[1])
    return subprocess.Popen(
        [sys.executable, str(CHILD), json.dumps(task)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": root, **(environment or {})},
    )


def outcomes_of(child: subprocess.Popen[str]) -> list[dict[str, Any]]:
    out, err = child.communicate(timeout=100)
    assert child.returncode == 0, err
    found: list[dict[str, Any]] = json.loads(out)
    return found


def forget(client: cosxfer.Client, server: RunningServer, call: str) -> None:
    """An append needs an object that does not exist."""
    client.delete_object(server.bucket, f"process-{call}")


# -- the disk --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def failing_disk(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment with the library that makes reads of the source fail."""
    return preload(tmp_path_factory.mktemp("library"), "failing_disk")


@pytest.mark.parametrize("mapping", ["refuse", "bus"])
@pytest.mark.parametrize("call", CALLS)
def test_a_disk_that_fails_is_an_error_of_the_source(
    server: RunningServer, client: cosxfer.Client, source: Path, failing_disk: dict[str, str], call: str, mapping: str
) -> None:
    if mapping == "bus" and call in ("object", "stream"):
        pytest.skip("an open file is not mapped")
    forget(client, server, call)
    environment = {
        **failing_disk,
        "EIO_FROM": str(BAD_FROM),
        "EIO_TO": str(BAD_TO),
        "EIO_MAP": mapping,
    }
    for outcome in outcomes_of(start(server, source, call, environment=environment)):
        assert "SourceError" in outcome["kinds"], outcome
        assert "SourceChangedError" not in outcome["kinds"], outcome
        if call in ("file", "put", "append"):
            assert "damaged" in outcome["message"], outcome
        assert "input/output error" in outcome["message"].lower(), outcome
    with pytest.raises(cosxfer.NotFoundError):
        client.head_object(server.bucket, f"process-{call}")
    assert client.multipart_list(server.bucket).uploads == ()


# -- the process -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", ["RLIMIT_NOFILE", "RLIMIT_AS"])
@pytest.mark.parametrize("call", CALLS)
def test_a_process_without_resources_fails_clearly_and_works_again(
    server: RunningServer, client: cosxfer.Client, source: Path, call: str, limit: str
) -> None:
    forget(client, server, call)
    limited, free = outcomes_of(start(server, source, call, limit=limit))
    # With what is open already, it may succeed; otherwise the error is one of ours.
    assert limited.get("verified") or "CosxferError" in limited["kinds"], limited
    if call == "append" and limited.get("verified"):
        assert "AppendPositionError" in free["kinds"]
    else:
        assert free.get("verified"), free
    assert client.get_object(server.bucket, f"process-{call}").body == source.read_bytes()
    assert client.multipart_list(server.bucket).uploads == ()


def test_a_full_disk_of_the_journal_ends_no_upload_and_spoils_nothing(
    server: RunningServer, client: cosxfer.Client, source: Path, tmp_path: Path
) -> None:
    journal = tmp_path / "journal.sqlite"
    child = start(server, source, "file", limit="RLIMIT_FSIZE", journal=str(journal))
    out, err = child.communicate(timeout=100)
    assert child.returncode == 0, err
    assert [outcome.get("verified") for outcome in json.loads(out)] == [True, True], out
    assert client.get_object(server.bucket, "process-file").body == source.read_bytes()
    assert err.count("the journal") == 1
    assert "the disk may be full" in err
    # The next process uses it again.
    fault = {"operation": "multipart_upload", "part": 4, "do": "error", "status": 403, "code": "AccessDenied"}
    settings = {"endpoint": server.endpoint, "credentials": server.credentials, "journal": journal, "part_size": MIB}
    server.set_faults([fault])
    with cosxfer.Client(**settings, concurrency=1) as first, pytest.raises(cosxfer.UploadError, match="goes on"):
        first.upload_file(server.bucket, "process-file", source)
    server.set_faults([])
    with cosxfer.Client(**settings) as second:
        assert second.upload_file(server.bucket, "process-file", source).resumed_bytes == 3 * MIB


@pytest.mark.parametrize("version", ["1.1", pytest.param("2", marks=pytest.mark.deep)])
@pytest.mark.parametrize("call", ["file", *(pytest.param(call, marks=pytest.mark.deep) for call in ("put", "stream"))])
def test_a_client_that_was_suspended_for_longer_than_its_timeouts_goes_on(
    server: RunningServer, client: cosxfer.Client, source: Path, call: str, version: str
) -> None:
    server.requests(clear=True)
    child = start(server, source, call, stall_seconds=0.5, bytes_per_second=8e6, http_version=version)
    until(lambda: f"process-{call}" in progress(server, call, child))
    child.send_signal(signal.SIGSTOP)
    time.sleep(SUSPENDED_SECONDS)
    child.send_signal(signal.SIGCONT)
    for outcome in outcomes_of(child):
        assert outcome.get("verified"), outcome
    assert client.get_object(server.bucket, f"process-{call}").body == source.read_bytes()
    assert client.multipart_list(server.bucket).uploads == ()


def progress(server: RunningServer, call: str, child: subprocess.Popen[str]) -> str:
    """The key of the upload if it has begun: a single PUT begins after the last upload that came before."""
    keys = [request["key"] for request in server.requests()]
    assert child.poll() is None, "the child has ended before it was suspended"
    if call == "put" and keys.count("warm") >= 6:
        return "process-put"
    return " ".join(keys)


@pytest.mark.parametrize("version", ["1.1", "2"])
def test_a_server_that_was_suspended_for_longer_than_the_timeouts_is_survived(
    server: RunningServer, source: Path, version: HttpVersion
) -> None:
    with cosxfer.Client(
        endpoint=server.endpoint,
        credentials=server.credentials,
        http_version=version,
        stall_timeout_seconds=0.5,
        max_attempts=12,
    ) as client:
        client.put_object(server.bucket, "warm", b"x")
        os.kill(server.pid, signal.SIGSTOP)
        try:
            task = client.submit_upload_file(server.bucket, "suspended", source, part_size=MIB)
            time.sleep(SUSPENDED_SECONDS)
        finally:
            os.kill(server.pid, signal.SIGCONT)
        assert task.result(60).verified
        assert client.get_object(server.bucket, "suspended").body == source.read_bytes()


@pytest.mark.parametrize("hours", [3, -3])
def test_a_clock_that_jumps_in_an_upload_is_corrected(
    server: RunningServer, source: Path, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    """The clock is right, then wrong, then right again, each for some requests."""
    real, calls = time.time, 0

    def jumping() -> float:
        nonlocal calls
        calls += 1
        return real() + (hours * 3600 if calls // 40 % 2 else 0)

    server.requests(clear=True)
    with cosxfer.Client(endpoint=server.endpoint, credentials=server.credentials, concurrency=2) as client:
        monkeypatch.setattr(time, "time", jumping)
        for _ in range(3):
            assert client.upload_file(server.bucket, "clock", source, part_size=MIB).verified
            assert client.put_object(server.bucket, "clock put", b"x").verified
        monkeypatch.undo()
        assert client.get_object(server.bucket, "clock").body == source.read_bytes()
    assert "RequestTimeTooSkewed" in [request["code"] for request in server.requests()]
