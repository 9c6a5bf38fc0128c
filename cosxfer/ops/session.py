"""What every operation shares: address, signature, transport, retries."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, replace

from cosxfer.config import ClientConfig
from cosxfer.cos import sign
from cosxfer.cos.endpoint import Binding, Endpoint, check_confidential, resolve_endpoint
from cosxfer.cos.names import check_region
from cosxfer.cos.requests import SSE_CUSTOMER_KEY, CosRequest, HttpRequest, can_be_sent_again, check_unchanged, target
from cosxfer.cos.responses import HttpResponse, error_of, server_time
from cosxfer.credentials import Credentials, CredentialsResolver
from cosxfer.errors import CosxferError, ServerError
from cosxfer.foreign import clean_causes, clean_logger
from cosxfer.limits import MAX_CLOCK_SKEW_SECONDS
from cosxfer.retry import RetryBudget, RetryPolicy, retry_delay
from cosxfer.transport.base import Transport

logger = clean_logger("cosxfer")

RETRIES = "cosxfer.retry"
"""The logger of requests that are sent again, at the level INFO; ``reason`` of a record is the error's text."""

retry_logger = clean_logger(RETRIES)

SIGNATURE_LIFE_SECONDS = 900
SMALLEST_SKEW_SECONDS = 30
"""A server's clock that differs by less is not why a signature was refused."""


UNEXPLAINED_SECONDS = 60.0
"""A refusal that names no reason renews the keys at most this often: it may be a lack of permission."""


@dataclass
class _Learnt:
    """What refusals have taught; shared by all work of a client."""

    offset: float = 0.0
    """How far the server's clock is ahead of ours, in seconds."""
    doubted_at: float = float("-inf")
    """When keys were last renewed for a refusal without a reason, by the monotonic clock."""


@dataclass(frozen=True)
class Signing:
    """By what a request was signed, or a form: to be given to `Session.learn` if the server refuses it."""

    credentials: Credentials | None
    offset: float


class _Sent:
    """Counts the bytes that one attempt has sent, and passes them on."""

    __slots__ = ("_count", "_on_sent")

    def __init__(self, on_sent: Callable[[int], None]) -> None:
        self._on_sent = on_sent
        self._count = 0

    def add(self, amount: int) -> None:
        """``amount`` more were sent."""
        self._count += amount
        self._on_sent(amount)

    def take_back(self) -> None:
        """The attempt has failed: they have to be sent again."""
        if self._count:
            self._on_sent(-self._count)


class Session:
    """One client's way to COS. Used from one event loop."""

    def __init__(self, *, config: ClientConfig, transport: Transport, credentials: CredentialsResolver) -> None:
        self.config = config
        self.transport = transport
        self.policy = RetryPolicy(max_attempts=config.max_attempts)
        self.keys = credentials
        self._budget = RetryBudget()
        self._learnt = _Learnt()
        self._binding = Binding()
        self._on_retry: Callable[[CosxferError], None] | None = None

    def watched(self, on_retry: Callable[[CosxferError], None]) -> Session:
        """The same way to COS for one piece of work.

        ``on_retry`` gets the error of each request that is to be sent again; what it raises ends the call.
        """
        watched = Session.__new__(Session)
        vars(watched).update(vars(self))
        watched._on_retry = on_retry
        return watched

    def endpoint(self, bucket: str, region: str | None = None, *, bind: bool = False) -> Endpoint:
        """The address of ``bucket``; ``region`` overrides the client's.

        ``bind`` says that it is used now: an address without ``{bucket}`` is for this bucket from here on.
        """
        if region is not None and region != "":
            check_region(region)
        region = region or self.config.region
        endpoint = resolve_endpoint(self.config.endpoint, bucket=bucket, region=region)
        use = self._binding.bind if bind else self._binding.check
        use(self.config.endpoint, endpoint, bucket=bucket, region=region)
        return endpoint

    async def credentials(self) -> Credentials | None:
        """The keys that are valid now; None for anonymous access."""
        return await self.keys.get(self.now())

    async def signing(self) -> Signing:
        """The keys and the clock of a signature that is made now."""
        return Signing(await self.credentials(), self._learnt.offset)

    async def call(
        self,
        request: CosRequest,
        *,
        doing: str,
        on_sent: Callable[[int], None] | None = None,
        on_attempt: Callable[[], None] | None = None,
        on_body: Callable[[bytes], None] | None = None,
        stall_timeout_seconds: float | None = None,
        check: Callable[[HttpResponse], None] | None = None,
        max_attempts: int | None = None,
        on_conflict: Callable[[], Awaitable[HttpResponse | None]] | None = None,
    ) -> HttpResponse:
        """Send ``request`` until it succeeds or its error is final, and return the answer.

        ``doing`` says what is asked, for messages. ``on_sent`` gets bytes sent, negative where an attempt failed and
        they must be sent again; ``on_attempt`` is called before each attempt, ``on_body`` takes the answer's body.
        ``check`` may refuse an answer by raising. ``on_conflict`` is asked after a 409: what it returns is the answer;
        where that is None, the request is sent again. A body that cannot be read twice is sent once; a failure before
        it was begun to be read is no attempt at it. A wrong clock and expired keys are corrected in any case, for the
        next call where not for this one.
        """
        policy = self.policy if max_attempts is None else replace(self.policy, max_attempts=max_attempts)
        attempt, corrected = 1, set[str]()
        while True:
            if on_attempt is not None:
                on_attempt()
            signing = await self.signing()
            sent = None if on_sent is None else _Sent(on_sent)
            outgoing = self._outgoing(request, signing.credentials, attempt, sent, on_body, stall_timeout_seconds)
            try:
                return await self._attempt(outgoing, sent, doing, check, request.accepted)
            except CosxferError as error:
                learnt = self.learn(error, signing, method=request.method) if request.signed else ""
                if not can_be_sent_again(request.body):
                    if learnt:
                        error.add_note(f"{learnt}, so the same call may succeed now with a new body")
                    raise
                # A wrong clock or expired keys are corrected once each, without an attempt being counted.
                if learnt and learnt not in corrected:
                    corrected.add(learnt)
                    self.note_retry(error, attempt=attempt, delay_seconds=0.0)
                    continue
                if on_conflict is not None and isinstance(error, ServerError) and error.status == 409:
                    if (resolved := await on_conflict()) is not None:
                        return resolved
                    error.retryable = True
                delay = retry_delay(policy, error, attempt=attempt, random=random.random())  # noqa: S311 # jitter
                if delay is None or not self._budget.take():
                    if attempt > 1:
                        error.add_note(f"sent {attempt} times")
                    raise
                await check_unchanged(request.body)
                self.note_retry(error, attempt=attempt + 1, delay_seconds=delay, max_attempts=policy.max_attempts)
            attempt += 1
            await asyncio.sleep(delay)

    async def _attempt(
        self,
        outgoing: HttpRequest,
        sent: _Sent | None,
        doing: str,
        check: Callable[[HttpResponse], None] | None,
        accepted: Collection[int],
    ) -> HttpResponse:
        began, answered = time.monotonic(), False
        try:
            response = await self.transport.send(outgoing)
            answered = True
            _log_answer(outgoing, response, began)
            error = error_of(response, doing=doing)
            if error is not None and error.status not in accepted:
                raise error
            if check is not None:
                check(response)
        except BaseException as failure:
            if isinstance(failure, CosxferError):
                clean_causes(failure)
            if not answered:
                logger.debug("%s: no answer after %.3f s: %r", _shown(outgoing), time.monotonic() - began, failure)
            if sent is not None:
                sent.take_back()
            raise
        self._budget.give_back()
        return response

    def _outgoing(
        self,
        request: CosRequest,
        credentials: Credentials | None,
        attempt: int,
        sent: _Sent | None,
        on_body: Callable[[bytes], None] | None,
        stall_timeout_seconds: float | None,
    ) -> HttpRequest:
        if SSE_CUSTOMER_KEY in request.headers:
            check_confidential(self.endpoint(request.bucket, request.region))
        endpoint = self.endpoint(request.bucket, request.region, bind=True)
        path = endpoint.path(request.key)
        headers: dict[str, str] = {"host": endpoint.authority, **request.headers}
        if request.content_length is not None and (request.content_length or request.method in ("PUT", "POST")):
            headers["content-length"] = str(request.content_length)
        if request.content_length == 0:
            # There is nothing to hold back; RFC 9110 forbids the expectation without a body.
            headers.pop("expect", None)
        if attempt > 1:
            headers["x-cos-sdk-retry"] = "true"
        if credentials is not None and request.signed:
            headers.update(self._signature(request, path, headers, credentials))
        return HttpRequest(
            method=request.method,
            endpoint=endpoint,
            target=target(path, request.params),
            headers=headers,
            body=request.body,
            content_length=request.content_length,
            stall_timeout_seconds=stall_timeout_seconds or self.config.stall_timeout_seconds,
            expect_continue="expect" in headers,
            on_sent=None if sent is None else sent.add,
            on_body=on_body,
        )

    def _signature(
        self, request: CosRequest, path: str, headers: Mapping[str, str], credentials: Credentials
    ) -> dict[str, str]:
        added = {} if credentials.token is None else {"x-cos-security-token": credentials.token}
        added["authorization"] = sign.authorization(
            credentials,
            method=request.method,
            path=path,
            params=request.params,
            headers={**headers, **added},
            key_time=sign.key_time(self.now(), life_seconds=SIGNATURE_LIFE_SECONDS),
        )
        return added

    def learn(self, error: CosxferError, signing: Signing, *, method: str) -> str:
        """Mend what made the server refuse a signature; returns what was mended, empty where nothing was.

        ``signing`` is that of the refused request: another request may have mended the clock or the keys since.
        """
        if not isinstance(error, ServerError):
            return ""
        expired = error.code == "AccessDenied" and "expired" in str(error).lower()
        # The response to HEAD has no body.
        unexplained = not error.code and (error.status == 403 or (error.status == 400 and method == "HEAD"))
        if error.code == "RequestTimeTooSkewed" or expired or unexplained:
            smallest = MAX_CLOCK_SKEW_SECONDS if unexplained else SMALLEST_SKEW_SECONDS
            theirs = server_time(HttpResponse(status=error.status, headers=error.headers))
            if theirs is not None and abs(theirs - time.time() - signing.offset) >= smallest:
                self._learnt.offset = theirs - time.time()
                return "the clock was corrected"
        doubted = unexplained and method == "HEAD" and self._may_doubt(signing.credentials)
        if expired or doubted or error.code in ("ExpiredToken", "InvalidAccessKeyId"):
            return "the keys are asked for anew" if self.keys.discard(signing.credentials, doubted=doubted) else ""
        return ""

    def _may_doubt(self, credentials: Credentials | None) -> bool:
        """Whether a refusal without a reason is worth new keys."""
        if not self.keys.is_current(credentials):
            return True  # there are newer ones already
        now = time.monotonic()
        if now - self._learnt.doubted_at < UNEXPLAINED_SECONDS:
            return False
        self._learnt.doubted_at = now
        return True

    def now(self) -> float:
        """Unix seconds by the server's clock, as far as it is known."""
        return time.time() + self._learnt.offset

    def note_retry(
        self, error: CosxferError, *, attempt: int, delay_seconds: float, max_attempts: int | None = None
    ) -> None:
        """A request is about to be sent again because of ``error``, for the ``attempt``-th time in all."""
        if self._on_retry is not None:
            self._on_retry(error)
        retry_logger.info(
            "%s; sent again %s (attempt %d of %d)",
            error,
            f"in {delay_seconds:.1f} s" if delay_seconds >= 0.05 else "at once",
            attempt,
            max_attempts or self.policy.max_attempts,
            extra={"reason": str(error)},
        )


def _shown(request: HttpRequest) -> str:
    """The request line, for a log. The signature is a header, so the query holds no secret."""
    endpoint = request.endpoint
    again = ", sent again" if "x-cos-sdk-retry" in request.headers else ""
    return f"{request.method} {endpoint.scheme}://{endpoint.authority}{request.target}{again}"


def _log_answer(request: HttpRequest, response: HttpResponse, began: float) -> None:
    if logger.isEnabledFor(logging.DEBUG):
        logger.debug(
            "%s: %d in %.3f s over %s, request id %s",
            _shown(request),
            response.status,
            time.monotonic() - began,
            response.http_version,
            response.request_id or "-",
        )
