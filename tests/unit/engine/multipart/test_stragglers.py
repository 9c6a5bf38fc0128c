"""Parts that straggle, with COS in memory and in virtual time: sent twice, ended, given up, and what becomes of it."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncGenerator, Callable, Container, Coroutine, Iterable
from typing import Any

import pytest

from cosxfer._native import hashing
from cosxfer.address import ObjectAddress
from cosxfer.config import ClientConfig
from cosxfer.cos.requests import HttpRequest
from cosxfer.cos.responses import HttpResponse
from cosxfer.credentials import Credentials, CredentialsResolver
from cosxfer.engine.limiter import Limiter
from cosxfer.engine.multipart.abort import Leaving
from cosxfer.engine.multipart.checkpoint import Checkpoint
from cosxfer.engine.multipart.lifecycle import MultipartUpload, Outcome
from cosxfer.engine.multipart.source import HashedPart, ReadyPart
from cosxfer.engine.report import Reporter
from cosxfer.errors import UploadError
from cosxfer.limits import MIB
from cosxfer.ops.session import RETRIES, Session
from cosxfer.planning import Plan
from tests.unit.fake_cos import BUCKET, REGION, SECRET_ID, SECRET_KEY, Do, FakeCos, change, error
from tests.unit.virtual_time import run_in_virtual_time

PARTS = 40
"""Two may be hedged."""
SIZE = PARTS * MIB
LAST = PARTS
SLOTS = 4

Proceed = Callable[[], HttpResponse]


class MemoryParts:
    """A part source without threads."""

    name = "memory"
    plan = Plan(size=SIZE, part_size_bytes=MIB)
    size = SIZE

    def __init__(self) -> None:
        self.content = bytes(range(256)) * (SIZE // 256)
        self.stored_parts: list[int] = []

    async def parts(self, *, done: Container[int], window: Callable[[], int]) -> AsyncGenerator[ReadyPart, None]:
        for place in self.plan:
            if place.number not in done:
                body = memoryview(self.content)[place.offset : place.offset + place.length]
                digest = hashlib.md5(body).digest()
                hashed = HashedPart(range=place, md5=digest, crc64=hashing.crc64(body))
                yield ReadyPart(hashed=hashed, body=body)

    async def check(self, parts: Iterable[HashedPart]) -> None:
        await asyncio.sleep(0)

    def stored(self, part: ReadyPart) -> None:
        self.stored_parts.append(part.hashed.range.number)


def after(seconds: float) -> Do:
    """The response comes so late."""

    async def do(request: HttpRequest, proceed: Proceed) -> HttpResponse:
        await asyncio.sleep(seconds)
        return proceed()

    return do


class Counted(Reporter):
    """Notes each change."""

    def __init__(self, progress: list[int]) -> None:
        super().__init__(None, SIZE)
        self.progress = progress

    def add(self, amount: int) -> None:
        self.progress.append((self.progress[-1] if self.progress else 0) + amount)


class Upload:
    """An upload of 40 parts of a second each to COS in memory, by four requests. Faults come before that."""

    def __init__(self, cos: FakeCos, *, headers: dict[str, str] | None = None, key: str = "k", **settings: Any):
        self.cos = cos
        self.key = key
        config = ClientConfig(region=REGION, **{"retry_for_seconds": 0, **settings})
        keys = CredentialsResolver(Credentials(secret_id=SECRET_ID, secret_key=SECRET_KEY))
        self.session = Session(config=config, transport=cos.transport(), credentials=keys)
        self.source = MemoryParts()
        self.checkpoint = Checkpoint()
        self.headers = headers or {}
        self.progress: list[int] = []

    async def run(self, limiter: Limiter) -> Outcome:
        with limiter.share(SLOTS, usual=SLOTS) as share:
            return await MultipartUpload(
                self.session,
                self.source,
                address=ObjectAddress(BUCKET, self.key, REGION),
                headers=self.headers,
                checkpoint=self.checkpoint,
                share=share,
                leaving=Leaving(abort_on_failure=True, restartable=False),
                reporter=Counted(self.progress),
            ).run()

    def sent(self, part: int) -> int:
        return sum(call.operation == "multipart_upload" and call.part == part for call in self.calls)

    @property
    def calls(self) -> list[Any]:
        return [call for call in self.cos.calls if call.request.target.startswith(f"/{self.key}?")]

    def check_object(self) -> None:
        assert self.cos.objects[self.key].content == self.source.content
        assert sorted(self.source.stored_parts) == list(range(1, PARTS + 1))
        assert max(self.progress) <= SIZE
        assert self.progress[-1] == SIZE
        assert self.cos.count("multipart_complete") >= 1


def others() -> set[asyncio.Task[object]]:
    return asyncio.all_tasks() - {asyncio.current_task()}


def run(upload: Upload) -> Outcome:
    async def main() -> Outcome:
        limiter = Limiter(tasks=1, slots=SLOTS)
        try:
            return await upload.run(limiter)
        finally:
            assert not others()
            assert limiter.in_flight == limiter.bytes_in_flight == 0

    return run_in_virtual_time(main())


def slow(cos: FakeCos, part: int, first: Do, *later: Do) -> None:
    for fault in (first, *later):
        cos.fault("multipart_upload", fault, part=part)


def usually(cos: FakeCos) -> None:
    cos.fault("multipart_upload", after(1.0), times=10_000)


def test_a_straggler_is_sent_twice_and_the_object_is_right_and_verified(cos: FakeCos) -> None:
    slow(cos, LAST, after(500.0), after(1.0))
    usually(cos)
    upload = Upload(cos)
    outcome = run(upload)
    upload.check_object()
    assert upload.sent(LAST) == 2
    assert upload.cos.count("multipart_upload") == PARTS + 1
    assert (outcome.verified_by, outcome.retries, outcome.parts) == ("crc64", 0, PARTS)
    # No thought is given to the response that comes too late.
    assert cos.operations()[-1] == "multipart_complete"


def test_the_hedge_may_lose(cos: FakeCos) -> None:
    slow(cos, LAST, after(3.0), after(500.0))
    usually(cos)
    upload = Upload(cos)
    run(upload)
    upload.check_object()
    assert upload.sent(LAST) == 2


def test_at_most_a_twentieth_is_sent_twice(cos: FakeCos) -> None:
    for part in (LAST - 2, LAST - 1, LAST):
        slow(cos, part, after(300.0), after(1.0))
    usually(cos)
    upload = Upload(cos)
    run(upload)
    upload.check_object()
    assert upload.cos.count("multipart_upload") == PARTS + PARTS // 20


@pytest.mark.parametrize(
    ("headers", "settings"),
    [
        ({"x-cos-storage-class": "STANDARD_IA"}, {}),
        ({"x-cos-storage-class": "ARCHIVE"}, {}),
        ({"x-cos-server-side-encryption": "cos/kms"}, {}),
        ({}, {"hedge": False}),
    ],
)
def test_where_hedging_is_not_allowed_a_straggler_is_waited_for(
    cos: FakeCos, headers: dict[str, str], settings: dict[str, Any]
) -> None:
    slow(cos, LAST, after(50.0), after(1.0))
    usually(cos)
    upload = Upload(cos, headers=headers, **settings)
    run(upload)
    upload.check_object()
    assert upload.cos.count("multipart_upload") == PARTS


def test_a_bucket_that_encrypts_by_itself_gets_no_part_twice(cos: FakeCos) -> None:
    # Each copy of a part has an ETag of its own, and Complete must name that of the one that was stored last.
    opaque = iter(range(1000))

    async def encrypted(request: HttpRequest, proceed: Proceed) -> HttpResponse:
        await asyncio.sleep(100.0 if "partNumber=40&" in request.target else 1.0)
        return change(etag=f'"opaque-{next(opaque)}"', x_cos_server_side_encryption="cos/kms")(request, proceed)  # type: ignore[return-value]

    cos.fault("multipart_upload", encrypted, times=1000)
    upload = Upload(cos)
    with pytest.raises(UploadError):
        run(upload)  # COS in memory knows no such ETag
    assert upload.cos.count("multipart_upload") == PARTS


def test_a_hedge_that_meets_its_part_in_the_list_has_won(cos: FakeCos) -> None:
    async def stored_but_silent(request: HttpRequest, proceed: Proceed) -> HttpResponse:
        proceed()
        await asyncio.sleep(500.0)
        raise AssertionError

    slow(cos, LAST, stored_but_silent, lambda request, proceed: error(409, "UploadConflict"))
    usually(cos)
    upload = Upload(cos)
    run(upload)
    upload.check_object()
    assert upload.sent(LAST) == 2
    assert upload.cos.count("multipart_list_part") == 1


def test_a_hedge_that_is_refused_is_not_sent_again(cos: FakeCos) -> None:
    slow(cos, LAST, after(50.0), *[lambda request, proceed: error(409, "UploadConflict")] * 9)
    usually(cos)
    upload = Upload(cos)
    outcome = run(upload)
    upload.check_object()
    assert (upload.sent(LAST), outcome.retries) == (2, 0)


def test_a_part_that_waits_for_its_retry_is_not_hedged(cos: FakeCos, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    async def wait(seconds: float) -> None:
        waits.append(seconds)
        await asyncio.sleep(100.0)

    slow(cos, LAST, lambda request, proceed: error(503, "SlowDown"), after(1.0))
    usually(cos)
    upload = Upload(cos)
    monkeypatch.setattr("cosxfer.ops.session.asyncio.sleep", wait)
    outcome = run(upload)
    upload.check_object()
    assert (upload.sent(LAST), outcome.retries, len(waits)) == (2, 1, 1)


def test_if_both_fail_the_upload_fails_with_the_error_of_the_first_request(cos: FakeCos) -> None:
    async def broken(request: HttpRequest, proceed: Proceed) -> HttpResponse:
        await asyncio.sleep(4.0)
        return error(500, "InternalError", message="the first")

    async def broken_too(request: HttpRequest, proceed: Proceed) -> HttpResponse:
        await asyncio.sleep(40.0)
        return error(500, "InternalError", message="the hedge")

    slow(cos, LAST, broken, broken_too)
    usually(cos)
    upload = Upload(cos, max_attempts=1)
    with pytest.raises(UploadError, match=f"at part {LAST} of {PARTS}.*the first") as caught:
        run(upload)
    assert caught.value.part_number == LAST
    assert caught.value.aborted
    assert upload.sent(LAST) == 2
    assert upload.progress[-1] == SIZE - MIB


@pytest.mark.parametrize("seconds", [3.5, 12.1, 12.5])
def test_a_cancelled_upload_leaves_nothing_running(cos: FakeCos, seconds: float) -> None:
    slow(cos, LAST, after(500.0), after(500.0))
    usually(cos)
    upload = Upload(cos)

    async def main() -> None:
        limiter = Limiter(tasks=1, slots=SLOTS)
        task = asyncio.create_task(upload.run(limiter))
        await asyncio.sleep(seconds)
        assert (upload.sent(LAST) == 2) == (seconds > 12.0)
        calls = len(cos.calls)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not others()
        assert limiter.in_flight == 0
        await asyncio.sleep(1000.0)
        assert len(cos.calls) == calls
        # What is on the server is enough to go on: another run sends the rest.
        cos.faults.clear()
        before = cos.count("multipart_upload")
        done = len(upload.checkpoint.done)
        assert upload.progress.pop() == done * MIB
        upload.progress.clear()
        await upload.run(limiter)
        assert cos.count("multipart_upload") == before + PARTS - done
        upload.check_object()

    run_in_virtual_time(main())


def test_an_overdue_attempt_is_a_timeout_that_is_retried_and_says_its_figures(
    cos: FakeCos, caplog: pytest.LogCaptureFixture
) -> None:
    slow(cos, 3, after(10_000.0), after(1.0))
    cos.fault("multipart_upload", after(10.0), times=10_000)
    upload = Upload(cos, hedge=False)
    with caplog.at_level(logging.INFO, RETRIES):
        outcome = run(upload)
    upload.check_object()
    assert (upload.sent(3), outcome.retries) == (2, 1)
    (record,) = [record for record in caplog.records if record.name == RETRIES]
    assert "not finished after 100 s, though other parts take 10.0 s" in record.getMessage()
    assert "(attempt 2 of 5)" in record.getMessage()


def test_attempts_that_are_all_overdue_end_the_upload(cos: FakeCos) -> None:
    async def never(request: HttpRequest, proceed: Proceed) -> HttpResponse:
        await asyncio.sleep(100_000.0)
        raise AssertionError

    slow(cos, 3, never, never)
    cos.fault("multipart_upload", after(10.0), times=10_000)
    upload = Upload(cos, hedge=False, max_attempts=1)
    with pytest.raises(UploadError, match=f"at part 3 of {PARTS}: PUT .*: not finished after 100 s") as caught:
        run(upload)
    assert caught.value.retryable
    assert upload.progress[-1] == MIB * len(upload.source.stored_parts)


def test_no_attempt_is_ended_on_a_link_that_has_become_slow(cos: FakeCos) -> None:
    cos.fault("multipart_upload", after(1.0), times=20)
    cos.fault("multipart_upload", after(2000.0), times=1000)
    upload = Upload(cos)
    outcome = run(upload)
    upload.check_object()
    assert outcome.retries == 0
    assert upload.cos.count("multipart_upload") <= PARTS * 1.05


def in_turn(*mains: Coroutine[Any, Any, Any]) -> Coroutine[Any, Any, None]:
    async def main() -> None:
        await asyncio.gather(*mains)

    return main()


def test_three_uploads_of_which_parts_are_given_up_again_and_again_are_right(cos: FakeCos) -> None:
    usually(cos)
    uploads = [Upload(cos, key=key) for key in ("a", "b", "c")]
    limiter = Limiter(tasks=3, slots=3 * SLOTS)
    given_up = 0

    async def disturb() -> None:
        nonlocal given_up
        for round_ in range(12):
            await asyncio.sleep(0.7)
            limiter.resize(slots=(1, 3, 7, 12)[round_ % 4])
            given_up += limiter.abandon()
            in_time = limiter.slots
            await asyncio.sleep(0.01)
            assert limiter.in_flight <= in_time

    run_in_virtual_time(in_turn(disturb(), *(upload.run(limiter) for upload in uploads)))
    assert given_up >= 20
    for upload in uploads:
        upload.check_object()
    assert cos.count("multipart_upload") == 3 * PARTS + given_up
    assert all(upload.session.retries == 0 for upload in uploads)
    assert limiter.in_flight == limiter.bytes_in_flight == 0
