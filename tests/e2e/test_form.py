"""``cosxfer form`` without a browser: the page, its content, and invalid arguments."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest

import cosxfer
from cosxfer.cli.output_file import write_whole
from cosxfer.server import RunningServer, running


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running() as server:
        yield server


def run(server: RunningServer | None, *arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COS_")}
    if server is not None:
        environment |= {
            "COS_SECRET_ID": server.credentials.secret_id,
            "COS_SECRET_KEY": server.credentials.secret_key,
            "COS_ENDPOINT": server.endpoint,
        }
    return subprocess.run(
        [sys.executable, "-m", "cosxfer", "form", *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


class Page(HTMLParser):
    """The form of a page, and everything that the page would load from elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.action = ""
        self.fields: dict[str, str] = {}
        self.inputs: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        self.loaded += [given[name] for name in ("src", "href", "srcset", "data") if name in given]
        if tag == "form":
            assert (given["method"], given["enctype"]) == ("post", "multipart/form-data")
            self.action = given["action"]
        elif tag == "input":
            self.inputs.append(given["name"])
            if given["type"] == "hidden":
                self.fields[given["name"]] = given["value"]


def test_the_page_contains_a_working_form(server: RunningServer, tmp_path: Path) -> None:
    path = tmp_path / "upload.html"
    title = 'Für "alle" <b>&</b>'
    done = run(
        server, f"cos://{server.bucket}/in/", "-o", path, "--expires", "15m", "--max-size", "1KiB", "--title", title
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{path}: uploads to cos://{server.bucket}/in/ for 15m, without keys\n"
    text = path.read_text(encoding="utf-8")
    assert server.credentials.secret_key not in text
    assert "<b>" not in text
    page = Page(text)
    assert page.loaded == []
    # The server ignores fields after the file.
    assert page.inputs[-1] == "file"
    response = httpx.post(page.action, data=page.fields, files={"file": ("a.txt", b"hello")})
    assert response.status_code == 201
    with cosxfer.Client(endpoint=server.endpoint, credentials=server.credentials) as client:
        assert client.get_object(server.bucket, "in/a.txt").body == b"hello"
    response = httpx.post(page.action, data=page.fields, files={"file": ("a.txt", bytes(1025))})
    assert (response.status_code, "EntityTooLarge" in response.text) == (400, True)


def test_the_page_can_go_to_standard_output(server: RunningServer) -> None:
    done = run(server, f"cos://{server.bucket}", "-o", "-")
    assert done.returncode == 0
    assert done.stdout.startswith("<!DOCTYPE html>")
    assert Page(done.stdout).fields["key"] == "${filename}"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("bucket-1250000000/x",), 2, "cos://BUCKET/PREFIX"),
        (("cos://nobucket/x",), 2, "BucketName-APPID"),
        (("cos://examplebucket-1250000000/", "--expires", "soon"), 2, "15m, 1h or 7d"),
        (("cos://examplebucket-1250000000/", "--expires", "0"), 2, "15m, 1h or 7d"),
        (("cos://examplebucket-1250000000/", "--max-size", "6GiB"), 2, "5 GiB"),
        (("cos://examplebucket-1250000000/", "-o", "/no/such/folder/x.html"), 1, "cannot write"),
        (("cos://examplebucket-1250000000/", "-o", "n" * 300), 1, "file name too long"),
        (("cos://examplebucket-1250000000/", "-o", ""), 2, "--output is empty"),
        (("cos://examplebucket-1250000000/", "-o", "/"), 2, "--output is '/', a directory; name a file in it"),
        (("cos://examplebucket-1250000000/", "-o", "/tmp", "--force"), 2, "'/tmp', a directory; name a file in it"),
        (("cos://examplebucket-1250000000/", "-o", "none/"), 2, "a / at the end names a directory"),
    ],
)
def test_invalid_settings_are_reported(server: RunningServer, arguments: tuple[str, ...], code: int, said: str) -> None:
    done = run(server, *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in " ".join(done.stderr.split())


def test_missing_keys_are_reported() -> None:
    done = run(None, "cos://examplebucket-1250000000/", "--region", "ap-guangzhou", "-o", "-")
    assert done.returncode == 2
    assert "COS_SECRET_ID" in done.stderr


def test_an_existing_file_is_replaced_only_on_request(server: RunningServer, tmp_path: Path) -> None:
    path, link = tmp_path / "upload.html", tmp_path / "link.html"
    path.write_text("mine")
    link.symlink_to(path)
    refused = run(server, f"cos://{server.bucket}/in/", "-o", path)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "exists already; use --force to replace it" in " ".join(refused.stderr.split())
    assert path.read_text() == "mine"
    assert run(server, f"cos://{server.bucket}/in/", "-o", link, "--force").returncode == 0
    assert path.read_text().startswith("<!DOCTYPE html>")
    assert link.is_symlink()
    assert sorted(tmp_path.iterdir()) == [link, path]


def test_a_page_that_cannot_be_written_completely_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "upload.html"
    path.write_text("old")

    def full(number: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(cosxfer.CosxferError, match="cannot write"):
        write_whole(path, b"new", replace=True)
    assert path.read_text() == "old"
    with pytest.raises(cosxfer.CosxferError, match="cannot write"):
        write_whole(tmp_path / "other", b"new", replace=False)
    assert list(tmp_path.iterdir()) == [path]


def test_a_page_does_not_replace_a_file_created_at_the_same_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "upload.html"
    monkeypatch.setattr(os, "fsync", lambda number: path.write_text("theirs"))
    with pytest.raises(cosxfer.UsageError, match="exists already"):
        write_whole(path, b"ours", replace=False)
    assert path.read_text() == "theirs"
    assert list(tmp_path.iterdir()) == [path]


def test_a_page_is_written_to_a_device_directly(server: RunningServer) -> None:
    done = run(server, f"cos://{server.bucket}/in/", "-o", "/dev/stderr")
    assert done.returncode == 0
    assert done.stderr.startswith("<!DOCTYPE html>")
