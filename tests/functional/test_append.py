"""append_object: each append is stored once, whatever happens to the responses."""

from __future__ import annotations

import itertools
import os
from typing import Any

import pytest

import cosxfer
from cosxfer.server import RunningServer

FIRST, SECOND = os.urandom(100_000), os.urandom(300_000)
_numbers = itertools.count()


@pytest.fixture
def key(client: cosxfer.Client, server: RunningServer) -> str:
    """Create an appendable object with the content `FIRST`."""
    key = f"log {next(_numbers)}"
    client.append_object(server.bucket, key, FIRST, position=0)
    server.requests(clear=True)
    return key


def fault(do: str, **more: Any) -> list[dict[str, Any]]:
    return [{"operation": "append_object", "times": 1, "do": do, **more}]


def operations(server: RunningServer) -> list[str]:
    return [request["operation"] for request in server.requests()]


def content(client: cosxfer.Client, server: RunningServer, key: str) -> bytes:
    body = client.get_object(server.bucket, key).body
    assert body is not None
    return body


def test_each_append_returns_the_position_of_the_next(client: cosxfer.Client, server: RunningServer) -> None:
    position = 0
    for body in (b"one ", "zwei ", iter([b"three ", b"four"]), b""):
        result = client.append_object(server.bucket, "steps", body, position=position, content_type="text/plain")
        position = result.next_append_position
    head = client.head_object(server.bucket, "steps")
    assert (head.size, head.crc64, head.object_type) == (position, result.crc64, "appendable")
    assert content(client, server, "steps") == b"one zwei three four"


@pytest.mark.parametrize("position", [0, 1, len(FIRST) + 1])
def test_a_wrong_position_is_an_error_with_the_right_one(
    client: cosxfer.Client, server: RunningServer, key: str, position: int
) -> None:
    with pytest.raises(cosxfer.AppendPositionError, match=f"it ends at {len(FIRST)}") as caught:
        client.append_object(server.bucket, key, SECOND, position=position)
    assert (caught.value.position, caught.value.status, caught.value.code) == (len(FIRST), 409, "AppendPositionErr")
    assert not caught.value.retryable
    client.append_object(server.bucket, key, SECOND, position=caught.value.position)
    assert content(client, server, key) == FIRST + SECOND


def test_an_object_that_is_not_appendable_is_an_error(client: cosxfer.Client, server: RunningServer) -> None:
    client.put_object(server.bucket, "normal", b"abc")
    with pytest.raises(cosxfer.ObjectNotAppendableError) as caught:
        client.append_object(server.bucket, "normal", b"d", position=3)
    assert (caught.value.status, caught.value.code) == (409, "ObjectNotAppendable")


def test_a_lost_request_is_sent_again_after_the_object_was_checked(
    client: cosxfer.Client, server: RunningServer, key: str
) -> None:
    server.set_faults(fault("reset"))
    result = client.append_object(server.bucket, key, SECOND, position=len(FIRST))
    assert result.next_append_position == len(FIRST) + len(SECOND)
    assert operations(server) == ["append_object", "head_object", "append_object"]
    assert content(client, server, key) == FIRST + SECOND


def test_a_lost_first_append_is_sent_again(client: cosxfer.Client, server: RunningServer) -> None:
    server.set_faults(fault("reset"))
    client.append_object(server.bucket, "first lost", FIRST, position=0)
    assert content(client, server, "first lost") == FIRST


@pytest.mark.parametrize("how", ["reset", "error"])
def test_an_append_with_a_lost_response_is_not_sent_again(
    client: cosxfer.Client, server: RunningServer, key: str, how: str
) -> None:
    server.set_faults(fault(how, at="answer"))
    result = client.append_object(server.bucket, key, SECOND, position=len(FIRST))
    head = client.head_object(server.bucket, key)
    assert (result.next_append_position, result.crc64) == (head.size, head.crc64)
    # The size alone proves nothing, so the client compares the content.
    assert operations(server)[:3] == ["append_object", "head_object", "get_object"]
    assert content(client, server, key) == FIRST + SECOND


def test_a_first_append_with_a_lost_response_is_compared_by_checksum(
    client: cosxfer.Client, server: RunningServer
) -> None:
    server.requests(clear=True)
    server.set_faults(fault("reset", at="answer"))
    result = client.append_object(server.bucket, "first unheard", FIRST, position=0)
    assert result.next_append_position == len(FIRST)
    assert operations(server) == ["append_object", "head_object"]


def test_an_append_of_another_client_is_not_mistaken_for_ours(
    client: cosxfer.Client, server: RunningServer, key: str
) -> None:
    # Our request is lost, and another client appends the same number of bytes before we look.
    other = bytes(len(SECOND))
    client.append_object(server.bucket, key, other, position=len(FIRST))
    server.set_faults(fault("reset"))
    with pytest.raises(cosxfer.AppendPositionError) as caught:
        client.append_object(server.bucket, key, SECOND, position=len(FIRST))
    assert caught.value.position == len(FIRST) + len(other)
    assert isinstance(caught.value.__cause__, cosxfer.TransportError)
    assert content(client, server, key) == FIRST + other


def test_nothing_is_sent_again_if_the_object_cannot_be_checked(
    client: cosxfer.Client, server: RunningServer, key: str
) -> None:
    denied = {"operation": "head_object", "do": "error", "status": 403, "code": "AccessDenied"}
    server.set_faults([*fault("reset", at="answer"), denied])
    with pytest.raises(cosxfer.TransportError) as caught:
        client.append_object(server.bucket, key, SECOND, position=len(FIRST))
    assert "it is unknown whether the bytes were appended" in caught.value.__notes__[0]
    assert operations(server).count("append_object") == 1


def test_after_a_refusal_the_object_is_not_checked(client: cosxfer.Client, server: RunningServer, key: str) -> None:
    server.set_faults(fault("error", status=403, code="AccessDenied"))
    with pytest.raises(cosxfer.AccessDeniedError):
        client.append_object(server.bucket, key, SECOND, position=len(FIRST))
    assert operations(server) == ["append_object"]


def test_append_stops_after_max_attempts(server: RunningServer, key: str) -> None:
    server.set_faults([{"operation": "append_object", "do": "error", "status": 500, "code": "InternalError"}])
    with (
        cosxfer.Client(endpoint=server.endpoint, credentials=server.credentials, max_attempts=2) as client,
        pytest.raises(cosxfer.ServerError) as caught,
    ):
        client.append_object(server.bucket, key, SECOND, position=len(FIRST))
    assert caught.value.__notes__ == ["nothing was appended"]
    assert operations(server) == ["append_object", "head_object"] * 2


@pytest.mark.parametrize("position", [-1, True, "0a", None])
def test_an_invalid_position_is_refused(client: cosxfer.Client, server: RunningServer, position: Any) -> None:
    with pytest.raises(cosxfer.UsageError, match="position is"):
        client.append_object(server.bucket, "k", b"a", position=position)
