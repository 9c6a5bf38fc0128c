"""How many bytes on the way to the server a transport reports."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest
import trustme
from h2.events import DataReceived, SettingsAcknowledged, StreamEnded
from h2.settings import SettingCodes

from cosxfer.config import HttpVersion
from cosxfer.limits import MIB
from cosxfer.transport.base import unacknowledged_bytes
from tests.functional.peer_raw import OK, Http2Peer, Peer, in_loop, sending, serving, until
from tests.functional.peer_tls import client_context, server_context

BODY = bytes(24 * MIB)
"""More than the socket buffers of both sides hold."""


class Gates:
    """When the server reads the body, and when it responds."""

    def __init__(self) -> None:
        self.read, self.respond = asyncio.Event(), asyncio.Event()
        self.has_all = asyncio.Event()

    async def http1(self, peer: Peer) -> None:
        head = await peer.head()
        if b"100-continue" in head.lower():
            await peer.say(b"HTTP/1.1 100 Continue\r\n\r\n")
        await self.read.wait()
        await peer.body(len(BODY))
        self.has_all.set()
        await self.respond.wait()
        await peer.say(OK)
        await peer.reader.read()

    async def http2(self, peer: Peer) -> None:
        http2 = Http2Peer(peer, {SettingCodes.INITIAL_WINDOW_SIZE: 2 * len(BODY)})
        http2.http2.increment_flow_control_window(2 * len(BODY))
        async for event in http2.events():
            if isinstance(event, SettingsAcknowledged):
                await http2.flush()
            elif isinstance(event, DataReceived):
                await self.read.wait()
            elif isinstance(event, StreamEnded):
                self.has_all.set()
                await self.respond.wait()
                http2.answer(event.stream_id)


async def grows_and_returns_to_zero(
    over: str,
    version: HttpVersion,
    serve: Callable[[Gates], Callable[[Peer], Awaitable[None]]],
    *,
    scheme: str = "http",
    expect_continue: bool = False,
    **settings: object,
) -> None:
    gates = Gates()
    sent = 0

    def on_sent(count: int) -> None:
        nonlocal sent
        sent += count

    async with (
        asyncio.timeout(60),
        serving(serve(gates), scheme=scheme) as server,
        sending(over, http_version=version, **settings) as transport,
    ):
        assert unacknowledged_bytes(transport) == 0
        headers = {"expect": "100-continue"} if expect_continue else {}
        request = server.request(body=BODY, on_sent=on_sent, headers=headers, expect_continue=expect_continue)
        sending_it = asyncio.create_task(transport.send(request))
        await until(lambda: unacknowledged_bytes(transport))
        assert unacknowledged_bytes(transport) <= sent < len(BODY)
        gates.read.set()
        await gates.has_all.wait()
        await until(lambda: not unacknowledged_bytes(transport))
        assert not sending_it.done(), "it returned to 0 while the request was in flight"
        gates.respond.set()
        assert (await sending_it).status == 200
        assert unacknowledged_bytes(transport) == 0


@pytest.mark.parametrize("over", ["native", "httpx"])
@in_loop
async def test_what_the_server_does_not_read_is_unacknowledged_over_http1(over: str) -> None:
    await grows_and_returns_to_zero(over, "1.1", lambda gates: gates.http1)


@pytest.mark.parametrize("over", ["native", "httpx"])
@in_loop
async def test_what_the_server_does_not_read_is_unacknowledged_over_http2(over: str) -> None:
    await grows_and_returns_to_zero(over, "2", lambda gates: gates.http2)


@pytest.mark.parametrize("version", ["1.1", "2"])
@pytest.mark.parametrize("over", ["native", "httpx"])
@in_loop
async def test_what_the_server_does_not_read_is_unacknowledged_over_tls(over: str, version: HttpVersion) -> None:
    authority = trustme.CA()
    context = server_context(authority.issue_cert("127.0.0.1"))

    def secured(gates: Gates) -> Callable[[Peer], Awaitable[None]]:
        async def serve(peer: Peer) -> None:
            await peer.secure(context)
            await (gates.http2 if version == "2" else gates.http1)(peer)

        return serve

    await grows_and_returns_to_zero(over, version, secured, scheme="https", verify=client_context(authority))


@pytest.mark.parametrize("over", ["native", "httpx"])
@in_loop
async def test_a_body_after_100_continue_is_counted(over: str) -> None:
    await grows_and_returns_to_zero(over, "1.1", lambda gates: gates.http1, expect_continue=True)


@pytest.mark.parametrize("over", ["native", "httpx"])
@in_loop
async def test_a_cancelled_request_no_longer_counts(over: str) -> None:
    gates = Gates()
    async with asyncio.timeout(60), serving(gates.http1) as server, sending(over) as transport:
        sending_it = asyncio.create_task(transport.send(server.request(body=BODY)))
        await until(lambda: unacknowledged_bytes(transport))
        sending_it.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sending_it
        await until(lambda: not unacknowledged_bytes(transport))
