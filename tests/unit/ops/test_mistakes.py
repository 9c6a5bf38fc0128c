"""Calls that are allowed but probably a mistake log a warning."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import cosxfer
from cosxfer.ops import mistakes
from tests.unit.fake_cos import BUCKET, FakeCos, error
from tests.unit.files import write


@pytest.fixture(autouse=True)
def nothing_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mistakes, "_warned", set())


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def run(cos: FakeCos, *calls: Callable[[cosxfer.AsyncClient], Awaitable[Any]]) -> None:
    async def main() -> None:
        async with cos.client() as client:
            for call in calls:
                await call(client)

    asyncio.run(main())


async def put(client: cosxfer.AsyncClient, body: Any) -> None:
    await client.put_object(BUCKET, "k", body)


async def submit(client: cosxfer.AsyncClient, body: Any) -> None:
    await client.submit_put_object(BUCKET, "k", body)


async def append(client: cosxfer.AsyncClient, body: Any) -> None:
    await client.append_object(BUCKET, f"k-{os.urandom(8).hex()}", body, position=0)


async def part(client: cosxfer.AsyncClient, body: Any) -> None:
    upload_id = (await client.multipart_init(BUCKET, "k")).upload_id
    await client.multipart_upload(BUCKET, "k", body, upload_id=upload_id, part_number=1)


@pytest.mark.parametrize("way", [put, submit, append, part])
def test_a_text_that_is_the_path_of_a_file_warns_once(
    cos: FakeCos, tmp_path: Path, caplog: pytest.LogCaptureFixture, way: Callable[..., Awaitable[None]]
) -> None:
    path = str(write(tmp_path / "f", 3))
    run(cos, lambda client: way(client, path), lambda client: way(client, path))
    [warning] = warnings(caplog)
    assert "the text is sent, not the file. Pass pathlib.Path" in warning
    if way is put:
        assert cos.objects["k"].content == path.encode()


def test_a_relative_path_warns_and_other_text_does_not(
    cos: FakeCos, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "name", 3)
    for text in ("", "no such", ".", str(tmp_path), "name\n", "a\0b", "x" * 5000, "n" * 300):
        run(cos, lambda client, text=text: put(client, text))  # type: ignore[misc]
    run(cos, lambda client: put(client, b"name"), lambda client: put(client, Path("name")))
    assert not warnings(caplog)
    run(cos, lambda client: put(client, "name"))
    assert len(warnings(caplog)) == 1


def test_if_no_thread_can_start_the_text_is_sent_unchecked(cos: FakeCos, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*arguments: object) -> None:
        raise cosxfer.CosxferError("no thread is available")

    monkeypatch.setattr(mistakes, "in_thread", none)
    run(cos, lambda client: put(client, "text"))
    assert cos.objects["k"].content == b"text"


@pytest.mark.parametrize("slice_size", [0, 8])
@pytest.mark.parametrize("key", ["dir/", "dir/a"])
def test_a_file_for_the_key_of_a_folder_warns_once(
    cos: FakeCos, tmp_path: Path, caplog: pytest.LogCaptureFixture, slice_size: int, key: str
) -> None:
    path = write(tmp_path / "f", 3)
    again = lambda request, proceed: error(500, "InternalError")  # noqa: E731
    cos.fault("put_object", again)
    cos.fault("multipart_init", again)
    run(cos, lambda client: client.upload_file(BUCKET, key, path, slice_size=slice_size))
    assert [warning for warning in warnings(caplog) if "ends in a slash" in warning] == (
        []
        if key == "dir/a"
        else [
            "the key 'dir/' ends in a slash, which means a folder: consoles show no file there. Add the name of the "
            "file: 'dir/NAME'"
        ]
    )


def test_content_for_the_key_of_a_folder_warns_and_a_folder_does_not(
    cos: FakeCos, caplog: pytest.LogCaptureFixture
) -> None:
    run(cos, lambda client: client.put_object(BUCKET, "dir/", b""))
    assert not warnings(caplog)
    for call in (
        lambda client: client.put_object(BUCKET, "dir/", b"x"),
        lambda client: client.append_object(BUCKET, "dir-of-appends/", b"x", position=0),
        lambda client: client.multipart_init(BUCKET, "dir/"),
    ):
        caplog.clear()
        run(cos, call)
        assert len(warnings(caplog)) == 1
