"""``on_file_finish`` and `FileResult` get exactly the options that the caller gave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import cosxfer
from cosxfer.limits import MIB
from tests.unit.fake_cos import BUCKET, FakeCos
from tests.unit.files import write
from tests.unit.tasks.uploads import run

Finished = list[tuple[Exception | None, cosxfer.UploadResult | None, Any]]

GIVEN: list[dict[str, Any]] = [
    {},
    {"slice_size": 2 * MIB, "part_size": MIB, "metadata": {"a": "b"}},
    {"slice_size": 1024 * 1024},
    {"slice_size": 0, "abort_on_failure": False, "region": "ap-guangzhou"},
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    folder.mkdir()
    return write(folder / "f", 3 * MIB)


@pytest.mark.parametrize("given", GIVEN)
@pytest.mark.parametrize("call", ["upload_file", "submit_upload_file"])
@pytest.mark.parametrize("blocking", [True, False])
def test_upload_file(cos: FakeCos, path: Path, given: dict[str, Any], call: str, blocking: bool) -> None:
    finished: Finished = []
    options = {"bucket": BUCKET, "key": "k", "path": path, **given}
    options["on_file_finish"] = lambda *what: finished.append(what)
    send(cos, call, options, blocking=blocking)
    [(_, first, told)] = finished
    assert told == options
    send(cos, call, told, blocking=blocking)
    second = finished[1][1]
    assert first is not None
    assert second is not None
    assert (second.parts, second.part_size_bytes) == (first.parts, first.part_size_bytes)


@pytest.mark.parametrize("given", [{}, {"slice_size": MIB}, {"slice_size": 2 * MIB, "content_length": 3 * MIB}])
@pytest.mark.parametrize("call", ["slice_upload_file", "submit_slice_upload_file"])
@pytest.mark.parametrize("blocking", [True, False])
def test_slice_upload_file(cos: FakeCos, path: Path, given: dict[str, Any], call: str, blocking: bool) -> None:
    finished: Finished = []
    options = {"bucket": BUCKET, "key": "k", "path": path, **given}
    options["on_file_finish"] = lambda *what: finished.append(what)
    send(cos, call, options, blocking=blocking)
    assert finished[0][2] == options
    send(cos, call, finished[0][2], blocking=blocking)
    assert finished[1][2] == options


def send(cos: FakeCos, call: str, options: dict[str, Any], *, blocking: bool) -> None:
    if blocking:
        with cos.blocking_client() as client:
            done = getattr(client, call)(**options)
            if call.startswith("submit"):
                done.result()
        return

    async def main() -> None:
        async with cos.client() as client:
            done = getattr(client, call)(**options)
            await done

    run(main())


@pytest.mark.parametrize("slice_size", [None, 2 * MIB])
def test_upload_files(cos: FakeCos, path: Path, slice_size: int | None) -> None:
    finished: Finished = []
    own: Finished = []
    files: list[Any] = [
        {"bucket": BUCKET, "key": "a", "path": path, "part_size": MIB},
        {"bucket": BUCKET, "key": "b", "path": path, "slice_size": 3 * MIB, "on_file_finish": lambda *a: own.append(a)},
    ]
    before = [dict(entry) for entry in files]
    call: dict[str, Any] = {} if slice_size is None else {"slice_size": slice_size}
    with cos.blocking_client() as client:
        results = client.upload_files(files, on_file_finish=lambda *what: finished.append(what), **call)
        assert [result.options for result in results] == before == files
        assert sorted((told for _, _, told in finished), key=lambda told: str(told["key"])) == before
        assert [told["key"] for _, _, told in own if told in before[1:]] == [told["key"] for _, _, told in own]
        assert len(own) == 1
        for result in results:
            assert result.result is not None
            again = client.upload_file(**result.options)
            assert again.parts == result.result.parts
    # The file's own threshold overrides that of the call.
    assert results[1].result is not None
    assert results[1].result.parts == 1


@pytest.mark.parametrize("given", [{}, {"slice_size": 3 * MIB}, {"slice_size": 0, "part_size": MIB, "acl": "private"}])
def test_upload_directory(cos: FakeCos, path: Path, given: dict[str, Any]) -> None:
    with cos.blocking_client() as client:
        [outcome] = client.upload_directory(BUCKET, "p", path.parent, **given)
        assert outcome.options == {"bucket": BUCKET, "key": "p/f", "path": str(path), **given}
        assert outcome.result is not None
        assert client.upload_file(**outcome.options).parts == outcome.result.parts


def test_the_threshold_of_a_file_is_checked_like_that_of_the_call(cos: FakeCos, path: Path) -> None:
    entry: Any = {"bucket": BUCKET, "key": "k", "path": path}
    with cos.blocking_client() as client:
        [outcome] = client.upload_files([{**entry, "slice_size": -1}])
        assert isinstance(outcome.error, cosxfer.UsageError)
        assert outcome.error.name == "slice_size"
        with pytest.raises(cosxfer.UsageError, match="slice_size"):
            client.upload_files([{**entry, "slice_size": True}])
        [outcome] = client.upload_files([{**entry, "slice_size": str(3 * MIB)}])
        assert outcome.result is not None
        assert outcome.result.parts == 1
