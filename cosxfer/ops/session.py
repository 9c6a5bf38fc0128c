"""Sending the requests of all operations: address, signature, transport, retries."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import field, replace

from cosxfer.address import ObjectAddress
from cosxfer.config import ClientConfig
from cosxfer.cos import sign
from cosxfer.cos.codes import CODES
from cosxfer.cos.endpoint import Endpoint, check_confidential
from cosxfer.cos.requests import SSE_CUSTOMER_KEY, CosRequest, HttpRequest, can_be_sent_again, check_unchanged, target
from cosxfer.cos.responses import HttpResponse, error_of, server_time
from cosxfer.credentials import Credentials, CredentialsResolver
from cosxfer.errors import CosxferError, ServerError
from cosxfer.foreign import clean_causes, clean_logger
from cosxfer.limits import MAX_CLOCK_SKEW_SECONDS
from cosxfer.ops.attempt import Attempt, Signing, send_followed
from cosxfer.ops.endpoints import Endpoints
from cosxfer.ops.other_host import HostSwitch, is_last_try
from cosxfer.ops.outage import RETRIES, Failing, Outage, Transfer, retry_logger
from cosxfer.ops.traffic import SMALL_BYTES, Traffic
from cosxfer.records import dataclass
from cosxfer.retry import RetryBudget, RetryPolicy, asked_seconds, is_outage, outage_left, retry_delay
from cosxfer.transport.base import Transport

logger = clean_logger("cosxfer")

__all__ = ["RETRIES", "Session", "Signing", "logger"]

SIGNATURE_LIFE_SECONDS = 900
REQUEST_ID = "x-cos-request-id"
"""The header that each response of COS itself has."""
SMALLEST_SKEW_SECONDS = 30
"""If the server's clock differs by less, that is not why it refused a signature."""


CLOCK_CORRECTED = "the clock was corrected"
KEYS_RENEWED = "the keys are renewed"
_MOST_CORRECTIONS = {CLOCK_CORRECTED: 3, KEYS_RENEWED: 1}
"""How often one request is sent again at once for each. A clock may be set several times while a request is sent."""

UNEXPLAINED_SECONDS = 60.0
"""A refusal without a reason renews the keys at most this often, because the permission may be missing."""


@dataclass
class _Shared:
    """The state that all sessions of a client share."""

    hosts: HostSwitch
    endpoints: Endpoints
    offset_seconds: float = 0.0
    """How far the server's clock is ahead of ours, measured from refusals."""
    doubted_at: float = float("-inf")
    """When keys were last renewed after a refusal without a reason, by the monotonic clock."""
    budget: RetryBudget = field(default_factory=RetryBudget)
    outage: Outage | None = None
    """While nothing works."""
    no_keys: Outage | None = None
    """While the credentials provider fails."""
    traffic: Traffic = field(default_factory=Traffic)


class _Sent:
    """Counts the bytes that one attempt sends, and reports them to ``on_sent`` and to ``traffic``."""

    __slots__ = ("_count", "_on_sent", "_traffic")

    def __init__(self, on_sent: Callable[[int], None] | None, traffic: Traffic | None) -> None:
        self._on_sent = on_sent
        self._traffic = traffic
        self._count = 0

    def add(self, amount: int) -> None:
        """Report that ``amount`` more bytes were sent."""
        self._count += amount
        if self._traffic is not None:
            self._traffic.sent_bytes += amount
            self._traffic.open_bytes += amount
        if self._on_sent is not None:
            self._on_sent(amount)

    def end(self) -> None:
        """The attempt has succeeded."""
        if self._traffic is not None:
            self._traffic.open_bytes -= self._count

    def take_back(self) -> None:
        """Report that the attempt has failed, so its bytes have to be sent again."""
        if self._count:
            self.add(-self._count)


class Session:
    """Sends the requests of one client to COS. Used from one event loop."""

    def __init__(
        self,
        *,
        config: ClientConfig,
        transport: Transport,
        credentials: CredentialsResolver,
        on_retry: Callable[[CosxferError], None] | None = None,
        shared: _Shared | None = None,
        counted: bool = False,
        transfer: Transfer | None = None,
    ) -> None:
        self.config = config
        self.transport = transport
        self.policy = RetryPolicy(max_attempts=config.max_attempts, outage_seconds=config.retry_for_seconds)
        self.keys = credentials
        self.retries = 0
        """Requests of this session that were sent again."""
        self._on_retry = on_retry
        self._shared = shared or _Shared(HostSwitch(config), Endpoints(config))
        self._counted = self._shared.traffic if counted else None
        self.transfer = transfer
        """The transfer that the requests of this session belong to; None for single requests."""

    @property
    def traffic(self) -> Traffic:
        """The counters of the client."""
        return self._shared.traffic

    def observed(
        self,
        on_retry: Callable[[CosxferError], None] | None = None,
        *,
        counted: bool = False,
        transfer: Transfer | None = None,
    ) -> Session:
        """Return a session for one piece of work, which counts its own `retries` and shares all else with this one.

        ``on_retry`` gets the error before each retry. If it raises, the call ends with that exception. ``counted``
        adds the bodies to `traffic`: those whose number in flight the scheduler decides. The requests belong to
        ``transfer`` and outlast an outage once that has begun. If this session has a transfer already, that one counts.
        """
        return Session(
            config=self.config,
            transport=self.transport,
            credentials=self.keys,
            on_retry=on_retry,
            shared=self._shared,
            counted=counted,
            transfer=self.transfer or transfer,
        )

    def address(self, bucket: str, key: str, region: str | None) -> ObjectAddress:
        """Return the checked address of an object; raises `UsageError` if it cannot be one of this client's."""
        return self._shared.endpoints.address(bucket, key, region)

    def endpoint(self, address: ObjectAddress, *, bind: bool = False) -> Endpoint:
        """Return the endpoint of the bucket of ``address``: see `Endpoints.of`."""
        return self._shared.endpoints.of(address, bind=bind)

    async def credentials(self) -> Credentials | None:
        """Return the keys that are valid now; None for anonymous access."""
        return await self.keys.get(self.now())

    async def signing(self) -> Signing:
        """Return the keys and the clock for a signature that is made now."""
        credentials = await self.credentials()
        return Signing(credentials, self._shared.offset_seconds, time.time() - time.monotonic())

    @property
    def in_outage(self) -> bool:
        """Whether nothing works at the moment, so that requests wait for their turn."""
        return self._shared.outage is not None

    @property
    def clock_offset(self) -> float:
        """How far the server's clock is ahead of ours, in seconds, as far as that is known."""
        return self._shared.offset_seconds

    @property
    def has_switched_hosts(self) -> bool:
        """Whether a bucket is reached by its second host name."""
        return bool(self._shared.hosts.switched)

    @property
    def counts(self) -> bool:
        """Whether the bodies of its requests are added to `traffic`."""
        return self._counted is not None

    def outgoing(self, request: CosRequest, credentials: Credentials | None) -> HttpRequest:
        """Return the first attempt at ``request``, signed now. Its bytes are not counted."""
        return self._outgoing(request, credentials, 1, None, other=False)

    async def call(self, request: CosRequest, *, tried: Attempt | None = None) -> HttpResponse:
        """Send ``request`` until it succeeds or its error is final, and return the response.

        ``tried`` is a failed attempt of `begin`, which counts as the first one.

        A body that cannot be read twice is sent once. A failure before its reading began does not count as an attempt.
        A wrong clock and expired keys are corrected in any case, at least for the next call. A request of a transfer
        that has begun outlasts an outage (`cosxfer.retry`).
        """
        policy = self.policy
        if request.max_attempts is not None:
            policy = replace(policy, max_attempts=request.max_attempts)
        corrected: tuple[str, ...] = ()
        attempt, failing = 1, None
        other = False
        """Whether the attempt goes to the second name of the host."""
        while True:
            if request.on_attempt is not None:
                request.on_attempt()
            failed_at = None if tried is None else tried.failed_at
            if tried is None:
                signing = await (self.signing() if self.transfer is None else self._signing_in_outage(self.transfer))
                sent = self._counter(request)
                outgoing = self._outgoing(request, signing.credentials, attempt, sent, other=other)
            else:
                signing, sent, outgoing = tried.signing, None, tried.outgoing
            began, responded = time.monotonic(), False
            try:
                try:
                    if tried is not None:
                        (response, failed), tried = tried.outcome(), None
                        responded = response is not None
                        raise failed
                    if request.follower is None:
                        response = await self.transport.send(outgoing)
                    else:
                        response = await send_followed(self.transport, outgoing, request.follower)
                    responded = True
                    if other and REQUEST_ID in response.headers:
                        self._shared.hosts.works(self.endpoint(request.address))
                    self.accept(request, outgoing, response, began)
                    if sent is not None:
                        sent.end()
                    if not request.body and request.sink is None:
                        self._shared.traffic.note_latency(time.monotonic() - began - response.connection_seconds)
                    return response
                except BaseException as failure:
                    _clean_up(failure, outgoing, sent, began=None if responded else began)
                    raise
            except CosxferError as error:
                if failed_at is None:
                    self.note_failure(error)
                learnt = self.learn(error, signing, method=request.method) if request.signed else ""
                if not can_be_sent_again(request.body):
                    if learnt:
                        error.add_note(f"{learnt}, so the same call with a new body may succeed now")
                    if not responded:
                        error.add_note(MAY_BE_STORED)
                    raise
                switches = self._switches_host(request, signing, outgoing, response if responded else None)
                if switches and not other and isinstance(error, ServerError) and 300 <= error.status < 400:
                    other = True
                    await self._before_retry(request)
                    self.note_retry(error, attempt=attempt, delay_seconds=0.0)
                    continue
                # A correction does not count as an attempt.
                if may_correct(learnt, corrected):
                    corrected += (learnt,)
                    self.note_retry(error, attempt=attempt, delay_seconds=0.0)
                    continue
                if request.on_conflict is not None and isinstance(error, ServerError) and error.status == 409:
                    if (resolved := await request.on_conflict()) is not None:
                        return resolved
                    error.retryable = error.retryable or error.code not in CODES
                failing = failing or Failing(self._shared.budget.successes)
                left = self._outage_left(request, error, failing, learnt)
                pause = self._pause(policy, error, failing, attempt=attempt, left=left)
                if pause is None:
                    if other:
                        error.add_note(f"the last attempt went to {outgoing.endpoint.where}")
                    if attempt > 1:
                        error.add_note(
                            f"sent {attempt} times" + ("" if left is None else f" in {failing.seconds:.0f} s")
                        )
                    raise
                await self._before_retry(request)
                delay, outage = pause
                if failed_at is not None and outage is None:
                    delay = max(0.0, delay - (time.monotonic() - failed_at))
                other = switches and is_last_try(attempt + 1, policy.max_attempts)
                self.note_retry(
                    error,
                    attempt=attempt + 1,
                    delay_seconds=delay,
                    max_attempts=policy.max_attempts,
                    waits=outage is not None,
                )
            attempt += 1
            if delay or outage is None:
                await asyncio.sleep(delay)
            if outage is not None:
                assert left is not None
                await outage.turn(left - delay)
                other = switches and not outage.over and outage.turns % 2 == 0

    async def _before_retry(self, request: CosRequest) -> None:
        await check_unchanged(request.body)
        if request.before_retry is not None:
            await request.before_retry()

    def _switches_host(
        self, request: CosRequest, signing: Signing, outgoing: HttpRequest, response: HttpResponse | None
    ) -> bool:
        """Whether the request may be sent to the second name of its host: COS itself has not answered."""
        if (
            not request.signed
            or signing.credentials is None
            or (response is not None and REQUEST_ID in response.headers)
        ):
            return False
        endpoint, hosts = self.endpoint(request.address), self._shared.hosts
        if outgoing.endpoint.host != endpoint.host:
            hosts.fails(endpoint)
        return hosts.other(endpoint) is not None

    def _outage_left(self, request: CosRequest, error: CosxferError, failing: Failing, learnt: str) -> float | None:
        """Return for how many more seconds ``error`` may be outlasted; None if the usual attempts alone count."""
        transfer = self.transfer
        if transfer is None or not transfer.begun or not self.policy.outage_seconds:
            return None
        if request.max_attempts is not None:
            return None
        # A provider that returns old keys from its cache has new ones soon.
        old_keys = learnt == KEYS_RENEWED and isinstance(error, ServerError) and error.code != "InvalidAccessKeyId"
        if not old_keys and not is_outage(error):
            return None
        since = transfer.failed(failing.now)
        return outage_left(self.policy, now=failing.now, failing_since=failing.since, transfer_failing_since=since)

    def _pause(
        self, policy: RetryPolicy, error: CosxferError, failing: Failing, *, attempt: int, left: float | None
    ) -> tuple[float, Outage | None] | None:
        """Return how long to wait before the next attempt, and the outage in which to wait for a turn then.

        None: there is no next attempt.
        """
        shared, chance = self._shared, random.random()  # noqa: S311 # jitter
        usual = retry_delay(policy, error, attempt=attempt, random=chance)
        if left is None or left <= 0:
            return (usual, None) if usual is not None and shared.budget.take() else None
        others_work = shared.budget.successes != failing.successes
        if (others_work or shared.outage is None) and usual is not None and shared.budget.take():
            return min(usual, left), None
        asked = min(asked_seconds(policy, error), left)
        if others_work:
            return min(max(chance * policy.cap_seconds, asked), left), None
        if shared.outage is None:
            shared.outage = Outage(policy, "the server", began=failing.since)
        shared.outage.tell(error, left_seconds=left)
        return asked, shared.outage

    async def _signing_in_outage(self, transfer: Transfer) -> Signing:
        """As `signing`. If the transfer has begun, a credentials provider that fails is called again."""
        shared, failing = self._shared, None
        while True:
            try:
                signing = await self.signing()
            except CosxferError as error:
                failing = failing or Failing(shared.budget.successes)
                left = self.policy.outage_seconds - failing.seconds
                if not transfer.begun or not error.retryable or left <= 0:
                    if failing.seconds >= 1:
                        error.add_note(f"the credentials provider was called for {failing.seconds:.0f} s")
                    raise
                if shared.no_keys is None:
                    shared.no_keys = Outage(self.policy, "the credentials provider", began=failing.since)
                shared.no_keys.tell(error, left_seconds=left)
                outage = shared.no_keys
            else:
                if shared.no_keys is not None:
                    shared.no_keys.end()
                    shared.no_keys = None
                return signing
            await outage.turn(left)

    def accept(self, request: CosRequest, outgoing: HttpRequest, response: HttpResponse, began: float) -> None:
        """Raise if ``response`` is an error or is refused by the request's own check."""
        _log_answer(outgoing, response, began)
        error = error_of(response, operation=request.operation)
        if error is not None and error.status not in request.accepted:
            raise error
        if request.check is not None:
            request.check(response)
        if request.method == "PUT" or request.sink is not None:
            self.note_stored(_body_bytes(request) if outgoing.on_sent is None else None)
        else:
            self.note_success()

    def note_failure(self, error: CosxferError) -> None:
        """An attempt has failed."""
        self._shared.traffic.note_failure(error, asked_seconds=asked_seconds(self.policy, error))

    def note_success(self) -> None:
        """A request has succeeded."""
        shared = self._shared
        shared.budget.give_back()
        if shared.outage is not None:
            shared.outage.end()
            shared.outage = None
        if self.transfer is not None:
            self.transfer.succeeded()

    def note_stored(self, size: int | None) -> None:
        """A request with a body of ``size`` bytes has succeeded; None: they were counted while they were sent."""
        self.note_success()
        if self._counted is not None:
            self._counted.requests_done += 1
            self._counted.sent_bytes += size or 0

    def _counter(self, request: CosRequest) -> _Sent | None:
        """Return what counts the bytes of an attempt; None if nobody asks for them while they are sent."""
        if request.on_sent is None and (self._counted is None or _body_bytes(request) <= SMALL_BYTES):
            return None
        return _Sent(request.on_sent, self._counted)

    def _outgoing(
        self,
        request: CosRequest,
        credentials: Credentials | None,
        attempt: int,
        sent: _Sent | None,
        *,
        other: bool,
    ) -> HttpRequest:
        if SSE_CUSTOMER_KEY in request.headers:
            check_confidential(self.endpoint(request.address))
        endpoint = self.endpoint(request.address, bind=True)
        hosts = self._shared.hosts
        if (other or hosts.switched) and request.signed and credentials is not None:
            endpoint = (hosts.other(endpoint) or endpoint) if other else hosts.of(endpoint)
        path = endpoint.path(request.address.key)
        headers: dict[str, str] = {"host": endpoint.authority, **request.headers}
        if request.content_length is not None and (request.content_length or request.method in ("PUT", "POST")):
            headers["content-length"] = str(request.content_length)
        if request.content_length == 0:
            # RFC 9110 forbids the expectation without a body.
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
            stall_timeout_seconds=request.stall_timeout_seconds or self.config.stall_timeout_seconds,
            expect_continue="expect" in headers,
            on_sent=request.on_sent if sent is None else sent.add,
            on_body=request.on_body,
            sink=request.sink,
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
        """Correct the clock or the keys if they made the server refuse a signature.

        Returns a sentence about it, empty if nothing changed. ``signing`` is that of the refused request, since another
        request may have corrected the clock or the keys meanwhile.
        """
        if not isinstance(error, ServerError):
            return ""
        expired = error.code == "AccessDenied" and "expired" in str(error).lower()
        # The response to HEAD has no body.
        unexplained = not error.code and (error.status == 403 or (error.status == 400 and method == "HEAD"))
        if error.code == "RequestTimeTooSkewed" or expired or unexplained:
            smallest = MAX_CLOCK_SKEW_SECONDS if unexplained else SMALLEST_SKEW_SECONDS
            theirs = server_time(HttpResponse(status=error.status, headers=error.headers))
            was_set = abs(time.time() - time.monotonic() - signing.ahead) >= smallest
            if theirs is not None and (was_set or abs(theirs - time.time() - signing.offset) >= smallest):
                self._shared.offset_seconds = theirs - time.time()
                return CLOCK_CORRECTED
        doubted = unexplained and method == "HEAD" and self._may_doubt(signing.credentials)
        if expired or doubted or error.code in ("ExpiredToken", "InvalidAccessKeyId"):
            return KEYS_RENEWED if self.keys.discard(signing.credentials, doubted=doubted) else ""
        return ""

    def _may_doubt(self, credentials: Credentials | None) -> bool:
        """Whether a refusal without a reason may renew the keys."""
        if not self.keys.is_current(credentials):
            return True  # newer keys exist already
        now = time.monotonic()
        if now - self._shared.doubted_at < UNEXPLAINED_SECONDS:
            return False
        self._shared.doubted_at = now
        return True

    def now(self) -> float:
        """Return the Unix time by the server's clock, as far as that is known."""
        return time.time() + self._shared.offset_seconds

    def note_retry(
        self,
        error: CosxferError,
        *,
        attempt: int,
        delay_seconds: float,
        max_attempts: int | None = None,
        waits: bool = False,
    ) -> None:
        """Report that a request is about to be sent again because of ``error``, as attempt number ``attempt``.

        ``waits`` means that it waits for its turn in an outage, which is reported once for all requests.
        """
        self.retries += 1
        self._shared.traffic.retries += 1
        if self._on_retry is not None:
            self._on_retry(error)
        if waits:
            logger.debug("%s; waits for its turn to be sent again (attempt %d)", error, attempt)
            return
        most = max_attempts or self.policy.max_attempts
        retry_logger.info(
            "%s; sent again %s (attempt %d%s)",
            error,
            f"in {delay_seconds:.1f} s" if delay_seconds >= 0.05 else "at once",
            attempt,
            f" of {most}" if attempt <= most else "",
            extra={"reason": str(error)},
        )


MAY_BE_STORED = (
    "the body can be read only once, so it was not sent again. The server may have stored it, perhaps damaged. Repeat "
    "the call with a new body, or compare the object (head_object)"
)
"""A note on the error of a request whose outcome is open."""


def may_correct(learnt: str, corrected: tuple[str, ...]) -> bool:
    """Whether a request may be sent again at once because of what `Session.learn` returned, after ``corrected``."""
    return bool(learnt) and corrected.count(learnt) < _MOST_CORRECTIONS[learnt]


def _body_bytes(request: CosRequest) -> int:
    """Return how many bytes the body has: that of the response if it goes to a sink."""
    return request.content_length or 0 if request.sink is None else request.sink.length


def _clean_up(failure: BaseException, outgoing: HttpRequest, sent: _Sent | None, *, began: float | None) -> None:
    """Clean up after an attempt that failed. ``began`` is given if no response came."""
    if isinstance(failure, CosxferError):
        clean_causes(failure)
    if began is not None:
        logger.debug("%s: no response after %.3f s: %r", _shown(outgoing), time.monotonic() - began, failure)
    if sent is not None:
        sent.take_back()


def _shown(request: HttpRequest) -> str:
    """Return the request line for a log. The signature is a header, so the query holds no secret."""
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
