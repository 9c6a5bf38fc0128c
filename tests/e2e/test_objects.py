"""``cosxfer ls``, ``stat``, ``du`` and ``cat``."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Iterator
from contextlib import closing

import pytest

from cosxfer.limits import MIB
from cosxfer.server import RunningServer, running
from tests.e2e.command import COMMAND, assert_one_paragraph, client, environment, flat, run
from tests.functional.server_client import ServerClient

LARGE = random.Random(5).randbytes(33 * MIB + 7)


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running() as server, client(server) as writer:
        for key, content in (
            ("photos", b"an object"),
            ("photos/a.jpg", b"a"),
            ("photos/sub/b.jpg", b"bb" * 1000),
            ("photos2", b"another"),
            ("esc/\u202e\u200bx", b"x"),
            ("empty", b""),
            ("large", LARGE),
        ):
            writer.put_object(server.bucket, key, content, cache_control="no-cache", metadata={"from": "here"})
        yield server


@pytest.fixture(autouse=True)
def _no_faults(server: RunningServer) -> Iterator[None]:
    yield
    server.set_faults([])


def enable_versions(server: RunningServer) -> None:
    document = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    with closing(ServerClient(server)) as raw:
        assert raw("PUT", params={"versioning": ""}, body=document).status == 200


def ls(server: RunningServer, *arguments: str) -> list[str]:
    done = run(server, "ls", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_without_an_address_the_buckets_are_listed(server: RunningServer) -> None:
    assert ls(server) == [server.bucket]
    [line] = ls(server, "--json")
    assert json.loads(line)["bucket"] == server.bucket
    assert ls(server, "-l")[0].endswith(server.bucket)


def test_a_folder_is_listed_with_the_object_of_its_name_and_without_its_neighbours(server: RunningServer) -> None:
    assert ls(server, f"cos://{server.bucket}/photos") == ["photos", "photos/a.jpg", "photos/sub/"]
    assert ls(server, f"cos://{server.bucket}/photos/") == ["photos/a.jpg", "photos/sub/"]
    assert ls(server, "-r", f"cos://{server.bucket}/photos") == ["photos", "photos/a.jpg", "photos/sub/b.jpg"]
    assert ls(server, f"cos://{server.bucket}/photos2") == ["photos2"]
    assert "photos/" in ls(server, f"cos://{server.bucket}")


def test_a_long_listing_has_sizes_for_people(server: RunningServer) -> None:
    lines = ls(server, "-l", "-r", f"cos://{server.bucket}/photos/")
    assert [line.split()[:2] for line in lines] == [["1", "B"], ["2.0", "KiB"]]
    assert all("STANDARD" in line for line in lines)


def test_json_has_a_line_for_each_entry(server: RunningServer) -> None:
    file, folder = [json.loads(line) for line in ls(server, "--json", f"cos://{server.bucket}/photos/")]
    assert (file["key"], file["bytes"]) == ("photos/a.jpg", 1)
    assert folder == {"prefix": "photos/sub/"}


def test_a_key_cannot_steer_the_terminal(server: RunningServer) -> None:
    for options in ([], ["-l"], ["-r"], ["--versions"]):
        done = run(server, "ls", f"cos://{server.bucket}/esc", *options)
        assert done.stdout.isascii()
        assert "esc/\\u202e\\u200bx" in done.stdout
    assert run(server, "stat", f"cos://{server.bucket}/esc/\u202e\u200bx").stdout.isascii()


def test_versions_are_listed_with_their_ids_and_markers() -> None:
    with running() as server, client(server) as writer:
        enable_versions(server)
        first = writer.put_object(server.bucket, "k", b"one")
        writer.put_object(server.bucket, "k", b"two")
        writer.put_object(server.bucket, "k2", b"other")
        writer.delete_object(server.bucket, "k")
        lines = ls(server, "--versions", f"cos://{server.bucket}/k")
        assert len(lines) == 3
        assert lines[0].endswith("(latest)  delete marker")
        found = [json.loads(line) for line in ls(server, "--versions", "--json", f"cos://{server.bucket}/k")]
        assert found[-1]["version_id"] == first.headers["x-cos-version-id"]
        old = run(server, "cat", f"cos://{server.bucket}/k", "--version-id", found[-1]["version_id"])
        assert (old.returncode, old.stdout) == (0, "one")
        counted = json.loads(run(server, "du", "--versions", "--json", f"cos://{server.bucket}/k").stdout)
        assert (counted["objects"], counted["bytes"], counted["delete_markers"]) == (2, 6, 1)


def test_a_listing_goes_on_over_pages(server: RunningServer) -> None:
    with client(server) as writer:
        writer.upload_files(
            [{"bucket": server.bucket, "key": f"many/{number:04}", "path": __file__} for number in range(1005)]
        )
    assert ls(server, f"cos://{server.bucket}/many") == [f"many/{number:04}" for number in range(1005)]
    with client(server) as writer:
        writer.delete_objects(server.bucket, [f"many/{number:04}" for number in range(1005)])


def test_a_reader_that_leaves_is_no_error(server: RunningServer) -> None:
    for arguments in (["cat", f"cos://{server.bucket}/large"], ["ls", "-r", f"cos://{server.bucket}"]):
        child = subprocess.Popen(
            [*COMMAND, *arguments], env=environment(server), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.close()
        assert child.stderr.read() == b""
        child.stderr.close()
        assert child.wait(60) == 141


def test_usage_is_counted_by_objects_and_bytes(server: RunningServer) -> None:
    done = run(server, "du", f"cos://{server.bucket}/photos/")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"2.0 KiB (2,001 bytes) in 2 objects: cos://{server.bucket}/photos/\n"
    found = json.loads(run(server, "du", "--json", f"cos://{server.bucket}").stdout)
    assert (found["objects"], found["storage_classes"]["STANDARD"]["bytes"]) == (7, found["bytes"])


def test_the_properties_of_an_object_and_a_bucket_are_shown(server: RunningServer) -> None:
    done = run(server, "stat", f"cos://{server.bucket}/photos")
    assert done.returncode == 0
    for line in ("bytes: 9 (9 B)", "metadata: from=here", "headers: cache-control=no-cache", "storage_class: STANDARD"):
        assert line in done.stdout.splitlines()
    found = json.loads(run(server, "stat", "--json", f"cos://{server.bucket}/photos").stdout)
    with client(server) as reader:
        assert found["crc64"] == str(reader.head_object(server.bucket, "photos").crc64)
    assert f"bucket: {server.bucket}" in run(server, "stat", f"cos://{server.bucket}").stdout


def cat(server: RunningServer, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*COMMAND, "cat", *arguments], env=environment(server), capture_output=True, check=False, timeout=60
    )


@pytest.mark.parametrize(("key", "content"), [("large", LARGE), ("photos", b"an object"), ("empty", b"")])
def test_the_exact_bytes_are_written(server: RunningServer, key: str, content: bytes) -> None:
    done = cat(server, f"cos://{server.bucket}/{key}")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == content


@pytest.mark.parametrize(
    ("wanted", "content"),
    [("0-0", LARGE[:1]), ("5-20000000", LARGE[5:20000001]), ("34603010-", LARGE[34603010:]), ("-3", LARGE[-3:]),
     ("-99999999", LARGE), ("34603014-99999999", LARGE[-1:])],
)  # fmt: skip
def test_a_range_is_written(server: RunningServer, wanted: str, content: bytes) -> None:
    done = cat(server, f"cos://{server.bucket}/large", "--range", wanted)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == content


def test_objects_are_written_one_after_another(server: RunningServer) -> None:
    done = cat(server, f"cos://{server.bucket}/photos2", f"cos://{server.bucket}/photos")
    assert done.stdout == b"anotheran object"


@pytest.mark.parametrize("key", ["large", "photos"])
def test_a_wrong_checksum_fails(server: RunningServer, key: str) -> None:
    operation = "head_object" if key == "large" else "get_object"
    server.set_faults([{"do": "wrong_crc64", "operation": operation, "key": key}])
    done = run(server, "cat", f"cos://{server.bucket}/{key}", "--range", "-1")
    assert done.returncode == 0  # a range cannot be verified
    done_bytes = cat(server, f"cos://{server.bucket}/{key}")
    assert done_bytes.returncode == 1
    assert b"checksum mismatch" in done_bytes.stderr
    assert b"Traceback" not in done_bytes.stderr


def test_an_object_without_a_checksum_is_said_to_be_unverified(server: RunningServer) -> None:
    server.set_faults([{"do": "no_crc64", "key": "photos"}])
    done = run(server, "cat", f"cos://{server.bucket}/photos")
    assert (done.returncode, done.stdout) == (0, "an object")
    assert "is not verified" in done.stderr


def test_an_object_that_is_replaced_meanwhile_is_not_mixed(server: RunningServer) -> None:
    server.set_faults(
        [{"do": "error", "operation": "get_object", "key": "large", "status": 412, "code": "PreconditionFailed"}]
    )
    done = cat(server, f"cos://{server.bucket}/large")
    assert done.returncode == 1
    assert b"do not use the" in done.stderr


@pytest.mark.parametrize("command", ["ls", "du", "stat", "cat"])
def test_errors_of_the_server_fail(server: RunningServer, command: str) -> None:
    for address, code in (
        ("cos://missing-1250000000/k", "404" if command in ("stat", "cat") else "NoSuchBucket"),
        (f"cos://{server.bucket}/nothing", "nothing"),
    ):
        done = run(server, command, address)
        assert done.returncode == 1, done
        assert_one_paragraph(done)
        assert code in flat(done.stderr)
    server.set_faults([{"do": "error", "status": 403, "code": "AccessDenied"}])
    done = run(server, command, f"cos://{server.bucket}/photos")
    assert done.returncode == 1
    assert_one_paragraph(done)
    assert "403" in done.stderr


def test_an_error_is_the_last_line_of_json(server: RunningServer) -> None:
    done = run(server, "ls", "--json", "cos://missing-1250000000")
    assert json.loads(done.stdout)["error"]["code"] == "NoSuchBucket"


@pytest.mark.parametrize("command", ["ls", "du", "stat", "cat"])
def test_a_server_that_is_down_fails(server: RunningServer, command: str) -> None:
    more = {"COS_ENDPOINT": "http://127.0.0.1:9/{bucket}"}
    done = run(server, command, f"cos://{server.bucket}/k", **more)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ls", "photos"], "the address 'photos' is not of the form cos://BUCKET/FOLDER"),
        (["ls", "-r"], "need an address"),
        (["ls", "cos:///k"], "is not of the form"),
        (["cat", "cos://b-1250000000"], "has no key"),
        (["cat", "cos://b-1250000000/k", "--range", "5"], "--range is '5'"),
        (["cat", "cos://b-1250000000/k", "--range", "5-2"], "has no bytes"),
        (["cat", "cos://b-1250000000/k", "cos://b-1250000000/l", "--version-id", "x"], "--version-id is of one object"),
        (["stat", "cos://b-1250000000", "--version-id", "x"], "--version-id needs the key"),
        (["du"], "Missing argument"),
    ],
)
def test_wrong_usage_is_said(server: RunningServer, arguments: list[str], message: str) -> None:
    done = run(server, *arguments)
    assert done.returncode == 2
    assert_one_paragraph(done)
    assert message in flat(done.stderr)


def test_a_bucket_without_objects_is_an_empty_list() -> None:
    with running() as server:
        assert ls(server, f"cos://{server.bucket}") == []
        assert ls(server, "--json", "-r", f"cos://{server.bucket}") == []
