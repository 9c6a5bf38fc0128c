"""A token goes on with the same upload in another client, on another path."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
import subprocess
import sys
import time
from base64 import b64encode
from dataclasses import replace
from pathlib import Path

import pytest

import cosxfer
from cosxfer.limits import MIB
from cosxfer.resume_token import decode, encode
from cosxfer.server import RunningServer, running
from tests.functional.test_find_uploads import PARTS, SIZE, _clean, connected, operations
from tests.functional.test_resume import content, open_uploads, quiet, sent_parts, stored_parts

__all__ = ["_clean"]

FAILS = [{"operation": "multipart_upload", "part": 7, "do": "error", "status": 403, "code": "AccessDenied"}]
HEADERS: dict[str, object] = {"metadata": {"a": "b"}, "storage_class": "STANDARD_IA", "cache_control": "no-cache"}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.bin"
    path.write_bytes(random.Random(31).randbytes(SIZE))
    return path


def exported(server: RunningServer, source: Path, **options: object) -> str:
    """Fail at part 7, export the task, and close the client; returns the token."""
    server.set_faults(FAILS)
    given = {"part_size": MIB, **HEADERS, **options}
    with connected(server) as client:
        task = client.submit_upload_file(server.bucket, "k", source, **given)  # type: ignore[arg-type]
        with pytest.raises(cosxfer.UploadError):
            task.result()
        token = task.export()
    server.set_faults([])
    quiet(server)
    server.requests(clear=True)
    return token


def moved(source: Path) -> Path:
    """The same bytes in another file, as on another host."""
    path = source.with_name("elsewhere.bin")
    path.write_bytes(source.read_bytes())
    source.unlink()
    return path


@pytest.mark.parametrize("journal", [False, True])
def test_another_host_goes_on_with_the_same_upload(server: RunningServer, source: Path, journal: bool) -> None:
    token = exported(server, source)
    [upload_id] = open_uploads(server)  # the client is closed, and the parts are there
    stored = stored_parts(server, upload_id)
    data = source.read_bytes()
    server.requests(clear=True)
    hashed: list[int] = []
    with connected(server, journal=source.parent / "journal" if journal else None) as client:
        result = client.resume(token, moved(source), on_hash_progress=lambda progress: hashed.append(progress.loaded))
    assert result.upload_id == upload_id
    assert set(sent_parts(server)) == set(range(1, PARTS + 1)) - stored
    assert result.resumed_bytes == sum(MIB for number in stored if number < PARTS) + 4321 * (PARTS in stored)
    assert hashed[-1] == SIZE
    assert content(server) == data
    assert open_uploads(server) == []
    with connected(server) as client:
        head = client.head_object(server.bucket, "k")
    assert (head.metadata, head.storage_class) == ({"a": "b"}, "STANDARD_IA")
    assert head.headers["cache-control"] == "no-cache"


def test_the_asynchronous_client_exports_and_resumes_too(server: RunningServer, source: Path) -> None:
    async def main() -> tuple[str, cosxfer.UploadResult]:
        def client() -> cosxfer.AsyncClient:
            return cosxfer.AsyncClient(
                endpoint=server.endpoint, credentials=server.credentials, journal=None, concurrency=2
            )

        server.set_faults(FAILS)
        async with client() as first:
            task = first.submit_upload_file(server.bucket, "k", source, part_size=MIB)
            with pytest.raises(cosxfer.UploadError) as caught:
                await task
            token = await task.export()
        server.set_faults([])
        async with client() as second:
            return caught.value.upload_id, await second.submit_resume(token).result()

    upload_id, result = asyncio.run(main())
    assert result.upload_id == upload_id
    assert result.resumed_bytes > 0
    assert content(server) == source.read_bytes()


def test_a_paused_task_is_exported(server: RunningServer, source: Path) -> None:
    server.set_faults([{"operation": "multipart_upload", "part": 7, "do": "stall"}])
    with connected(server) as client:
        task = client.submit_upload_file(server.bucket, "k", source, part_size=MIB)
        while len(sent_parts(server)) < 4:
            assert task.state in ("waiting", "checking", "uploading")
            time.sleep(0.02)
        running = task.export()
        assert task.pause()
        token = task.export()
        assert decode(running).upload_id == decode(token).upload_id
    server.set_faults([])
    quiet(server)
    with connected(server) as client:
        result = client.resume(token)
    assert result.upload_id == decode(token).upload_id
    assert content(server) == source.read_bytes()


def test_parts_that_were_sent_after_the_export_are_not_sent_again(server: RunningServer, source: Path) -> None:
    token = exported(server, source)
    [upload_id] = open_uploads(server)
    stored = stored_parts(server, upload_id)
    known = decode(token)
    first = min(known.parts)
    older = encode(replace(known, parts={first: known.parts[first]}))
    server.requests(clear=True)
    with connected(server) as client:
        client.resume(older)
    assert set(sent_parts(server)) == set(range(1, PARTS + 1)) - stored


@pytest.mark.parametrize("difference", ["content", "later content", "size", "expired", "denied"])
def test_what_cannot_be_continued_starts_anew_and_says_so(
    server: RunningServer, source: Path, difference: str, caplog: pytest.LogCaptureFixture
) -> None:
    token = exported(server, source)
    [upload_id] = open_uploads(server)
    data = source.read_bytes()
    if difference == "expired":
        with connected(server) as client:
            client.multipart_abort(server.bucket, "k", upload_id=upload_id)
    elif difference == "denied":
        server.set_faults([{"operation": "multipart_list_part", "do": "error", "status": 403, "code": "AccessDenied"}])
    else:
        cut = {"content": 0, "later content": 3 * MIB + 5, "size": SIZE}[difference]
        source.write_bytes(data[:cut] + bytes(10) + data[cut + 10 :])
    server.requests(clear=True)
    with connected(server) as client:
        result = client.resume(token)
    server.set_faults([])
    assert result.upload_id != upload_id
    assert result.resumed_bytes == 0
    assert f"starts over, because the upload {upload_id} of the token cannot be continued" in caplog.text
    assert content(server) == source.read_bytes()
    assert open_uploads(server) == ([] if difference == "expired" else [upload_id])
    with connected(server) as client:
        assert client.head_object(server.bucket, "k").metadata == {"a": "b"}


def test_a_part_that_the_server_lost_or_replaced_is_sent_again(server: RunningServer, source: Path) -> None:
    token = exported(server, source)
    [upload_id] = open_uploads(server)
    number = min(stored_parts(server, upload_id))
    with connected(server) as client:
        client.multipart_upload(server.bucket, "k", b"x" * MIB, upload_id=upload_id, part_number=number)
        server.requests(clear=True)
        result = client.resume(token)
    assert result.upload_id == upload_id
    assert sent_parts(server)[number] == 1
    assert content(server) == source.read_bytes()


def test_a_resumed_upload_that_fails_keeps_its_parts(server: RunningServer, source: Path) -> None:
    token = exported(server, source)
    [upload_id] = open_uploads(server)
    server.set_faults(FAILS)
    with connected(server) as client, pytest.raises(cosxfer.UploadError):
        client.resume(token)
    server.set_faults([])
    assert open_uploads(server) == [upload_id]
    with connected(server) as client:
        assert client.resume(token).upload_id == upload_id
    assert content(server) == source.read_bytes()


def test_after_kill_a_resumed_upload_is_in_the_journal(server: RunningServer, source: Path) -> None:
    """The same call, with the token, goes on with what the journal has."""
    token = exported(server, source)
    [upload_id] = open_uploads(server)
    journal = source.parent / "journal"
    server.set_faults([{"operation": "multipart_upload", "do": "stall"}])
    code = (
        "import sys, cosxfer\n"
        "endpoint, secret_id, secret_key, token, journal = sys.argv[1:]\n"
        "cosxfer.Client(endpoint=endpoint, secret_id=secret_id, secret_key=secret_key, journal=journal).resume(token)\n"
    )
    keys = server.credentials
    command = [sys.executable, "-c", code, server.endpoint, keys.secret_id, keys.secret_key, token, str(journal)]
    with subprocess.Popen(command) as process:
        # Once to compare the parts, and once before the first one is sent; the journal has them then.
        while operations(server)["multipart_list_part"] < 2:
            assert process.poll() is None
            time.sleep(0.02)
        process.kill()
    server.set_faults([])
    quiet(server)
    with connected(server, journal=journal) as client:
        result = client.resume(token)
    assert (result.upload_id, result.resumed_bytes > 0) == (upload_id, True)
    assert content(server) == source.read_bytes()


def test_a_token_of_a_running_upload_starts_one_of_its_own(
    server: RunningServer, source: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.set_faults([{"operation": "multipart_upload", "part": 7, "times": 1, "do": "delay", "seconds": 6.0}])
    with connected(server, hedge=False) as client:
        task = client.submit_upload_file(server.bucket, "k", source, part_size=MIB)
        while len(sent_parts(server)) < 2:
            assert task.state in ("waiting", "checking", "uploading")
            time.sleep(0.02)
        token = task.export()
        result = client.resume(token)
        assert result.upload_id != decode(token).upload_id
        assert task.result().upload_id == decode(token).upload_id
    assert "another call sends into it now" in caplog.text
    assert content(server) == source.read_bytes()
    assert open_uploads(server) == []


def test_cancelling_an_exported_task_deletes_its_parts(server: RunningServer, source: Path) -> None:
    server.set_faults([{"operation": "multipart_upload", "part": 7, "do": "stall"}])
    with connected(server) as client:
        task = client.submit_upload_file(server.bucket, "k", source, part_size=MIB)
        while len(sent_parts(server)) < 2:
            assert task.state in ("waiting", "checking", "uploading")
            time.sleep(0.02)
        task.export()
        task.cancel()
    assert open_uploads(server) == []


def test_what_has_no_upload_cannot_be_exported(server: RunningServer, source: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.write_bytes(b"x")
    with connected(server) as client:
        done = client.submit_upload_file(server.bucket, "k", source, part_size=MIB)
        done.result()
        single = client.submit_upload_file(server.bucket, "small", small)
        stream = client.submit_upload_stream(server.bucket, "stream", [b"x"])
        for task in (done, single, stream):
            with pytest.raises(cosxfer.UsageError, match=r"multipart upload|can be exported"):
                task.export()
            task.result()


def test_an_upload_with_the_customers_key_is_not_exported(tmp_path: Path, source: Path) -> None:
    key = bytes(range(32))
    with running(tls=True) as server:
        server.set_faults(FAILS)
        with cosxfer.Client(
            endpoint=server.endpoint, credentials=server.credentials, verify=server.ca_file or False, journal=None
        ) as client:
            task = client.submit_upload_file(
                server.bucket,
                "k",
                source,
                part_size=MIB,
                sse_customer_algorithm="AES256",
                sse_customer_key=b64encode(key).decode(),
                sse_customer_key_md5=b64encode(hashlib.md5(key).digest()).decode(),
            )
            with pytest.raises(cosxfer.UploadError):
                task.result()
            with pytest.raises(cosxfer.UsageError, match="secret"):
                task.export()


def test_a_token_has_no_secret(server: RunningServer, source: Path) -> None:
    token = exported(server, source)
    known = repr(decode(token))
    for secret in (server.credentials.secret_id, server.credentials.secret_key):
        assert secret not in known
        assert secret not in token


def test_a_token_whose_headers_were_changed_is_refused(server: RunningServer, source: Path) -> None:
    token = exported(server, source)
    changed = encode(replace(decode(token), parameters={"x-cos-acl": "public-read"}))
    with connected(server) as client, pytest.raises(cosxfer.UsageError, match="headers") as caught:
        client.resume(changed)
    assert caught.value.name == "token"
    with connected(server) as client, pytest.raises(cosxfer.UsageError, match="damaged"):
        client.submit_resume(token[:-3])


def test_a_token_of_another_endpoint_says_so(
    server: RunningServer, source: Path, caplog: pytest.LogCaptureFixture
) -> None:
    token = exported(server, source)
    other = encode(replace(decode(token), endpoint="https://example.com/{bucket}"))
    with caplog.at_level(logging.WARNING), connected(server) as client:
        assert client.resume(other).resumed_bytes > 0
    assert "https://example.com/{bucket}" in caplog.text
