"""Uploads of files: client against embedded server over real sockets, in every protocol."""

from __future__ import annotations

import itertools
import os
import random
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import cosxfer
from cosxfer.config import HttpVersion
from cosxfer.cos import sign
from cosxfer.limits import MIB
from cosxfer.server import RunningServer, running
from tests.functional.signing import before_each_request

PROTOCOLS = ("http1", "h2c", "tls-http1", "tls-http2")
EXPECTED_VERSION = {"http1": "HTTP/1.1", "h2c": "HTTP/2", "tls-http1": "HTTP/1.1", "tls-http2": "HTTP/2"}


@dataclass
class Peer:
    """A client and its server."""

    client: cosxfer.Client
    server: RunningServer
    protocol: str

    @property
    def bucket(self) -> str:
        return self.server.bucket


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[bool, RunningServer]]:
    """A plain server and one with TLS."""
    with running() as plain, running(tls=True) as tls:
        yield {False: plain, True: tls}


def make_client(server: RunningServer, protocol: str = "http1", **more: object) -> cosxfer.Client:
    version: HttpVersion = "2" if protocol in ("h2c", "tls-http2") else "1.1"
    settings: dict[str, object] = {
        "endpoint": server.endpoint,
        "credentials": server.credentials,
        "http_version": version,
        "verify": str(server.ca_file) if server.ca_file else True,
    }
    return cosxfer.Client(**{**settings, **more})  # type: ignore[arg-type]


@pytest.fixture(scope="module", params=PROTOCOLS)
def peer(request: pytest.FixtureRequest, servers: dict[bool, RunningServer]) -> Iterator[Peer]:
    server = servers[request.param.startswith("tls")]
    with make_client(server, request.param) as client:
        yield Peer(client, server, request.param)


@pytest.fixture
def plain(servers: dict[bool, RunningServer]) -> Iterator[Peer]:
    with make_client(servers[False]) as client:
        yield Peer(client, servers[False], "http1")
    servers[False].set_faults([])


def make_file(path: Path, size: int) -> Path:
    path.write_bytes(random.Random(size).randbytes(size))
    return path


def fetch(server: RunningServer, key: str, output: Path) -> None:
    """Read an object back without our client, by a pre-signed URL and the standard library."""
    path = f"/{server.bucket}/{key}"
    host = server.url.partition("://")[2]
    params = sign.presigned_params(
        server.credentials,
        method="GET",
        path=path,
        params={},
        headers={"host": host},
        key_time=sign.key_time(time.time(), life_seconds=600),
    )
    url = f"{server.url}{urllib.parse.quote(path)}?{urllib.parse.urlencode(params, quote_via=urllib.parse.quote)}"
    context = ssl.create_default_context(cafile=str(server.ca_file)) if server.ca_file else None
    with urllib.request.urlopen(url, context=context) as response:
        output.write_bytes(response.read())


def assert_stored(server: RunningServer, key: str, source: Path, folder: Path) -> None:
    copy = folder / "copy"
    fetch(server, key, copy)
    subprocess.run(["cmp", source, copy], check=True)


def open_uploads(peer: Peer) -> list[str]:
    return [upload.key for upload in peer.client.multipart_list(peer.bucket).uploads]


@pytest.mark.parametrize(
    ("size", "part_size"),
    [
        (0, None),
        (1, None),
        (MIB, None),
        (MIB + 1, None),
        (4 * MIB, MIB),
        (5 * MIB + 17, MIB),
        (24 * MIB + 1, None),
    ],
    ids=["empty", "1 byte", "1 MiB", "1 MiB + 1", "exactly 4 parts", "6 parts", "automatic parts"],
)
def test_a_file_is_stored_unchanged(peer: Peer, tmp_path: Path, size: int, part_size: int | None) -> None:
    source = make_file(tmp_path / "source", size)
    key = f"{peer.protocol}/{size}"
    result = peer.client.upload_file(peer.bucket, key, source, part_size=part_size)
    assert_stored(peer.server, key, source, tmp_path)
    assert result.verified
    assert result.verified_by == "crc64"
    assert result.size == size
    assert result.http_version == EXPECTED_VERSION[peer.protocol]
    assert result.parts == max(1, -(-size // (part_size or result.part_size_bytes or 1)))
    head = peer.client.head_object(peer.bucket, key)
    assert (head.size, head.crc64, head.etag) == (size, result.crc64, result.etag)
    assert open_uploads(peer) == []


def test_an_object_comes_back_into_memory_and_into_a_file(peer: Peer, tmp_path: Path) -> None:
    body = random.Random(1).randbytes(3 * MIB)
    put = peer.client.put_object(peer.bucket, "back", body, content_type="x/y", metadata={"a": "ü ö"})
    got = peer.client.get_object(peer.bucket, "back")
    assert got.body == body
    assert got.verified
    assert (got.crc64, got.etag, got.content_type, got.metadata["a"]) == (put.crc64, put.etag, "x/y", "ü ö")
    into_file = peer.client.get_object(peer.bucket, "back", output=tmp_path / "file")
    assert into_file.body is None
    assert (tmp_path / "file").read_bytes() == body
    part = peer.client.get_object(peer.bucket, "back", byte_range=(10, 19))
    assert part.body == body[10:20]
    assert part.content_range == f"bytes 10-19/{len(body)}"
    assert not part.verified


@pytest.mark.parametrize(
    "key", ["a b", "a+b", "a%2Fb", "a?b", "a#b", "日本/語", "😀", "a/../b", "a//b", "~-_.!*'()", "x" * 850]
)
def test_any_legal_key_works(peer: Peer, tmp_path: Path, key: str) -> None:
    source = make_file(tmp_path / "source", 2 * MIB + 1)
    peer.client.upload_file(peer.bucket, key, source, part_size=MIB)
    assert peer.client.get_object(peer.bucket, key).body == source.read_bytes()
    peer.client.put_object(peer.bucket, key, b"small")
    assert peer.client.get_object(peer.bucket, key).body == b"small"


def test_the_multipart_operations_called_one_by_one(peer: Peer) -> None:
    client, bucket = peer.client, peer.bucket
    data = random.Random(2).randbytes(2 * MIB + 5)
    init = client.multipart_init(bucket, "by-hand", storage_class="STANDARD_IA", metadata={"k": "v"})
    assert (init.bucket, init.key) == (bucket, "by-hand")
    second = client.multipart_upload(bucket, "by-hand", data[MIB:], upload_id=init.upload_id, part_number=2)
    first = client.multipart_upload(bucket, "by-hand", data[:MIB], upload_id=init.upload_id, part_number=1)
    assert [(u.key, u.upload_id) for u in client.multipart_list(bucket).uploads] == [("by-hand", init.upload_id)]
    listed = client.multipart_list_part(bucket, "by-hand", upload_id=init.upload_id)
    assert [(p.part_number, p.etag, p.size) for p in listed.parts] == [
        (1, first.etag, MIB),
        (2, second.etag, MIB + 5),
    ]
    done = client.multipart_complete(bucket, "by-hand", upload_id=init.upload_id, parts=[second, first])
    assert done.etag.endswith('-2"')
    got = client.get_object(bucket, "by-hand")
    assert got.body == data
    assert (got.storage_class, got.metadata["k"]) == ("STANDARD_IA", "v")


def test_an_aborted_upload_is_gone(peer: Peer) -> None:
    init = peer.client.multipart_init(peer.bucket, "aborted")
    peer.client.multipart_abort(peer.bucket, "aborted", upload_id=init.upload_id)
    assert open_uploads(peer) == []
    with pytest.raises(cosxfer.NotFoundError, match="NoSuchUpload"):
        peer.client.multipart_abort(peer.bucket, "aborted", upload_id=init.upload_id)


def test_progress_goes_from_zero_to_the_total(peer: Peer, tmp_path: Path) -> None:
    source = make_file(tmp_path / "source", 6 * MIB)
    seen: dict[str, list[cosxfer.Progress]] = {"hash": [], "send": []}
    tasks: list[str] = []
    peer.client.upload_file(
        peer.bucket,
        "progress",
        source,
        part_size=MIB,
        on_task_ready=tasks.append,
        on_hash_progress=seen["hash"].append,
        on_progress=seen["send"].append,
    )
    assert len(tasks) == 1
    for reports in seen.values():
        assert (reports[0].loaded, reports[0].percent) == (0, 0)
        assert (reports[-1].loaded, reports[-1].percent) == (6 * MIB, 1)
        assert [r.loaded for r in reports] == sorted(r.loaded for r in reports)
        assert all(r.total == 6 * MIB for r in reports)


def test_the_md5_of_the_file_is_stored_on_request(peer: Peer, tmp_path: Path) -> None:
    for size in (5, 3 * MIB):
        source = make_file(tmp_path / "source", size)
        peer.client.upload_file(peer.bucket, "with-md5", source, part_size=MIB, upload_add_meta_md5=True)
        expected = subprocess.run(["md5sum", source], capture_output=True, text=True, check=True).stdout.split()[0]
        assert peer.client.head_object(peer.bucket, "with-md5").metadata["md5"] == expected


# -- failures, scripted in the server --------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "fault",
    [
        {"do": "error", "status": 503, "code": "SlowDown"},
        {"do": "error", "status": 500, "code": "InternalError", "at": "answer"},
        {"do": "reset"},
        {"do": "reset", "at": 300_000},
        {"do": "reset", "at": "answer"},
        {"do": "truncate"},
        {"do": "wrong_etag"},
        {"do": "wrong_crc64"},
        {"do": "error", "status": 400, "code": "BadDigest", "at": "answer"},
    ],
    ids=lambda fault: f"{fault['do']}-{fault.get('code', fault.get('at', ''))}",
)
def test_a_part_that_fails_once_is_sent_again(
    servers: dict[bool, RunningServer], tmp_path: Path, protocol: str, fault: dict[str, object]
) -> None:
    server = servers[protocol.startswith("tls")]
    source = make_file(tmp_path / "source", 4 * MIB)
    server.set_faults([{"operation": "multipart_upload", "part": 2, "attempt": 1, **fault}])
    try:
        with make_client(server, protocol) as client:
            result = client.upload_file(server.bucket, "again", source, part_size=MIB)
    finally:
        server.set_faults([])
    assert result.verified
    assert_stored(server, "again", source, tmp_path)


@pytest.mark.parametrize(("stored", "attempts"), [(True, 1), (False, 2)], ids=["stored", "not stored"])
def test_a_409_on_a_part_is_resolved_by_listing_the_parts(
    plain: Peer, tmp_path: Path, stored: bool, attempts: int
) -> None:
    source = make_file(tmp_path / "source", 3 * MIB)
    fault = {"operation": "multipart_upload", "part": 2, "attempt": 1, "do": "error", "status": 409}
    at = "answer" if stored else "head"
    plain.server.set_faults([{**fault, "code": "UploadConflict", "at": at}])
    plain.server.requests(clear=True)
    result = plain.client.upload_file(plain.bucket, f"conflict-{at}", source, part_size=MIB)
    seen = [(request["operation"], request["part"]) for request in plain.server.requests()]
    assert seen.count(("multipart_upload", 2)) == attempts
    assert seen.count(("multipart_list_part", None)) == 1
    assert result.verified
    assert_stored(plain.server, f"conflict-{at}", source, tmp_path)


def test_a_409_on_a_part_of_multipart_upload_is_resolved_too(plain: Peer) -> None:
    upload_id = plain.client.multipart_init(plain.bucket, "conflict-by-hand").upload_id
    plain.server.set_faults(
        [{"operation": "multipart_upload", "do": "error", "status": 409, "code": "UploadConflict", "at": "answer"}]
    )
    part = plain.client.multipart_upload(plain.bucket, "conflict-by-hand", b"x", upload_id=upload_id, part_number=7)
    listed = plain.client.multipart_list_part(plain.bucket, "conflict-by-hand", upload_id=upload_id).parts
    assert [(entry.part_number, entry.etag, entry.size) for entry in listed] == [(7, part.etag, 1)]
    plain.client.multipart_complete(plain.bucket, "conflict-by-hand", upload_id=upload_id, parts=[part])


def test_a_part_that_fails_permanently_is_reported_with_its_number_and_leaves_nothing(
    plain: Peer, tmp_path: Path
) -> None:
    source = make_file(tmp_path / "source", 4 * MIB)
    plain.server.set_faults(
        [{"operation": "multipart_upload", "part": 3, "do": "error", "status": 403, "code": "AccessDenied"}]
    )
    with pytest.raises(cosxfer.UploadError, match=r"at part 3 of 4: .*AccessDenied.*stay on the server for") as caught:
        plain.client.upload_file(plain.bucket, "failing", source, part_size=MIB)
    assert caught.value.part_number == 3
    assert not caught.value.aborted
    assert caught.value.upload_id
    assert isinstance(caught.value.__cause__, cosxfer.AccessDeniedError)
    [task] = [info for info in plain.client.get_task_list() if info.key == "failing"]
    assert plain.client.cancel_task(task.task_id)
    assert open_uploads(plain) == []
    with pytest.raises(cosxfer.NotFoundError):
        plain.client.head_object(plain.bucket, "failing")


def test_parts_are_kept_on_request(plain: Peer, tmp_path: Path) -> None:
    source = make_file(tmp_path / "source", 2 * MIB)
    plain.server.set_faults(
        [{"operation": "multipart_upload", "part": 2, "do": "error", "status": 403, "code": "AccessDenied"}]
    )
    with pytest.raises(cosxfer.UploadError, match="kept on the server") as caught:
        plain.client.upload_file(plain.bucket, "kept", source, part_size=MIB, abort_on_failure=False)
    assert open_uploads(plain) == ["kept"]
    plain.client.multipart_abort(plain.bucket, "kept", upload_id=caught.value.upload_id)


@pytest.mark.parametrize("do", ["reset", "truncate"])
def test_a_lost_response_to_complete_is_resolved(plain: Peer, tmp_path: Path, do: str) -> None:
    source = make_file(tmp_path / "source", 3 * MIB)
    at = {"at": "answer"} if do == "reset" else {}
    plain.server.set_faults([{"operation": "multipart_complete", "do": do, "attempt": 1, **at}])
    result = plain.client.upload_file(plain.bucket, f"lost-{do}", source, part_size=MIB)
    assert result.verified
    assert_stored(plain.server, f"lost-{do}", source, tmp_path)


def test_an_error_inside_a_200_of_complete_is_an_error(plain: Peer, tmp_path: Path) -> None:
    source = make_file(tmp_path / "source", 3 * MIB)
    plain.server.set_faults([{"operation": "multipart_complete", "do": "error", "status": 200, "code": "AccessDenied"}])
    with pytest.raises(cosxfer.UploadError, match="AccessDenied"):
        plain.client.upload_file(plain.bucket, "inside-200", source, part_size=MIB)


def test_an_object_that_differs_from_the_file_is_never_a_success(plain: Peer, tmp_path: Path) -> None:
    source = make_file(tmp_path / "source", 3 * MIB)
    plain.server.set_faults([{"operation": "multipart_complete", "do": "wrong_crc64"}])
    with pytest.raises(cosxfer.UploadError, match="checksum mismatch"):
        plain.client.upload_file(plain.bucket, "wrong", source, part_size=MIB)


def test_a_silent_server_costs_one_timeout(servers: dict[bool, RunningServer], tmp_path: Path) -> None:
    source = make_file(tmp_path / "source", 2 * MIB)
    server = servers[False]
    server.set_faults([{"operation": "multipart_upload", "part": 1, "do": "stall", "at": "answer"}])
    try:
        with (
            make_client(server, max_attempts=1, retry_for_seconds=0, stall_timeout_seconds=0.5) as client,
            pytest.raises(cosxfer.UploadError, match=r"part 1 of 2: .*silent for 0\.5 s"),
        ):
            client.upload_file(server.bucket, "silent", source, part_size=MIB)
    finally:
        server.set_faults([])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_wrong_secret_fails_at_once(servers: dict[bool, RunningServer], tmp_path: Path, protocol: str) -> None:
    server = servers[protocol.startswith("tls")]
    source = make_file(tmp_path / "source", 3 * MIB)
    wrong = cosxfer.Credentials(secret_id=server.credentials.secret_id, secret_key="not-the-key")
    with make_client(server, protocol, credentials=wrong) as client:
        with pytest.raises(cosxfer.AccessDeniedError, match="SignatureDoesNotMatch") as caught:
            client.upload_file(server.bucket, "refused", source, part_size=MIB)
        assert "not-the-key" not in str(caught.value)
        # The server refuses a PUT before it has read the body; the response must not be lost.
        with pytest.raises(cosxfer.AccessDeniedError, match="SignatureDoesNotMatch"):
            client.put_object(server.bucket, "refused", source)


def test_a_missing_bucket_is_reported(plain: Peer, tmp_path: Path) -> None:
    source = make_file(tmp_path / "source", 3 * MIB)
    with pytest.raises(cosxfer.NotFoundError, match="NoSuchBucket"):
        plain.client.upload_file("missing-1250000000", "k", source)


@pytest.mark.parametrize(
    ("key", "part_size", "message"),
    [
        ("x" * 851, None, "851 bytes long in UTF-8; COS allows 850"),
        ("k", 512 * 1024, "part_size is 524288 bytes; COS allows parts from 1048576"),
        ("k", 6 * 1024 * MIB, r"part_size is 6442450944 bytes; .* to 5368709120"),
        ("k", MIB, r"10001 parts; COS allows 10000.* at least 2 MiB"),
    ],
)
def test_invalid_arguments_are_refused_before_anything_is_sent(
    plain: Peer, tmp_path: Path, key: str, part_size: int | None, message: str
) -> None:
    source = tmp_path / "sparse"
    source.touch()
    os.truncate(source, 10_001 * MIB)
    plain.server.requests(clear=True)
    with pytest.raises(cosxfer.UsageError, match=message):
        plain.client.upload_file(plain.bucket, key, source, part_size=part_size)
    assert plain.server.requests() == []


def test_a_dead_port_is_reported_with_its_address(tmp_path: Path) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        source = make_file(tmp_path / "source", 3 * MIB)
        with (
            cosxfer.Client(
                endpoint=f"http://127.0.0.1:{port}", secret_id="a", secret_key="b", max_attempts=2
            ) as client,
            pytest.raises(cosxfer.ConnectError, match=rf"cannot connect to 127\.0\.0\.1:{port}: .*refused"),
        ):
            client.upload_file("examplebucket-1250000000", "k", source)


def test_a_certificate_of_an_unknown_authority_is_refused_at_once(servers: dict[bool, RunningServer]) -> None:
    with make_client(servers[True], verify=True) as client, pytest.raises(cosxfer.ConnectError, match="not trusted"):
        client.put_object(servers[True].bucket, "k", b"x")


def test_a_server_that_does_not_speak_http_is_reported(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def talk() -> None:
            for _ in range(4):
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return  # the listener is closed: the test is over
                with connection:
                    connection.recv(65536)
                    connection.sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n")

        threading.Thread(target=talk, daemon=True).start()
        with (
            cosxfer.Client(
                endpoint=f"http://127.0.0.1:{listener.getsockname()[1]}",
                secret_id="a",
                secret_key="b",
                max_attempts=2,
            ) as client,
            pytest.raises(cosxfer.TransportError),
        ):
            client.put_object("examplebucket-1250000000", "k", b"x")


def test_a_file_that_is_truncated_during_the_upload_has_its_own_error(plain: Peer, tmp_path: Path) -> None:
    source = make_file(tmp_path / "source", 8 * MIB)

    requests = itertools.count(1)

    def cut_before_a_part() -> None:
        if next(requests) == 4:
            os.truncate(source, 3 * MIB)

    cutting = before_each_request(plain.server.credentials, cut_before_a_part)
    with (
        make_client(plain.server, credentials=cutting) as client,
        pytest.raises(cosxfer.SourceChangedError, match="source"),
    ):
        client.upload_file(plain.bucket, "cut", source, part_size=MIB, async_limit=2)
    assert open_uploads(plain) == []


@pytest.mark.deep
@pytest.mark.timeout(600)
@pytest.mark.parametrize("gib", [1, 20])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, gib: int) -> None:
    source = tmp_path / "sparse"
    source.touch()
    os.truncate(source, gib << 30)
    # In a separate process, to measure its peak memory; getrusage would include the parent's memory at the fork.
    code = (
        "import cosxfer, pathlib, re, sys\n"
        "with cosxfer.Client(endpoint=sys.argv[1], anonymous=True) as client:\n"
        "    result = client.upload_file('examplebucket-1250000000', 'sparse', sys.argv[2])\n"
        "assert result.verified and result.size == int(sys.argv[3]) << 30, result\n"
        "print(re.search(r'VmHWM:\\s*(\\d+)', pathlib.Path('/proc/self/status').read_text())[1])\n"
    )
    with running(discard=True) as server:
        done = subprocess.run(
            [sys.executable, "-c", code, server.endpoint, str(source), str(gib)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    assert int(done.stdout) * 1024 < 200 * MIB
