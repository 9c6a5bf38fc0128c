"""The command line, run as a user runs it."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import cosxfer
from cosxfer.limits import MIB
from cosxfer.server import RunningServer, running

COMMAND = [sys.executable, "-m", "cosxfer"]


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running() as server:
        yield server


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.bin"
    path.write_bytes(random.Random(7).randbytes(3 * MIB + 1))
    return path


def environment(server: RunningServer | None) -> dict[str, str]:
    """What a user would export, and nothing that the tester's own shell has."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("COS_")}
    if server is not None:
        clean |= {
            "COS_SECRET_ID": server.credentials.secret_id,
            "COS_SECRET_KEY": server.credentials.secret_key,
            "COS_ENDPOINT": server.endpoint,
        }
    return clean


def run(server: RunningServer | None, *arguments: object, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        env=environment(server) | more,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def client(server: RunningServer) -> cosxfer.Client:
    return cosxfer.Client(endpoint=server.endpoint, credentials=server.credentials)


def assert_one_paragraph(done: subprocess.CompletedProcess[str]) -> None:
    assert done.stderr.startswith("cosxfer: ")
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_cp_uploads_and_says_what_happened(server: RunningServer, source: Path) -> None:
    done = run(server, "cp", source, f"cos://{server.bucket}/folder/")
    assert done.returncode == 0, done.stderr
    assert "verified by CRC64" in done.stdout
    assert f"cos://{server.bucket}/folder/source.bin" in done.stdout
    with client(server) as reader:
        assert reader.get_object(server.bucket, "folder/source.bin").body == source.read_bytes()


def test_cp_prints_one_json_object(server: RunningServer, source: Path) -> None:
    done = run(
        server, "cp", source, f"cos://{server.bucket}/json", "--json", "--part-size", "1MiB", "--concurrency", "2",
        "--storage-class", "STANDARD_IA", "--meta", "colour=blue", "--meta", "owner=me",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["bytes"] == 3 * MIB + 1
    assert figures["parts"] == 4
    assert figures["part_size_bytes"] == MIB
    assert figures["http_version"] == "HTTP/1.1"
    assert figures["verified"] is True
    assert figures["seconds"] > 0
    assert figures["bytes_per_second"] == pytest.approx(figures["bytes"] / figures["seconds"], rel=1e-3)
    with client(server) as reader:
        head = reader.head_object(server.bucket, "json")
    assert (figures["etag"], int(figures["crc64"])) == (head.etag, head.crc64)
    assert head.storage_class == "STANDARD_IA"
    assert dict(head.metadata) == {"colour": "blue", "owner": "me"}


@pytest.mark.parametrize("size", [0, 1, MIB, MIB + 1])
def test_cp_takes_files_of_any_size(server: RunningServer, tmp_path: Path, size: int) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(size))
    done = run(server, "cp", source, f"cos://{server.bucket}/sized-{size}", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["bytes"] == size
    with client(server) as reader:
        assert reader.head_object(server.bucket, f"sized-{size}").size == size


def test_cp_over_http2_and_tls(source: Path) -> None:
    with running(tls=True) as server:
        done = run(server, "cp", source, f"cos://{server.bucket}/k", "--json", "--ca-file", server.ca_file)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["http_version"] == "HTTP/2"
        untrusted = run(server, "cp", source, f"cos://{server.bucket}/k", "--json")
        assert untrusted.returncode == 1
        assert "certificate is not trusted" in untrusted.stderr.replace("\n", " ")
        assert_one_paragraph(untrusted)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["{source}", "nonsense"], 2, "not of the form cos://BUCKET/KEY"),
        (["{source}", "cos://Bad_Bucket/k"], 2, "BucketName-APPID"),
        (["{source}", "cos://{bucket}/k", "--part-size", "512KiB"], 2, "part_size is 524288 bytes"),
        (["{source}", "cos://{bucket}/k", "--part-size", "6GiB"], 2, "part_size is 6442450944 bytes"),
        (["{source}", "cos://{bucket}/k", "--part-size", "many"], 2, "--part-size is 'many'"),
        (["{source}", "cos://{bucket}/k", "--concurrency", "0"], 2, "concurrency is 0"),
        (["{source}", "cos://{bucket}/k", "--meta", "novalue"], 2, "write k=v"),
        (["{source}", "cos://{bucket}/k", "--http-version", "3"], 2, "http_version is '3'"),
        (["{source}", "cos://{bucket}/" + "x" * 851], 2, "851 bytes long"),
        (["{source}.missing", "cos://{bucket}/k"], 1, "no such file"),
        (["{folder}", "cos://{bucket}/k"], 1, "is a directory"),
        (["/dev/null", "cos://{bucket}/k"], 1, "not a regular file"),
        (["{source}", "cos://other-1250000000/k"], 1, "NoSuchBucket"),
    ],
)
def test_what_cannot_work_is_told_in_one_paragraph(
    server: RunningServer, source: Path, arguments: list[str], code: int, message: str
) -> None:
    values = {"source": source, "folder": source.parent, "bucket": server.bucket}
    done = run(server, "cp", *(argument.format(**values) for argument in arguments))
    assert done.returncode == code, done.stderr
    assert message in done.stderr.replace("\n", " ")
    assert_one_paragraph(done)


def test_an_unknown_option_is_wrong_usage(server: RunningServer, source: Path) -> None:
    assert run(server, "cp", source, f"cos://{server.bucket}/k", "--nonsense").returncode == 2


def test_an_unreadable_file_is_told(server: RunningServer, tmp_path: Path) -> None:
    # A loop of links cannot be opened by anyone, root included.
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    done = run(server, "cp", loop, f"cos://{server.bucket}/k")
    assert done.returncode == 1
    assert str(loop.name) in done.stderr
    assert_one_paragraph(done)


def test_a_wrong_secret_is_told_and_not_shown(server: RunningServer, source: Path) -> None:
    done = run(server, "cp", source, f"cos://{server.bucket}/k", COS_SECRET_KEY="my-wrong-secret")
    assert done.returncode == 1
    assert "SignatureDoesNotMatch" in done.stderr
    assert "my-wrong-secret" not in done.stderr
    assert_one_paragraph(done)


def test_missing_keys_are_told_with_the_names_of_the_variables(source: Path) -> None:
    done = run(None, "cp", source, "cos://examplebucket-1250000000/k", "--region", "ap-guangzhou")
    assert done.returncode == 1
    assert "COS_SECRET_ID" in done.stderr
    assert_one_paragraph(done)


def test_a_dead_port_is_told(server: RunningServer, source: Path) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{reserved.getsockname()[1]}"
        done = run(server, "cp", source, f"cos://{server.bucket}/k", "--endpoint", f"http://{address}")
    assert done.returncode == 1
    assert f"cannot connect to {address}" in done.stderr.replace("\n", " ")
    assert_one_paragraph(done)


def test_debug_shows_the_traceback_and_no_secret(server: RunningServer, source: Path) -> None:
    done = run(server, "cp", source, "cos://other-1250000000/k", "--debug")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert server.credentials.secret_key not in done.stderr
    assert "q-signature" not in done.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_an_interrupt_cleans_up_on_the_server(
    server: RunningServer, source: Path, number: signal.Signals, code: int
) -> None:
    server.requests(clear=True)
    server.set_faults([{"operation": "multipart_upload", "part": 2, "do": "stall", "at": "answer"}])
    try:
        process = subprocess.Popen(
            [*COMMAND, "cp", str(source), f"cos://{server.bucket}/interrupted", "--part-size", "1MiB"],
            env=environment(server),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        # Until the other parts are there: then the upload is waiting for part 2.
        while sum(request["operation"] == "multipart_upload" for request in server.requests()) < 3:
            assert process.poll() is None, process.communicate()
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    finally:
        server.set_faults([])
    assert process.returncode == code, errors
    assert "was given up and cleaned up" in errors.replace("\n", " ")
    assert "Traceback" not in errors
    with client(server) as reader:
        assert reader.multipart_list(server.bucket).uploads == ()
        with pytest.raises(cosxfer.NotFoundError):
            reader.head_object(server.bucket, "interrupted")


def test_nohup_outlasts_the_terminal(server: RunningServer, source: Path) -> None:
    server.requests(clear=True)
    server.set_faults([{"operation": "multipart_upload", "part": 2, "attempt": 1, "do": "delay", "seconds": 1}])
    try:
        process = subprocess.Popen(
            ["nohup", *COMMAND, "cp", str(source), f"cos://{server.bucket}/nohup", "--part-size", "1MiB"],
            env=environment(server),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        while sum(request["operation"] == "multipart_upload" for request in server.requests()) < 1:
            assert process.poll() is None, process.communicate()
        process.send_signal(signal.SIGHUP)
        output, errors = process.communicate(timeout=60)
    finally:
        server.set_faults([])
    assert process.returncode == 0, errors
    assert "verified by CRC64" in output


def test_serve_says_where_it_is_and_stops_cleanly(tmp_path: Path, source: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "serve", "--root", str(tmp_path / "root"), "--port", "0", "--bucket", "one-1250000000"],
        env=environment(None) | {"COS_SECRET_ID": "me", "COS_SECRET_KEY": "mine"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("cosxfer server ready at http://127.0.0.1:")
    address = line.split()[4]
    done = run(
        None, "cp", source, "cos://one-1250000000/k", "--json", "--endpoint", address + "/{bucket}",
        COS_SECRET_ID="me", COS_SECRET_KEY="mine",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output, errors) == (0, "", "")


def test_serve_says_when_its_port_is_taken(server: RunningServer) -> None:
    done = run(None, "serve", "--port", server.port, COS_SECRET_ID="me", COS_SECRET_KEY="mine")
    assert done.returncode == 1
    assert str(server.port) in done.stderr
    assert_one_paragraph(done)


def test_the_demo_does_the_main_job() -> None:
    done = run(None, "demo", "--size", "20MiB")
    assert done.returncode == 0, done.stderr
    for expected in ("over HTTP/2", "verified: yes", "equal to the source: yes", "Cleaned up"):
        assert expected in done.stdout


def test_help_and_version() -> None:
    assert run(None, "--version").stdout == f"cosxfer {cosxfer.__version__}\n"
    text = run(None, "cp", "--help").stdout
    for option in ("--endpoint", "--region", "--part-size", "--concurrency", "--storage-class", "--meta", "--json"):
        assert option in text


def test_without_its_extra_the_command_says_what_to_install() -> None:
    code = "import sys; sys.modules['typer'] = None; from cosxfer.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install 'cosxfer[cli,server]'" in done.stderr
    assert "Traceback" not in done.stderr
