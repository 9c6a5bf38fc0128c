"""Without a journal the same call goes on with an upload that it finds on the server."""

from __future__ import annotations

import logging
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

import cosxfer
from cosxfer.limits import MIB
from cosxfer.server import RunningServer
from tests.functional.test_resume import content, delete, open_uploads, quiet, sent_parts, stored_parts

PARTS = 8
SIZE = (PARTS - 1) * MIB + 4321
STALLED = 6


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.bin"
    path.write_bytes(random.Random(21).randbytes(SIZE))
    return path


@pytest.fixture(autouse=True)
def _clean(server: RunningServer, no_faults: None) -> None:
    quiet(server)
    delete(server)
    with connected(server) as client:
        for upload in client.iter_multipart_list(server.bucket):
            client.multipart_abort(server.bucket, upload.key, upload_id=upload.upload_id)
    server.requests(clear=True)


def connected(server: RunningServer, **settings: object) -> cosxfer.Client:
    given = {"journal": None, "concurrency": 2, **settings}
    return cosxfer.Client(endpoint=server.endpoint, credentials=server.credentials, **given)  # type: ignore[arg-type]


def begun(server: RunningServer, source: Path, parts: int = 3, *, part_size: int = MIB, **headers: object) -> str:
    """Begin an upload of ``source`` by hand, as another program would; returns its id."""
    data = source.read_bytes()
    with connected(server) as client:
        upload_id = client.multipart_init(server.bucket, "k", **headers).upload_id  # type: ignore[arg-type]
        for number in range(1, parts + 1):
            part = data[(number - 1) * part_size : number * part_size]
            client.multipart_upload(server.bucket, "k", part, upload_id=upload_id, part_number=number)
    server.requests(clear=True)
    return upload_id


def upload(server: RunningServer, source: Path, **options: object) -> cosxfer.UploadResult:
    settings = {name: options.pop(name) for name in ("journal", "find_uploads") if name in options}
    with connected(server, **settings) as client:
        return client.upload_file(server.bucket, "k", source, **{"part_size": MIB, **options})  # type: ignore[arg-type]


def operations(server: RunningServer) -> Counter[str]:
    return Counter(request["operation"] for request in server.requests())


SENDER = """
import sys, cosxfer
endpoint, secret_id, secret_key, bucket, path = sys.argv[1:]
with cosxfer.Client(endpoint=endpoint, secret_id=secret_id, secret_key=secret_key, journal=None,
                    concurrency=2) as client:
    print(client.upload_file(bucket, "k", path, part_size=1 << 20).upload_id)
"""


def start(server: RunningServer, source: Path) -> subprocess.Popen[bytes]:
    keys = server.credentials
    arguments = [server.endpoint, keys.secret_id, keys.secret_key, server.bucket, str(source)]
    return subprocess.Popen([sys.executable, "-c", SENDER, *arguments], stdout=subprocess.PIPE)


def stalled(server: RunningServer, source: Path) -> subprocess.Popen[bytes]:
    """Start a process whose part 6 gets no response, and wait until all others that can be are stored."""
    server.set_faults([{"operation": "multipart_upload", "part": STALLED, "times": 1, "do": "stall"}])
    process = start(server, source)
    while len(sent_parts(server)) < PARTS - 1:
        assert process.poll() is None
        time.sleep(0.05)
    return process


def killed(server: RunningServer, source: Path) -> str:
    """Send all parts but one in a process without a journal, and kill it; returns the upload id."""
    process = stalled(server, source)
    process.kill()
    process.communicate()
    server.set_faults([])
    quiet(server)
    server.requests(clear=True)
    [upload_id] = open_uploads(server)
    server.requests(clear=True)
    return upload_id


@pytest.mark.parametrize("part_size", [MIB, "auto"])
def test_after_kill_the_same_call_goes_on_without_a_journal(
    server: RunningServer, source: Path, part_size: int | str, caplog: pytest.LogCaptureFixture
) -> None:
    upload_id = killed(server, source)
    hashed: list[int] = []
    with caplog.at_level(logging.INFO, "cosxfer.resume"):
        result = upload(
            server, source, part_size=part_size, on_hash_progress=lambda progress: hashed.append(progress.loaded)
        )
    assert result.upload_id == upload_id
    assert set(sent_parts(server)) == {STALLED}
    assert result.resumed_bytes == SIZE - MIB
    assert result.verified
    assert hashed == sorted(hashed)
    assert hashed[-1] == SIZE
    assert "7 of 8 parts were there" in caplog.text
    assert content(server) == source.read_bytes()
    assert open_uploads(server) == []


@pytest.mark.parametrize("call", ["slice", "submit", "submit_slice", "many"])
def test_every_call_that_uploads_files_goes_on(server: RunningServer, source: Path, call: str) -> None:
    upload_id = begun(server, source)
    with connected(server) as client:
        if call == "slice":
            result = client.slice_upload_file(server.bucket, "k", source, slice_size=MIB)
        elif call == "submit":
            result = client.submit_upload_file(server.bucket, "k", source, part_size=MIB).result()
        elif call == "submit_slice":
            result = client.submit_slice_upload_file(server.bucket, "k", source, slice_size=MIB).result()
        else:
            [outcome] = client.upload_files([{"bucket": server.bucket, "key": "k", "path": source, "part_size": MIB}])
            assert outcome.result is not None
            result = outcome.result
    assert (result.upload_id, result.resumed_bytes) == (upload_id, 3 * MIB)
    assert content(server) == source.read_bytes()


def test_a_new_upload_costs_one_request_more(server: RunningServer, source: Path) -> None:
    upload(server, source)
    assert operations(server) == {
        "multipart_list": 1,
        "multipart_init": 1,
        "multipart_upload": PARTS,
        "multipart_complete": 1,
    }


@pytest.mark.parametrize("options", [{"find_uploads": False}, {"metadata": {"a": "b"}}, {"acl": "private"}])
def test_nothing_is_asked_where_nothing_may_be_used(
    server: RunningServer, source: Path, options: dict[str, object]
) -> None:
    upload_id = begun(server, source)
    result = upload(server, source, **options)
    assert operations(server)["multipart_list"] == 0
    assert result.resumed_bytes == 0
    assert open_uploads(server) == [upload_id]


def test_with_a_journal_a_small_upload_does_not_ask(server: RunningServer, source: Path) -> None:
    upload_id = begun(server, source)
    assert upload(server, source, journal=source.parent / "journal").resumed_bytes == 0
    assert operations(server)["multipart_list"] == 0
    assert open_uploads(server) == [upload_id]


@pytest.mark.parametrize("how", ["many parts", "asked"])
def test_what_an_empty_journal_does_not_know_is_found(server: RunningServer, tmp_path: Path, how: str) -> None:
    source = tmp_path / "source.bin"
    size = 32 * MIB if how == "many parts" else SIZE
    source.write_bytes(random.Random(22).randbytes(size))
    upload_id = begun(server, source)
    asked: bool | str = "auto" if how == "many parts" else True
    result = upload(server, source, journal=tmp_path / "journal", find_uploads=asked)
    assert (result.upload_id, result.resumed_bytes) == (upload_id, 3 * MIB)
    assert content(server) == source.read_bytes()


def test_the_callers_word_allows_metadata(server: RunningServer, source: Path) -> None:
    upload_id = begun(server, source, metadata={"a": "b"}, cache_control="no-cache", content_type="text/x")
    result = upload(
        server, source, find_uploads=True, metadata={"a": "b"}, cache_control="no-cache", content_type="text/x"
    )
    assert (result.upload_id, result.resumed_bytes) == (upload_id, 3 * MIB)


@pytest.mark.parametrize(
    "headers", [{"metadata": {"a": "b"}}, {"cache_control": "no-cache"}, {"content_type": "text/x"}]
)
@pytest.mark.parametrize("asked", ["auto", True])
def test_an_upload_with_other_metadata_is_not_mixed_in(
    server: RunningServer,
    source: Path,
    headers: dict[str, object],
    asked: bool | str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    upload_id = begun(server, source, **headers)
    result = upload(server, source, find_uploads=asked)
    assert result.upload_id != upload_id
    assert result.resumed_bytes == 0
    assert "starts over" in caplog.text
    with connected(server) as client:
        head = client.head_object(server.bucket, "k")
    assert head.metadata == {}
    assert head.content_type == "application/octet-stream"
    assert "cache-control" not in head.headers
    assert content(server) == source.read_bytes()


def test_without_the_right_to_compare_the_metadata_the_file_is_sent_again(
    server: RunningServer, source: Path, caplog: pytest.LogCaptureFixture
) -> None:
    begun(server, source)
    server.set_faults([{"operation": "head_object", "do": "error", "status": 403, "code": "AccessDenied"}])
    assert upload(server, source).resumed_bytes == 0
    assert "could not be compared" in caplog.text


@pytest.mark.parametrize("difference", ["class", "part size", "content", "later content", "size", "empty"])
def test_what_differs_is_left_alone(
    server: RunningServer, source: Path, difference: str, caplog: pytest.LogCaptureFixture
) -> None:
    options: dict[str, object] = {}
    before = source.read_bytes()
    if difference == "class":
        upload_id = begun(server, source)
        options["storage_class"] = "STANDARD_IA"
    elif difference == "part size":
        upload_id = begun(server, source, 2, part_size=2 * MIB)
    elif difference == "empty":
        upload_id = begun(server, source, 0)
    else:
        upload_id = begun(server, source, PARTS)
        cut = {"content": 0, "later content": 6 * MIB, "size": SIZE}[difference]
        source.write_bytes(before[:cut] + bytes(10) + before[cut + 10 :])
    with caplog.at_level(logging.INFO, "cosxfer.resume"):
        result = upload(server, source, **options)
    assert result.upload_id != upload_id
    assert result.resumed_bytes == 0
    assert open_uploads(server) == [upload_id]
    assert len(stored_parts(server, upload_id)) == {"part size": 2, "empty": 0, "class": 3}.get(difference, PARTS)
    assert content(server) == source.read_bytes()
    if difference != "class":
        assert f"the upload {upload_id} of {server.bucket}/k is left alone" in caplog.text


def test_the_automatic_part_size_follows_the_upload_that_is_found(server: RunningServer, source: Path) -> None:
    upload_id = begun(server, source, 2, part_size=MIB + 7)
    result = upload(server, source, part_size="auto")
    assert (result.upload_id, result.part_size_bytes, result.resumed_bytes) == (upload_id, MIB + 7, 2 * MIB + 14)
    assert content(server) == source.read_bytes()


def test_the_storage_class_is_compared(server: RunningServer, source: Path) -> None:
    upload_id = begun(server, source, storage_class="STANDARD_IA")
    assert upload(server, source).resumed_bytes == 0
    assert upload(server, source, storage_class="STANDARD_IA").upload_id == upload_id


def test_the_newest_of_many_uploads_that_matches_is_found(server: RunningServer, source: Path) -> None:
    """Among uploads of other content, and of other keys that begin with this one."""
    with connected(server) as client:
        for key in ("k", "k/a", "k2", "j", "K"):
            for _ in range(3):
                other = client.multipart_init(server.bucket, key).upload_id
                client.multipart_upload(server.bucket, key, b"x" * MIB, upload_id=other, part_number=1)
        older = begun(server, source, 5)
        newer = begun(server, source, 2)
        for _ in range(3):
            other = client.multipart_init(server.bucket, "k").upload_id
            client.multipart_upload(server.bucket, "k", b"y" * MIB, upload_id=other, part_number=2)
    before = set(open_uploads(server))
    server.requests(clear=True)
    result = upload(server, source)
    assert result.upload_id in (older, newer)  # the dates of the server have a resolution of a second
    assert result.resumed_bytes > 0
    assert set(open_uploads(server)) == before - {result.upload_id}
    assert content(server) == source.read_bytes()


@pytest.mark.deep
def test_all_pages_of_uploads_and_parts_are_read(server: RunningServer, tmp_path: Path) -> None:
    source = tmp_path / "source.bin"
    source.write_bytes(random.Random(23).randbytes(SIZE))
    with connected(server) as client:
        wanted = begun(server, source)
        for _ in range(1001):
            client.multipart_init(server.bucket, "k0")
        for _ in range(999):
            client.multipart_init(server.bucket, "j")
        server.requests(clear=True)
        result = upload(server, source)
        assert (result.upload_id, result.resumed_bytes) == (wanted, 3 * MIB)
        # The uploads of this key are the first of those with this prefix, so no page of the others is read in vain.
        assert operations(server)["multipart_list"] == 1


@pytest.mark.parametrize("fault", ["denied", "refused", "parts denied", "parts refused"])
def test_where_listing_fails_a_new_upload_begins(
    server: RunningServer, source: Path, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    upload_id = begun(server, source)
    operation = "multipart_list_part" if fault.startswith("parts") else "multipart_list"
    status, code = (403, "AccessDenied") if fault.endswith("denied") else (400, "InvalidArgument")
    server.set_faults([{"operation": operation, "do": "error", "status": status, "code": code}])
    with caplog.at_level(logging.INFO, "cosxfer"), connected(server) as client:
        for _ in range(2):
            assert client.upload_file(server.bucket, "k", source, part_size=MIB).resumed_bytes == 0
    # A client that was denied does not ask again.
    assert operations(server)[operation] == (1 if fault.endswith("denied") else 2)
    assert caplog.text.count("a new one begins") == (1 if fault.endswith("denied") else 2)
    server.set_faults([])
    assert open_uploads(server) == [upload_id]
    assert content(server) == source.read_bytes()


def test_two_processes_do_not_send_into_one_upload(server: RunningServer, source: Path) -> None:
    process = stalled(server, source)
    try:
        [theirs] = open_uploads(server)
        result = upload(server, source)
        assert result.upload_id != theirs
        assert open_uploads(server) == [theirs]
        assert content(server) == source.read_bytes()
    finally:
        process.kill()
        process.communicate()
    server.set_faults([])
    quiet(server)
    assert upload(server, source).upload_id == theirs


def test_two_calls_of_one_client_do_not_send_into_one_upload(server: RunningServer, source: Path) -> None:
    begun(server, source)
    with connected(server) as client:
        tasks = [client.submit_upload_file(server.bucket, "k", source, part_size=MIB) for _ in range(3)]
        results = [task.result() for task in tasks]
    assert len({result.upload_id for result in results}) == 3
    assert content(server) == source.read_bytes()
    assert open_uploads(server) == []


def test_a_failed_task_loses_its_upload_to_a_new_call(server: RunningServer, source: Path) -> None:
    server.set_faults([{"operation": "multipart_upload", "part": 7, "do": "error", "status": 403, "code": "A"}])
    with connected(server) as client:
        task = client.submit_upload_file(server.bucket, "k", source, part_size=MIB)
        with pytest.raises(cosxfer.UploadError) as caught:
            task.result()
        server.set_faults([])
        result = client.upload_file(server.bucket, "k", source, part_size=MIB)
        assert result.upload_id == caught.value.upload_id
        assert task.restart()
        assert task.result().upload_id != result.upload_id
    assert content(server) == source.read_bytes()
    assert open_uploads(server) == []


@pytest.mark.parametrize("do", ["complete", "abort", "replace"])
def test_what_another_machine_does_to_the_upload_costs_only_time(
    server: RunningServer, source: Path, do: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Another machine completes or deletes the upload, or sends other parts into it, while this one sends."""
    upload_id = begun(server, source, PARTS - 1)
    server.set_faults([{"operation": "multipart_upload", "part": PARTS, "times": 1, "do": "delay", "seconds": 1.0}])

    def interfere(client: cosxfer.Client) -> None:
        if do == "abort":
            client.multipart_abort(server.bucket, "k", upload_id=upload_id)
        elif do == "replace":
            client.multipart_upload(server.bucket, "k", b"z" * MIB, upload_id=upload_id, part_number=1)
        else:
            parts = client.multipart_list_part(server.bucket, "k", upload_id=upload_id).parts
            client.multipart_complete(server.bucket, "k", upload_id=upload_id, parts=parts)

    result = with_interference(server, source, interfere)
    assert result.verified
    assert result.upload_id != upload_id
    assert "starts over" in caplog.text
    assert content(server) == source.read_bytes()


def with_interference(
    server: RunningServer, source: Path, interfere: Callable[[cosxfer.Client], None]
) -> cosxfer.UploadResult:
    """Upload, and call ``interfere`` after the parts were listed for the second time."""
    results: list[cosxfer.UploadResult] = []
    thread = threading.Thread(target=lambda: results.append(upload(server, source)))
    thread.start()
    with connected(server) as client:
        while operations(server)["multipart_list_part"] < 2:
            assert thread.is_alive()
            time.sleep(0.02)
        interfere(client)
    thread.join()
    [result] = results
    return result


def test_an_upload_that_was_found_is_not_deleted(server: RunningServer, source: Path) -> None:
    """It may be another machine's. The error says that it stays."""
    upload_id = begun(server, source)
    server.set_faults([{"operation": "multipart_upload", "do": "error", "status": 403, "code": "AccessDenied"}])
    with pytest.raises(cosxfer.UploadError, match="stays on the server") as caught:
        upload(server, source)
    assert (caught.value.upload_id, caught.value.aborted) == (upload_id, False)
    assert open_uploads(server) == [upload_id]


def test_an_encrypted_upload_is_not_looked_for(server: RunningServer, source: Path) -> None:
    upload(server, source, find_uploads=True, server_side_encryption="cos/kms")
    assert operations(server)["multipart_list"] == 0
