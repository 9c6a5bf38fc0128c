"""The same call goes on with an upload that an earlier client or process has begun, by the journal."""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

import cosxfer
from cosxfer.limits import MIB
from cosxfer.server import RunningServer

PARTS = 12
SIZE = (PARTS - 1) * MIB + 12_345
WINDOW = 4
FAILS = [{"operation": "multipart_upload", "part": 9, "do": "error", "status": 403, "code": "AccessDenied"}]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.bin"
    path.write_bytes(random.Random(11).randbytes(SIZE))
    return path


@pytest.fixture(autouse=True)
def _clean(server: RunningServer, no_faults: None) -> None:
    quiet(server)
    server.requests(clear=True)
    delete(server)
    with connected(server, None) as client:
        for upload in client.multipart_list(server.bucket).uploads:
            client.multipart_abort(server.bucket, upload.key, upload_id=upload.upload_id)


def connected(server: RunningServer, journal: Path | None) -> cosxfer.Client:
    return cosxfer.Client(endpoint=server.endpoint, credentials=server.credentials, journal=journal, concurrency=WINDOW)


def upload(server: RunningServer, source: Path, **options: object) -> cosxfer.UploadResult:
    with connected(server, source.parent / "journal") as client:
        given: dict[str, object] = {"part_size": MIB, "abort_on_failure": False, **options}
        return client.upload_file(server.bucket, "k", source, **given)  # type: ignore[arg-type]


def interrupted(server: RunningServer, source: Path, **options: object) -> str:
    """Fail at part 9 with some parts stored; returns the upload id. The server is quiet then."""
    server.set_faults(FAILS)
    with pytest.raises(cosxfer.UploadError) as caught:
        upload(server, source, **options)
    server.set_faults([])
    quiet(server)
    server.requests(clear=True)
    return caught.value.upload_id


def quiet(server: RunningServer) -> None:
    """Wait until the requests of a client that has ended are over."""
    before = -1
    while before != (before := len(server.requests())):
        time.sleep(0.2)


def sent_parts(server: RunningServer) -> Counter[int]:
    return Counter(
        request["part"]
        for request in server.requests()
        if request["operation"] == "multipart_upload" and request["status"] == 200
    )


def stored_parts(server: RunningServer, upload_id: str) -> set[int]:
    with connected(server, None) as client:
        return {part.part_number for part in client.iter_multipart_list_part(server.bucket, "k", upload_id=upload_id)}


def delete(server: RunningServer) -> None:
    with connected(server, None) as client:
        client.delete_object(server.bucket, "k")


def open_uploads(server: RunningServer) -> list[str]:
    with connected(server, None) as client:
        return [found.upload_id for found in client.multipart_list(server.bucket).uploads]


def content(server: RunningServer) -> bytes:
    with connected(server, None) as client:
        return client.get_object(server.bucket, "k").body


def test_another_client_sends_only_what_is_missing(
    server: RunningServer, source: Path, caplog: pytest.LogCaptureFixture
) -> None:
    upload_id = interrupted(server, source)
    stored = stored_parts(server, upload_id)
    assert stored
    server.requests(clear=True)
    with caplog.at_level(logging.INFO, "cosxfer.resume"):
        result = upload(server, source)
    assert result.upload_id == upload_id
    assert set(sent_parts(server)) == set(range(1, PARTS + 1)) - stored
    assert result.resumed_bytes == sum(MIB for number in stored if number < PARTS) + (12_345 if PARTS in stored else 0)
    assert result.verified
    assert content(server) == source.read_bytes()
    assert f"of {PARTS} parts were there" in caplog.text
    assert open_uploads(server) == []


def test_a_second_call_after_the_end_sends_again(server: RunningServer, source: Path) -> None:
    upload(server, source)
    server.requests(clear=True)
    assert upload(server, source).resumed_bytes == 0
    assert len(sent_parts(server)) == PARTS


def test_the_first_progress_starts_from_what_is_done(server: RunningServer, source: Path) -> None:
    interrupted(server, source)
    seen: list[cosxfer.Progress] = []
    result = upload(server, source, on_progress=seen.append)
    assert seen[0].loaded >= min(result.resumed_bytes, MIB)
    assert seen[-1].loaded == SIZE


@pytest.mark.parametrize("change", ["content", "replaced", "metadata", "storage class", "part size", "forgotten"])
def test_what_differs_starts_over_and_says_so(
    server: RunningServer, source: Path, caplog: pytest.LogCaptureFixture, change: str
) -> None:
    upload_id = interrupted(server, source)
    options: dict[str, object] = {}
    if change == "content":
        with source.open("r+b") as file:
            file.write(b"changed")
    elif change == "replaced":
        source.rename(source.with_name("old"))
        source.write_bytes(random.Random(12).randbytes(SIZE))
    elif change == "metadata":
        options["metadata"] = {"a": "b"}
    elif change == "storage class":
        options["storage_class"] = "STANDARD_IA"
    elif change == "part size":
        options["part_size"] = 2 * MIB
    else:
        with connected(server, None) as client:
            client.multipart_abort(server.bucket, "k", upload_id=upload_id)
    server.requests(clear=True)
    result = upload(server, source, **options)
    assert result.upload_id != upload_id
    assert result.resumed_bytes == 0
    assert len(sent_parts(server)) == result.parts
    assert content(server) == source.read_bytes()
    assert "starts over" in caplog.text
    assert open_uploads(server) == []
    if options.get("metadata"):
        with connected(server, None) as client:
            assert client.head_object(server.bucket, "k").metadata == {"a": "b"}


def test_a_file_whose_ctime_alone_changed_is_compared_and_goes_on(server: RunningServer, source: Path) -> None:
    interrupted(server, source)
    source.chmod(0o600)
    os.link(source, source.with_name("link"))
    assert upload(server, source).resumed_bytes > 0
    assert content(server) == source.read_bytes()


def test_a_file_that_was_rewritten_with_its_old_mtime_starts_over(
    server: RunningServer, source: Path, caplog: pytest.LogCaptureFixture
) -> None:
    interrupted(server, source)
    before = source.stat()
    source.write_bytes(random.Random(13).randbytes(SIZE))
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert upload(server, source).resumed_bytes == 0
    assert "the file has changed since (content)" in caplog.text
    assert content(server) == source.read_bytes()


def test_where_listing_is_denied_a_new_upload_replaces_the_old_one(
    server: RunningServer, source: Path, caplog: pytest.LogCaptureFixture
) -> None:
    upload_id = interrupted(server, source)
    server.set_faults([{"operation": "multipart_list_part", "do": "error", "status": 403, "code": "AccessDenied"}])
    result = upload(server, source)
    assert result.upload_id != upload_id
    assert content(server) == source.read_bytes()
    assert "may not be listed" in caplog.text
    assert upload_id in caplog.text
    assert open_uploads(server) == []


def test_a_part_that_the_server_lost_or_replaced_is_sent_again(server: RunningServer, source: Path) -> None:
    upload_id = interrupted(server, source)
    number = min(stored_parts(server, upload_id))
    with connected(server, None) as client:
        client.multipart_upload(server.bucket, "k", b"x" * MIB, upload_id=upload_id, part_number=number)
    server.requests(clear=True)
    result = upload(server, source)
    assert result.upload_id == upload_id
    assert sent_parts(server)[number] == 1
    assert content(server) == source.read_bytes()


def test_the_journal_set_to_none_keeps_nothing(server: RunningServer, source: Path) -> None:
    interrupted(server, source)
    with cosxfer.Client(
        endpoint=server.endpoint, credentials=server.credentials, journal=None, find_uploads=False
    ) as client:
        result = client.upload_file(server.bucket, "k", source, part_size=MIB)
    assert result.resumed_bytes == 0


def test_a_restarted_task_and_a_new_call_of_one_client_share_no_upload(
    server: RunningServer, source: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.set_faults(FAILS)
    with connected(server, source.parent / "journal") as client:
        task = client.submit_upload_file(server.bucket, "k", source, part_size=MIB)
        with pytest.raises(cosxfer.UploadError) as caught:
            task.result()
        server.set_faults([])
        result = client.upload_file(server.bucket, "k", source, part_size=MIB)
        assert result.upload_id == caught.value.upload_id  # the call went on with it
        task.restart()
        assert task.result().upload_id != result.upload_id
    assert open_uploads(server) == []
    assert content(server) == source.read_bytes()


def test_closing_a_client_with_a_failed_task_deletes_its_parts_and_the_journal_forgets_them(
    server: RunningServer, source: Path
) -> None:
    upload_id = interrupted(server, source, abort_on_failure=True)
    assert open_uploads(server) == []
    assert upload(server, source).upload_id != upload_id


def test_two_processes_with_the_same_file_and_key_have_uploads_of_their_own(
    server: RunningServer, source: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.set_faults([{"operation": "multipart_upload", "part": 5, "times": 1, "do": "stall", "at": "answer"}])
    process = start(server, source)
    try:
        while not sent_parts(server):
            assert process.poll() is None
            time.sleep(0.05)
        result = upload(server, source)
        assert "is running already" in caplog.text
        assert content(server) == source.read_bytes()
        server.set_faults([])
        process.send_signal(signal.SIGKILL)
        process.wait()
        other = upload(server, source)
        assert other.upload_id != result.upload_id
        assert other.resumed_bytes > 0
    finally:
        process.kill()
        process.wait()
    assert content(server) == source.read_bytes()
    assert open_uploads(server) == []


SENDER = """
import sys, cosxfer
endpoint, secret_id, secret_key, bucket, path, journal, part_size, window = sys.argv[1:]
with cosxfer.Client(endpoint=endpoint, secret_id=secret_id, secret_key=secret_key, journal=journal,
                    concurrency=int(window)) as client:
    client.upload_file(bucket, "k", path, part_size=int(part_size))
"""


def start(server: RunningServer, source: Path, *, part_size: int = MIB) -> subprocess.Popen[bytes]:
    keys = server.credentials
    arguments = [server.endpoint, keys.secret_id, keys.secret_key, server.bucket, source, source.parent / "journal"]
    command = [sys.executable, "-c", SENDER, *map(str, [*arguments, part_size, WINDOW])]
    return subprocess.Popen(command)


def killed(server: RunningServer, source: Path, after_seconds: float) -> bool:
    """Start a sender and kill it; returns False if its object is there: its upload was done before the kill."""
    process = start(server, source)
    try:
        assert process.wait(after_seconds) == 0
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        quiet(server)
    return not exists(server)


def kill_at_random_moments(server: RunningServer, source: Path, moments: int, seed: int) -> None:
    """Kill senders at random moments, from their first instruction on, until ``moments`` have been killed."""
    chance = random.Random(seed)
    while moments > 0:
        delete(server)
        server.requests(clear=True)
        kills = 0
        while killed(server, source, chance.uniform(0.1, 1.0)):
            kills += 1
            if kills == moments:
                assert start(server, source).wait(60) == 0
                break
        moments -= kills
        quiet(server)
        assert content(server) == source.read_bytes()
        parts = sent_parts(server)
        assert set(parts) == set(range(1, PARTS + 1))
        assert parts.total() - PARTS <= kills * WINDOW
        for left in open_uploads(server):
            # Killed between the response to Initiate and its entry in the journal: nothing was sent into it.
            assert not stored_parts(server, left)


def test_a_killed_process_goes_on_and_sends_again_only_what_was_in_flight(server: RunningServer, source: Path) -> None:
    server.set_faults([{"operation": "multipart_upload", "do": "delay", "seconds": 0.1}])
    kill_at_random_moments(server, source, moments=6, seed=1)


@pytest.mark.deep
@pytest.mark.timeout(1200)
def test_many_kills(server: RunningServer, source: Path) -> None:
    server.set_faults([{"operation": "multipart_upload", "do": "delay", "seconds": 0.1}])
    kill_at_random_moments(server, source, moments=80, seed=2)


def test_a_process_that_was_killed_after_complete_finds_the_object(server: RunningServer, source: Path) -> None:
    server.set_faults([{"operation": "multipart_complete", "do": "stall", "at": "answer"}])
    process = start(server, source)
    try:
        while not exists(server):
            assert process.poll() is None
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    server.set_faults([])
    quiet(server)
    server.requests(clear=True)
    result = upload(server, source)
    assert not sent_parts(server)
    assert (result.verified, result.resumed_bytes) == (True, SIZE)
    assert content(server) == source.read_bytes()


def exists(server: RunningServer) -> bool:
    with connected(server, None) as client:
        try:
            client.head_object(server.bucket, "k")
        except cosxfer.NotFoundError:
            return False
    return True


def test_many_calls_of_one_client_share_a_journal(server: RunningServer, source: Path) -> None:
    with connected(server, source.parent / "journal") as client:
        errors: list[BaseException] = []

        def send(number: int) -> None:
            try:
                client.upload_file(server.bucket, f"k{number}", source, part_size=MIB)
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=send, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
    assert open_uploads(server) == []
