"""``cosxfer mb``, ``rb`` and ``presign``."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

import cosxfer
from cosxfer.server import RunningServer, running
from tests.e2e.command import COMMAND, assert_one_paragraph, client, environment, flat, run

NEW = "cos://new-1250000000"


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running(buckets=("examplebucket-1250000000", "other-1250000000")) as server:
        yield server


@pytest.fixture(autouse=True)
def _no_faults(server: RunningServer) -> Iterator[None]:
    yield
    server.set_faults([])


def test_a_bucket_is_made_and_deleted(server: RunningServer) -> None:
    done = run(server, "mb", NEW, "--acl", "private")
    assert (done.returncode, done.stdout) == (0, f"created {NEW}\n"), done.stderr
    again = run(server, "mb", NEW, "--json")
    assert again.returncode == 1
    assert json.loads(again.stdout)["error"]["code"] == "BucketAlreadyExists"
    run(server, "cp", __file__, f"{NEW}/x")
    full = run(server, "rb", NEW, "--force")
    assert full.returncode == 1
    assert "BucketNotEmpty" in full.stderr
    assert f"cosxfer rm -r --versions {NEW} and cosxfer uploads abort --all {NEW} empty it" in flat(full.stderr)
    run(server, "rm", "-r", "--force", NEW)
    gone = run(server, "rb", NEW, "--force", "--json")
    assert (gone.returncode, json.loads(gone.stdout)) == (0, {"bucket": "new-1250000000", "deleted": True})
    missing = run(server, "rb", NEW, "--force")
    assert (missing.returncode, missing.stdout) == (0, f"there is no {NEW}\n")


def test_rb_asks_on_a_terminal_and_needs_force_without_one(server: RunningServer) -> None:
    run(server, "mb", "cos://asked-1250000000")
    refused = run(server, "rb", "cos://asked-1250000000")
    assert refused.returncode == 2
    assert "there is no terminal; add --force" in flat(refused.stderr)
    for answer, code in ((b"n\n", 1), (b"y\n", 0)):
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [*COMMAND, "rb", "cos://asked-1250000000"],
            env=environment(server),
            stdin=theirs,
            stderr=theirs,
            stdout=subprocess.DEVNULL,
        )
        os.close(theirs)
        os.write(ours, answer)
        assert process.wait(60) == code
        os.close(ours)
    with client(server) as reader:
        assert "asked-1250000000" not in [bucket.name for bucket in reader.list_buckets().buckets]


def test_a_lost_response_is_noted(server: RunningServer) -> None:
    for call in ("put_bucket", "delete_bucket"):
        server.set_faults([{"operation": call, "do": "reset", "at": "answer", "times": 1}])
        with client(server) as user, pytest.raises(cosxfer.ServerError) as caught:
            getattr(user, call)("lost-1250000000")
        assert caught.value.status in (404, 409)
        assert any("an earlier attempt of this call may have" in note for note in caught.value.__notes__)


def status_of(request: urllib.request.Request) -> int:
    try:
        with urllib.request.urlopen(request) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_a_url_works_without_keys(server: RunningServer) -> None:
    address = f"cos://{server.bucket}/signed"
    put = run(
        server, "presign", address, "--method", "put", "-H", "Content-Type: text/x-y", "--expires", "10m", "--json"
    )
    signed = json.loads(put.stdout)
    assert (signed["method"], signed["headers"]) == ("PUT", {"content-type": "text/x-y"})
    assert 590 < signed["expires_at"] - time.time() < 610
    for content_type, status in (("text/other", 403), ("text/x-y", 200)):
        request = urllib.request.Request(
            signed["url"], data=b"content", method="PUT", headers={"Content-Type": content_type}
        )
        assert status_of(request) == status
    get = run(server, "presign", address, "--param", "response-content-type=text/z")
    assert (get.returncode, get.stderr) == (0, "")
    with urllib.request.urlopen(get.stdout.strip()) as response:
        assert (response.read(), response.headers["content-type"]) == (b"content", "text/z")
    noted = run(server, "presign", address, "-X", "PUT", "-H", "x-cos-acl: private")
    assert "the request must have the header x-cos-acl: private" in flat(noted.stderr)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["mb", "cos://b-1250000000/key"], "has a key; write cos://BUCKET"),
        (["mb", "cos://noappid"], "is not of the form BucketName-APPID"),
        (["rb", "bucket"], "is not of the form cos://BUCKET"),
        (["presign", "cos://b-1250000000"], "has no key"),
        (["presign", "cos://b-1250000000/k", "--method", "PATCH"], "it can be GET, HEAD, PUT, POST, DELETE"),
        (["presign", "cos://b-1250000000/k", "--header", "x"], "--header is 'x'; write NAME: VALUE"),
        (["presign", "cos://b-1250000000/k", "--param", "=x"], "--param is '=x'; write NAME=VALUE"),
        (["presign", "cos://b-1250000000/k", "--header", "a:1", "--header", "A:2"], "--header gives 'A' twice"),
        (["presign", "cos://b-1250000000/k", "--expires", "soon"], "--expires is 'soon'"),
        (["presign", "cos://b-1250000000/k", "--anonymous"], "an anonymous client cannot sign a URL"),
    ],
)
def test_wrong_usage_exits_with_2(server: RunningServer, arguments: list[str], says: str) -> None:
    done = run(server, *arguments)
    assert done.returncode == 2
    assert_one_paragraph(done)
    assert says in flat(done.stderr)
