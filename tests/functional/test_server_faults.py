"""Fault scripts make failures repeatable. The tests check what a client sees of each fault."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from server_client import Response, ServerClient, sign

from cosxfer.errors import UsageError
from cosxfer.limits import MIB
from cosxfer.server import RunningServer, running


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[bool, RunningServer]]:
    """A server without TLS and one with it."""
    with running() as plain, running(tls=True) as tls:
        yield {False: plain, True: tls}


@pytest.fixture
def server(servers: dict[bool, RunningServer]) -> Iterator[RunningServer]:
    yield servers[False]
    servers[False].set_faults([])
    servers[False].requests(clear=True)


@pytest.fixture
def client(server: RunningServer) -> Iterator[ServerClient]:
    client = ServerClient(server)
    yield client
    client.close()


@pytest.fixture(params=[(False, False), (False, True), (True, False), (True, True)], ids=["h1", "h2c", "tls1", "tls2"])
def any_client(servers: dict[bool, RunningServer], request: pytest.FixtureRequest) -> Iterator[ServerClient]:
    tls, http2 = request.param
    client = ServerClient(servers[tls], http2=http2)
    client.server.requests(clear=True)
    yield client
    client.server.set_faults([])
    client.close()


def test_an_error_fault_returns_its_status_and_code(any_client: ServerClient) -> None:
    any_client.server.set_faults(
        [{"operation": "put_object", "do": "error", "status": 503, "code": "SlowDown", "retry_after_seconds": 7}]
    )
    reply = any_client("PUT", "x", body=b"x" * MIB)
    assert (reply.status, reply.code, reply.headers["retry-after"]) == (503, "SlowDown", "7")
    assert any_client("HEAD").status == 200


def test_a_rule_picks_part_and_attempt(client: ServerClient, server: RunningServer) -> None:
    server.set_faults([{"operation": "multipart_upload", "part": [2, 3], "attempt": 1, "do": "error", "status": 500}])
    upload_id = client.begin("picked")
    statuses = [(n, client.part("picked", upload_id, n, b"x").status) for n in (1, 2, 3, 2, 3)]
    assert statuses == [(1, 200), (2, 500), (3, 500), (2, 200), (3, 200)]


def test_a_rule_picks_keys_and_ends(client: ServerClient, server: RunningServer) -> None:
    server.set_faults([{"key": "logs/*", "times": 2, "do": "error", "code": "AccessDenied"}])
    assert client("PUT", "data/x", body=b"x").status == 200
    assert [client("PUT", "logs/x", body=b"x").status for _ in range(3)] == [403, 403, 200]


def test_the_log_shows_what_happened(client: ServerClient, server: RunningServer) -> None:
    server.set_faults([{"operation": "head_object", "attempt": 2, "do": "error", "status": 500}])
    upload_id = client.begin("logged")
    client.part("logged", upload_id, 4, b"four")
    client("HEAD", "logged")
    client("HEAD", "logged")
    seen = [(r["operation"], r["key"], r["part"], r["status"], r["received"], r["fault"]) for r in server.requests()]
    assert seen == [
        ("multipart_init", "logged", None, 200, 0, ""),
        ("multipart_upload", "logged", 4, 200, 4, ""),
        ("head_object", "logged", None, 404, 0, ""),
        ("head_object", "logged", None, 500, 0, "error"),
    ]


@pytest.mark.parametrize("at", ["head", 300_000, "answer"])
def test_a_connection_is_cut(any_client: ServerClient, at: str | int) -> None:
    any_client("DELETE", "cut")
    any_client.server.set_faults([{"operation": "put_object", "times": 1, "do": "reset", "at": at}])
    with pytest.raises((httpx.NetworkError, httpx.RemoteProtocolError)):
        any_client("PUT", "cut", body=(b"x" * 65536 for _ in range(32)))
    # With "at": "answer", the work is done and only the response is lost.
    assert any_client("HEAD", "cut").status == (200 if at == "answer" else 404)
    logged = [r for r in any_client.server.requests() if r["fault"] == "reset"]
    assert [r["status"] for r in logged] == [0]


def test_an_error_may_follow_the_work(client: ServerClient, server: RunningServer) -> None:
    server.set_faults([{"operation": "put_object", "do": "error", "status": 503, "at": "answer"}])
    assert client("PUT", "done anyway", body=b"x").status == 503
    assert client("GET", "done anyway").body == b"x"


@pytest.mark.parametrize("at", ["head", "answer"])
def test_complete_may_return_an_error_inside_a_200(client: ServerClient, server: RunningServer, at: str) -> None:
    key = f"error in 200 {at}"
    upload_id, etag = uploaded(client, key)
    server.set_faults(
        [{"operation": "multipart_complete", "do": "error", "status": 200, "code": "InternalError", "at": at}]
    )
    reply = client.complete(key, upload_id, [(1, etag)])
    assert (reply.status, reply.code) == (200, "InternalError")
    assert client("HEAD", key).status == (404 if at == "head" else 200)


def test_complete_may_keep_the_client_waiting_with_spaces(any_client: ServerClient) -> None:
    upload_id, etag = uploaded(any_client, "slow")
    any_client.server.set_faults([{"operation": "multipart_complete", "do": "delay", "seconds": 0.2, "at": "answer"}])
    reply = any_client.complete("slow", upload_id, [(1, etag)])
    assert reply.body.startswith(b" ")
    assert "x-cos-hash-crc64ecma" not in reply.headers
    stripped = Response(status=reply.status, headers=reply.headers, body=reply.body.strip())
    assert stripped.text("ETag").endswith('-1"')


@pytest.mark.parametrize("at", ["head", 100_000, "answer"])
def test_a_delay_has_no_other_effect(any_client: ServerClient, at: str | int) -> None:
    any_client.server.set_faults([{"operation": "put_object", "do": "delay", "seconds": 0.05, "at": at}])
    body = b"x" * 500_000
    assert any_client("PUT", "delayed", body=(body[i : i + 65536] for i in range(0, len(body), 65536))).status == 200
    assert any_client("GET", "delayed").body == body


def test_a_stalled_request_gets_no_response(any_client: ServerClient) -> None:
    any_client.server.set_faults([{"operation": "get_object", "do": "stall", "seconds": 600}])
    any_client.httpx.timeout = httpx.Timeout(0.3)
    with pytest.raises(httpx.ReadTimeout):
        any_client("GET", "x")


def test_a_stall_ends_with_a_cut(client: ServerClient, server: RunningServer) -> None:
    server.set_faults([{"operation": "put_object", "do": "stall", "at": 100_000, "seconds": 0.05}])
    with pytest.raises((httpx.NetworkError, httpx.RemoteProtocolError)):
        client("PUT", "stalled", body=b"x" * MIB)


def test_digests_can_be_wrong(client: ServerClient, server: RunningServer) -> None:
    right = client("PUT", "digests", body=b"x").headers
    for do, changed in (("wrong_etag", "etag"), ("wrong_crc64", "x-cos-hash-crc64ecma")):
        server.set_faults([{"do": do}])
        wrong = client("PUT", "digests", body=b"x").headers
        assert {n for n in ("etag", "x-cos-hash-crc64ecma") if wrong[n] != right[n]} == {changed}
    server.set_faults([{"do": "no_crc64"}])
    assert "x-cos-hash-crc64ecma" not in client("HEAD", "digests").headers


def test_the_etag_of_complete_can_be_wrong(client: ServerClient, server: RunningServer) -> None:
    upload_id, etag = uploaded(client, "wrong")
    server.set_faults([{"operation": "multipart_complete", "do": "wrong_etag"}])
    reply = client.complete("wrong", upload_id, [(1, etag)])
    server.set_faults([])
    assert reply.text("ETag") != client("HEAD", "wrong").headers["etag"]


@pytest.mark.parametrize(
    ("ask", "operation"),
    [
        (lambda client: client("GET", "cut short"), "get_object"),
        (lambda client: client("GET", params={"uploads": ""}), "multipart_list"),
    ],
)
def test_a_response_can_be_truncated(
    any_client: ServerClient, ask: Callable[[ServerClient], Response], operation: str
) -> None:
    any_client("PUT", "cut short", body=b"x" * (3 * MIB))
    any_client.server.set_faults([{"operation": operation, "times": 1, "do": "truncate"}])
    with pytest.raises((httpx.NetworkError, httpx.RemoteProtocolError)):
        ask(any_client)
    assert ask(any_client).status == 200


def test_a_truncated_response_to_head_still_has_the_size(any_client: ServerClient) -> None:
    any_client("PUT", "cut short", body=b"x" * 1000)
    any_client.server.set_faults([{"operation": "head_object", "do": "truncate"}])
    assert any_client("HEAD", "cut short").headers["content-length"] == "1000"


def test_a_truncated_response_has_as_many_bytes_as_the_rule_says(client: ServerClient, server: RunningServer) -> None:
    client("PUT", "cut short", body=bytes(range(250)))
    server.set_faults([{"operation": "get_object", "do": "truncate", "after_bytes": 10}])
    request = sign(server, "GET", "cut short")
    connection = http.client.HTTPConnection(server.host, server.port, timeout=30)
    connection.request("GET", request.target, headers=request.headers)
    response = connection.getresponse()
    assert response.getheader("content-length") == "250"
    with pytest.raises(http.client.IncompleteRead) as raised:
        response.read()
    assert raised.value.partial == bytes(range(10))
    connection.close()


def test_a_script_is_read_when_the_server_starts(tmp_path: Path) -> None:
    script = tmp_path / "faults.json"
    script.write_text(json.dumps([{"operation": "head_bucket", "do": "error", "status": 500}]))
    with running(fault_script=script) as server:
        client = ServerClient(server)
        assert client("HEAD").status == 500
        client.close()


@pytest.mark.parametrize("text", ['{"do": "reset"}', "[", '[{"do": "explode"}]'])
def test_a_server_with_an_invalid_script_does_not_start(tmp_path: Path, text: str) -> None:
    script = tmp_path / "faults.json"
    script.write_text(text)
    with pytest.raises(UsageError, match=r"faults\.json"), running(fault_script=script):
        pass


def test_an_error_names_the_invalid_rule(server: RunningServer) -> None:
    wrong: list[dict[str, Any]] = [{"do": "reset"}, {"do": "delay"}]
    with pytest.raises(UsageError, match="rule 2"):
        server.set_faults(wrong)


def uploaded(client: ServerClient, key: str) -> tuple[str, str]:
    """An upload with one part: its id and the part's ETag."""
    upload_id = client.begin(key)
    return upload_id, client.part(key, upload_id, 1, b"x").headers["etag"]


def test_a_stalled_request_does_not_delay_the_stop() -> None:
    with running() as server:
        server.set_faults([{"do": "stall"}])
        client = ServerClient(server)
        client.httpx.timeout = httpx.Timeout(0.2)
        with pytest.raises(httpx.ReadTimeout):
            client("GET", "x")
        server.stop()
        assert server.exit_status == 0
        client.close()
