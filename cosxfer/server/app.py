"""The ASGI application: turns a request into a response, with the checks that all operations share.

Order: address, route, signature, bucket, key, fault script, then the operation. If the head is enough to refuse a
request, the body is not read first.
"""

from __future__ import annotations

import asyncio
import base64
import errno
import logging
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import Executor
from dataclasses import asdict
from typing import Any

from cosxfer.cos.headers import decode_headers
from cosxfer.credentials import Credentials
from cosxfer.limits import GIB
from cosxfer.records import dataclass
from cosxfer.server import checks, cors
from cosxfer.server.address import Address, locate, locate_s3, may_list_buckets
from cosxfer.server.authentication import authenticate
from cosxfer.server.body import Body, Receive
from cosxfer.server.call import Call, http_date
from cosxfer.server.fault_effects import alter_response, apply_after, apply_before
from cosxfer.server.faults import AT_ANSWER, Fault, FaultPlan
from cosxfer.server.http import (
    XML_TYPE,
    ClientGone,
    CosError,
    Request,
    Response,
    decode_path,
    decode_query,
    error_body,
)
from cosxfer.server.operations import OPERATIONS
from cosxfer.server.routing import route
from cosxfer.server.s3.face import Face, is_s3
from cosxfer.server.store import Store
from cosxfer.server.write_together import WriteTogether

Send = Callable[[Mapping[str, Any]], Awaitable[None]]
Scope = Mapping[str, Any]

logger = logging.getLogger("cosxfer.server")

SERVER_NAME = "tencent-cos"
DRAIN_BYTES = 1 * GIB
DRAIN_SECONDS = 30.0
"""How much of a refused body is read and dropped, for clients that read the response only after sending the body."""
LOGGED_REQUESTS = 100_000


@dataclass(kw_only=True, slots=True)
class LoggedRequest:
    """A finished request in the log that tests can read."""

    method: str
    http_version: str
    operation: str = ""
    bucket: str = ""
    key: str = ""
    part: int | None = None
    status: int = 0
    """0: no response was sent."""
    code: str = ""
    received: int = 0
    """Bytes of the body."""
    fault: str = ""


class Application:
    def __init__(
        self,
        *,
        store: Store,
        executor: Executor,
        credentials: tuple[Credentials, ...],
        region: str,
        allow_anonymous: bool = False,
        host: str = "127.0.0.1",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._executor = executor
        self._together = WriteTogether(executor)
        self._region = region
        self._allow_anonymous = allow_anonymous
        self._host = host
        self._clock = clock
        self._requests: deque[LoggedRequest] = deque(maxlen=LOGGED_REQUESTS)
        self.set_credentials(credentials)
        self.set_faults(())

    def set_credentials(self, credentials: tuple[Credentials, ...]) -> None:
        """Accept these access keys and no others, from now on."""
        self._keys = {key.secret_id: key for key in credentials}

    def set_faults(self, rules: tuple[Fault, ...]) -> None:
        """Follow these rules from now on and reset the counters."""
        self._faults = FaultPlan(rules)

    def requests(self, *, clear: bool) -> list[dict[str, Any]]:
        """Return the last requests, oldest first."""
        requests = [asdict(request) for request in self._requests]
        if clear:
            self._requests.clear()
        return requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        logged = LoggedRequest(method=scope["method"], http_version=scope["http_version"])
        headers = decode_headers(scope["headers"])
        request = Request(
            method=scope["method"],
            path=scope["path"],
            query=decode_query(scope["query_string"]),
            headers=headers,
            http_version=scope["http_version"].removesuffix(".0"),
            host=headers.get("host", ""),
            scheme=scope["scheme"],
            now=self._clock(),
        )
        face = None
        if is_s3(request.headers, request.query):
            raw_path, raw_query = (scope[name].decode("latin-1") for name in ("raw_path", "query_string"))
            face = Face(request, raw_path=raw_path, raw_query=raw_query, receive=receive)
            request, receive = face.translated(), face.payload.receive
        body = Body(receive, together=self._together, declared=request.content_length, expected=request.may_have_body)
        exchange = _Exchange(
            request=request,
            face=face,
            raw_path=scope["raw_path"],
            client=(scope["client"][0], int(scope["client"][1])),
            body=body,
            send=send,
            request_id=base64.b64encode(secrets.token_bytes(24)).decode(),
            trace_id=secrets.token_hex(32),
            logged=logged,
            cors={} if self._allow_anonymous else cors.response_headers(headers),
        )
        try:
            await self._respond(exchange)
        except ClientGone:
            pass
        finally:
            self._log(exchange)

    def _log(self, exchange: _Exchange) -> None:
        """Log each request once, when no more of it can arrive."""
        if not exchange.is_logged:
            exchange.is_logged = True
            exchange.logged.received = exchange.body.received
            self._requests.append(exchange.logged)

    async def _respond(self, exchange: _Exchange) -> None:
        try:
            response = await self._perform(exchange)
        except CosError as error:
            response = exchange.error_response(error if exchange.face is None else exchange.face.error(error))
        except OSError as error:
            response = exchange.error_response(_disk_error(error))
        except (ClientGone, asyncio.CancelledError):
            raise
        except Exception:
            logger.exception("%s %s failed", exchange.request.method, exchange.request.path)
            response = exchange.error_response(CosError("InternalError", "We encountered an internal error."))
        exchange.logged.status = response.status
        if exchange.body.complete:
            # A client that has the response may read the log at once and must find this request in order.
            self._log(exchange)
        try:
            await exchange.send_response(response)
        except OSError:
            # The head is sent, so the body can only end early.
            logger.exception("%s %s failed during the response", exchange.request.method, exchange.request.path)
            raise
        await exchange.drain()

    async def _perform(self, exchange: _Exchange) -> Response:
        request, logged = exchange.request, exchange.logged
        # Not the path that the HTTP server decoded: it has lost bytes that are not UTF-8.
        request = exchange.request = _with_path(request, decode_path(exchange.raw_path))
        if self._allow_anonymous:
            cors.check_local(request.headers, host=self._host)
        asked = None if self._allow_anonymous else cors.preflight(request.method, request.headers)
        if asked is not None:
            return asked
        if exchange.face is not None:
            address = locate_s3(host=request.host, path=request.path)
        else:
            address = locate(
                host=request.host,
                path=request.path,
                buckets=self._store.bucket_names,
                service=may_list_buckets(request.method, request.query),
            )
        logged.bucket, logged.key = address.bucket or "", address.key
        operation = route(
            method=request.method,
            bucket=address.bucket,
            key=address.key,
            query=request.query,
            headers=request.headers,
        )
        if exchange.face is not None:
            operation = exchange.face.operation(operation)
        logged.operation = operation
        checks.check_numbers(operation, request.query)
        logged.part = checks.part_number(request.query) if operation == "multipart_upload" else None
        self._admit(exchange, operation, address)
        fault = self._faults.choose(operation=operation, bucket=logged.bucket, key=logged.key, part=logged.part)
        if fault is not None:
            logged.fault = fault.do
            await apply_before(fault, exchange.body, exchange.client)
        call = Call(
            request=request,
            bucket=logged.bucket,
            key=address.key,
            body=exchange.body,
            store=self._store,
            executor=self._executor,
            region=self._region,
            keys=self._keys,
            allow_anonymous=self._allow_anonymous,
            body_is_proven=exchange.face is not None and exchange.face.payload.is_proven,
        )
        response = await OPERATIONS[operation](call)
        if fault is not None:
            if fault.at == AT_ANSWER:
                response = await apply_after(fault, response, operation, exchange.client)
            response = alter_response(fault, response, exchange.client)
        return response

    def _admit(self, exchange: _Exchange, operation: str, address: Address) -> None:
        if exchange.face is not None:
            signed_by = exchange.face.authenticate(self._keys)
        elif operation == "post_object":
            signed_by = None  # the policy in a form authenticates it
        else:
            signed_by = authenticate(exchange.request, self._keys)
        if signed_by is None and operation != "post_object" and not self._allow_anonymous:
            raise CosError("AccessDenied", "Access Denied.")
        checks.check_key(address.key)
        if address.bucket is not None and operation != "put_bucket" and address.bucket not in self._store.bucket_names:
            raise CosError("NoSuchBucket", "The specified bucket does not exist.")


@dataclass(kw_only=True, slots=True)
class _Exchange:
    """One request and its response on the wire."""

    request: Request
    face: Face | None
    """If it is a request of S3."""
    raw_path: bytes
    client: tuple[str, int]
    body: Body
    send: Send
    request_id: str
    trace_id: str
    logged: LoggedRequest
    cors: Mapping[str, str]
    is_logged: bool = False

    def error_response(self, error: CosError) -> Response:
        self.logged.code = error.code
        headers = {"content-type": XML_TYPE, "x-cos-trace-id": self.trace_id, **error.headers}
        resource = f"{self.request.host}{self.request.path}"
        return Response(
            status=error.status,
            headers=headers,
            body=error_body(error, resource=resource, request_id=self.request_id, trace_id=self.trace_id),
        )

    async def send_response(self, response: Response) -> None:
        body = response.body
        length = len(body) if isinstance(body, bytes) and response.content_length is None else response.content_length
        headers = {
            **response.headers,
            **self.cors,
            "date": http_date(self.request.now),
            "server": SERVER_NAME,
            "x-cos-request-id": self.request_id,
        }
        if self.face is not None:
            headers = self.face.response_headers(headers)
        if self.request.http_version != "2" and not self._can_be_drained():
            headers["connection"] = "close"
        if length is not None and response.status not in (204, 304):
            headers["content-length"] = str(length)
        await self.send(
            {
                "type": "http.response.start",
                "status": response.status,
                "headers": [(name.encode("latin-1"), value.encode()) for name, value in headers.items()],
            }
        )
        await self._send_body(b"" if self.request.method == "HEAD" else body)

    async def _send_body(self, body: bytes | AsyncIterator[bytes]) -> None:
        if isinstance(body, bytes):
            await self.send({"type": "http.response.body", "body": body})
            return
        async for chunk in body:
            await self.send({"type": "http.response.body", "body": chunk, "more_body": True})
        await self.send({"type": "http.response.body", "body": b""})

    def _can_be_drained(self) -> bool:
        """Whether the connection can serve another request after this one."""
        if self.body.complete:
            return True
        if self.request.expects_continue and not self.body.received:
            return False
        rest = (self.request.content_length or 0) - self.body.received
        return rest <= DRAIN_BYTES

    async def drain(self) -> None:
        if self.request.http_version != "2" and self.request.expects_continue and not self.body.received:
            # The client waits for 100 Continue; the response tells it not to send the body.
            return
        if not self.body.complete:
            await self.body.drain(limit=DRAIN_BYTES, seconds=DRAIN_SECONDS)


def _with_path(request: Request, path: str) -> Request:
    return Request(
        method=request.method,
        path=path,
        query=request.query,
        headers=request.headers,
        http_version=request.http_version,
        host=request.host,
        scheme=request.scheme,
        now=request.now,
    )


def _disk_error(error: OSError) -> CosError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    why = "The server's disk is full." if full else f"The server's disk failed: {error.strerror or error}."
    logger.error("%s", why)
    return CosError("InternalError", why)
