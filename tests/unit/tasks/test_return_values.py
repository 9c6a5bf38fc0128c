"""Return values of pause, restart and cancel in each state, as in the table of docs/api.md."""

from __future__ import annotations

import asyncio
import re
import traceback
from pathlib import Path
from typing import get_args

import pytest

import cosxfer
from cosxfer.limits import MIB
from cosxfer.models import TaskState
from tests.unit.fake_cos import BUCKET, FakeCos
from tests.unit.files import write
from tests.unit.tasks.gate import Gate

API = Path(__file__).parents[3] / "docs" / "api.md"
ROW = re.compile(r"^\| `(\w+)` \| (True|False), `(\w+)` \| (True|False), `(\w+)` \| (True|False), `(\w+)` \|$", re.M)
CALLS = [
    (state, call, returned == "True", then)
    for state, *cells in ROW.findall(API.read_text(encoding="utf-8"))
    for call, returned, then in zip(("pause", "restart", "cancel"), cells[::2], cells[1::2], strict=True)
]
HELD = {"checking": "multipart_init", "uploading": "multipart_upload"}
"""The operation at which the server blocks, to keep a task in this state."""


def test_the_table_has_every_state() -> None:
    assert [state for state, call, _, _ in CALLS if call == "pause"] == list(get_args(TaskState))


@pytest.mark.parametrize("by_id", [False, True])
@pytest.mark.parametrize(("state", "call", "returned", "then"), CALLS)
def test_a_call_returns_what_the_table_says(
    cos: FakeCos, tmp_path: Path, state: TaskState, call: str, returned: bool, then: TaskState, by_id: bool
) -> None:
    path = write(tmp_path / "f", 2 * MIB)
    gate = Gate()
    cos.fault(HELD.get(state, "multipart_upload"), gate, times=99)

    async def main() -> None:
        async with cos.client() as client:
            chosen = tmp_path / "none" if state == "error" else path
            task = client.submit_upload_file(BUCKET, "k", chosen, part_size=MIB)
            if state in HELD:
                await gate.come()
            elif state == "paused":
                await task.pause()
            elif state == "canceled":
                await task.cancel()
            elif state != "waiting":
                gate.open()
                await asyncio.wait([asyncio.ensure_future(task.result())])
            assert task.state == state
            change = getattr(client, f"{call}_task")(task.task_id) if by_id else getattr(task, call)()
            # The call is made first; then the gate opens, for which it waits.
            asyncio.get_running_loop().call_soon(gate.open)
            assert (await change, task.state) == (returned, then)

    asyncio.run(main())


@pytest.mark.parametrize("call", ["pause", "restart", "cancel"])
def test_an_unknown_id_is_an_error(cos: FakeCos, call: str) -> None:
    with cos.blocking_client() as client:
        for wrong in ("0" * 32, "", None, 5):
            with pytest.raises(cosxfer.UsageError, match="there is no task"):
                getattr(client, f"{call}_task")(wrong)


def test_raising_an_error_repeatedly_does_not_extend_its_traceback(cos: FakeCos, tmp_path: Path) -> None:
    with cos.blocking_client() as client:
        task = client.submit_upload_file(BUCKET, "k", tmp_path / "none")
        lengths = set()
        for _ in range(3):
            with pytest.raises(cosxfer.SourceError) as caught:
                task.result()
            lengths.add(len(traceback.extract_tb(caught.value.__traceback__)))
            assert caught.value is task.info.error
    assert len(lengths) == 1
    # The traceback still shows the origin.
    assert "open" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]


def test_a_restarted_task_returns_to_its_place_in_the_list(cos: FakeCos, tmp_path: Path) -> None:
    missing, there = tmp_path / "later", write(tmp_path / "f", 5)
    events: list[tuple[str, str, str]] = []
    with cos.blocking_client() as client:
        client.on("list-update", lambda event: events.append((event.change, event.task.key, event.task.state)))
        first = client.submit_upload_file(BUCKET, "first", missing)
        with pytest.raises(cosxfer.SourceError):
            first.result()
        client.clear_finished_tasks()
        client.upload_file(BUCKET, "second", there)
        write(missing, 5)
        assert first.restart()
        assert [info.key for info in client.get_task_list()] == ["first", "second"]
        assert first.result().verified
    # The events add the task again, for callers that maintain a list by events.
    left = events.index(("removed", "first", "error"))
    assert [event for event in events[left:] if event[1] == "first"][1:3] == [
        ("added", "first", "error"),
        ("state", "first", "waiting"),
    ]
