"""A transfer that has begun outlasts an outage; a request that has begun nothing fails soon. In virtual time."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import re
from collections.abc import Callable, Coroutine
from itertools import pairwise
from typing import Any

import pytest

import cosxfer
from cosxfer.address import ObjectAddress
from cosxfer.config import ClientConfig
from cosxfer.cos.requests import CosRequest, HttpRequest
from cosxfer.cos.responses import HttpResponse
from cosxfer.credentials import Credentials, CredentialsResolver
from cosxfer.errors import ConnectError, IntegrityError, ProtocolError, TransportTimeoutError
from cosxfer.ops import session as session_module
from cosxfer.ops.outage import LONGEST_WAKING_SECONDS, Outage, Transfer
from cosxfer.ops.session import Session
from cosxfer.retry import RetryBudget, RetryPolicy
from tests.unit.fake_cos import BUCKET, REGION, error
from tests.unit.virtual_time import run_in_virtual_time

KEYS = Credentials(secret_id="AKIDexample", secret_key="hush")
FAILURES: dict[str, Callable[[], HttpResponse]] = {}


def failure(name: str) -> Callable[[Callable[[], HttpResponse]], Callable[[], HttpResponse]]:
    def add(what: Callable[[], HttpResponse]) -> Callable[[], HttpResponse]:
        FAILURES[name] = what
        return what

    return add


@failure("refused")
def refused() -> HttpResponse:
    raise ConnectError("connection refused")


@failure("no such host")
def no_such_host() -> HttpResponse:
    raise ConnectError("the name cannot be resolved")


@failure("reset")
def reset() -> HttpResponse:
    raise ProtocolError("the connection was reset")


@failure("timeout")
def timeout() -> HttpResponse:
    raise TransportTimeoutError("no progress in 60 s")


FAILURES["500"] = lambda: error(500, "InternalError")
FAILURES["502 of a proxy"] = lambda: HttpResponse(status=502, headers={}, body=b"<html>")
FAILURES["503"] = lambda: error(503, "SlowDown")
FAILURES["503 with Retry-After"] = lambda: error(503, "SlowDown", headers={"retry-after": "7"})
FAILURES["error inside a 200"] = lambda: error(200, "InternalError")
FAILURES["the request was late"] = lambda: error(400, "RequestTimeout")


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests wait, in virtual time."""
    monkeypatch.setattr(session_module, "asyncio", asyncio)


class Server:
    """Works outside its outage, and counts the requests by the second."""

    def __init__(self) -> None:
        self.down_from, self.down_until = float("inf"), float("inf")
        self.fail: Callable[[], HttpResponse] = refused
        self.times: list[float] = []
        self.always_fails: set[str] = set()
        self.down_host = ""
        """The part of a host's name that fails; empty for all hosts."""
        self.seconds = 0.0
        """How long an attempt takes."""

    async def send(self, request: HttpRequest) -> HttpResponse:
        loop = asyncio.get_running_loop()
        self.times.append(loop.time())
        await asyncio.sleep(self.seconds)
        down = self.down_from <= loop.time() < self.down_until and self.down_host in request.endpoint.host
        if down or request.target in self.always_fails:
            return self.fail()
        return HttpResponse(status=200, headers={"x-cos-request-id": "id"})

    async def aclose(self) -> None: ...


def session(
    server: Server, *, retry_for: float = 120.0, source: Any = KEYS, attempts: int = 5, switch_host: bool = False
) -> Session:
    config = ClientConfig(region=REGION, retry_for_seconds=retry_for, max_attempts=attempts, switch_host=switch_host)
    return Session(config=config, transport=server, credentials=CredentialsResolver(source))


def part(number: int, **more: Any) -> CosRequest:
    return CosRequest(
        method="PUT",
        operation=f"Upload Part {number}",
        address=ObjectAddress(BUCKET, f"part {number}"),
        body=b"content",
        content_length=7,
        **more,
    )


async def begun(whole: Session) -> Session:
    """A session whose transfer has begun."""
    observed = whole.observed(transfer=Transfer())
    await observed.call(part(0))
    return observed


def run(main: Coroutine[Any, Any, Any]) -> Any:
    return run_in_virtual_time(main)


def notes(failed: BaseException) -> str:
    return "; ".join(getattr(failed, "__notes__", []))


@pytest.mark.parametrize("name", FAILURES)
@pytest.mark.parametrize("lasts", [30.0, 119.0])
def test_a_transfer_that_has_begun_outlasts_an_outage(name: str, lasts: float) -> None:
    server = Server()
    server.fail = FAILURES[name]

    async def main() -> None:
        transfer = await begun(session(server))
        server.down_from, server.down_until = 0.0, lasts
        await transfer.call(part(1))
        assert asyncio.get_running_loop().time() >= lasts

    run(main())


@pytest.mark.parametrize("name", FAILURES)
def test_a_longer_outage_is_an_error_that_says_how_long_it_was_tried(name: str) -> None:
    server = Server()
    server.fail = FAILURES[name]

    async def main() -> None:
        transfer = await begun(session(server))
        server.down_from = 0.0
        with pytest.raises(cosxfer.CosxferError) as caught:
            await transfer.call(part(1))
        assert asyncio.get_running_loop().time() == pytest.approx(120.0)
        assert notes(caught.value) == f"sent {len(server.times) - 1} times in 120 s"

    run(main())


@pytest.mark.parametrize("way", ["no transfer", "not begun", "retry_for_seconds=0", "max_attempts of the request"])
def test_what_has_begun_nothing_fails_as_soon_as_ever(way: str) -> None:
    server = Server()

    async def main() -> None:
        client = session(server, retry_for=0.0 if way == "retry_for_seconds=0" else 120.0)
        sender = {"no transfer": client, "not begun": client.observed(transfer=Transfer())}.get(way)
        sender = sender or await begun(client)
        server.times.clear()
        server.down_from = 0.0
        with pytest.raises(ConnectError) as caught:
            await sender.call(part(1, **({"max_attempts": 5} if way.startswith("max") else {})))
        assert len(server.times) == 5
        assert notes(caught.value) == "sent 5 times"
        assert asyncio.get_running_loop().time() <= 3.0

    run(main())


@pytest.mark.parametrize(
    "final",
    [
        lambda: error(403, "AccessDenied"),
        lambda: error(404, "NoSuchUpload"),
        lambda: error(400, "InvalidArgument"),
        lambda: error(409, "ObjectLocked"),
        lambda: error(501, "NotImplemented"),
    ],
)
def test_an_error_that_is_final_stays_final(final: Callable[[], HttpResponse]) -> None:
    server = Server()
    server.fail = final

    async def main() -> None:
        transfer = await begun(session(server))
        server.down_from = 0.0
        with pytest.raises(cosxfer.ServerError):
            await transfer.call(part(1))

    run(main())
    assert len(server.times) == 2


def mismatch(response: HttpResponse) -> None:
    raise IntegrityError("differs", expected=1, actual=2, retryable=True)


@pytest.mark.parametrize("name", ["checksum", "BadDigest", "IncompleteBody"])
def test_a_part_that_always_arrives_damaged_is_sent_max_attempts_times(name: str) -> None:
    server = Server()
    server.fail = lambda: error(400, name)

    async def main() -> None:
        transfer = await begun(session(server))
        server.times.clear()
        if name != "checksum":
            server.down_from = 0.0
        with pytest.raises(cosxfer.CosxferError):
            await transfer.call(part(1, check=mismatch if name == "checksum" else None))

    run(main())
    assert len(server.times) == 5


def test_many_parts_take_turns_while_nothing_works() -> None:
    server = Server()

    async def main() -> None:
        transfer = await begun(session(server))
        server.times.clear()
        server.down_from, server.down_until = 0.0, 100.0
        await asyncio.gather(*(transfer.call(part(number)) for number in range(1, 65)))
        assert asyncio.get_running_loop().time() < 122.0

    run(main())
    assert sum(time < 10 for time in server.times) <= 64 + RetryBudget.CAPACITY // RetryBudget.COST + 40
    probes = [time for time in server.times if 10 <= time < 100]
    assert 1 <= len(probes) <= 60


def test_the_parts_go_on_within_a_second_after_the_end_of_an_outage() -> None:
    server = Server()
    ends: list[float] = []

    async def main() -> None:
        transfer = await begun(session(server))
        server.down_from, server.down_until = 0.0, 60.0

        async def one(number: int) -> None:
            await transfer.call(part(number))
            ends.append(asyncio.get_running_loop().time())

        await asyncio.gather(*(one(number) for number in range(1, 33)))

    run(main())
    assert max(ends) - min(ends) <= 1.0
    assert len({round(end, 3) for end in ends}) > 10  # not all at once


def test_a_part_that_looks_at_its_source_while_the_outage_ends_goes_on_too() -> None:
    """It takes five seconds to see that the file is still the same. Nothing would wake it after the end."""
    server = Server()

    async def look() -> None:
        await asyncio.sleep(5.0)

    async def main() -> None:
        transfer = await begun(session(server))
        server.down_from, server.down_until = 0.0, 1.0
        slow = [dataclasses.replace(part(number), before_retry=look) for number in range(33, 97)]
        await asyncio.gather(*(transfer.call(request) for request in (*map(part, range(1, 33)), *slow)))
        assert asyncio.get_running_loop().time() < 30.0

    run(main())


@pytest.mark.parametrize("parts", [1, 64, 256])
def test_in_an_outage_of_one_name_the_parts_go_on_at_the_other(parts: int) -> None:
    server = Server()
    server.down_host = "myqcloud.com"

    async def main() -> None:
        transfer = await begun(session(server, switch_host=True))
        server.down_from = 0.0
        await asyncio.gather(*(transfer.call(part(number)) for number in range(1, parts + 1)))
        assert asyncio.get_running_loop().time() < 60.0

    run(main())


def test_a_part_that_fails_alone_ends_although_others_succeed() -> None:
    server = Server()
    server.always_fails.add("/part%201")
    server.fail = FAILURES["500"]

    async def main() -> None:
        transfer = await begun(session(server))

        async def others() -> None:
            for number in range(2, 10_000):
                await transfer.call(part(number))
                await asyncio.sleep(0.1)

        going_on = asyncio.create_task(others())
        with pytest.raises(cosxfer.ServerError) as caught:
            await transfer.call(part(1))
        going_on.cancel()
        times = int(notes(caught.value).split()[1])
        assert 5 <= times <= 60
        assert asyncio.get_running_loop().time() == pytest.approx(120.0)

    run(main())


def test_a_transfer_ends_after_its_own_time_whatever_part_began_late() -> None:
    server = Server()

    async def main() -> None:
        transfer = await begun(session(server, attempts=1))
        server.down_from = 0.0

        async def late() -> None:
            await asyncio.sleep(100)
            await transfer.call(part(2))

        first, second = await asyncio.gather(transfer.call(part(1)), late(), return_exceptions=True)
        assert isinstance(first, ConnectError)
        assert isinstance(second, ConnectError)
        assert asyncio.get_running_loop().time() == pytest.approx(120.0)

    run(main())


def test_a_long_request_that_fails_at_its_end_has_the_whole_time_left() -> None:
    server = Server()

    async def main() -> None:
        transfer = await begun(session(server))
        server.down_from, server.down_until = 600.0, 700.0
        server.seconds = 600.0
        sending = asyncio.create_task(transfer.call(part(1)))
        await asyncio.sleep(300)
        server.seconds = 0.0
        await sending

    run(main())


def test_a_cancelled_part_does_not_take_the_turns_with_it() -> None:
    server = Server()

    async def main() -> None:
        transfer = await begun(session(server, attempts=1))
        server.down_from, server.down_until = 0.0, 50.0
        tasks = [asyncio.create_task(transfer.call(part(number))) for number in range(1, 33)]
        await asyncio.sleep(20)
        for task in tasks[1:]:
            task.cancel()
        await tasks[0]
        assert asyncio.get_running_loop().time() < 65.0

    run(main())


def test_an_outage_is_reported_once_and_its_end_too(caplog: pytest.LogCaptureFixture) -> None:
    server = Server()

    async def main() -> None:
        transfer = await begun(session(server))
        server.down_from, server.down_until = 0.0, 60.0
        await asyncio.gather(*(transfer.call(part(number)) for number in range(1, 33)))

    with caplog.at_level(logging.INFO, "cosxfer.retry"):
        run(main())
    told = [record.getMessage() for record in caplog.records if "sent again" not in record.getMessage()]
    assert len(told) == 2
    assert told[0].startswith("the server has been unreachable for ")
    assert "; trying until " in told[0]
    assert (again := re.match(r"the server works again after (\d+) s", told[1])) is not None
    assert 60 <= int(again[1]) <= 60 + 2 * RetryPolicy().cap_seconds  # a probe waits for a random time


def test_a_short_outage_is_not_reported(caplog: pytest.LogCaptureFixture) -> None:
    server = Server()

    async def main() -> None:
        transfer = await begun(session(server, attempts=1))
        server.down_from, server.down_until = 0.0, 4.0
        await transfer.call(part(1))

    with caplog.at_level(logging.INFO, "cosxfer.retry"):
        run(main())
    assert not caplog.records


def test_the_requests_of_two_transfers_share_the_turns_and_each_has_its_time() -> None:
    server = Server()

    async def main() -> None:
        client = session(server, attempts=1)
        first, second = await begun(client), await begun(client)
        server.times.clear()
        server.down_from = 0.0

        async def late() -> None:
            await asyncio.sleep(60)
            await second.call(part(2))

        async def ended(work: Any) -> float:
            with pytest.raises(ConnectError):
                await work
            return asyncio.get_running_loop().time()

        assert await asyncio.gather(ended(first.call(part(1))), ended(late())) == pytest.approx([120.0, 180.0])

    run(main())
    assert len(server.times) < 120


# -- the keys -----------------------------------------------------------------------------------------------------


class Provider:
    """Returns new keys, but fails between two times."""

    def __init__(self) -> None:
        self.down_from, self.down_until = float("inf"), float("inf")
        self.asked: list[float] = []

    async def give(self) -> Credentials:
        now = asyncio.get_running_loop().time()
        self.asked.append(now)
        await asyncio.sleep(0.1)
        if self.down_from <= now < self.down_until:
            raise OSError("the key server is away")
        return Credentials(secret_id=f"tmp{len(self.asked)}", secret_key="k", token=f"token{len(self.asked)}")


def test_a_transfer_that_has_begun_outlasts_a_provider_that_fails() -> None:
    server, provider = Server(), Provider()

    async def main() -> None:
        client = session(server, source=provider.give)
        transfer = await begun(client)
        provider.down_from, provider.down_until = 0.0, 60.0
        client.keys.discard(await client.credentials())
        await asyncio.gather(*(transfer.call(part(number)) for number in range(1, 33)))
        assert 60 <= asyncio.get_running_loop().time() < 80

    run(main())
    assert len(server.times) == 33
    assert len(provider.asked) < 60


def test_a_provider_that_fails_for_good_is_an_error_in_time() -> None:
    server, provider = Server(), Provider()

    async def main() -> None:
        client = session(server, source=provider.give)
        transfer = await begun(client)
        provider.down_from = 0.0
        client.keys.discard(await client.credentials())
        with pytest.raises(cosxfer.CredentialsError, match="the key server is away") as caught:
            await transfer.call(part(1))
        assert asyncio.get_running_loop().time() == pytest.approx(120.0, abs=1.0)
        assert "the credentials provider was called for 12" in notes(caught.value)

    run(main())


def test_a_provider_that_fails_before_the_transfer_has_begun_is_an_error_at_once() -> None:
    server, provider = Server(), Provider()
    provider.down_from = 0.0

    async def main() -> None:
        with pytest.raises(cosxfer.CredentialsError):
            await session(server, source=provider.give).observed(transfer=Transfer()).call(part(1))

    run(main())
    assert len(provider.asked) == 1


# -- the turns ----------------------------------------------------------------------------------------------------


def test_after_the_end_there_is_no_turn_to_wait_for() -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        outage = Outage(RetryPolicy(), "it", began=loop.time())
        outage.end()
        await outage.turn(1e6)
        return loop.time()

    assert run(main()) <= LONGEST_WAKING_SECONDS


def test_the_pauses_between_turns_grow_with_the_outage_up_to_the_cap() -> None:
    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        outage = Outage(RetryPolicy(), "it", began=loop.time(), chance=lambda: 0.5)
        times = []
        while loop.time() < 1000:
            await outage.turn(1e6)
            times.append(loop.time())
        return times

    times = run(main())
    pauses = [round(later - earlier, 6) for earlier, later in pairwise(times)]
    assert times[0] == 0.5
    assert pauses == sorted(pauses)
    assert max(pauses) == pytest.approx(10.0)
