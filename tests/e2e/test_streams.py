"""``-`` alone is a stream. In a path it is part of a name."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import termios
import time
from contextlib import suppress
from pathlib import Path

import pytest

from cosxfer.server import RunningServer
from tests.e2e.command import COMMAND, client, environment, flat


def run_in(
    folder: Path, server: RunningServer, *arguments: object, given: bytes = b"", **more: str
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        cwd=folder,
        env=environment(server, **more),
        input=given,
        capture_output=True,
        check=False,
        timeout=60,
    )


def stored(server: RunningServer, key: str) -> bytes:
    with client(server) as reader:
        return reader.get_object(server.bucket, key).body


@pytest.mark.parametrize(
    ("source", "content"),
    [
        (["-"], b"stream"),
        (["--", "-"], b"stream"),
        (["./-"], b"file"),
        (["--", "./-"], b"file"),
        ([".//-"], b"file"),
        (["sub/../-"], b"file"),
        (["{folder}/-"], b"file"),
        (["sub/-"], b"below"),
        (["--", "--"], b"dashes"),
    ],
)
def test_a_dash_is_a_stream_and_a_path_is_not(
    server: RunningServer, tmp_path: Path, source: list[str], content: bytes
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "-").write_bytes(b"file")
    (tmp_path / "--").write_bytes(b"dashes")
    (tmp_path / "sub/-").write_bytes(b"below")
    words = [word.format(folder=tmp_path) for word in source]
    done = run_in(tmp_path, server, "cp", *words, f"cos://{server.bucket}/k", given=b"stream")
    assert done.returncode == 0, done.stderr
    assert stored(server, "k") == content


def test_a_file_called_dash_gives_the_object_its_name(server: RunningServer, tmp_path: Path) -> None:
    (tmp_path / "-").write_bytes(b"named")
    done = run_in(tmp_path, server, "cp", "./-", f"cos://{server.bucket}/named/")
    assert done.returncode == 0, done.stderr
    assert stored(server, "named/-") == b"named"
    refused = run_in(tmp_path, server, "cp", "-", f"cos://{server.bucket}/named/")
    assert refused.returncode == 2
    assert b"standard input has no name" in refused.stderr


def test_a_directory_called_dash(server: RunningServer, tmp_path: Path) -> None:
    (tmp_path / "-").mkdir()
    (tmp_path / "-/file").write_bytes(b"in it")
    done = run_in(tmp_path, server, "cp", "-r", "./-", f"cos://{server.bucket}/tree")
    assert done.returncode == 0, done.stderr
    assert stored(server, "tree/file") == b"in it"
    done = run_in(tmp_path, server, "cp", "-", f"cos://{server.bucket}/k", given=b"stream")
    assert done.returncode == 0, done.stderr
    assert stored(server, "k") == b"stream"
    refused = run_in(tmp_path, server, "cp", "./-", f"cos://{server.bucket}/k")
    assert refused.returncode == 2
    assert b"is a directory; use -r" in refused.stderr
    refused = run_in(tmp_path, server, "cp", "-r", "-", f"cos://{server.bucket}/k")
    assert refused.returncode == 2
    assert "- is standard input; with -r give a directory (use ./- for one" in flat(refused.stderr.decode())


def test_a_page_goes_to_standard_output_or_into_a_file_called_dash(server: RunningServer, tmp_path: Path) -> None:
    target = f"cos://{server.bucket}/in/"
    done = run_in(tmp_path, server, "form", target, "-o", "./-")
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "-").read_bytes().startswith(b"<!DOCTYPE html>")
    assert run_in(tmp_path, server, "form", target, "-o", "./-").returncode == 2  # the file exists
    done = run_in(tmp_path, server, "form", target, "-o", "-")
    assert (done.returncode, done.stdout[:15]) == (0, b"<!DOCTYPE html>")


def test_the_secret_key_can_come_from_a_file(server: RunningServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    key = tmp_path / "key"
    key.write_text(server.credentials.secret_key + "\n")
    key.chmod(0o600)
    copy = ("cp", "file", f"cos://{server.bucket}/k", "--secret-key-file")
    done = run_in(tmp_path, server, *copy, key, COS_SECRET_KEY="wrong")
    assert (done.returncode, done.stderr) == (0, b"")
    done = run_in(tmp_path, server, *copy, "-", given=server.credentials.secret_key.encode(), COS_SECRET_KEY="")
    assert (done.returncode, done.stderr) == (0, b"")
    done = run_in(tmp_path, server, "form", f"cos://{server.bucket}/", "-o", "-", "--secret-key-file", key)
    assert (done.returncode, done.stderr) == (0, b"")
    key.chmod(0o640)
    done = run_in(tmp_path, server, *copy, "./key", COS_SECRET_KEY="")
    assert done.returncode == 0
    assert b"can be read or changed by other users; protect it with chmod 600" in done.stderr
    (tmp_path / "-").write_text("not the key")
    done = run_in(tmp_path, server, *copy, "./-")
    assert done.returncode == 1
    assert b"SignatureDoesNotMatch" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "given", "said"),
    [
        (["cp", "-", "cos://{bucket}/k", "--secret-key-file", "-"], b"key", "are both standard input"),
        (["cp", "-", "cos://{bucket}/k", "--secret-key-file", "/dev/stdin"], b"key", "are both standard input"),
        (["cp", "/dev/stdin", "cos://{bucket}/k", "--secret-key-file", "-"], b"key", "are both standard input"),
        (
            ["cp", "/dev/fd/0", "cos://{bucket}/k", "--secret-key-file", "/proc/self/fd/0"],
            b"key",
            "both standard input",
        ),
        (["cp", "f", "cos://{bucket}/k", "--secret-key-file", "missing"], b"", "'missing': no such file"),
        (["cp", "f", "cos://{bucket}/k", "--secret-key-file", ""], b"", "--secret-key-file is empty"),
        (["cp", "f", "cos://{bucket}/k", "--secret-key-file", "."], b"", "'.': is a directory"),
        (["cp", "f", "cos://{bucket}/k", "--secret-key-file", "-"], b"", "standard input has no key"),
        (["cp", "f", "cos://{bucket}/k", "--secret-key-file", "-"], b"hidden\n" * 2, "standard input has 2 lines"),
        (["cp", "f", "cos://{bucket}/k", "--secret-key-file", "-"], b"hidden" * 999, "more than 4096 bytes"),
        (["cp", "f", "cos://{bucket}/k", "--secret-key-file", "-"], b" hidden \n", "has spaces at its ends"),
        (["cp", "f", "cos://{bucket}/k", "--secret-key-file", "-", "--anonymous"], b"x", "--anonymous sends no keys"),
        (["serve", "--secret-key", "a", "--secret-key-file", "-"], b"x", "--secret-key or --secret-key-file, not both"),
        (["serve", "--secret-key-file", "missing"], b"", "'missing': no such file"),
    ],
)
def test_an_invalid_secret_key_is_reported_without_showing_it(
    server: RunningServer, tmp_path: Path, arguments: list[str], given: bytes, said: str
) -> None:
    (tmp_path / "f").touch()
    done = run_in(tmp_path, server, *(word.format(bucket=server.bucket) for word in arguments), given=given)
    assert done.returncode == 2
    assert said in flat(done.stderr.decode())
    assert b"hidden" not in done.stderr
    assert done.stdout == b""


def test_a_key_file_needs_an_id(server: RunningServer, tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    done = run_in(tmp_path, server, "cp", "f", f"cos://{server.bucket}/k", "--secret-key-file", "f", COS_SECRET_ID="")
    assert done.returncode == 2
    assert "COS_SECRET_ID is not set" in flat(done.stderr.decode())


@pytest.mark.parametrize("command", ["cp", "abort", "form", "serve"])
def test_the_help_names_the_file_for_the_key(server: RunningServer, tmp_path: Path, command: str) -> None:
    told = run_in(tmp_path, server, command, "--help", COLUMNS="200").stdout.decode()
    assert "--secret-key-file" in told
    if command == "serve":
        assert "see this option in the list of processes" in flat(told)
    if command == "cp":
        assert "*.tmp" in told
        assert "a/**/b" in told


@pytest.mark.parametrize("options", [[], ["-r"]])
def test_metadata_that_looks_like_a_header_is_stored_with_a_notice(
    server: RunningServer, tmp_path: Path, options: list[str]
) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/a").touch()
    (tmp_path / "tree/b").touch()
    meta = ["Content-Type=text/x", "x-cos-acl=private", "cachecontrol=no-store", "colour=red", "x-cos-meta-expires=1"]
    words = [word for pair in meta for word in ("--meta", pair)]
    source = "tree" if options else "tree/a"
    done = run_in(tmp_path, server, "cp", *options, source, f"cos://{server.bucket}/meta/", *words)
    assert done.returncode == 0, done.stderr
    said = flat(done.stderr.decode())
    for name in ("Content-Type", "x-cos-acl", "cachecontrol"):
        assert f"--meta {name}=… sets the metadata x-cos-meta-{name.lower()}, not the header {name}." in said
    assert said.count("--meta") == 3
    with client(server) as reader:
        head = reader.head_object(server.bucket, "meta/a")
    assert dict(head.metadata) == {
        "content-type": "text/x", "x-cos-acl": "private", "cachecontrol": "no-store", "colour": "red", "expires": "1"
    }  # fmt: skip
    assert head.headers["content-type"] == "application/octet-stream"


def run_with_pauses(folder: Path, server: RunningServer, *arguments: str, pieces: list[bytes], **more: str) -> int:
    """Run the command with a non-blocking pipe as standard input, which is empty for a while after each piece."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    command = [*COMMAND, *arguments]
    started = subprocess.Popen(command, cwd=folder, env=environment(server, **more), stdin=reading)
    with started, suppress(BrokenPipeError), os.fdopen(writing, "wb", buffering=0) as pipe:
        for piece in pieces:
            pipe.write(piece)
            while started.poll() is None and unread(reading):
                time.sleep(0.01)
    os.close(reading)
    return started.returncode


def unread(pipe: int) -> int:
    """Number of bytes waiting in a pipe."""
    number: int = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4))[0]
    return number


PIECES = [b"%d," % number for number in range(20)]


def test_a_non_blocking_standard_input_is_read_to_its_end(server: RunningServer, tmp_path: Path) -> None:
    status = run_with_pauses(tmp_path, server, "cp", "-", f"cos://{server.bucket}/k", pieces=PIECES)
    assert status == 0
    assert stored(server, "k") == b"".join(PIECES)


def test_a_key_from_a_non_blocking_standard_input(server: RunningServer, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"content")
    key = server.credentials.secret_key.encode()
    command = ("cp", "f", f"cos://{server.bucket}/k", "--secret-key-file", "-")
    status = run_with_pauses(tmp_path, server, *command, pieces=[key[:5], key[5:9], key[9:]], COS_SECRET_KEY="")
    assert status == 0
    assert stored(server, "k") == b"content"


def test_a_standard_input_that_cannot_be_read_is_named(server: RunningServer, tmp_path: Path) -> None:
    with (tmp_path / "write-only").open("wb") as file:
        done = subprocess.run(
            [*COMMAND, "cp", "-", f"cos://{server.bucket}/k"],
            env=environment(server),
            stdin=file,
            capture_output=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 1
    assert flat(done.stderr.decode()) == "cosxfer: standard input cannot be read: bad file descriptor"
