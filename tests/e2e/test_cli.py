"""The command line, run as a user runs it."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import cosxfer
from cosxfer.limits import MIB
from cosxfer.server import RunningServer, running
from tests.e2e.command import COMMAND, assert_one_paragraph, client, environment, flat, run, wait_for_parts


def test_cp_uploads_and_prints_the_result(server: RunningServer, source: Path) -> None:
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


def test_cp_takes_automatic_parts_and_limits_the_files_of_a_tree(server: RunningServer, source: Path) -> None:
    automatic = ("--part-size", "auto", "--concurrency", "auto", "--files")
    done = run(server, "cp", "-r", source.parent, f"cos://{server.bucket}/tree", "--json", *automatic, "1")
    assert done.returncode == 0, done.stderr
    (parts,) = [file["parts"] for file in json.loads(done.stdout)["files"]]
    assert parts in (1, 4)  # the least size is 1 MiB, for a server on this machine 4 MiB
    done = run(server, "cp", source, f"cos://{server.bucket}/automatic", *automatic, "auto")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("size", [0, 1, MIB, MIB + 1])
def test_cp_uploads_files_of_any_size(server: RunningServer, tmp_path: Path, size: int) -> None:
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
        untrusted = run(server, "cp", source, f"cos://{server.bucket}/k")
        assert untrusted.returncode == 1
        assert "certificate is not trusted" in flat(untrusted.stderr)
        assert_one_paragraph(untrusted)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["{source}", "nonsense"], 2, "not of the form cos://BUCKET/KEY"),
        (["{source}", "cos://Bad_Bucket/k"], 2, "BucketName-APPID"),
        (["{source}", "cos://{bucket}/k", "--part-size", "512KiB"], 2, "--part-size is 524288 bytes"),
        (["{source}", "cos://{bucket}/k", "--part-size", "6GiB"], 2, "--part-size is 6442450944 bytes"),
        (["{source}", "cos://{bucket}/k", "--part-size", "many"], 2, "--part-size is 'many'"),
        (["{source}", "cos://{bucket}/k", "--concurrency", "0"], 2, "--concurrency is 0"),
        (
            ["{source}", "cos://{bucket}/k", "--files", "257"],
            2,
            "--files is 257; it must be a whole number from 1 to 256",
        ),
        (["{source}", "cos://{bucket}/k", "--meta", "novalue"], 2, "write k=v"),
        (["{source}", "cos://{bucket}/k", "--http-version", "3"], 2, "--http-version is '3'"),
        (["{source}", "cos://{bucket}/k", "--timeout", "0"], 2, "--timeout is 0.0; it must be a number above 0"),
        (["{source}", "cos://{bucket}/k", "--timeout", "nan"], 2, "--timeout is nan"),
        (["{source}", "cos://{bucket}/k", "--connect-timeout", "-1"], 2, "--connect-timeout is -1.0"),
        (["{source}", "cos://{bucket}/k", "--max-attempts", "0"], 2, "--max-attempts is 0"),
        (["{source}", "cos://{bucket}/k", "--retry-for", "-1"], 2, "--retry-for is -1.0"),
        (["{source}", "cos://{bucket}/k", "--retry-for", "soon"], 2, "--retry-for is 'soon'"),
        (["{source}", "cos://{bucket}/k", "--meta", "k=1", "--meta", "K=2"], 2, "--meta sets 'k' twice"),
        (["{source}", "cos://{bucket}/k", "--meta", "k=1", "--meta", "x-cos-meta-k=2"], 2, "--meta sets 'k' twice"),
        (["{source}", "cos://{bucket}/k", "--exclude", "*"], 2, "need -r, which copies a directory"),
        (["{source}", "cos://{bucket}/k", "--ca-file", ""], 2, "--ca-file is empty"),
        (["-", "cos://{bucket}/folder/"], 2, "standard input has no name"),
        (["{source}", "cos://{bucket}/" + "x" * 851], 2, "851 bytes long"),
        (["{source}.missing", "cos://{bucket}/k"], 1, "no such file"),
        (["{folder}", "cos://{bucket}/k"], 2, "is a directory; use -r (--recursive)"),
        (["-r", "{source}", "cos://{bucket}/k"], 1, "cannot read the directory"),
        (
            ["/dev/null", "cos://{bucket}/k"],
            1,
            "'/dev/null' is a device, not a regular file; cosxfer cp - cos://BUCKET/KEY <",
        ),
        (
            ["/proc/self/status", "cos://{bucket}/k"],
            1,
            "cp - cos://BUCKET/KEY < '/proc/self/status' sends what it contains",
        ),
        (["n" * 300, "cos://{bucket}/k"], 1, "file name too long"),
        (["{source}", "cos://other-1250000000/k"], 1, "NoSuchBucket"),
    ],
)
def test_invalid_arguments_are_reported_in_one_paragraph(
    server: RunningServer, source: Path, arguments: list[str], code: int, message: str
) -> None:
    values = {"source": source, "folder": source.parent, "bucket": server.bucket}
    done = run(server, "cp", *(argument.format(**values) for argument in arguments))
    assert done.returncode == code, done.stderr
    assert message in flat(done.stderr)
    assert_one_paragraph(done)


def test_an_unknown_option_is_a_usage_error(server: RunningServer, source: Path) -> None:
    assert run(server, "cp", source, f"cos://{server.bucket}/k", "--nonsense").returncode == 2


def test_an_unreadable_file_is_reported(server: RunningServer, tmp_path: Path) -> None:
    # Not even root can open a loop of links.
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    done = run(server, "cp", loop, f"cos://{server.bucket}/k")
    assert done.returncode == 1
    assert str(loop.name) in done.stderr
    assert_one_paragraph(done)


def test_a_wrong_secret_is_reported_without_showing_it(server: RunningServer, source: Path) -> None:
    done = run(server, "cp", source, f"cos://{server.bucket}/k", COS_SECRET_KEY="my-wrong-secret")
    assert done.returncode == 1
    assert "SignatureDoesNotMatch" in done.stderr
    assert "my-wrong-secret" not in done.stderr
    assert_one_paragraph(done)


def test_missing_keys_are_reported_with_the_names_of_the_variables(source: Path) -> None:
    done = run(None, "cp", source, "cos://examplebucket-1250000000/k", "--region", "ap-guangzhou")
    assert done.returncode == 2
    assert "set COS_SECRET_ID and COS_SECRET_KEY, or send unsigned requests with --anonymous" in flat(done.stderr)
    assert_one_paragraph(done)


def test_a_missing_region_is_reported_with_the_name_of_the_option(source: Path) -> None:
    keys = {"COS_SECRET_ID": "me", "COS_SECRET_KEY": "mine"}
    done = run(None, "cp", source, "cos://examplebucket-1250000000/k", **keys)
    assert done.returncode == 2
    assert "give --region (such as ap-guangzhou) or set COS_REGION" in flat(done.stderr)


def test_a_dead_port_is_reported(server: RunningServer, source: Path) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{reserved.getsockname()[1]}"
        done = run(
            server, "cp", source, f"cos://{server.bucket}/k", "--endpoint", f"http://{address}", "--max-attempts", "2"
        )
    assert done.returncode == 1
    first, last = done.stderr.splitlines()
    assert first.startswith(f"cosxfer: cannot connect to {address}: Connection refused; sent again ")
    assert last == f"cosxfer: cannot connect to {address}: Connection refused (sent 2 times)"
    assert done.stdout == ""


def test_each_failed_attempt_at_a_silent_server_is_printed(server: RunningServer, silent: str, tmp_path: Path) -> None:
    source = tmp_path / "small"
    source.write_bytes(b"small")
    done = run(
        server, "cp", source, f"cos://{server.bucket}/k", "--endpoint", silent, "--timeout", "0.2",
        "--max-attempts", "3",
    )  # fmt: skip
    assert done.returncode == 1
    said = flat(done.stderr)
    assert "the server was silent for 0.2 s; sent again" in said
    assert "(attempt 2 of 3)" in said
    assert "cosxfer: once more: PUT http://127.0.0.1" in said
    assert said.endswith("the server was silent for 0.2 s (sent 3 times)")


def test_an_outage_is_reported_once_for_all_parts(source: Path) -> None:
    with running() as server:
        server.set_faults([{"operation": "multipart_upload", "part": [2, 3, 4], "do": "delay", "seconds": 60}])
        process = subprocess.Popen(
            [*COMMAND, "cp", str(source), f"cos://{server.bucket}/k", "--part-size", "1MiB", "--retry-for", "7"],
            env=environment(server),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            wait_for_parts(process, server, "k", 1)
            os.kill(server.pid, signal.SIGKILL)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    said = flat(errors)
    assert process.returncode == 1
    assert said.count("the server has been unreachable for ") == 1
    assert "; trying until " in said
    assert re.search(r"sent \d+ times in 7 s", said)


def test_a_lost_initiate_is_reported_once_and_an_unsent_one_never(
    server: RunningServer, silent: str, source: Path
) -> None:
    # With metadata, nothing looks for an earlier upload first.
    arguments = ("cp", source, f"cos://{server.bucket}/k", "--meta", "a=b", "--timeout", "0.1")
    arguments += ("--max-attempts", "4", "--endpoint")
    lost = flat(run(server, *arguments, silent).stderr)
    assert lost.count("may stay on the server; multipart_list shows it") == 1
    assert lost.count("2 times more: ") == 2
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        refused = run(server, *arguments, f"http://127.0.0.1:{reserved.getsockname()[1]}")
    assert "may stay on the server" not in flat(refused.stderr)


def test_connect_timeout_limits_the_connecting(server: RunningServer, source: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        # A listener that never accepts: the system completes handshakes until the queue is full, then ignores them.
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(address)
        done = run(
            server, "cp", source, f"cos://{server.bucket}/k", "--endpoint", f"http://127.0.0.1:{address[1]}",
            "--connect-timeout", "0.2", "--max-attempts", "1",
        )  # fmt: skip
        for one in waiting:
            one.close()
    assert done.returncode == 1
    assert "no response in 0.2 s" in flat(done.stderr)


@pytest.mark.parametrize("tls", [False, True])
def test_http_and_https_mix_ups_are_reported(source: Path, tls: bool) -> None:
    right, wrong = ("https", "http") if tls else ("http", "https")
    with running(tls=tls) as server:
        endpoint = f"{wrong}://127.0.0.1:{server.port}/{{bucket}}"
        done = run(server, "cp", source, f"cos://{server.bucket}/k", "--endpoint", endpoint)
    assert done.returncode == 1
    assert f"address {right}://127.0.0.1:{server.port}" in flat(done.stderr)
    assert " sent " not in done.stderr  # there is no retry
    assert_one_paragraph(done)


NGINX = b"<html>\r\n<body>\r\n<center>The plain HTTP request was sent to HTTPS port</center>\r\n</body>\r\n</html>\r\n"
SAID_TO_PLAIN_HTTP = {
    "nginx": b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(NGINX), NGINX),
    "an alert": bytes.fromhex("15030300020246"),
}


@pytest.mark.parametrize("size", [1, 3 << 20])
@pytest.mark.parametrize("server_is", SAID_TO_PLAIN_HTTP)
def test_responses_of_tls_servers_to_plain_http_are_recognised_and_final(
    tmp_path: Path, server_is: str, size: int
) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(size))
    asked = []

    def serve(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                asked.append(connection.recv(1 << 16))
                connection.sendall(SAID_TO_PLAIN_HTTP[server_is])

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        where = f"127.0.0.1:{listener.getsockname()[1]}"
        done = run(
            None, "cp", "--json", source, "cos://examplebucket-1250000000/k", "--endpoint", f"http://{where}/{{bucket}}",
            COS_SECRET_ID="me", COS_SECRET_KEY="mine",
        )  # fmt: skip
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert done.returncode == 1
    assert len(asked) == 1
    said = f"cannot connect to {where}: it speaks TLS. Is its address https://{where}, with an s?"
    assert flat(done.stderr) == f"cosxfer: {said}"
    error = json.loads(done.stdout)["error"]
    assert (error["type"], error["message"]) == ("ConnectError", said)


def test_debug_logs_the_requests_and_no_secret(server: RunningServer, source: Path) -> None:
    server.set_faults([{"operation": "multipart_upload", "part": 2, "attempt": 1, "do": "error", "status": 500}])
    try:
        done = run(
            server, "cp", source, f"cos://{server.bucket}/debug", "--debug", "--part-size", "1MiB", "--concurrency", "4"
        )
    finally:
        server.set_faults([])
    assert done.returncode == 0, done.stderr
    log = done.stderr
    url = f"{server.url}/{server.bucket}/debug"
    assert "3145729 bytes, parts of 1048576 bytes, done before: 0, in flight: 4" in log
    assert f"connected to 127.0.0.1:{server.port} in " in log
    assert f" POST {url}?uploads: 200 in " in log
    assert f" PUT {url}?partNumber=2&uploadId=" in log
    assert ": 500 in " in log
    assert "(attempt 2 of 5)" in log
    assert ", sent again: 200 in " in log
    assert ", request id " in log
    for secret in (server.credentials.secret_key, "q-signature", "q-sign-algorithm"):
        assert secret not in log


def test_debug_shows_the_traceback_and_no_secret(server: RunningServer, source: Path) -> None:
    done = run(server, "cp", source, "cos://other-1250000000/k", "--debug", COS_TOKEN="a-secret-token")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "the server returned 403" in flat(done.stderr).rpartition("cosxfer: ")[2]
    for secret in (server.credentials.secret_key, "a-secret-token", "q-signature"):
        assert secret not in done.stderr
    assert run(server, "cp", source, "nonsense", "--debug").returncode == 2


def test_json_reports_a_failure_too(server: RunningServer, source: Path) -> None:
    done = run(server, "cp", source, "cos://other-1250000000/k", "--json")
    assert done.returncode == 1
    error = json.loads(done.stdout)["error"]
    assert (error["type"], error["status"], error["code"]) == ("NotFoundError", 404, "NoSuchBucket")
    assert error["message"] in flat(done.stderr)
    assert error["request_id"]
    wrong = run(server, "cp", source, "nonsense", "--json")
    assert (wrong.returncode, json.loads(wrong.stdout)["error"]["type"]) == (2, "UsageError")


def test_standard_input_is_uploaded(server: RunningServer, source: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "cp", "-", f"cos://{server.bucket}/from-stdin", "--json"],
        env=environment(server), input=source.read_bytes(), capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verified"] is True
    with client(server) as reader:
        assert reader.get_object(server.bucket, "from-stdin").body == source.read_bytes()


def test_an_upload_of_one_part_has_one_part(server: RunningServer, source: Path) -> None:
    done = run(server, "cp", source, f"cos://{server.bucket}/one-part", "--part-size", "8MiB")
    assert ", 1 part of 8.0 MiB, " in done.stdout


def test_abort_removes_the_parts_of_an_upload(server: RunningServer) -> None:
    with client(server) as other:
        upload_id = other.multipart_init(server.bucket, "left").upload_id
        done = run(server, "abort", f"cos://{server.bucket}/left", upload_id)
        assert (done.returncode, done.stderr) == (0, "")
        assert other.multipart_list(server.bucket, prefix="left").uploads == ()
    unset = run(server, "abort", f"cos://{server.bucket}/left", "")
    assert (unset.returncode, "the upload id is empty" in unset.stderr) == (2, True)
    again = run(server, "abort", f"cos://{server.bucket}/left", upload_id)
    assert again.returncode == 1
    assert "NoSuchUpload" in again.stderr


def test_a_failed_abort_names_the_command_that_aborts(server: RunningServer, source: Path) -> None:
    server.set_faults(
        [
            {"operation": "multipart_upload", "do": "error", "status": 400, "code": "InvalidArgument"},
            {"operation": "multipart_abort", "do": "error", "status": 403, "code": "AccessDenied"},
        ]
    )
    try:
        done = run(server, "cp", source, f"cos://{server.bucket}/not aborted")
    finally:
        server.set_faults([])
    assert done.returncode == 1
    command = done.stderr.splitlines()[-1]
    assert command.startswith(f"  cosxfer abort 'cos://{server.bucket}/not aborted' ")
    assert (
        subprocess.run([sys.executable, "-m", *shlex.split(command)], env=environment(server), check=False).returncode
        == 0
    )
    with client(server) as reader:
        assert reader.multipart_list(server.bucket, prefix="not aborted").uploads == ()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_an_interrupt_cleans_up_on_the_server(
    server: RunningServer, source: Path, number: signal.Signals, code: int
) -> None:
    key = f"interrupted-{number}"
    server.set_faults([{"operation": "multipart_upload", "part": 2, "do": "stall", "at": "answer"}])
    try:
        process = subprocess.Popen(
            [*COMMAND, "cp", str(source), f"cos://{server.bucket}/{key}", "--part-size", "1MiB"],
            env=environment(server),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        # When the other parts have arrived, the upload is waiting for part 2.
        wait_for_parts(process, server, key, 3)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    finally:
        server.set_faults([])
    assert process.returncode == code, errors
    assert "running uploads were aborted and their parts deleted" in flat(errors)
    assert "Traceback" not in errors
    with client(server) as reader:
        assert reader.multipart_list(server.bucket).uploads == ()
        with pytest.raises(cosxfer.NotFoundError):
            reader.head_object(server.bucket, key)


def test_nohup_outlasts_the_terminal(server: RunningServer, source: Path) -> None:
    server.set_faults([{"operation": "multipart_upload", "part": 2, "attempt": 1, "do": "delay", "seconds": 1}])
    try:
        process = subprocess.Popen(
            ["nohup", *COMMAND, "cp", str(source), f"cos://{server.bucket}/nohup", "--part-size", "1MiB"],
            env=environment(server),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_for_parts(process, server, "nohup", 1)
        process.send_signal(signal.SIGHUP)
        output, errors = process.communicate(timeout=60)
    finally:
        server.set_faults([])
    assert process.returncode == 0, errors
    assert "verified by CRC64" in output


def test_serve_prints_its_address_and_stops_cleanly(tmp_path: Path, source: Path) -> None:
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


def test_serve_reports_that_its_port_is_in_use(server: RunningServer) -> None:
    done = run(None, "serve", "--port", server.port, COS_SECRET_ID="me", COS_SECRET_KEY="mine")
    assert done.returncode == 1
    said = flat(done.stderr)
    assert f"cannot listen on 127.0.0.1 port {server.port}: Address already in use; port 0 chooses a free port" in said
    assert_one_paragraph(done)


def test_serve_reports_that_it_cannot_store_its_keys(tmp_path: Path) -> None:
    (tmp_path / "credentials.env").mkdir()
    done = run(None, "serve", "--port", 0, "--root", tmp_path)
    assert done.returncode == 1
    assert f"the directory {tmp_path} cannot be used: Is a directory" in flat(done.stderr)
    assert_one_paragraph(done)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--root", ""), "--root is empty"),
        (("--host", ""), "--host is empty"),
        (("--fault-script", ""), "--fault-script is empty"),
        (("--port", "99999"), "--port is 99999; it must be from 0 to 65535"),
        (("--port", "http"), "--port is 'http'; write a whole number"),
        (
            ("--secret-id", "me"),
            "give both --secret-id and --secret-key (or COS_SECRET_ID and COS_SECRET_KEY), or none",
        ),
    ],
)
def test_serve_refuses_invalid_options(arguments: tuple[str, ...], said: str) -> None:
    done = run(None, "serve", *arguments)
    assert done.returncode == 2
    assert said in flat(done.stderr)
    assert_one_paragraph(done)


def test_the_demo_runs() -> None:
    done = run(None, "demo", "--size", "20MiB")
    assert done.returncode == 0, done.stderr
    for expected in ("over HTTP/2", "verified: yes", "GB per CPU second", "equal to the source: yes", "Cleaned up"):
        assert expected in done.stdout


def test_help_and_version() -> None:
    assert run(None, "--version").stdout == f"cosxfer {cosxfer.__version__}\n"
    text = run(None, "cp", "--help").stdout
    for option in ("--endpoint", "--region", "--part-size", "--storage-class", "--meta", "--json"):
        assert option in text
    for option in ("--part-size", "--concurrency", "--files"):
        assert "[default: auto]" in text[text.index(option) :].partition("│ --")[0]


def test_without_its_extra_the_command_names_the_package_to_install() -> None:
    code = "import sys; sys.modules['typer'] = None; from cosxfer.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install 'cosxfer[cli,server]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_trace_never_replaces_another_file(server: RunningServer, source: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(b"data")
    target = f"cos://{server.bucket}/traced"
    for trace, message in (
        (precious, "exists and is no trace"),
        (tmp_path / "none" / "t", "no such file or directory"),
        (source, "--trace is the source itself"),
        ("", "--trace is empty"),
    ):
        done = run(server, "cp", source, target, "--trace", trace)
        assert (done.returncode, done.stdout) == (2, "")
        assert message in flat(done.stderr)
    assert precious.read_bytes() == b"data"
    assert run(server, "cp", source, target, "--trace", tmp_path / "t.jsonl").returncode == 0
