"""Downloads of many objects and of all objects below a prefix, against the embedded server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import cosxfer
from cosxfer.limits import MIB
from cosxfer.server import RunningServer, running
from tests.functional.peer_raw import in_loop

LARGE = bytes(range(256)) * 8192 + b"end"


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running() as server:
        yield server


@pytest.fixture
def client(server: RunningServer) -> Iterator[cosxfer.Client]:
    with cosxfer.Client(endpoint=server.endpoint, credentials=server.credentials, part_size=MIB) as client:
        yield client
    server.set_faults([])


def put(client: cosxfer.Client, server: RunningServer, prefix: str, objects: dict[str, bytes]) -> None:
    for name, content in objects.items():
        client.put_object(server.bucket, f"{prefix}{name}", content)


def tree(folder: Path) -> dict[str, bytes | None]:
    """The files below ``folder`` with their content, and the folders with None."""
    return {
        str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
    }


def failed(results: list[cosxfer.DownloadedFile]) -> dict[str, str]:
    return {result.options["key"]: str(result.error) for result in results if result.error is not None}


def test_many_objects_have_an_outcome_each(client: cosxfer.Client, server: RunningServer, tmp_path: Path) -> None:
    put(client, server, "many/", {"a": b"A", "b": LARGE})
    finished: list[Any] = []
    reports: list[cosxfer.Progress] = []
    files: list[cosxfer.FileDownload] = [
        {"bucket": server.bucket, "key": f"many/{name}", "path": tmp_path / name} for name in ("a", "missing", "b")
    ]
    results = client.download_files(
        files, on_file_finish=lambda *outcome: finished.append(outcome), on_progress=reports.append
    )
    assert [type(result.error) for result in results] == [type(None), cosxfer.NotFoundError, type(None)]
    assert [result.options for result in results] == files
    assert results[2].result is not None
    assert (results[2].result.verified_by, results[2].result.parts) == ("crc64", 3)
    assert tree(tmp_path) == {"a": b"A", "b": LARGE}
    assert sorted(outcome[2]["key"] for outcome in finished) == ["many/a", "many/b", "many/missing"]
    assert reports[-1].loaded == 1 + len(LARGE)


def test_an_entry_that_can_never_work_is_refused_before_anything_is_sent(
    client: cosxfer.Client, server: RunningServer, tmp_path: Path
) -> None:
    good = {"bucket": server.bucket, "key": "many/a", "path": tmp_path / "a"}
    for bad, name in (
        ({"bucket": server.bucket, "key": "k"}, "path"),
        ({**good, "part_size": 5}, "part_size"),
        ({**good, "wrong": 1}, "wrong"),
        ({**good, "path": 7}, "path"),
    ):
        with pytest.raises(cosxfer.UsageError) as raised:
            client.download_files([good, bad])  # type: ignore[list-item]
        assert raised.value.name == name
    assert tree(tmp_path) == {}
    assert client.download_files([]) == []


def test_a_folder_is_downloaded_with_its_folders(client: cosxfer.Client, server: RunningServer, tmp_path: Path) -> None:
    objects = {"a": b"A", "b/c": b"C", "b/d/e": LARGE, "empty/": b"", "b/ü ~%+&.txt": b"U", "zero": b""}
    put(client, server, "tree/", objects)
    put(client, server, "treeless", {"": b"not below the prefix"})
    target = tmp_path / "new" / "target"
    results = client.download_directory(server.bucket, "tree", target)
    assert failed(results) == {}
    assert tree(target) == {
        "a": b"A", "b": None, "b/c": b"C", "b/d": None, "b/d/e": LARGE, "b/ü ~%+&.txt": b"U",
        "empty": None, "zero": b"",
    }  # fmt: skip
    assert {result.result.verified_by for result in results if result.result} == {"crc64"}
    # The second time everything is replaced.
    assert failed(client.download_directory(server.bucket, "tree/", target)) == {}


@pytest.mark.parametrize("prefix", ["/slash", "//slashes"])
def test_a_prefix_drops_one_leading_slash_as_keys_do(
    client: cosxfer.Client, server: RunningServer, tmp_path: Path, prefix: str
) -> None:
    put(client, server, f"{prefix}/", {"a": b"A"})
    (result,) = client.download_directory(server.bucket, prefix, tmp_path)
    assert result.error is None
    assert tree(tmp_path) == {"a": b"A"}


def test_patterns_choose_the_keys(client: cosxfer.Client, server: RunningServer, tmp_path: Path) -> None:
    put(
        client,
        server,
        "chosen/",
        {"a.txt": b"1", "a.tmp": b"2", "cache/x.txt": b"3", "docs/y": b"4", "docs/z.tmp": b"5"},
    )
    client.download_directory(server.bucket, "chosen", tmp_path, include=["*.txt", "docs"], exclude=["cache/", "*.tmp"])
    assert tree(tmp_path) == {"a.txt": b"1", "docs": None, "docs/y": b"4"}


HOSTILE = ["x//y", "/abs", "z/", "conflict", "conflict/below"]


def test_keys_without_a_path_below_the_folder_are_refused_and_others_downloaded(
    client: cosxfer.Client, server: RunningServer, tmp_path: Path
) -> None:
    put(client, server, "hostile/", {**dict.fromkeys(HOSTILE, b"content"), "good": b"G"})
    target = tmp_path / "target"
    refused = failed(client.download_directory(server.bucket, "hostile", target))
    assert refused.keys() == {"hostile/x//y", "hostile//abs", "hostile/z/", "hostile/conflict/below"}
    assert all("has no path below" in text for text in refused.values())
    assert tree(target) == {"good": b"G", "conflict": b"content"}
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


@pytest.mark.parametrize("size", [5, len(LARGE)])
def test_links_in_the_folder_are_not_followed(
    client: cosxfer.Client, server: RunningServer, tmp_path: Path, size: int
) -> None:
    put(client, server, f"links{size}/", {"folder/x": LARGE[:size], "file": LARGE[:size], "good": LARGE[:size]})
    outside, target = tmp_path / "outside", tmp_path / "target"
    outside.mkdir()
    target.mkdir()
    (outside / "secret").write_bytes(b"old")
    (target / "folder").symlink_to(outside)
    (target / "file").symlink_to(outside / "secret")
    refused = failed(client.download_directory(server.bucket, f"links{size}", target))
    assert refused.keys() == {f"links{size}/folder/x", f"links{size}/file"}
    assert all("is a link" in text for text in refused.values())
    assert tree(outside) == {"secret": b"old"}
    assert (target / "good").read_bytes() == LARGE[:size]


def test_a_listing_that_fails_downloads_nothing(client: cosxfer.Client, server: RunningServer, tmp_path: Path) -> None:
    put(client, server, "denied/", {"a": b"A"})
    server.set_faults(
        [{"operation": "list_objects", "do": "error", "status": 403, "code": "AccessDenied", "times": 99}]
    )
    with pytest.raises(cosxfer.AccessDeniedError):
        client.download_directory(server.bucket, "denied", tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_a_prefix_without_objects_is_an_error(client: cosxfer.Client, server: RunningServer, tmp_path: Path) -> None:
    with pytest.raises(cosxfer.CosxferError, match=r"no object of .* begins with 'nothing/'"):
        client.download_directory(server.bucket, "nothing", tmp_path / "target")


def test_a_file_where_a_folder_is_needed_is_that_files_error(
    client: cosxfer.Client, server: RunningServer, tmp_path: Path
) -> None:
    put(client, server, "inway/", {"d/x": b"X", "y": b"Y"})
    (tmp_path / "d").write_bytes(b"a file")
    refused = failed(client.download_directory(server.bucket, "inway", tmp_path))
    assert refused.keys() == {"inway/d/x"}
    assert (tmp_path / "d").read_bytes() == b"a file"
    assert (tmp_path / "y").read_bytes() == b"Y"


@pytest.mark.deep
def test_more_objects_than_one_page_holds(client: cosxfer.Client, server: RunningServer, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(1005):
        (source / f"{number}").write_bytes(str(number).encode())
    assert all(result.error is None for result in client.upload_directory(server.bucket, "pages", source))
    results = client.download_directory(server.bucket, "pages", tmp_path / "target")
    assert len(results) == 1005
    assert tree(tmp_path / "target") == tree(source)


def test_many_downloads_are_submitted_at_once(client: cosxfer.Client, server: RunningServer, tmp_path: Path) -> None:
    put(client, server, "submitted/", {"a": b"A", "b": LARGE})
    files: list[cosxfer.FileDownload] = [
        {"bucket": server.bucket, "key": f"submitted/{name}", "path": tmp_path / name} for name in ("a", "missing", "b")
    ]
    batch = client.submit_download_files(files)
    assert [task.info.direction for task in batch.tasks] == ["download"] * 3
    results = batch.result(60)
    assert [type(result.error) for result in results] == [type(None), cosxfer.NotFoundError, type(None)]
    assert [result.options for result in results] == files
    assert (batch.loaded, repr(batch)) == (1 + len(LARGE), "<DownloadBatch of 3 files>")
    assert (tmp_path / "b").read_bytes() == LARGE
    assert client.submit_download_files([]).result() == []


def test_submitted_downloads_can_be_cancelled(client: cosxfer.Client, server: RunningServer, tmp_path: Path) -> None:
    put(client, server, "cancelled/", {"a": LARGE})
    server.set_faults([{"operation": "get_object", "do": "stall", "seconds": 600}])
    batch = client.submit_download_files(
        [{"bucket": server.bucket, "key": "cancelled/a", "path": tmp_path / name} for name in ("a", "b")]
    )
    with pytest.raises(cosxfer.TaskTimeoutError, match="2 of 2 files have not ended"):
        batch.result(0.01)
    batch.cancel()
    assert all(isinstance(result.error, cosxfer.TaskCanceledError) for result in batch.result(60))
    assert tree(tmp_path) == {}


@in_loop
async def test_the_asynchronous_client_submits_downloads(server: RunningServer, tmp_path: Path) -> None:
    async with cosxfer.AsyncClient(endpoint=server.endpoint, credentials=server.credentials) as client:
        await client.put_object(server.bucket, "async/a", LARGE)
        batch = client.submit_download_files([{"bucket": server.bucket, "key": "async/a", "path": tmp_path / "a"}])
        (result,) = await batch.result()
        assert (result.error, batch.loaded, batch.total) == (None, len(LARGE), len(LARGE))
        await batch.cancel()
    assert tree(tmp_path) == {"a": LARGE}
