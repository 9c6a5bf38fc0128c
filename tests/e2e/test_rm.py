"""``cosxfer rm``."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cosxfer.server import RunningServer, running
from tests.e2e.command import COMMAND, assert_one_paragraph, client, environment, flat, run
from tests.functional.server_client import ServerClient


@pytest.fixture(autouse=True)
def filled(server: RunningServer) -> Iterator[None]:
    with client(server) as writer:
        writer.delete_objects(server.bucket, list(writer.iter_list_objects(server.bucket)))
        for key in ("photos", "photos/a", "photos/sub/b", "photos2", "photos2/c", "x\u202e"):
            writer.put_object(server.bucket, key, b"x")
    server.requests(clear=True)
    yield
    server.set_faults([])


def keys(server: RunningServer) -> list[str]:
    with client(server) as reader:
        return [entry.key for entry in reader.iter_list_objects(server.bucket)]


ALL = ["photos", "photos/a", "photos/sub/b", "photos2", "photos2/c", "x\u202e"]


def test_one_object_is_deleted(server: RunningServer) -> None:
    done = run(server, "rm", "--force", f"cos://{server.bucket}/photos")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"deleted cos://{server.bucket}/photos\n"
    assert keys(server) == ALL[1:]


@pytest.mark.parametrize("name", ["photos", "photos/"])
def test_a_folder_is_deleted_without_its_neighbours(server: RunningServer, name: str) -> None:
    done = run(server, "rm", "-r", "--force", f"cos://{server.bucket}/{name}")
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.splitlines()) == [
        f"deleted cos://{server.bucket}/photos/a",
        f"deleted cos://{server.bucket}/photos/sub/b",
    ]
    assert keys(server) == ["photos", "photos2", "photos2/c", "x\u202e"]


def test_a_whole_bucket_is_emptied_and_a_key_cannot_steer_the_terminal(server: RunningServer) -> None:
    done = run(server, "rm", "-r", "-f", f"cos://{server.bucket}")
    assert done.stdout.isascii()
    assert keys(server) == []


def test_a_dry_run_deletes_nothing_and_does_not_ask(server: RunningServer) -> None:
    for arguments in (["-r", f"cos://{server.bucket}/photos"], [f"cos://{server.bucket}/photos"]):
        done = run(server, "rm", "--dry-run", *arguments)
        assert done.returncode == 0
        assert done.stdout.startswith(f"would delete cos://{server.bucket}/photos")
    assert keys(server) == ALL


@pytest.mark.parametrize("options", [[], ["-r"]])
def test_without_a_terminal_nobody_is_asked(server: RunningServer, options: list[str]) -> None:
    done = run(server, "rm", *options, f"cos://{server.bucket}/photos")
    assert done.returncode == 2
    assert_one_paragraph(done)
    assert "add --force" in flat(done.stderr)
    assert keys(server) == ALL
    assert [request for request in server.requests() if request["operation"] != "list_objects"] == []


@pytest.mark.parametrize(("reply", "code"), [("y", 0), ("n", 1), ("", 1), ("yes", 0), ("yeah", 1)])
def test_on_a_terminal_the_user_is_asked(server: RunningServer, reply: str, code: int) -> None:
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [*COMMAND, "rm", "-r", f"cos://{server.bucket}/photos"],
        env=environment(server, TERM="xterm"),
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    while b"[y/N]" not in shown:
        shown += os.read(ours, 1000)
    assert b"all objects whose keys begin with cos://" in shown
    os.write(ours, reply.encode() + b"\n")
    process.communicate(timeout=60)
    os.close(ours)
    assert process.returncode == code
    assert ("photos/a" in keys(server)) == (code == 1)


def test_what_does_not_exist_is_an_error_unless_forced(server: RunningServer) -> None:
    for arguments, code in (
        (["--dry-run", f"cos://{server.bucket}/nothing"], 1),
        (["--dry-run", "-r", f"cos://{server.bucket}/phot"], 1),
        (["--force", f"cos://{server.bucket}/nothing"], 0),
        (["--force", "-r", f"cos://{server.bucket}/phot"], 0),
        (["--force", "-r", "cos://missing-1250000000/phot"], 1),
        (["--force", "cos://missing-1250000000/phot"], 1),
    ):
        done = run(server, "rm", *arguments)
        assert done.returncode == code, arguments
        assert "Traceback" not in done.stderr
    assert keys(server) == ALL


@pytest.mark.deep
def test_keys_are_sent_in_batches_of_1000(server: RunningServer) -> None:
    with client(server) as writer:
        writer.upload_files(
            [{"bucket": server.bucket, "key": f"many/{number:04}", "path": __file__} for number in range(1500)]
        )
    server.requests(clear=True)
    done = run(server, "rm", "-r", "--force", "--json", f"cos://{server.bucket}/many")
    assert done.returncode == 0
    printed = [json.loads(line) for line in done.stdout.splitlines()]
    assert printed[-1] == {"deleted": 1500, "failed": 0, "dry_run": False}
    assert printed[0] == {"key": "many/0000", "version_id": None, "deleted": True}
    sent = [request["operation"] for request in server.requests()]
    assert sent == ["list_objects", "delete_objects", "list_objects", "delete_objects"]
    assert keys(server) == ALL


@pytest.mark.deep
def test_a_listing_that_fails_deletes_only_what_it_returned(server: RunningServer) -> None:
    with client(server) as writer:
        writer.upload_files(
            [{"bucket": server.bucket, "key": f"many/{number:04}", "path": __file__} for number in range(1100)]
        )
    server.set_faults([{"do": "error", "operation": "list_objects", "attempt": 2, "code": "AccessDenied"}])
    done = run(server, "rm", "-r", "--force", f"cos://{server.bucket}/many")
    server.set_faults([])
    assert done.returncode == 1
    assert "1,000 keys of 1,000 that had been listed were deleted" in flat(done.stderr)
    assert keys(server) == [f"many/{number:04}" for number in range(1000, 1100)] + ALL


def test_a_listing_that_is_denied_deletes_nothing(server: RunningServer) -> None:
    server.set_faults([{"do": "error", "operation": "list_objects", "code": "AccessDenied"}])
    done = run(server, "rm", "-r", "--force", f"cos://{server.bucket}/photos")
    server.set_faults([])
    assert done.returncode == 1
    assert_one_paragraph(done)
    assert keys(server) == ALL


def test_versions_are_deleted() -> None:
    with running() as server, client(server) as writer:
        document = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
        with closing(ServerClient(server)) as raw:
            assert raw("PUT", params={"versioning": ""}, body=document).status == 200
        first = writer.put_object(server.bucket, "k/a", b"1").headers["x-cos-version-id"]
        writer.put_object(server.bucket, "k/a", b"2")
        writer.put_object(server.bucket, "k2", b"3")
        done = run(server, "rm", "--force", f"cos://{server.bucket}/k/a", "--version-id", first)
        assert (done.returncode, done.stderr) == (0, "")
        assert [entry.key for entry in writer.iter_list_object_versions(server.bucket)] == ["k/a", "k2"]
        assert run(server, "rm", "--force", f"cos://{server.bucket}/k/a").returncode == 0
        assert len(list(writer.iter_list_object_versions(server.bucket))) == 3
        done = run(server, "rm", "-r", "--versions", "--force", f"cos://{server.bucket}/k")
        assert (done.returncode, done.stderr) == (0, "")
        assert [entry.key for entry in writer.iter_list_object_versions(server.bucket)] == ["k2"]


@contextmanager
def scripted(listing: str, answer: str) -> Iterator[str]:
    """The endpoint of a server with one listing and one response to a deletion."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _send(self, body: str) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(200)
            self.send_header("content-length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

        def do_GET(self) -> None:
            self._send(f"<ListBucketResult><IsTruncated>false</IsTruncated>{listing}</ListBucketResult>")

        def do_POST(self) -> None:
            self._send(f"<DeleteResult>{answer}</DeleteResult>")

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/{{bucket}}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_the_error_of_a_key_is_printed_and_fails(server: RunningServer) -> None:
    listing = "".join(
        f"<Contents><Key>k/{name}</Key><Size>1</Size></Contents>" for name in ("a", "denied", "unmentioned")
    )
    answer = (
        "<Deleted><Key>k/a</Key></Deleted>"
        "<Error><Key>k/denied</Key><Code>AccessDenied</Code><Message>no\x85</Message></Error>"
    )
    with scripted(listing, answer) as endpoint:
        done = run(server, "rm", "-r", "--force", "cos://b-1250000000/k", COS_ENDPOINT=endpoint)
        shown = run(server, "rm", "-r", "--force", "--json", "cos://b-1250000000/k", COS_ENDPOINT=endpoint)
    assert done.returncode == shown.returncode == 1
    assert done.stdout == "deleted cos://b-1250000000/k/a\n"
    assert "cos://b-1250000000/k/denied: not deleted: AccessDenied: no\\x85" in flat(done.stderr)
    assert "k/unmentioned: not deleted" in flat(done.stderr)
    assert "1 key deleted, 2 keys FAILED" in done.stderr
    printed = [json.loads(line) for line in shown.stdout.splitlines()]
    assert printed[-1] == {"deleted": 1, "failed": 2, "dry_run": False}
    assert printed[1]["error"] == {"code": "AccessDenied", "message": "no\x85"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cos://b-1250000000"], "has no key"),
        (["cos://b-1250000000/photos/"], "use -r to delete a folder"),
        (["cos://b-1250000000/k", "--versions"], "--versions needs -r"),
        (["-r", "cos://b-1250000000/k", "--version-id", "x"], "leave out -r"),
        (["-r", "photos"], "is not of the form"),
    ],
)
def test_wrong_usage_is_said(server: RunningServer, arguments: list[str], message: str) -> None:
    done = run(server, "rm", *arguments)
    assert done.returncode == 2
    assert_one_paragraph(done)
    assert message in flat(done.stderr)
