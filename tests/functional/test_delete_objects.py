"""Deleting many objects: batches, errors of single keys, conflicts, lost responses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from xml.etree import ElementTree as ET

import pytest

import cosxfer
from cosxfer.cos import xml
from cosxfer.cos.requests import HttpRequest
from cosxfer.cos.responses import HttpResponse
from cosxfer.retry import RetryPolicy, retry_delay
from cosxfer.server import RunningServer
from cosxfer.transport.memory import MemoryTransport

BUCKET = "examplebucket-1250000000"

NASTY = ["a b", "q&a<>\"'", "é+%", "ctl\x01", "cr\r", "nl\n", "//lead", " ends ", "tail/", "z\uffff"]


def put_all(client: cosxfer.Client, bucket: str, keys: list[str]) -> None:
    for key in keys:
        client.put_object(bucket, key, b"x")


def test_keys_of_any_kind_are_deleted_and_nothing_else(client: cosxfer.Client, server: RunningServer) -> None:
    put_all(client, server.bucket, [*NASTY, "/kept", "cr\n", "ends"])
    result = client.delete_objects(server.bucket, NASTY)
    assert result.errors == ()
    assert sorted(one.key for one in result.deleted) == sorted(NASTY)
    assert sorted(entry.key for entry in client.iter_list_objects(server.bucket)) == ["cr\n", "ends", "kept"]
    client.delete_objects(server.bucket, client.iter_list_objects(server.bucket))
    assert list(client.iter_list_objects(server.bucket)) == []


@pytest.mark.parametrize("count", [0, 1, 1000, 1001, 2500])
def test_keys_are_sent_in_batches_of_1000(client: cosxfer.Client, server: RunningServer, count: int) -> None:
    server.requests(clear=True)
    result = client.delete_objects(server.bucket, (f"missing/{n}" for n in range(count)))
    assert (len(result.deleted), result.errors) == (count, ())
    assert len(server.requests()) == -(-count // 1000)


def test_the_asynchronous_call_takes_the_same(server: RunningServer) -> None:
    async def main() -> cosxfer.DeleteObjectsResult:
        async with cosxfer.AsyncClient(endpoint=server.endpoint, credentials=server.credentials) as client:
            await client.put_object(server.bucket, "a", b"x")
            return await client.delete_objects(server.bucket, ["a", ("b", None), {"Key": "c"}])

    assert [one.key for one in asyncio.run(main()).deleted] == ["a", "b", "c"]


@pytest.mark.parametrize("at", ["head", "answer"])
def test_a_lost_response_is_repeated(client: cosxfer.Client, server: RunningServer, at: str) -> None:
    put_all(client, server.bucket, ["a", "b"])
    server.set_faults([{"operation": "delete_objects", "attempt": 1, "do": "reset", "at": at}])
    assert len(client.delete_objects(server.bucket, ["a", "b"]).deleted) == 2
    assert list(client.iter_list_objects(server.bucket)) == []


def test_an_error_of_a_whole_request_is_raised_and_says_what_was_done(
    client: cosxfer.Client, server: RunningServer
) -> None:
    server.set_faults([{"operation": "delete_objects", "attempt": 2, "do": "error", "code": "AccessDenied"}])
    with pytest.raises(cosxfer.AccessDeniedError) as caught:
        client.delete_objects(server.bucket, [str(n) for n in range(1500)])
    assert "1000 of 1500 keys were deleted before; the same call can be repeated" in caught.value.__notes__


# Servers that refuse single keys


def scripted(respond: Callable[[list[str]], str], *, max_attempts: int = 3) -> cosxfer.Client:
    def answer(request: HttpRequest, body: bytes) -> HttpResponse:
        if request.method != "POST":
            return HttpResponse(status=204, headers={})
        keys = [xml.text_of(entry, "Key") for entry in ET.fromstring(body).findall("Object")]
        return HttpResponse(status=200, headers={}, body=f"<DeleteResult>{respond(keys)}</DeleteResult>".encode())

    return cosxfer.Client(
        region="ap-x", secret_id="i", secret_key="k", transport=MemoryTransport(answer), max_attempts=max_attempts
    )


def deleted(key: str) -> str:
    return f"<Deleted><Key>{key}</Key></Deleted>"


def failed(key: str, code: str) -> str:
    return f"<Error><Key>{key}</Key><Code>{code}</Code><Message>why</Message></Error>"


def test_errors_of_keys_are_returned_and_never_swallowed() -> None:
    with scripted(lambda keys: deleted("a") + failed("b", "AccessDenied")) as client:
        result = client.delete_objects(BUCKET, ["a", "b"])
    assert [one.key for one in result.deleted] == ["a"]
    assert result.errors == (cosxfer.DeleteFailure(key="b", version_id=None, code="AccessDenied", message="why"),)


def test_a_key_that_the_response_does_not_mention_is_no_success() -> None:
    with scripted(lambda keys: deleted("a")) as client:
        [failure] = client.delete_objects(BUCKET, ["a", "b"]).errors
    assert (failure.key, failure.code) == ("b", "")
    assert "does not say" in failure.message


def test_a_key_that_is_both_deleted_and_failed_has_failed() -> None:
    with scripted(lambda keys: failed("a", "AccessDenied") + deleted("a")) as client:
        result = client.delete_objects(BUCKET, ["a"])
    assert (result.deleted, len(result.errors)) == ((), 1)


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries of single keys wait no time."""
    monkeypatch.setattr("cosxfer.ops.delete_objects.retry_delay", without_delay)


def without_delay(policy: object, error: cosxfer.ServerError, *, attempt: int, random: float) -> float | None:
    assert isinstance(policy, RetryPolicy)
    return None if retry_delay(policy, error, attempt=attempt, random=random) is None else 1e-6


@pytest.mark.parametrize("code", ["PathConflict", "InternalError", "SlowDown"])
def test_keys_that_fail_for_the_moment_are_sent_again_alone(no_waiting: None, code: str) -> None:
    asked: list[list[str]] = []

    def respond(keys: list[str]) -> str:
        asked.append(keys)
        return "".join(failed(key, code) if key == "b" and len(asked) < 3 else deleted(key) for key in keys)

    with scripted(respond) as client:
        result = client.delete_objects(BUCKET, ["a", "b", "c"])
    assert asked == [["a", "b", "c"], ["b"], ["b"]]
    assert (sorted(one.key for one in result.deleted), result.errors) == (["a", "b", "c"], ())


def test_a_conflict_that_does_not_end_is_returned(no_waiting: None) -> None:
    asked: list[list[str]] = []

    def respond(keys: list[str]) -> str:
        asked.append(keys)
        return "".join(failed(key, "PathConflict") for key in keys)

    with scripted(respond) as client:
        [failure] = client.delete_objects(BUCKET, ["a"]).errors
    assert (failure.code, len(asked)) == ("PathConflict", 3)


def test_a_result_that_begins_with_errors_is_not_taken_for_an_error_of_the_request() -> None:
    with scripted(lambda keys: "".join(failed(key, "AccessDenied") for key in keys)) as client:
        assert [one.code for one in client.delete_objects(BUCKET, ["a", "b"]).errors] == ["AccessDenied"] * 2


@pytest.mark.parametrize("body", ["", "<Other/>", "<DeleteResult>", "<!DOCTYPE x><DeleteResult/>"])
def test_a_response_that_is_no_result_is_an_error(body: str) -> None:
    def answer(request: HttpRequest, sent: bytes) -> HttpResponse:
        return HttpResponse(status=200, headers={}, body=body.encode())

    with (
        cosxfer.Client(region="ap-x", secret_id="i", secret_key="k", transport=MemoryTransport(answer)) as client,
        pytest.raises(cosxfer.ProtocolError),
    ):
        client.delete_objects(BUCKET, ["a"])


@pytest.mark.parametrize("keys", ["text", b"x", None, 5, {"Key": "a"}, [""], ["/"], [5], [("a", 5)], [{}], ["a/.."]])
def test_wrong_keys_are_refused_before_anything_is_sent(keys: object) -> None:
    def answer(request: HttpRequest, body: bytes) -> HttpResponse:
        raise AssertionError("something was sent")

    with (
        cosxfer.Client(region="ap-x", secret_id="i", secret_key="k", transport=MemoryTransport(answer)) as client,
        pytest.raises(cosxfer.UsageError) as caught,
    ):
        client.delete_objects(BUCKET, keys)  # type: ignore[arg-type]
    assert caught.value.name == "keys"
