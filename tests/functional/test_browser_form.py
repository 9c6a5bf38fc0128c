"""The page that ``cosxfer form`` writes, in a real browser: Debian's Chromium (.ci/deep/browser.sh installs it)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

import cosxfer
from cosxfer.cli.app import app
from cosxfer.server import RunningServer
from tests.functional.browser import Browser, executable

pytestmark = [
    pytest.mark.deep,
    pytest.mark.skipif(executable() is None, reason="Chromium is not installed (.ci/deep/browser.sh)"),
]

SETTLED = """
new Promise((resolve) => {
  const status = document.getElementById("status"), error = document.getElementById("error");
  const look = () => {
    if (error.textContent || (status.textContent && !status.textContent.startsWith("Sending")))
      resolve([status.textContent, error.textContent]);
  };
  new MutationObserver(look).observe(document.body, {subtree: true, childList: true, characterData: true});
  look();
})
"""
"""A script that waits for the response to a form, and returns the status and the error that the page shows."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


def page(server: RunningServer, folder: Path, *options: str) -> str:
    """The URL of a page for the prefix ``inbox/``."""
    path = folder / "page.html"
    done = CliRunner().invoke(
        app,
        ["form", f"cos://{server.bucket}/inbox/", "-o", str(path), "--endpoint", server.endpoint, *options],
        env={"COS_SECRET_ID": server.credentials.secret_id, "COS_SECRET_KEY": server.credentials.secret_key},
    )
    assert done.exit_code == 0, done.output
    return path.as_uri()


def send(browser: Browser, path: Path) -> list[str]:
    browser.choose_file("#file", path)
    browser.press_enter("#send")
    said: list[str] = browser.run(SETTLED)
    return said


def test_a_file_chosen_on_the_page_is_stored_unchanged(
    browser: Browser, server: RunningServer, client: cosxfer.Client, tmp_path: Path
) -> None:
    content = os.urandom(3_000_000)
    chosen = tmp_path / "Ünïcode & 100% + #1.png"
    chosen.write_bytes(content)
    browser.open(page(server, tmp_path))
    status, error = send(browser, chosen)
    assert error == ""
    assert status == f"{chosen.name} (2.9 MiB) was stored."
    stored = client.get_object(server.bucket, f"inbox/{chosen.name}")
    assert stored.body == content
    assert stored.content_type == "image/png"
    # The page has another origin, so the browser sends a preflight request first.
    asked = [request["method"] for request in server.requests() if request["method"] in ("OPTIONS", "POST")]
    assert asked == ["OPTIONS", "POST"]
    # A second file needs no reload of the page.
    chosen.write_bytes(b"again")
    assert send(browser, chosen)[1] == ""
    assert client.get_object(server.bucket, f"inbox/{chosen.name}").body == b"again"


def test_every_element_of_the_page_has_an_accessible_name(
    browser: Browser, server: RunningServer, tmp_path: Path
) -> None:
    browser.open(page(server, tmp_path, "--title", "Post </script> box", "--max-size", "5MiB"))
    names = browser.names()
    assert {
        ("RootWebArea", "Post </script> box"),
        ("heading", "Post </script> box"),
        ("button", "Upload"),
        ("progressbar", "Progress"),
    } <= {(role, name) for role, name in names}
    assert any(name.startswith("File, at most 5.0 MiB") for _, name in names)


def test_a_file_that_is_too_large_is_not_sent(browser: Browser, server: RunningServer, tmp_path: Path) -> None:
    chosen = tmp_path / "large"
    chosen.write_bytes(bytes(2_000_000))
    browser.open(page(server, tmp_path, "--max-size", "1MB"))
    server.requests(clear=True)
    assert send(browser, chosen) == ["", "The file has 1.9 MiB; at most 976.6 KiB are allowed."]
    assert not server.requests()


def test_a_refusal_of_the_server_is_reported(browser: Browser, server: RunningServer, tmp_path: Path) -> None:
    chosen = tmp_path / "a.txt"
    chosen.write_bytes(b"a")
    browser.open(page(server, tmp_path))
    server.set_faults([{"operation": "post_object", "do": "error", "code": "AccessDenied", "message": "Not today."}])
    assert send(browser, chosen) == ["", "The server refused the file (403, AccessDenied: Not today.)."]
    server.set_faults([{"operation": "post_object", "do": "reset"}])
    assert send(browser, chosen)[1].startswith("The server cannot be reached")
    server.set_faults([])
    assert send(browser, chosen)[1] == ""


def test_the_form_works_without_scripts(
    browser: Browser, server: RunningServer, client: cosxfer.Client, tmp_path: Path
) -> None:
    chosen = tmp_path / "plain.txt"
    chosen.write_bytes(b"plain")
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(page(server, tmp_path))
        browser.choose_file("#file", chosen)
        browser.press_enter("#send")
        browser.wait_for("Page.loadEventFired")
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)
    assert client.get_object(server.bucket, "inbox/plain.txt").body == b"plain"
