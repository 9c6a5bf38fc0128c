"""The native transport: our own HTTP/1.1 and HTTP/2 on I/O threads (`cosxfer._native.wire`).

This module runs on the caller's event loop. It chooses a connection for each request
(`cosxfer.transport.native_pool`) and makes connections (`cosxfer.transport.native_connect`). The I/O threads move the
bytes. They take commands from a queue. They return events in batches and make a file descriptor readable. Neither side
waits for the other.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
import weakref
from collections.abc import AsyncIterable, Callable

from cosxfer._native import hashing, wire
from cosxfer.config import ClientConfig
from cosxfer.cos.endpoint import Endpoint
from cosxfer.cos.requests import HttpRequest
from cosxfer.cos.responses import HttpResponse
from cosxfer.errors import (
    ConnectError,
    CosxferError,
    ProtocolError,
    TargetError,
    TransportError,
    TransportTimeoutError,
    UsageError,
)
from cosxfer.threads import in_thread, none_to_be_had, settled
from cosxfer.transport.base import MAX_RESPONSE_BYTES, copy_of
from cosxfer.transport.begun_store import BegunStore
from cosxfer.transport.native_begin import BegunCall, Outcome, Quiet, outcome_of, proven
from cosxfer.transport.native_body import attach_body, attach_sink, feed, take_received, used_later
from cosxfer.transport.native_call import Call
from cosxfer.transport.native_connect import connect
from cosxfer.transport.native_finalizer import stop_threads
from cosxfer.transport.native_head import head_of
from cosxfer.transport.native_origin import Origin, Patience, WireSlot
from cosxfer.transport.native_pool import IDLE_SECONDS, ConnectionLimits, Slot
from cosxfer.transport.tcp import round_trip_seconds
from cosxfer.transport.tls import TLS_ALERT, context_of, only_tls_message, refusal

MAX_THREADS = 4
UNSENT_TRIES = 4
"""How many connections a request tries if no server acts on it."""


if hashing.crc64_function is not None:
    wire.use_crc64(hashing.crc64_function)


class NativeTransport:
    """Sends over its own connections. ``max_bytes_per_second`` limits all of them together."""

    def __init__(
        self, config: ClientConfig, limits: ConnectionLimits | None = None, *, threads: int | None = None
    ) -> None:
        self._config = config
        self._limits = limits or ConnectionLimits()
        self._limits.when_changed(self._serve_all)
        self._context: ssl.SSLContext | None = None
        rate = config.max_bytes_per_second
        self._rate = None if rate is None else wire.RateLimit(rate)
        self._origins: dict[tuple[str, str, int], Origin] = {}
        self._thread_count = threads or max(1, min(MAX_THREADS, (os.cpu_count() or 1) // 2))
        self._io_threads: list[wire.IoThread] = []
        self._connections: set[wire.Connection] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opening: set[asyncio.Task[None]] = set()
        self._sweep: asyncio.TimerHandle | None = None
        self._trying: set[asyncio.TimerHandle] = set()
        self._closed = False
        self._quiet = Quiet()
        self._process = os.getpid()
        self._finalizer = weakref.finalize(self, stop_threads, self._io_threads, self._process)
        self._finalizer.atexit = False  # exit handlers may still send requests
        if isinstance(config.verify, str | os.PathLike):
            self._tls()  # so a bad file is an error when the client is made

    async def send(self, request: HttpRequest) -> HttpResponse:
        began = time.monotonic()
        if request.endpoint.scheme == "https" and self._context is None:
            await in_thread(None, self._tls)  # reads files
        origin = self._origin(request.endpoint)
        head = head_of(request)
        for _ in range(UNSENT_TRIES):
            self._check_open(request)
            slot = origin.pool.take() or await self._wait(origin, request)
            waited = time.monotonic() - began
            exchange = await self._exchange(request, head, origin, slot)
            result = exchange.result
            if result in (wire.OK, wire.UNWANTED):
                return HttpResponse(
                    status=exchange.status,
                    headers=exchange.headers,
                    body=exchange.body,
                    http_version="HTTP/2" if slot.http2 else "HTTP/1.1",
                    connection_seconds=waited,
                )
            if result == wire.NEEDS_H1 and self._config.http_version == "auto":
                origin.only_http1()
            elif result != wire.UNSENT:
                raise self._failed(exchange, request)
            # The server has not acted on the request. But a body that can be read only once may be used up.
            if exchange.body_begun and isinstance(request.body, AsyncIterable):
                break
        raise self._failed(exchange, request)

    def begin(self, request: HttpRequest, then: Callable[[Outcome], None]) -> BegunCall | None:
        """See `cosxfer.transport.base.Begins`."""
        if (taken := self._take(request.endpoint)) is None:
            return None
        try:
            return BegunCall(request, *taken, self._quiet, failed=self._failed, then=then)
        except BaseException:
            self._released(*taken, reusable=True)
            raise

    def store(self, like: HttpRequest, head: bytes, body: bytes, store: BegunStore) -> bool:
        """See `cosxfer.transport.base.Stores`."""
        if (taken := self._take(like.endpoint)) is None:
            return False
        try:
            self._quiet.add(store.submit(*taken, head, body, like.stall_timeout_seconds))
        except BaseException:
            self._released(*taken, reusable=True)
            raise
        return True

    proven = staticmethod(proven)

    def stored(self, exchange: wire.Exchange, request: HttpRequest) -> Outcome:
        """See `cosxfer.transport.base.Stores`."""
        return outcome_of(exchange, request, failed=self._failed)

    def unacknowledged_bytes(self) -> int:
        return sum(io_thread.unacknowledged_bytes for io_thread in self._io_threads)

    def io_thread_seconds(self) -> list[float]:
        return [io_thread.cpu_seconds for io_thread in self._io_threads]

    def round_trip_seconds(self) -> float:
        return max((origin.round_trip_seconds for origin in self._origins.values()), default=0.0)

    async def aclose(self) -> None:
        self._closed = True
        if os.getpid() != self._process:
            return  # the connections and the threads belong to the parent process
        self._cancel_timers()
        for task in self._opening:
            task.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)
        for origin in self._origins.values():
            self._fail_waiting(origin, TransportError("the client is closed"), all_of_them=True)
        io_threads = list(self._io_threads)
        self._finalizer.detach()
        for io_thread in io_threads:
            try:
                await in_thread(None, io_thread.stop)
            except CosxferError:
                io_thread.stop()  # no thread can be started for this call
        for io_thread in io_threads:
            self._stopped(io_thread)
        for origin in self._origins.values():
            self._fail_waiting(origin, TransportError("the client is closed"), all_of_them=True)

    def abandon(self) -> None:
        """Release everything at once. For a client that was garbage-collected without `aclose`; it has no requests."""
        loop = self._loop
        self._closed = True
        if os.getpid() != self._process:
            return
        if loop is None or not self._finalizer.detach():
            return
        if loop.is_running() and asyncio._get_running_loop() is not loop:
            loop.call_soon_threadsafe(self._let_go)  # the garbage was collected in another thread
        else:
            self._let_go()

    def _cancel_timers(self) -> None:
        if self._sweep is not None:
            self._sweep.cancel()
        for timer in self._trying:
            timer.cancel()

    def _let_go(self) -> None:
        self._cancel_timers()
        for io_thread in self._io_threads:
            io_thread.stop()
            self._stopped(io_thread)

    def _stopped(self, io_thread: wire.IoThread) -> None:
        """Handle the last events of a stopped I/O thread and close its file descriptors."""
        if io_thread.fileno() < 0:
            return  # another call of `aclose` has done it
        assert self._loop is not None
        if not self._loop.is_closed():
            self._loop.remove_reader(io_thread.fileno())
        io_thread.drain(self)
        # Release now: a stored error keeps the I/O thread alive through its traceback.
        io_thread.release()

    def _check_open(self, request: HttpRequest) -> None:
        if self._closed:
            raise TransportError("the client is closed", url=request.url)

    # -- one request -----------------------------------------------------------------------------------------------

    async def _exchange(self, request: HttpRequest, head: bytes, origin: Origin, slot: WireSlot) -> wire.Exchange:
        loop = self._loop
        assert loop is not None
        call = Call(request, origin, slot, loop.create_future())
        try:
            exchange = wire.Exchange(
                head,
                length=-1 if request.content_length is None else request.content_length,
                stall_seconds=request.stall_timeout_seconds,
                max_response_bytes=MAX_RESPONSE_BYTES,
                pass_body_on=request.on_body is not None,
                owner=call,
            )
            whole = attach_body(exchange, request)
            if request.sink is not None:
                attach_sink(exchange, request.sink)
            self._check_open(request)  # the client may have been closed during the wait for a connection
        except BaseException as error:
            self._released(origin, slot, reusable=True)
            if isinstance(error, ValueError) and not isinstance(error, CosxferError):
                raise UsageError(f"the request cannot be sent: {error}", name="headers") from error
            raise
        # If the connection has closed since it was chosen, the exchange ends as UNSENT.
        io_thread = slot.connection.io_thread
        assert io_thread is not None
        try:
            io_thread.submit(slot.connection, exchange)
        except (ValueError, MemoryError) as error:
            self._released(origin, slot, reusable=True)
            if isinstance(error, MemoryError):
                raise
            raise TransportError("the client is closed", url=request.url) from error
        feeder = None
        if not whole:
            call.room = asyncio.Event()
            feeder = loop.create_task(feed(io_thread, exchange, request, call.room))
            feeder.add_done_callback(lambda task: self._fed(exchange, task))
        try:
            await call.ended
        except asyncio.CancelledError:
            io_thread.cancel(exchange)
            if not call.ended.done() or call.failure is None:
                raise
        finally:
            if feeder is not None and not feeder.done():
                feeder.cancel()
                if not isinstance(request.body, AsyncIterable):
                    await settled(feeder)  # its thread may still read the file, which the next attempt reads too
            if request.sink is not None:
                if not exchange.done:
                    call.over = loop.create_future()
                    await settled(call.over)  # the I/O thread may still write, and the file may be closed after this
                take_received(exchange, request.sink)
        if call.failure is not None:
            failure, call.failure = call.failure, None
            self._take_back(call)
            try:
                raise failure
            finally:
                del failure  # its traceback holds this frame: a cycle that would keep the exchange alive
        if exchange.result != wire.OK:
            self._take_back(call)
        return exchange

    def _fed(self, exchange: wire.Exchange, feeder: asyncio.Task[None]) -> None:
        """The task that reads the body has ended, with or without an error."""
        call: Call = exchange.owner
        if not feeder.cancelled():
            error = feeder.exception()
        else:  # cancelled: either with the request, which is done then, or by the body itself
            error = None if call.ended.done() else TransportError("the body was cancelled while it was read")
        if error is not None:
            self._break(exchange, call, error)

    @staticmethod
    def _break(exchange: wire.Exchange, call: Call, error: BaseException) -> None:
        """The caller's body or callback raised ``error``: end the request with it."""
        if call.failure is None:
            call.failure = error
        io_thread = call.slot.connection.io_thread
        if io_thread is not None:
            io_thread.cancel(exchange)
        if not call.ended.done():
            call.ended.set_result(None)

    @staticmethod
    def _take_back(call: Call) -> None:
        """Take back the progress that was reported, because the bytes must be sent again."""
        sent, call.sent = call.sent, 0
        if sent and call.request.on_sent is not None:
            call.request.on_sent(-sent)

    def _failed(self, exchange: wire.Exchange, request: HttpRequest) -> CosxferError:
        url = request.url
        result, why = exchange.result, exchange.why
        if result == wire.TIMEOUT:
            return TransportTimeoutError(
                f"{request.method} {url}: the server was silent for {request.stall_timeout_seconds:g} s", url=url
            )
        if result == wire.TOO_LONG:
            return ProtocolError(
                f"the response from {url} is longer than {MAX_RESPONSE_BYTES} bytes; it cannot be COS's", url=url
            )
        if result == wire.UNWRITABLE:
            return TargetError(f"cannot write: {exchange.why}", errno=exchange.error)
        if result == wire.CANCELLED and self._closed:
            return TransportError("the client is closed", url=url)
        where = request.endpoint.where
        if why == TLS_ALERT and request.endpoint.scheme == "http":
            return ConnectError(only_tls_message(where), url=url, permanent=True)
        final = refusal(why)
        if final:
            return ConnectError(f"cannot connect to {where}: {final}", url=url, permanent=True)
        message = f"{request.method} {url}: the connection broke: {why or 'the server closed it'}"
        return ProtocolError(message, url=url) if result == wire.MALFORMED else TransportError(message, url=url)

    # -- connections -----------------------------------------------------------------------------------------------

    def _origin(self, endpoint: Endpoint) -> Origin:
        if self._closed:
            raise TransportError("the client is closed")
        if os.getpid() != self._process:
            raise TransportError("the client was made before this process was forked; make a new one in the child")
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        key = (endpoint.scheme, endpoint.host, endpoint.port)
        origin = self._origins.get(key)
        if origin is None:
            context = self._tls() if endpoint.scheme == "https" else None
            origin = self._origins[key] = Origin(endpoint, self._config, context, self._limits)
        return origin

    def _tls(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = context_of(self._config)
        return self._context

    def _take(self, endpoint: Endpoint) -> tuple[Origin, WireSlot] | None:
        """Take a connection for a request that must not wait; None if there is none, or TLS has to read files."""
        if self._context is None and endpoint.scheme == "https":
            return None
        origin = self._origin(endpoint)
        slot = None if origin.waiting else origin.pool.take()
        return None if slot is None else (origin, slot)

    async def _wait(self, origin: Origin, request: HttpRequest) -> WireSlot:
        assert self._loop is not None
        turn: asyncio.Future[WireSlot] = self._loop.create_future()
        origin.waiting.append(turn)
        self._open(origin)
        patience = Patience(self._loop, origin, turn, request)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._released(origin, turn.result(), reusable=True)
            raise
        except TransportError as error:
            error.url = error.url or request.url
            raise
        finally:
            patience.end()

    def _open(self, origin: Origin) -> None:
        assert self._loop is not None
        if self._closed:
            return  # `aclose` ends the requests that wait
        waiting = sum(not turn.done() for turn in origin.waiting)
        for _ in range(origin.pool.to_open(waiting)):
            origin.pool.opening += 1
            task = self._loop.create_task(self._connect(origin))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _connect(self, origin: Origin) -> None:
        try:
            sock, http2 = await connect(origin.target, timeout_seconds=self._config.connect_timeout_seconds)
            if http2 and "h2" not in origin.target.protocols:
                # The server has required HTTP/1.1 since this connection was begun.
                sock.close()
                sock, http2 = await connect(origin.target, timeout_seconds=self._config.connect_timeout_seconds)
        except TransportError as error:
            origin.pool.opening -= 1
            self._not_connected(origin, error)
            return
        except asyncio.CancelledError:
            origin.pool.opening -= 1
            # For example by `asyncio.run` at its end. The requests that wait must end too.
            cancelled = TransportError(f"connecting to {origin.target.where} was given up")
            self._fail_waiting(origin, cancelled, all_of_them=not origin.pool.slots)
            raise
        except Exception as error:
            origin.pool.opening -= 1
            failure = ConnectError(f"cannot connect to {origin.target.where}: {error}")
            failure.__cause__ = error
            self._fail_waiting(origin, failure, all_of_them=True)
            return
        origin.pool.opening -= 1
        origin.note_round_trip(round_trip_seconds(sock))  # now: the connection takes a plain socket over
        connection: wire.Connection | None = None
        try:
            connection = wire.Connection(sock, http2=http2)
            self._io_thread().add(connection)
        except Exception as error:
            # No more descriptors, threads or memory. The connection may own the plain socket by now and closes it when
            # it is freed. Without this line the error's traceback would keep it alive.
            connection = None
            sock.close()
            why, ending = error, False
            if isinstance(error, RuntimeError):
                why, ending = none_to_be_had(error), "interpreter shutdown" in str(error)
            failure = ConnectError(f"cannot connect to {origin.target.where}: {why}", permanent=ending)
            failure.__cause__ = error
            self._not_connected(origin, failure)
            return
        origin.refusal = None
        slot = Slot(connection, http2=http2)
        connection.owner = (origin, slot)
        self._connections.add(connection)
        origin.pool.opened(slot, now=time.monotonic())
        self._serve(origin)
        if self._sweep is None:
            self._schedule_sweep()

    def _not_connected(self, origin: Origin, error: TransportError) -> None:
        """A connection failed. If others work, the requests wait for those: a server may limit connections."""
        if error.retryable and origin.pool.is_alive():
            origin.refusal = error
            self._refused(origin)
            self._serve(origin)
            return
        self._fail_waiting(origin, error, all_of_them=not origin.pool.slots)
        self._open(origin)

    def _refused(self, origin: Origin) -> None:
        """The server takes no more connections than it has, for now."""
        seconds = origin.pool.refused()
        if seconds is None:
            return

        def again() -> None:
            self._trying.discard(timer)
            origin.pool.ceiling.try_again()
            self._serve(origin)

        assert self._loop is not None
        timer = self._loop.call_later(seconds, again)
        self._trying.add(timer)

    def _io_thread(self) -> wire.IoThread:
        """Return the I/O thread for the next connection: a new one, or the one with the fewest connections."""
        assert self._loop is not None
        if len(self._io_threads) < self._thread_count:
            io_thread = wire.IoThread(self._rate)
            io_thread.start()
            try:
                self._loop.add_reader(io_thread.fileno(), io_thread.drain, self)
            except BaseException:
                io_thread.stop()
                raise
            self._io_threads.append(io_thread)
            return io_thread
        used = [connection.io_thread for connection in self._connections]
        return min(self._io_threads, key=used.count)

    @staticmethod
    def _fail_waiting(origin: Origin, error: TransportError, *, all_of_them: bool) -> None:
        """Fail the next request that waits, or all of them. If there are other connections, those serve the rest."""
        while origin.waiting:
            turn = origin.waiting.popleft()
            if turn.done():
                continue
            copy = error if not all_of_them else copy_of(error)
            turn.set_exception(copy)
            if not all_of_them:
                return

    def _serve(self, origin: Origin) -> None:
        """Give free connections to the requests that wait."""
        while origin.waiting:
            turn = origin.waiting[0]
            if not turn.done():
                slot = origin.pool.take()
                if slot is None:
                    self._open(origin)
                    return
                turn.set_result(slot)
            origin.waiting.popleft()

    def _serve_all(self) -> None:
        """The limits have changed."""
        for origin in self._origins.values():
            self._serve(origin)

    def _released(self, origin: Origin, slot: WireSlot, *, reusable: bool) -> None:
        origin.pool.give_back(slot, now=time.monotonic(), reusable=reusable)
        if origin.waiting:
            self._serve(origin)

    def _schedule_sweep(self) -> None:
        self._sweep = asyncio.get_running_loop().call_later(IDLE_SECONDS / 3, self._close_idle)

    def _close_idle(self) -> None:
        now = time.monotonic()
        for origin in self._origins.values():
            for slot in origin.pool.expired(now):
                io_thread = slot.connection.io_thread
                if io_thread is not None:
                    io_thread.close(slot.connection)
        self._sweep = None
        if self._connections:
            self._schedule_sweep()

    # -- events of the I/O threads ------------------------------------------------------------------------------

    def on_done(self, exchange: wire.Exchange) -> None:
        call: Call | BegunStore = exchange.owner
        origin, slot = call.origin, call.slot
        origin.moves += 1
        if not slot.proven:
            if exchange.result == wire.OK:
                origin.pool.proved(slot)
            elif exchange.result in (wire.UNSENT, wire.BROKEN):
                slot.usable = False
                self._refused(origin)
        self._released(origin, slot, reusable=exchange.reusable)
        if isinstance(call, BegunStore):
            call.has_ended(exchange)
            return
        if call.room is not None:
            call.room.set()
        if not call.ended.done():
            call.ended.set_result(None)
        if call.over is not None and not call.over.done():
            call.over.set_result(None)

    def on_sent(self, exchange: wire.Exchange, count: int) -> None:
        call: Call = exchange.owner
        call.origin.moves += 1
        if call.room is not None:
            call.room.set()
        if call.request.on_sent is None or call.ended.done():
            return
        call.sent += count
        try:
            call.request.on_sent(count)
        except BaseException as error:
            self._break(exchange, call, error)

    on_received = on_sent

    def on_wanted(self, exchange: wire.Exchange) -> None:
        call: Call = exchange.owner
        if call.room is not None:
            call.room.set()

    def on_body(self, exchange: wire.Exchange, piece: bytes) -> bool:
        call: Call = exchange.owner
        call.origin.moves += 1
        if call.request.on_body is None or call.ended.done():
            return False
        try:
            return used_later(call.slot.connection.io_thread, exchange, len(piece), call.request.on_body(piece))
        except BaseException as error:
            self._break(exchange, call, error)
            return False

    def on_settings(self, connection: wire.Connection, streams: int) -> None:
        origin, slot = connection.owner
        origin.pool.spoke(slot, streams)
        self._serve(origin)

    def on_leaving(self, connection: wire.Connection) -> None:
        origin, slot = connection.owner
        slot.usable = False
        self._serve(origin)

    def on_stalled(self, connection: wire.Connection) -> None:
        origin, slot = connection.owner
        origin.pool.stalled(slot)
        self._serve(origin)

    def on_closed(self, connection: wire.Connection) -> None:
        origin, slot = connection.owner
        connection.owner = None
        origin.pool.closed(slot)
        self._connections.discard(connection)
        if origin.waiting and not self._closed:
            self._serve(origin)
