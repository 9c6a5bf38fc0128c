"""The trace: what it writes, from which thread, and what happens if it cannot."""

from __future__ import annotations

import errno
import json
import logging
import os
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import cosxfer
from cosxfer import trace as tracing
from cosxfer.config import ClientConfig
from cosxfer.models import Verdict
from cosxfer.observation import Observation
from cosxfer.trace import MAX_WAITING, Trace, check_trace_path, settings_of


def tick(at: float, **more: Any) -> Observation:
    return Observation(**{"at": at, "seconds": 0.1, "level": 8, "in_flight": 8, "reason": "ramp", **more})


def lines_of(path: Path) -> list[dict[str, Any]]:
    text = path.read_text()
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def test_it_writes_ticks_levels_and_events_as_lines(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    trace = Trace(path, ClientConfig(region="ap-guangzhou", verify=tmp_path / "ca.pem"))
    trace.event("begun", at=0.0, bucket="b-1", key="Schlüssel\n\udcff", size=5)
    trace.observe(tick(0.1, bytes_acked=1000))
    trace.observe(tick(0.2, refused=1, retries=1, cpu_seconds=0.0123456789))
    trace.observe(tick(0.3, level=5, in_flight=0, reason="back off"))
    verdict = Verdict(bound_by="link", share=0.9, text="The link.", advice="")
    trace.event("ended", at=0.3, key="k", verdict=verdict, headers=object(), speed=float("inf"))
    trace.close()
    header, *lines = lines_of(path)
    assert (header["type"], header["format"], header["version"]) == ("header", "cosxfer trace", 1)
    assert header["settings"]["region"] == "ap-guangzhou"
    assert header["settings"]["verify"] == str(tmp_path / "ca.pem")
    assert header["machine"]["cores"] >= 1
    assert lines == [
        {"type": "event", "at": 0.0, "name": "begun", "bucket": "b-1", "key": "Schlüssel\n\udcff", "size": 5},
        {"type": "level", "at": 0.1, "level": 8, "reason": "ramp"},
        {"type": "tick", "at": 0.1, "seconds": 0.1, "level": 8, "in_flight": 8, "bytes_acked": 1000},
        {"type": "tick", "at": 0.2, "seconds": 0.1, "level": 8, "in_flight": 8, "refused": 1, "retries": 1}
        | {"cpu_seconds": 0.012346},
        # Nothing happened in the third tick but the decision.
        {"type": "level", "at": 0.3, "level": 5, "reason": "back off"},
        {"type": "event", "at": 0.3, "name": "ended", "key": "k"}
        | {"verdict": {"bound_by": "link", "share": 0.9, "text": "The link.", "advice": ""}}
        | {"headers": "object", "speed": None},
    ]


def test_nothing_but_its_thread_touches_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    callers = set()

    def spied(call: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
        callers.add(threading.current_thread().name)
        return call(*arguments, **more)

    for name in ("open", "write", "close", "stat", "pread", "ftruncate"):
        monkeypatch.setattr(tracing.os, name, partial(spied, getattr(os, name)))
    trace = Trace(tmp_path / "t")
    for number in range(100):
        trace.observe(tick(number / 10, level=number))
        trace.event("retry", at=number / 10)
    trace.close()
    assert callers == {"cosxfer-trace"}
    assert len(lines_of(tmp_path / "t")) == 301


def test_a_trace_of_nothing_has_a_header_and_closing_twice_is_fine(tmp_path: Path) -> None:
    trace = Trace(tmp_path / "t")
    trace.close()
    trace.close()
    trace.event("late", at=1.0)
    assert [line["type"] for line in lines_of(tmp_path / "t")] == ["header"]


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_a_full_disk_ends_the_trace_with_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for path, reason in (("/dev/full", "no space left on device"), (tmp_path, "is a directory")):
        caplog.clear()
        trace = Trace(path)
        for number in range(50):
            trace.observe(tick(number))
        trace.close()
        trace.close()
        [warning] = warnings_of(caplog)
        assert warning.startswith(f"the trace '{path}' ends here: {reason}")


def test_the_line_that_a_full_disk_cuts_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    room = 1000
    write = os.write

    def nearly_full(fd: int, data: memoryview) -> int:
        nonlocal room
        if not room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = write(fd, data[:room])
        room -= written
        return written

    monkeypatch.setattr(tracing.os, "write", nearly_full)
    trace = Trace(tmp_path / "t")
    for number in range(50):
        trace.observe(tick(number))
    trace.close()
    assert room == 0
    lines = lines_of(tmp_path / "t")
    assert lines[0]["type"] == "header"
    assert 2 < len(lines) < 50
    assert len(warnings_of(caplog)) == 1


def test_no_thread_ends_the_trace_with_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def none(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none)
    trace = Trace(tmp_path / "t")
    trace.observe(tick(1))
    trace.observe(tick(2))
    trace.close()
    [warning] = warnings_of(caplog)
    assert "can't start new thread" in warning


def test_memory_is_bounded_if_the_file_takes_no_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tracing, "CLOSE_SECONDS", 0.01)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    trace = Trace(pipe)
    for number in range(MAX_WAITING + 500):
        trace.event("retry", at=number)
    assert len(trace._waiting) == MAX_WAITING
    trace.close()
    assert warnings_of(caplog) == [f"the trace '{pipe}' ends here: the file takes no data. The transfers go on"]
    thread = trace._thread
    assert thread is not None
    pipe.read_bytes()  # lets the thread open the pipe, and end
    thread.join()


def test_what_was_dropped_is_counted(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    trace = Trace(pipe)
    for number in range(MAX_WAITING + 500):
        trace.event("retry", at=number)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    trace.close()
    reader.join()
    lines = [json.loads(line) for line in read[0].splitlines()]
    assert lines[-1] == {"type": "dropped", "count": 500}
    assert len(lines) == MAX_WAITING + 2


def test_a_trace_is_replaced_but_no_other_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "t"
    for key in ("old", "new"):
        trace = Trace(path)
        trace.event("begun", at=0, key=key)
        trace.close()
        check_trace_path(str(tmp_path / "other"))
    assert [line.get("key") for line in lines_of(path)] == [None, "new"]
    assert not path.stat().st_mode & 0o111
    precious = tmp_path / "precious"
    precious.write_bytes(b"data")
    trace = Trace(precious)
    trace.event("begun", at=0)
    trace.close()
    assert precious.read_bytes() == b"data"
    assert "exists and is no trace, so it is not replaced" in warnings_of(caplog)[0]
    with pytest.raises(cosxfer.UsageError, match="is no trace"):
        check_trace_path(str(precious))
    with pytest.raises(cosxfer.UsageError, match="no such file or directory"):
        check_trace_path(str(tmp_path / "none" / "t"))
    with pytest.raises(cosxfer.UsageError, match="is a directory"):
        check_trace_path(str(tmp_path))
    check_trace_path("/dev/null")


def test_two_clients_do_not_write_the_same_trace(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "t"
    first, second = Trace(path), Trace(path)
    fd = tracing.open_for_trace(str(path))
    second.event("begun", at=0, key="second")
    second.close()
    os.close(fd)
    first.event("begun", at=0, key="first")
    first.close()
    assert [line.get("key") for line in lines_of(path)] == [None, "first"]
    assert "another client is writing its trace to" in warnings_of(caplog)[0]


def test_settings_are_those_of_the_client_without_objects() -> None:
    settings = settings_of(ClientConfig(verify=ssl.create_default_context(), concurrency=7))
    assert settings["verify"] == "SSLContext"
    assert settings["concurrency"] == 7
    json.dumps(settings)


INTERRUPTED = """
import sys, time
from cosxfer.observation import Observation
from cosxfer.trace import Trace
trace = Trace(sys.argv[1])
try:
    for number in range(3000):
        trace.observe(Observation(at=number, seconds=0.1, level=8, in_flight=8, bytes_acked=1))
    print("ready", flush=True)
    time.sleep(60)
finally:
    trace.close()
"""


def test_an_interrupted_program_leaves_a_whole_trace(tmp_path: Path) -> None:
    path = tmp_path / "t"
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    lines = lines_of(path)
    assert [line["at"] for line in lines if line["type"] == "tick"] == list(range(3000))


@pytest.mark.parametrize("value", ["", "a\0b", b"bytes", 3])
def test_a_path_that_can_be_none_is_refused(value: Any) -> None:
    with pytest.raises(cosxfer.UsageError, match="trace is "):
        ClientConfig(trace=value)
