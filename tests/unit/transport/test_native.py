"""Decisions of the native transport, on a fake wire: connections, automatic retries and errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("cosxfer._native.wire")

from cosxfer.cos.endpoint import resolve_endpoint
from cosxfer.cos.requests import HttpRequest
from cosxfer.errors import (
    ConnectError,
    ProtocolError,
    TransportError,
    TransportTimeoutError,
    UsageError,
)
from cosxfer.transport.native import UNSENT_TRIES, NativeTransport
from cosxfer.transport.native_pool import HTTP2_CONNECTIONS
from cosxfer.transport.tls import TLS_ALERT
from tests.unit.transport import fake_wire
from tests.unit.transport.fake_wire import FakeExchange, Wire

ENDPOINT = resolve_endpoint("http://cos.example", bucket="b-1", region=None)


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    return fake_wire.install(monkeypatch)


def request(body: Any = b"", length: int | None = None, **more: Any) -> HttpRequest:
    length = len(body) if length is None and isinstance(body, bytes) else length
    fields = {"headers": {"host": "h"}, "endpoint": ENDPOINT, **more}
    return HttpRequest(method="PUT", target="/k?q", body=body, content_length=length, **fields)


def run(test: Callable[[NativeTransport], Coroutine[Any, Any, None]], **settings: Any) -> None:
    async def whole() -> None:
        transport = fake_wire.transport(**settings)
        try:
            async with asyncio.timeout(20):
                await test(transport)
        finally:
            await transport.aclose()

    asyncio.run(whole())


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110 # each round lets the other tasks run
        await asyncio.sleep(0)


async def pieces(*given: bytes) -> AsyncIterator[bytes]:
    for piece in given:
        yield piece


# -- automatic retries -------------------------------------------------------------------------------------------------


def test_a_request_that_no_server_acted_on_is_sent_again_on_another_connection(wire: Wire) -> None:
    wire.script("UNSENT", "OK")

    async def test(transport: NativeTransport) -> None:
        response = await transport.send(request(b"body"))
        assert (response.status, response.http_version) == (200, "HTTP/1.1")
        first, second = wire.exchanges
        assert first.connection is not second.connection
        assert (first.head, first.body_given) == (second.head, second.body_given)

    run(test)


def test_it_is_sent_a_bounded_number_of_times_and_the_last_error_may_be_retried(wire: Wire) -> None:
    wire.script("UNSENT", why="it closed")

    async def test(transport: NativeTransport) -> None:
        with pytest.raises(TransportError, match="it closed") as caught:
            await transport.send(request(b"body"))
        assert caught.value.retryable
        assert len(wire.exchanges) == UNSENT_TRIES

    run(test)


@pytest.mark.parametrize("result", ["BROKEN", "TIMEOUT", "MALFORMED", "TOO_LONG", "LOST"])
def test_a_request_that_a_server_may_have_acted_on_is_sent_once(wire: Wire, result: str) -> None:
    wire.script(result)

    async def test(transport: NativeTransport) -> None:
        with pytest.raises(TransportError):
            await transport.send(request(b"body"))
        assert len(wire.exchanges) == 1

    run(test)


@pytest.mark.parametrize(("begun", "sent"), [(False, 2), (True, 1)])
def test_a_body_that_can_be_read_once_is_sent_again_only_if_it_was_not_begun(
    wire: Wire, begun: bool, sent: int
) -> None:
    wire.script("UNSENT", "OK", body_begun=begun)

    async def test(transport: NativeTransport) -> None:
        given = request(pieces(b"once"), 4)
        if begun:
            with pytest.raises(TransportError):
                await transport.send(given)
        else:
            assert (await transport.send(given)).status == 200
        assert len(wire.exchanges) == sent

    run(test)


def test_progress_is_taken_back_if_the_bytes_are_sent_again(wire: Wire) -> None:
    progress: list[int] = []

    def submit(exchange: FakeExchange) -> None:
        wire.post("on_sent", exchange, 3)
        wire.end(exchange, "UNSENT" if len(wire.exchanges) == 1 else "OK")

    wire.on_submit = submit

    async def test(transport: NativeTransport) -> None:
        await transport.send(request(b"body", on_sent=progress.append))

    run(test)
    assert progress == [3, -3, 3]


def test_a_server_that_requires_http1_gets_it_from_then_on(wire: Wire) -> None:
    wire.http2 = True
    wire.script("NEEDS_H1", "OK")

    async def test(transport: NativeTransport) -> None:
        secure = resolve_endpoint("https://cos.example", bucket="b-1", region=None)
        response = await transport.send(request(endpoint=secure))
        assert response.http_version == "HTTP/1.1"
        assert [target.protocols for target in wire.targets] == [("h2", "http/1.1"), ("http/1.1",)]
        await transport.send(request(endpoint=secure))
        assert wire.exchanges[2].connection is wire.exchanges[1].connection

    run(test, http_version="auto")


def test_http2_alone_is_not_replaced_by_http1(wire: Wire) -> None:
    wire.http2 = True
    wire.script("NEEDS_H1", why="the server requires HTTP/1.1")

    async def test(transport: NativeTransport) -> None:
        with pytest.raises(TransportError, match=r"requires HTTP/1\.1"):
            await transport.send(request())
        assert len(wire.exchanges) == 1

    run(test, http_version="2")


# -- connections -------------------------------------------------------------------------------------------------------


def test_http1_uses_a_connection_again_and_opens_one_for_each_request_at_a_time(wire: Wire) -> None:
    async def test(transport: NativeTransport) -> None:
        for _ in range(3):
            await transport.send(request())
        assert len(wire.connections) == 1
        wire.on_submit = lambda exchange: None
        sending = [asyncio.create_task(transport.send(request())) for _ in range(3)]
        await until(lambda: len(wire.exchanges) == 6)
        assert len(wire.connections) == 3
        assert len({id(exchange.connection) for exchange in wire.exchanges[3:]}) == 3
        for exchange in wire.exchanges[3:]:
            wire.end(exchange)
        await asyncio.gather(*sending)

    run(test)


def test_a_response_says_how_long_its_request_waited_for_a_connection(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = count()
    monkeypatch.setattr("cosxfer.transport.native.time", SimpleNamespace(monotonic=lambda: float(next(calls))))

    async def test(transport: NativeTransport) -> None:
        first, second = await transport.send(request()), await transport.send(request())
        # Each look at the clock is a second here, and opening a connection needs some of its own.
        assert first.connection_seconds > second.connection_seconds == 1

    run(test)


def test_a_connection_that_is_not_reusable_is_not_used_again(wire: Wire) -> None:
    wire.on_submit = lambda exchange: wire.end(exchange, reusable=False)

    async def test(transport: NativeTransport) -> None:
        for _ in range(2):
            await transport.send(request())
        assert len(wire.connections) == 2

    run(test)


def test_a_request_that_waits_gets_the_connection_that_is_free_first(wire: Wire) -> None:
    wire.on_submit = lambda exchange: None

    async def test(transport: NativeTransport) -> None:
        first = asyncio.create_task(transport.send(request()))
        await until(lambda: wire.exchanges)
        wire.hold = asyncio.Event()  # no second connection is opened
        second = asyncio.create_task(transport.send(request()))
        await until(lambda: len(wire.targets) == 2)
        wire.end(wire.exchanges[0])
        await first
        await until(lambda: len(wire.exchanges) == 2)
        assert wire.exchanges[1].connection is wire.exchanges[0].connection
        wire.end(wire.exchanges[1])
        await second
        wire.hold.set()

    run(test)


def test_an_error_of_connecting_reaches_all_that_wait_if_there_is_no_connection(wire: Wire) -> None:
    wire.hold = asyncio.Event()
    refused = ConnectError("cannot connect", permanent=True)
    wire.refusals.extend([refused] * 3)

    async def test(transport: NativeTransport) -> None:
        sending = [asyncio.create_task(transport.send(request())) for _ in range(3)]
        await until(lambda: len(wire.targets) == 3)
        assert wire.hold is not None
        wire.hold.set()
        errors = await asyncio.gather(*sending, return_exceptions=True)
        assert all(isinstance(error, ConnectError) and not error.retryable for error in errors)
        assert len({id(error) for error in errors}) == 3  # each call gets its own exception

    run(test)


def test_beside_a_connection_that_works_a_refused_one_makes_its_request_wait(wire: Wire) -> None:
    wire.on_submit = lambda exchange: None

    async def test(transport: NativeTransport) -> None:
        first = asyncio.create_task(transport.send(request()))
        await until(lambda: wire.exchanges)
        wire.hold = asyncio.Event()
        second, third = (asyncio.create_task(transport.send(request())) for _ in range(2))
        await until(lambda: len(wire.targets) == 3)
        wire.refusals.append(ConnectError("cannot connect"))
        wire.on_submit = wire.end
        wire.hold.set()
        assert (await second).status == (await third).status == 200
        wire.end(wire.exchanges[0])
        assert (await first).status == 200
        assert (len(wire.targets), len(wire.connections)) == (3, 2)

    run(test)


def test_beside_a_connection_that_works_a_final_error_reaches_one_request(wire: Wire) -> None:
    wire.on_submit = lambda exchange: None

    async def test(transport: NativeTransport) -> None:
        first = asyncio.create_task(transport.send(request()))
        await until(lambda: wire.exchanges)
        wire.refusals.append(ConnectError("not trusted", permanent=True))
        with pytest.raises(ConnectError, match="not trusted"):
            await transport.send(request())
        wire.end(wire.exchanges[0])
        assert (await first).status == 200

    run(test)


def test_a_new_connection_that_ends_before_any_response_counts_as_refused(wire: Wire) -> None:
    wire.on_submit = lambda exchange: None

    async def test(transport: NativeTransport) -> None:
        first, second = (asyncio.create_task(transport.send(request())) for _ in range(2))
        await until(lambda: len(wire.exchanges) == 2)
        wire.end(wire.exchanges[1], "UNSENT", why="reset by peer")
        await until(lambda: transport._origin(ENDPOINT).waiting)
        assert len(wire.targets) == 2, "it waits for the connection that works"
        wire.on_submit = wire.end
        wire.end(wire.exchanges[0])
        assert (await first).status == (await second).status == 200
        assert len(wire.targets) == 2

    run(test)


def test_who_waits_beside_a_server_that_refuses_more_connections_waits_as_long_as_others_progress(wire: Wire) -> None:
    """The body of the first request may wait for the second one: without a bound nobody would ever end."""
    wire.on_submit = lambda exchange: None

    async def test(transport: NativeTransport) -> None:
        first = asyncio.create_task(transport.send(request(stall_timeout_seconds=20)))
        await until(lambda: wire.exchanges)
        wire.refusals.append(ConnectError("refused by this server"))
        with pytest.raises(ConnectError, match="refused by this server"):
            await transport.send(request(stall_timeout_seconds=0.05))
        wire.end(wire.exchanges[0])
        assert (await first).status == 200

    run(test)


def test_when_the_limits_grow_requests_that_wait_get_connections_at_once(wire: Wire) -> None:
    wire.on_submit = lambda exchange: None

    async def test(transport: NativeTransport) -> None:
        transport._limits.http1 = 1
        sending = [asyncio.create_task(transport.send(request())) for _ in range(3)]
        await until(lambda: wire.exchanges)
        assert len(wire.targets) == 1
        transport._limits.resize(3)
        await until(lambda: len(wire.exchanges) == 3)
        for exchange in wire.exchanges:
            wire.end(exchange)
        assert [response.status for response in await asyncio.gather(*sending)] == [200] * 3

    run(test)


def test_the_wait_for_a_connection_ends_if_no_peer_takes_streams(wire: Wire) -> None:
    """All connections are open, and no running request could end the wait."""
    wire.http2 = True
    wire.on_submit = lambda exchange: None

    async def test(transport: NativeTransport) -> None:
        sending = []
        for number in range(HTTP2_CONNECTIONS):
            sending.append(asyncio.create_task(transport.send(request())))
            await until(lambda: len(wire.exchanges) > number)  # noqa: B023 # used at once
            connection = wire.connections[number]
            assert connection.io_thread is not None
            connection.io_thread.post("on_settings", connection, 0)
            await until(lambda: connection.owner[1].max_streams == 0)  # noqa: B023
        for exchange in wire.exchanges:
            wire.end(exchange)
        await asyncio.gather(*sending)
        with pytest.raises(TransportTimeoutError, match=r"takes no requests for 0\.01 s"):
            await transport.send(request(stall_timeout_seconds=0.01))
        assert len(wire.exchanges) == len(wire.targets) == HTTP2_CONNECTIONS

    run(test, http_version="2")


# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "why", "kind", "text"),
    [
        ("BROKEN", "reset by peer", TransportError, "the connection broke: reset by peer"),
        ("BROKEN", "", TransportError, "the server closed it"),
        ("TIMEOUT", "", TransportTimeoutError, "was silent for 7 s"),
        ("MALFORMED", "a header is folded", ProtocolError, "a header is folded"),
        ("TOO_LONG", "", ProtocolError, "longer than"),
        ("BROKEN", "tlsv13 alert certificate required", ConnectError, "requires a client certificate"),
        ("MALFORMED", TLS_ALERT, ConnectError, "TLS"),
    ],
)
def test_each_end_is_an_error_of_its_kind(wire: Wire, result: str, why: str, kind: type, text: str) -> None:
    wire.script(result, why=why)

    async def test(transport: NativeTransport) -> None:
        with pytest.raises(TransportError, match=text) as caught:
            await transport.send(request(stall_timeout_seconds=7))
        assert type(caught.value) is kind
        assert caught.value.url == "http://cos.example/k"  # without the query, which may contain a signature
        assert caught.value.retryable == (kind is not ConnectError)

    run(test)


def test_a_line_break_in_a_header_is_refused_before_a_connection_is_made(wire: Wire) -> None:
    async def test(transport: NativeTransport) -> None:
        for value in ("a\r\nx: y", "a\nb", "a\rb"):
            with pytest.raises(UsageError, match="line break"):
                await transport.send(request(headers={"x": value}))
        assert not wire.targets

    run(test)


def test_a_body_of_another_length_than_announced_is_not_sent_and_the_connection_stays(wire: Wire) -> None:
    async def test(transport: NativeTransport) -> None:
        with pytest.raises(ProtocolError, match="not the 5 bytes"):
            await transport.send(request(b"body", 5))
        assert not wire.exchanges
        await transport.send(request(b"body"))
        assert len(wire.connections) == 1

    run(test)


def test_an_error_of_the_callback_ends_the_request_with_just_that_error(wire: Wire) -> None:
    def submit(exchange: FakeExchange) -> None:
        wire.post("on_sent", exchange, 1)

    wire.on_submit = submit

    def refuse(count: int) -> None:
        raise LookupError("from the callback")

    async def test(transport: NativeTransport) -> None:
        with pytest.raises(LookupError, match="from the callback"):
            await transport.send(request(b"body", on_sent=refuse))
        assert wire.exchanges[0].cancelled

    run(test)


def test_an_error_of_the_body_ends_the_request_with_just_that_error(wire: Wire) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"bo"
        raise LookupError("from the body")

    wire.on_submit = lambda exchange: wire.post("on_wanted", exchange)

    async def test(transport: NativeTransport) -> None:
        with pytest.raises(LookupError, match="from the body"):
            await transport.send(request(body(), 4))
        assert wire.exchanges[0].cancelled
        assert not wire.exchanges[0].complete

    run(test)


def test_a_cancelled_call_cancels_its_exchange(wire: Wire) -> None:
    wire.on_submit = lambda exchange: None

    async def test(transport: NativeTransport) -> None:
        sending = asyncio.create_task(transport.send(request()))
        await until(lambda: wire.exchanges)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert wire.exchanges[0].cancelled

    run(test)


# -- the end -----------------------------------------------------------------------------------------------------------


def test_closing_ends_what_waits_and_what_is_under_way_and_refuses_what_comes(wire: Wire) -> None:
    wire.on_submit = lambda exchange: None

    async def test(transport: NativeTransport) -> None:
        under_way = asyncio.create_task(transport.send(request()))
        await until(lambda: wire.exchanges)
        wire.hold = asyncio.Event()
        waiting = asyncio.create_task(transport.send(request()))
        await until(lambda: len(wire.targets) == 2)
        await transport.aclose()
        with pytest.raises(TransportError, match="the client is closed"):
            await under_way
        with pytest.raises(TransportError, match="was given up"):
            await waiting
        with pytest.raises(TransportError, match="the client is closed"):
            await transport.send(request())

    run(test)
