"""The blocking client: threads, Ctrl-C, callbacks, forks, and its end."""

from __future__ import annotations

import asyncio
import copy
import gc
import os
import pickle
import signal
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import cosxfer
from cosxfer.cos.requests import HttpRequest
from cosxfer.cos.responses import HttpResponse
from cosxfer.limits import MIB
from tests.unit.fake_cos import BUCKET, FakeCos, refuse
from tests.unit.files import content_of, write


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("cosxfer")]


def ended(before: list[threading.Thread]) -> None:
    for thread in threads():
        if thread not in before:
            thread.join(10)
            assert not thread.is_alive(), thread.name


def test_every_call_works_on_one_multipart_upload(cos: FakeCos, tmp_path: Path) -> None:
    with cos.blocking_client() as client:
        upload_id = client.multipart_init(BUCKET, "k", metadata={"a": "b"}).upload_id
        assert [upload.upload_id for upload in client.multipart_list(BUCKET).uploads] == [upload_id]
        parts = [
            client.multipart_upload(BUCKET, "k", body, upload_id=upload_id, part_number=number)
            for number, body in ((2, b"end"), (1, content_of(MIB)))
        ]
        listed = client.multipart_list_part(BUCKET, "k", upload_id=upload_id).parts
        assert [(part.part_number, part.size) for part in listed] == [(1, MIB), (2, 3)]
        done = client.multipart_complete(BUCKET, "k", upload_id=upload_id, parts=parts)
        head = client.head_object(BUCKET, "k")
        assert (head.size, head.etag, head.crc64) == (MIB + 3, done.etag, done.crc64)
        assert head.metadata == {"a": "b"}
        assert client.get_object(BUCKET, "k").body == content_of(MIB) + b"end"
        assert client.get_object(BUCKET, "k", byte_range=(MIB, MIB + 1)).body == b"en"
        second = client.multipart_init(BUCKET, "k").upload_id
        client.multipart_abort(BUCKET, "k", upload_id=second)
        assert not client.multipart_list(BUCKET).uploads
        assert client.upload_file(BUCKET, "f", write(tmp_path / "f", 5)).verified
        assert client.slice_upload_file(BUCKET, "g", tmp_path / "f").parts == 1


def test_many_threads_may_share_a_client(cos: FakeCos, tmp_path: Path) -> None:
    path = write(tmp_path / "f", 2 * MIB + 1)
    with cos.blocking_client() as client, ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda n: client.upload_file(BUCKET, f"k{n}", path, part_size=MIB), range(16)))
    assert all(result.verified for result in results)
    assert {stored.content for stored in cos.objects.values()} == {content_of(2 * MIB + 1)}
    assert len(cos.objects) == 16
    assert not cos.uploads


def test_an_error_is_raised_in_the_calling_thread(cos: FakeCos) -> None:
    with cos.blocking_client() as client, pytest.raises(cosxfer.NotFoundError):
        client.head_object(BUCKET, "nothing")


def hanging(arrived: Callable[[], None]) -> Callable[[HttpRequest, Callable[[], HttpResponse]], object]:
    async def hang(request: HttpRequest, proceed: Callable[[], HttpResponse]) -> HttpResponse:
        arrived()
        await asyncio.Event().wait()
        raise AssertionError

    return hang


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_ends_the_call_and_aborts_on_the_server(cos: FakeCos, tmp_path: Path) -> None:
    path = write(tmp_path / "f", 3 * MIB)
    with cos.blocking_client() as client:
        cos.fault("multipart_upload", hanging(interrupt))  # type: ignore[arg-type]
        with pytest.raises(KeyboardInterrupt):
            client.upload_file(BUCKET, "k", path, part_size=MIB, async_limit=1)
        # The exception is raised after the clean-up.
        assert cos.operations()[-1] == "multipart_abort"
        assert not cos.uploads
        assert client.upload_file(BUCKET, "k", path, part_size=MIB).verified


def test_ctrl_c_before_a_call_has_begun_ends_it_too(cos: FakeCos, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cosxfer.loop_thread.CLEAN_UP_SECONDS", 60.0)
    busy, go_on = threading.Event(), threading.Event()

    def block(request: HttpRequest, proceed: Callable[[], HttpResponse]) -> HttpResponse:
        busy.set()
        assert go_on.wait(30)
        return proceed()

    cos.fault("put_object", block)
    cos.fault("put_object", hanging(lambda: None))  # type: ignore[arg-type]
    with cos.blocking_client() as client:
        first = threading.Thread(target=client.put_object, args=(BUCKET, "first", b"x"))
        first.start()
        assert busy.wait(30)
        # The loop is busy, so the second call has not begun when the interrupt arrives.
        timer = threading.Timer(0.05, interrupt)
        free = threading.Timer(0.15, go_on.set)
        timer.start()
        free.start()
        with pytest.raises(KeyboardInterrupt):
            client.put_object(BUCKET, "second", b"x")
        first.join(30)
        timer.join()
        free.join()
    assert set(cos.objects) == {"first"}


def test_a_callback_may_call_the_client(cos: FakeCos, tmp_path: Path) -> None:
    told: list[int] = []
    with cos.blocking_client() as client:
        client.put_object(BUCKET, "there", b"abc")

        def callback(_: object) -> None:
            told.append(client.head_object(BUCKET, "there").size)

        path = write(tmp_path / "f", 5)
        assert client.upload_file(BUCKET, "k", path, on_task_ready=callback, on_progress=callback).verified
    assert len(told) >= 3
    assert set(told) == {3}


def test_a_call_from_the_thread_of_the_event_loop_is_refused_and_has_no_effect(cos: FakeCos) -> None:
    told: list[str] = []
    with cos.blocking_client() as client:

        def response(request: HttpRequest, proceed: Callable[[], HttpResponse]) -> HttpResponse:
            try:
                client.head_object(BUCKET, "k")
            except cosxfer.CosxferError as error:
                told.append(str(error))
            return proceed()

        cos.fault("put_object", response)
        client.put_object(BUCKET, "k", b"x")
    assert told == ["a callback on the client's event loop cannot call the client: it would wait for itself"]


def test_a_callback_that_raises_does_not_end_the_upload(
    cos: FakeCos, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: object) -> None:
        raise LookupError("mine")

    with cos.blocking_client() as client:
        assert client.upload_file(BUCKET, "k", write(tmp_path / "f", 5), on_progress=broken).verified
    assert "mine" in caplog.text


def test_a_callback_that_exits_ends_neither_the_upload_nor_the_client(
    cos: FakeCos, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def leave(_: object) -> None:
        raise SystemExit(3)

    path = write(tmp_path / "f", 3 * MIB)
    with cos.blocking_client() as client:
        assert client.upload_file(BUCKET, "k", path, part_size=MIB, on_progress=leave).verified
        assert client.upload_file(BUCKET, "k", path, part_size=MIB).verified
    assert "SystemExit" in caplog.text


def test_a_closed_client_refuses_every_call(cos: FakeCos) -> None:
    client = cos.blocking_client()
    client.put_object(BUCKET, "k", b"x")
    client.close()
    client.close()
    with pytest.raises(cosxfer.CosxferError, match="the client is closed; create a new one"):
        client.put_object(BUCKET, "k", b"x")
    assert len(cos.calls) == 1


def test_a_closed_async_client_refuses_every_call(cos: FakeCos, tmp_path: Path) -> None:
    path = write(tmp_path / "f", 5)

    async def main() -> None:
        client = cos.client()
        await client.aclose()
        await client.aclose()
        for call in (
            client.put_object(BUCKET, "k", b"x"),
            client.head_object(BUCKET, "k"),
            client.get_object(BUCKET, "k"),
            client.upload_file(BUCKET, "k", path),
            client.slice_upload_file(BUCKET, "k", path),
            client.multipart_list(BUCKET),
        ):
            with pytest.raises(cosxfer.CosxferError, match="the client is closed"):
                await call

    asyncio.run(main())
    assert not cos.calls


def test_closing_closes_the_transport_and_ends_the_threads(cos: FakeCos, tmp_path: Path) -> None:
    before = threads()
    transport = cos.transport()
    with cos.blocking_client(transport=transport) as client:
        client.upload_file(BUCKET, "k", write(tmp_path / "f", 2 * MIB), part_size=MIB)
        assert len(threads()) > len(before)
    assert transport.closed
    ended(before)


def test_an_unreferenced_client_ends_its_thread(cos: FakeCos) -> None:
    before = threads()
    client = cos.blocking_client()
    client.put_object(BUCKET, "k", b"x")
    del client
    gc.collect()
    ended(before)


@pytest.mark.parametrize("used", [True, False])
def test_an_unclosed_async_client_warns_once_if_it_was_used(cos: FakeCos, used: bool) -> None:
    transport = cos.transport()

    async def main() -> None:
        client = cos.client(transport=transport)
        if used:
            await client.put_object(BUCKET, "k", b"x")
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            shown = repr(client)
            del client
            gc.collect()
        expected = [f"unclosed client {shown}; use async with, or await aclose()"]
        assert [str(warning.message) for warning in told] == (expected if used else [])
        assert all(warning.category is ResourceWarning for warning in told)

    asyncio.run(main())


def test_a_task_continues_if_its_async_client_is_unreferenced(cos: FakeCos, tmp_path: Path) -> None:
    path = write(tmp_path / "f", 3 * MIB)

    async def main() -> None:
        held = [cos.client()]
        task = held[0].submit_upload_file(BUCKET, "k", path, part_size=MIB)
        with pytest.warns(ResourceWarning, match="unclosed client"):
            held.clear()
        assert (await task).verified

    asyncio.run(main())


def test_a_client_that_was_never_used_has_no_thread(cos: FakeCos) -> None:
    before = threads()
    client = cos.blocking_client()
    assert threads() == before
    client.close()
    ended(before)


def test_a_call_that_runs_when_the_client_is_closed_ends_with_an_error(cos: FakeCos) -> None:
    arrived = threading.Event()
    cos.fault("put_object", hanging(arrived.set))  # type: ignore[arg-type]
    client = cos.blocking_client()
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(client.put_object, BUCKET, "k", b"x")
        assert arrived.wait(30)
        client.close()
        error = call.exception(30)
    assert isinstance(error, cosxfer.CosxferError)
    assert "closed" in str(error)


def test_after_a_fork_the_child_must_create_its_own_client(cos: FakeCos) -> None:
    with cos.blocking_client() as client:
        client.put_object(BUCKET, "k", b"x")
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                client.put_object(BUCKET, "k", b"x")
                os.write(writing, b"no error")
            except cosxfer.CosxferError as error:
                os.write(writing, str(error).encode())
            finally:
                os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            told = pipe.read().decode()
        os.waitpid(child, 0)
        assert told == "the client was created before this process was forked; create a new one in the child"
        client.put_object(BUCKET, "k", b"x")


# -- creating a client -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [cosxfer.Client, cosxfer.AsyncClient])
@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"concurrency": 0}, "concurrency"),
        ({"concurrency": 257}, "concurrency"),
        ({"concurrency": True}, "concurrency"),
        ({"max_attempts": 0}, "max_attempts"),
        ({"max_attempts": 1.5}, "max_attempts"),
        ({"retry_for_seconds": -1}, "retry_for_seconds"),
        ({"retry_for_seconds": float("nan")}, "retry_for_seconds"),
        ({"retry_for_seconds": float("inf")}, "retry_for_seconds"),
        ({"http_version": "3"}, "http_version"),
        ({"connect_timeout_seconds": 0}, "connect_timeout_seconds"),
        ({"stall_timeout_seconds": float("inf")}, "stall_timeout_seconds"),
        ({"complete_timeout_seconds": 0}, "complete_timeout_seconds"),
        ({"stall_timeout_seconds": float("nan")}, "stall_timeout_seconds"),
        ({"verify": "/nowhere/ca.pem"}, "verify"),
    ],
)
def test_an_invalid_setting_is_refused(kind: type, settings: dict[str, object], name: str) -> None:
    with pytest.raises(cosxfer.UsageError) as caught:
        kind(region="ap-guangzhou", secret_id="a", secret_key="b", **settings)
    assert caught.value.name == name


def test_a_client_cannot_be_copied_or_sent_to_another_process(cos: FakeCos) -> None:
    for client in (cos.blocking_client(), cos.client()):
        for make in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError, match=r"Client cannot be copied or pickled: .* make one in each process"):
                make(client)


def test_credentials_come_from_the_environment(cos: FakeCos, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COS_SECRET_ID", "tmp")
    monkeypatch.setenv("COS_SECRET_KEY", "tmpkey")
    monkeypatch.setenv("COS_TOKEN", "tmptoken")
    monkeypatch.setenv("COS_REGION", "ap-guangzhou")
    cos.secrets["tmp"] = "tmpkey"
    cos.tokens.add("tmptoken")
    with cosxfer.Client(transport=cos.transport()) as client:
        client.put_object(BUCKET, "k", b"x")
        assert client.config.region == "ap-guangzhou"
    assert "k" in cos.objects


def test_the_endpoint_comes_from_the_environment(cos: FakeCos, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COS_ENDPOINT", "http://localhost:9000/{bucket}")
    cos.fault("head_object", refuse(404, "NoSuchKey"))
    with cosxfer.Client(anonymous=True, transport=cos.transport()) as client, pytest.raises(cosxfer.NotFoundError):
        client.head_object(BUCKET, "k")
    assert cos.calls[0].request.url == f"http://localhost:9000/{BUCKET}/k"


def test_without_credentials_the_error_says_what_to_do() -> None:
    with pytest.raises(cosxfer.CredentialsError, match="COS_SECRET_ID"):
        cosxfer.Client(region="ap-guangzhou")


@pytest.mark.parametrize("given", ["COS_SECRET_ID", "COS_SECRET_KEY"])
def test_half_of_the_credentials_is_not_enough(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv(given, "x")
    missing = {"COS_SECRET_ID", "COS_SECRET_KEY"} - {given}
    with pytest.raises(cosxfer.CredentialsError, match=f"{missing.pop()} is not set"):
        cosxfer.Client(region="ap-guangzhou")


def test_credentials_and_keys_together_are_refused() -> None:
    keys = cosxfer.Credentials(secret_id="a", secret_key="b")
    with pytest.raises(cosxfer.CredentialsError, match="not both"):
        cosxfer.Client(credentials=keys, secret_id="c")
