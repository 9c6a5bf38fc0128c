"""`iter_upload_directory`: a directory is uploaded while it is walked, and its outcomes are an iterator."""

from __future__ import annotations

import asyncio
import pickle
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import cosxfer
from cosxfer.server import RunningServer
from cosxfer.tasks import stream

FILES = 40


@pytest.fixture(autouse=True)
def short_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tree has many blocks, and more files than may wait."""
    monkeypatch.setattr(stream, "BLOCK_FILES", 4)
    monkeypatch.setattr(stream, "MAX_FILES", 12)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for number in range(FILES):
        path = root / f"d{number % 3}" / f"f{number:02}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes([number]) * (number * 10))
    return root


@pytest.fixture
def make(server: RunningServer, no_faults: None) -> Iterator[Any]:
    server.requests(clear=True)
    clients: list[cosxfer.Client] = []

    def make(**settings: Any) -> cosxfer.Client:
        settings = {"journal": None, **settings}
        client = cosxfer.Client(endpoint=server.endpoint, credentials=server.credentials, **settings)
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()


def denied(key: str) -> list[dict[str, object]]:
    """Return the faults that refuse an object."""
    return [{"operation": "put_object", "key": key, "do": "error", "status": 403, "code": "AccessDenied"}]


def puts(server: RunningServer, prefix: str) -> list[str]:
    """Return the keys of one test. The server may still end requests that an earlier test has cancelled."""
    done = [r["key"] for r in server.requests() if r["operation"] == "put_object" and r["status"] == 200]
    return [key for key in done if key.startswith(f"{prefix}/")]


def test_every_file_is_sent_once_and_yielded_once(make: Any, server: RunningServer, tree: Path) -> None:
    client = make()
    reports: list[cosxfer.Progress] = []
    outcomes = list(client.iter_upload_directory(server.bucket, "all", tree, on_progress=reports.append))
    assert all(outcome.error is None and outcome.result.verified for outcome in outcomes)
    assert not any(outcome.sent_before for outcome in outcomes)
    expected = {f"all/{path.relative_to(tree)}" for path in tree.rglob("f*")}
    assert sorted(outcome.options["key"] for outcome in outcomes) == sorted(expected)
    assert sorted(puts(server, "all")) == sorted(expected)
    total = sum(path.stat().st_size for path in tree.rglob("f*"))
    assert (reports[-1].loaded, reports[-1].total) == (total, total)
    assert sum(outcome.size for outcome in outcomes) == total
    assert client.get_object(server.bucket, "all/d1/f13").body == bytes([13]) * 130


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of the files that walks have found."""
    keys: list[str] = []
    look = stream.DirectoryStream._next_block

    def noted(self: stream.DirectoryStream) -> Any:
        block = look(self)
        keys.extend(entry.relative for entry in block.found)
        return block

    monkeypatch.setattr(stream.DirectoryStream, "_next_block", noted)
    return keys


def test_the_first_outcome_comes_before_the_walk_ends_and_a_slow_caller_slows_it_down(
    make: Any, server: RunningServer, tree: Path, found: list[str]
) -> None:
    client = make()
    outcomes = client.iter_upload_directory(server.bucket, "slow", tree)
    next(outcomes)
    at_first = len(found)
    while client.get_task_list()[-1].state not in ("success",):
        threading.Event().wait(0.01)
    # Two blocks after those of the limit: one that is being put into the queue, and one that is looked at ahead.
    assert at_first <= len(found) <= stream.MAX_FILES + 2 * stream.BLOCK_FILES < FILES
    assert len(list(outcomes)) == FILES - 1
    assert len(found) == FILES


def test_files_that_stall_stop_the_walk(server: RunningServer, no_faults: None, tree: Path, found: list[str]) -> None:
    server.set_faults([{"operation": "put_object", "key": "stalled/*", "do": "stall"}])

    async def main() -> None:
        async with cosxfer.AsyncClient(
            endpoint=server.endpoint, credentials=server.credentials, journal=None
        ) as client:
            waiting = asyncio.create_task(anext(client.iter_upload_directory(server.bucket, "stalled", tree)))
            # Those that run, and a block that is looked at ahead.
            most = stream.MAX_FILES + stream.BLOCK_FILES
            while len(found) < most:  # noqa: ASYNC110 (a thread adds to it)
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.2)  # without the limit, the walk ends in a few milliseconds
            assert len(found) == most
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting

    asyncio.run(main())


def test_a_file_that_cannot_be_sent_ends_alone(make: Any, server: RunningServer, tree: Path) -> None:
    (tree / "broken").symlink_to(tree / "nothing")
    server.set_faults(denied("bad/d0/f03"))
    outcomes = {o.options["key"]: o for o in make().iter_upload_directory(server.bucket, "bad", tree)}
    assert len(outcomes) == FILES + 1
    failed = {key: type(outcome.error) for key, outcome in outcomes.items() if outcome.error is not None}
    assert failed == {"bad/broken": cosxfer.SourceError, "bad/d0/f03": failed["bad/d0/f03"]}
    assert issubclass(failed["bad/d0/f03"], cosxfer.ServerError)
    assert (outcomes["bad/broken"].size, outcomes["bad/broken"].sent_before) == (0, False)


def test_closing_it_early_cancels_what_runs_and_the_next_call_goes_on(
    make: Any, server: RunningServer, tree: Path, tmp_path: Path
) -> None:
    client = make(journal=tmp_path / "journal")
    server.set_faults([{"operation": "put_object", "key": "early/d2/*", "do": "stall"}])
    outcomes = client.iter_upload_directory(server.bucket, "early", tree)
    first = [next(outcomes) for _ in range(3)]
    outcomes.close()
    assert {task.state for task in client.get_task_list()} <= {"success", "canceled"}
    client.close()
    done = set(puts(server, "early"))
    assert {outcome.options["key"] for outcome in first} <= done
    assert len(done) < FILES
    server.set_faults([])
    server.requests(clear=True)
    with make(journal=tmp_path / "journal") as client:
        again = list(client.iter_upload_directory(server.bucket, "early", tree))
    assert len(again) == FILES
    before = {outcome.options["key"] for outcome in again if outcome.sent_before}
    assert before <= done
    assert {outcome.options["key"] for outcome in first} <= before
    assert set(puts(server, "early")) == {outcome.options["key"] for outcome in again} - before
    # Another run, after one that has sent everything, sends everything again.
    with make(journal=tmp_path / "journal") as client:
        assert not any(o.sent_before for o in client.iter_upload_directory(server.bucket, "early", tree))


def test_upload_directory_goes_on_with_what_it_has_sent_and_the_other_way_round(
    make: Any, server: RunningServer, tree: Path, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    server.set_faults(denied("both/d0/f00"))
    with make(journal=journal) as client:
        assert sum(o.error is not None for o in client.iter_upload_directory(server.bucket, "both", tree)) == 1
    with make(journal=journal) as client:
        results = client.upload_directory(server.bucket, "both", tree)
    assert sum(o.sent_before for o in results) == FILES - 1
    with make(journal=journal) as client:
        assert sum(o.sent_before for o in client.iter_upload_directory(server.bucket, "both", tree)) == FILES - 1


def test_files_are_looked_up_one_by_one_in_a_large_journal(
    make: Any, server: RunningServer, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cosxfer.journal_database.FEW_PAGES", 1)
    server.set_faults(denied("large/d0/f00"))
    with make(journal=tmp_path / "journal") as client:
        list(client.iter_upload_directory(server.bucket, "large", tree))
        server.set_faults([])
        again = list(client.iter_upload_directory(server.bucket, "large", tree))
    assert [o.options["key"] for o in again if not o.sent_before] == ["large/d0/f00"]
    assert len(again) == FILES


def test_a_result_of_an_earlier_run_is_made_when_it_is_read(
    make: Any, server: RunningServer, tree: Path, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    server.set_faults(denied("lazy/d0/f00"))
    with make(journal=journal) as client:
        list(client.iter_upload_directory(server.bucket, "lazy", tree))
    with make(journal=journal) as client:
        outcomes = [o for o in client.iter_upload_directory(server.bucket, "lazy", tree) if o.sent_before]
    first, second, third = outcomes[:3]
    assert isinstance(first, cosxfer.FileResult)
    assert type(first) is not cosxfer.FileResult
    copy = pickle.loads(pickle.dumps(second))
    assert copy == second
    assert first.result is not None
    assert (first.result.key, first.result.verified_by) == (first.options["key"], "crc64")
    assert first.result.size == first.size == Path(first.options["path"]).stat().st_size
    assert type(first) is cosxfer.FileResult
    assert first.sent_before
    assert first.result is first.result
    assert third == cosxfer.FileResult(error=None, result=third.result, options=third.options)
    assert "UploadResult(" in repr(outcomes[3])


def test_the_asynchronous_form_ends_what_runs_if_its_task_is_cancelled(
    server: RunningServer, no_faults: None, tree: Path
) -> None:
    server.set_faults([{"operation": "put_object", "key": "async/d2/*", "do": "stall"}])

    async def main() -> None:
        async with cosxfer.AsyncClient(
            endpoint=server.endpoint, credentials=server.credentials, journal=None
        ) as client:
            seen = asyncio.Event()

            async def call() -> None:
                async for _ in client.iter_upload_directory(server.bucket, "async", tree):
                    seen.set()

            task = asyncio.create_task(call())
            await seen.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert {info.state for info in client.get_task_list()} == {"success", "canceled"}

    asyncio.run(main())


def test_what_is_wrong_with_the_arguments_is_raised_at_once_and_the_rest_by_the_iteration(
    make: Any, server: RunningServer, tree: Path, tmp_path: Path
) -> None:
    client = make()
    with pytest.raises(cosxfer.UsageError, match="pattern"):
        client.iter_upload_directory(server.bucket, "x", tree, include=["a/../b"])
    with pytest.raises(cosxfer.UsageError, match="part_size"):
        client.iter_upload_directory(server.bucket, "x", tree, part_size=5)
    missing = client.iter_upload_directory(server.bucket, "x", tmp_path / "nowhere")
    with pytest.raises(cosxfer.SourceError, match="nowhere"):
        next(missing)
    with pytest.raises(cosxfer.SourceError, match="no file in"):
        list(client.iter_upload_directory(server.bucket, "x", tree, include=["*.jpg"]))
    assert puts(server, "x") == []
    unused = client.iter_upload_directory(server.bucket, "x", tree)
    del unused
    client.close()
    with pytest.raises(cosxfer.CosxferError, match="closed"):
        client.iter_upload_directory(server.bucket, "x", tree)


def test_a_client_that_is_closed_meanwhile_ends_the_iteration(make: Any, server: RunningServer, tree: Path) -> None:
    server.set_faults([{"operation": "put_object", "key": "closed/d2/*", "do": "stall"}])
    client = make()
    outcomes = client.iter_upload_directory(server.bucket, "closed", tree)
    next(outcomes)
    client.close()
    with pytest.raises(cosxfer.CosxferError):
        list(outcomes)


def test_an_empty_directory_yields_nothing(make: Any, server: RunningServer, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert list(make().iter_upload_directory(server.bucket, "x", tmp_path / "empty")) == []
