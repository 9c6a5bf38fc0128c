"""Signatures, the clock, expiring credentials and retries, which all operations share."""

from __future__ import annotations

import asyncio
import dataclasses
import time
import types
from collections.abc import Callable
from pathlib import Path

import pytest

import cosxfer
from cosxfer.cos.requests import HttpRequest
from cosxfer.cos.responses import HttpResponse
from tests.unit.fake_cos import BUCKET, SECRET_ID, SECRET_KEY, FakeCos, change, error, lose_request, refuse

NOW = 1_700_000_000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    """This machine's clock. The server's clock shows `NOW`."""
    machine = types.SimpleNamespace(now=NOW)
    monkeypatch.setattr(
        "cosxfer.ops.session.time", types.SimpleNamespace(time=lambda: machine.now, monotonic=time.monotonic)
    )
    return machine


@pytest.fixture
def cos(clock: types.SimpleNamespace) -> FakeCos:
    return FakeCos(clock=lambda: NOW)


def put(cos: FakeCos, times: int = 1, **settings: object) -> None:
    async def main() -> None:
        async with cos.client(**settings) as client:
            for _ in range(times):
                await client.put_object(BUCKET, "k", b"content")

    asyncio.run(main())


# -- the clock --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("skew", [-86_400, -3_600, 3_600, 86_400])
def test_a_wrong_clock_is_corrected_once(
    cos: FakeCos, clock: types.SimpleNamespace, waits: list[float], skew: float
) -> None:
    clock.now = NOW + skew
    put(cos, times=3)
    assert len(cos.calls) == 4
    assert not waits


def test_a_wrong_clock_is_corrected_for_concurrent_requests(cos: FakeCos, clock: types.SimpleNamespace) -> None:
    clock.now = NOW - 7_200

    async def late(request: HttpRequest, proceed: Callable[[], HttpResponse]) -> HttpResponse:
        response = proceed()
        for _ in range(5):  # all requests are signed before the first response
            await asyncio.sleep(0)
        return response

    cos.fault("put_object", late, times=4)

    async def main() -> None:
        async with cos.client() as client:
            await asyncio.gather(*(client.put_object(BUCKET, f"k{n}", b"c") for n in range(4)))

    asyncio.run(main())
    assert len(cos.objects) == 4


def test_a_wrong_clock_is_corrected_by_a_response_without_a_body(cos: FakeCos, clock: types.SimpleNamespace) -> None:
    put(cos)
    clock.now = NOW - 7_200
    cos.fault("head_object", change(body=lambda _: b""))

    async def main() -> cosxfer.HeadObjectResult:
        async with cos.client() as client:
            return await client.head_object(BUCKET, "k")

    assert asyncio.run(main()).size == len(b"content")
    assert cos.count("head_object") == 2


def test_a_head_request_forbidden_with_the_right_clock_is_not_repeated(cos: FakeCos) -> None:
    cos.fault("head_object", lambda request, proceed: HttpResponse(status=403, headers=cos._common()), times=9)

    async def main() -> None:
        async with cos.client() as client:
            await client.head_object(BUCKET, "k")

    with pytest.raises(cosxfer.AccessDeniedError):
        asyncio.run(main())
    assert len(cos.calls) == 1


@pytest.mark.parametrize("skew", [-86_400, -3_600, 3_600, 86_400])
def test_a_clock_that_is_set_right_after_a_request_was_signed_costs_one_request(
    cos: FakeCos, clock: types.SimpleNamespace, waits: list[float], skew: float
) -> None:
    clock.now = NOW + skew

    def set_right(request: HttpRequest, proceed: Callable[[], HttpResponse]) -> HttpResponse:
        clock.now = NOW
        return proceed()

    cos.fault("put_object", set_right)
    put(cos, times=2)
    assert len(cos.calls) == 3
    assert not waits


@pytest.mark.parametrize("skew", [-86_400, 86_400])
def test_a_clock_that_is_set_wrong_after_a_request_was_signed_changes_nothing(
    cos: FakeCos, clock: types.SimpleNamespace, waits: list[float], skew: float
) -> None:
    def set_wrong(request: HttpRequest, proceed: Callable[[], HttpResponse]) -> HttpResponse:
        clock.now = NOW + skew
        return error(500, "InternalError")

    cos.fault("put_object", set_wrong)
    put(cos, times=2)
    assert [call.operation for call in cos.calls] == ["put_object"] * 4
    assert len(waits) == 1


def test_a_clock_that_the_server_calls_wrong_twice_is_an_error(cos: FakeCos, clock: types.SimpleNamespace) -> None:
    clock.now = NOW + 7_200
    cos.fault(
        "put_object", refuse(403, "RequestTimeTooSkewed", headers={"date": "Tue, 14 Nov 2023 22:13:20 GMT"}), times=9
    )
    with pytest.raises(cosxfer.AccessDeniedError, match="set this machine's clock"):
        put(cos)
    assert len(cos.calls) == 2


@pytest.mark.parametrize("date", ["", "yesterday", "Tue, 14 Nov 2023 99:99:99 GMT"])
def test_without_the_servers_time_a_wrong_clock_is_an_error(cos: FakeCos, date: str) -> None:
    cos.fault("put_object", refuse(403, "RequestTimeTooSkewed", headers={"date": date}), times=9)
    with pytest.raises(cosxfer.AccessDeniedError):
        put(cos)
    assert len(cos.calls) == 1


def test_one_sign_key_serves_many_requests(cos: FakeCos) -> None:
    put(cos, times=5)
    times = {call.request.headers["authorization"].split("&")[2] for call in cos.calls}
    assert len(times) == 1


# -- credentials ------------------------------------------------------------------------------------------------------


def temporary(cos: FakeCos, number: int, *, seconds: float = 1800.0) -> cosxfer.Credentials:
    """New temporary keys that the server accepts."""
    cos.secrets[f"tmp{number}"] = f"tmpkey{number}"
    cos.tokens.add(f"token{number}")
    return cosxfer.Credentials(
        secret_id=f"tmp{number}", secret_key=f"tmpkey{number}", token=f"token{number}", expires_at=NOW + seconds
    )


@pytest.fixture(params=["function", "coroutine function", "callable object"])
def provider(request: pytest.FixtureRequest, cos: FakeCos) -> Callable[[], object]:
    """Returns the keys tmp1, tmp2, … and counts its calls in ``provider.asked``."""
    asked: list[int] = []

    def give() -> cosxfer.Credentials:
        asked.append(1)
        return temporary(cos, len(asked))

    async def give_later() -> cosxfer.Credentials:
        await asyncio.sleep(0)
        return give()

    class Giver:
        async def __call__(self) -> cosxfer.Credentials:
            return await give_later()

    kinds: dict[str, Callable[[], object]] = {
        "function": give,
        "coroutine function": give_later,
        "callable object": Giver(),
    }
    cos.asked = asked  # type: ignore[attr-defined]
    return kinds[request.param]


def ids(cos: FakeCos) -> list[str]:
    return [call.request.headers["authorization"].split("&")[1].removeprefix("q-ak=") for call in cos.calls]


def test_a_provider_is_called_once_while_its_keys_are_valid(cos: FakeCos, provider: object) -> None:
    put(cos, times=3, credentials=provider)
    assert ids(cos) == ["tmp1"] * 3
    assert {call.request.headers["x-cos-security-token"] for call in cos.calls} == {"token1"}


@pytest.mark.parametrize(("later", "expected"), [(1730, ["tmp1", "tmp1"]), (1741, ["tmp1", "tmp2"])])
def test_keys_are_renewed_a_minute_before_they_expire(
    cos: FakeCos, clock: types.SimpleNamespace, provider: object, later: float, expected: list[str]
) -> None:
    async def main() -> None:
        async with cos.client(credentials=provider) as client:
            await client.put_object(BUCKET, "k", b"c")
            clock.now = NOW + later
            cos.clock = lambda: NOW + later
            await client.put_object(BUCKET, "k", b"c")

    asyncio.run(main())
    assert ids(cos) == expected


def test_concurrent_requests_call_a_provider_once(cos: FakeCos, provider: object) -> None:
    async def main() -> None:
        async with cos.client(credentials=provider) as client:
            await asyncio.gather(*(client.put_object(BUCKET, f"k{n}", b"c") for n in range(5)))

    asyncio.run(main())
    assert ids(cos) == ["tmp1"] * 5


def test_a_token_that_the_server_reports_as_expired_is_renewed_at_once(
    cos: FakeCos, provider: object, waits: list[float]
) -> None:
    async def main() -> None:
        async with cos.client(credentials=provider) as client:
            await client.put_object(BUCKET, "k", b"c")
            cos.tokens.clear()
            await asyncio.gather(*(client.put_object(BUCKET, f"k{n}", b"c") for n in range(3)))

    asyncio.run(main())
    assert ids(cos)[-3:] == ["tmp2"] * 3
    assert len(cos.asked) == 2  # type: ignore[attr-defined]
    assert not waits


def test_a_token_that_stays_expired_raises_the_servers_error(cos: FakeCos, provider: object) -> None:
    cos.fault("put_object", refuse(400, "ExpiredToken"), times=9)
    with pytest.raises(cosxfer.ServerError, match="ExpiredToken"):
        put(cos, credentials=provider)
    assert len(cos.calls) == 2


def test_a_permanent_key_that_is_refused_is_not_tried_again(cos: FakeCos) -> None:
    cos.secrets.clear()
    with pytest.raises(cosxfer.AccessDeniedError, match="check the secret id"):
        put(cos)
    assert len(cos.calls) == 1


def test_a_wrong_secret_key_fails_at_once_with_advice(cos: FakeCos) -> None:
    with pytest.raises(cosxfer.AccessDeniedError, match="check the secret key") as caught:
        put(cos, secret_id=SECRET_ID, secret_key="wrong-but-still-secret")
    assert caught.value.code == "SignatureDoesNotMatch"
    assert "wrong-but-still-secret" not in str(caught.value)
    assert len(cos.calls) == 1


def test_a_provider_that_fails_is_a_credentials_error_with_the_reason(cos: FakeCos) -> None:
    def broken() -> cosxfer.Credentials:
        raise OSError("the key server is away")

    with pytest.raises(cosxfer.CredentialsError, match="OSError: the key server is away") as caught:
        put(cos, credentials=broken)
    assert isinstance(caught.value.__cause__, OSError)
    assert not cos.calls


@pytest.mark.parametrize("response", [None, {"secret_key": "hush"}, "hush"])
def test_a_provider_with_a_wrong_return_value_is_an_error_that_hides_the_value(cos: FakeCos, response: object) -> None:
    with pytest.raises(cosxfer.CredentialsError, match=r"must return cosxfer\.Credentials") as caught:
        put(cos, credentials=lambda: response)
    assert "hush" not in str(caught.value)


def test_a_provider_that_returns_expired_keys_is_an_error(cos: FakeCos) -> None:
    with pytest.raises(cosxfer.CredentialsError, match="already expired"):
        put(cos, credentials=lambda: temporary(cos, 1, seconds=-1))
    assert not cos.calls


def test_temporary_keys_without_a_provider_expire(cos: FakeCos, clock: types.SimpleNamespace) -> None:
    keys = temporary(cos, 1)
    put(cos, credentials=keys)
    clock.now = NOW + 1800
    with pytest.raises(cosxfer.CredentialsError, match="no provider to renew them"):
        put(cos, credentials=keys)
    assert len(cos.calls) == 1


def test_anonymous_access_signs_nothing(cos: FakeCos) -> None:
    with pytest.raises(cosxfer.AccessDeniedError):
        put(cos, anonymous=True)
    assert "authorization" not in cos.calls[0].request.headers


# -- retries ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_attempts", [1, 2, 7])
def test_a_request_is_sent_max_attempts_times(cos: FakeCos, waits: list[float], max_attempts: int) -> None:
    cos.fault("put_object", lose_request, times=99)
    with pytest.raises(cosxfer.TransportError) as caught:
        put(cos, max_attempts=max_attempts, switch_host=False)
    assert len(cos.calls) == max_attempts
    assert len(waits) == max_attempts - 1
    assert getattr(caught.value, "__notes__", []) == ([f"sent {max_attempts} times"] if max_attempts > 1 else [])


def test_a_body_that_cannot_be_read_twice_is_sent_once(cos: FakeCos) -> None:
    from cosxfer.address import ObjectAddress
    from cosxfer.config import ClientConfig
    from cosxfer.cos.requests import CosRequest
    from cosxfer.credentials import CredentialsResolver
    from cosxfer.ops.session import Session

    async def stream() -> object:
        yield b"content"

    async def main() -> None:
        keys = cosxfer.Credentials(secret_id=SECRET_ID, secret_key=SECRET_KEY)
        session = Session(
            config=ClientConfig(region="ap-guangzhou"),
            transport=cos.transport(),
            credentials=CredentialsResolver(keys),
        )
        request = CosRequest(
            method="PUT",
            operation="a test",
            address=ObjectAddress(BUCKET, "k"),
            body=stream(),  # type: ignore[arg-type]
            content_length=7,
        )
        await session.call(request)

    cos.fault("put_object", refuse(503, "SlowDown"))
    with pytest.raises(cosxfer.ThrottledError):
        asyncio.run(main())
    assert len(cos.calls) == 1


def test_retries_end_when_the_budget_of_the_client_is_spent(cos: FakeCos) -> None:
    cos.fault("put_object", lose_request, times=999)

    async def main() -> None:
        async with cos.client(max_attempts=200) as client:
            with pytest.raises(cosxfer.TransportError):
                await client.put_object(BUCKET, "k", b"c")
            spent = len(cos.calls)
            assert spent == 101
            with pytest.raises(cosxfer.TransportError):
                await client.put_object(BUCKET, "k", b"c")
            assert len(cos.calls) == spent + 1

    asyncio.run(main())


def test_a_redirect_is_an_error(cos: FakeCos) -> None:
    cos.fault("put_object", lambda request, proceed: HttpResponse(status=301, headers={}))
    with pytest.raises(cosxfer.ServerError) as caught:
        put(cos, switch_host=False)
    assert caught.value.status == 301


def test_an_unexpected_error_of_the_transport_is_raised_unchanged(cos: FakeCos) -> None:
    def bug(request: HttpRequest, proceed: Callable[[], HttpResponse]) -> HttpResponse:
        raise ZeroDivisionError

    cos.fault("put_object", bug)
    with pytest.raises(ZeroDivisionError):
        put(cos)


def test_an_access_denied_for_an_expired_request_corrects_the_clock(cos: FakeCos, clock: types.SimpleNamespace) -> None:
    clock.now = NOW - 7_200

    def expired(request: HttpRequest, proceed: Callable[[], HttpResponse]) -> HttpResponse:
        return error(403, "AccessDenied", message="Request has expired", headers=cos._common())

    cos.fault("put_object", expired)
    put(cos)
    assert len(cos.calls) == 2


def test_a_retry_is_logged_with_its_reason(cos: FakeCos, caplog: pytest.LogCaptureFixture) -> None:
    cos.fault("put_object", lose_request, times=2)
    with caplog.at_level("INFO", logger="cosxfer.retry"):
        put(cos, max_attempts=3)
    records = [record for record in caplog.records if record.name == "cosxfer.retry"]
    assert [record.getMessage().rpartition("(")[2] for record in records] == ["attempt 2 of 3)", "attempt 3 of 3)"]
    assert len({record.reason for record in records}) == 1  # type: ignore[attr-defined]


# -- secrets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["parameter", "headers", "form"])
def test_a_customers_key_is_not_sent_in_the_clear(cos: FakeCos, way: str) -> None:
    key = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVoxMjM0NTY="
    given: dict[str, object] = {"sse_customer_key": key}
    if way == "headers":
        given = {"headers": {"X-COS-Server-Side-Encryption-Customer-Key": key}}

    async def main() -> None:
        async with cos.client(endpoint="http://{bucket}.cos.{region}.myqcloud.com") as client:
            call = client.post_object if way == "form" else client.put_object
            with pytest.raises(cosxfer.UsageError, match="https") as caught:
                await call(BUCKET, "k", b"content", **given)  # type: ignore[arg-type]
            assert key not in str(caught.value)
        if way != "form":
            async with cos.client(endpoint="https://{bucket}.cos.{region}.myqcloud.com") as client:
                await client.put_object(BUCKET, "k", b"content", **given)  # type: ignore[arg-type]

    asyncio.run(main())
    assert len(cos.calls) == (way != "form")


def test_a_server_cannot_ask_for_a_pause_beyond_the_cap_of_retries(cos: FakeCos, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"content")
    cos.fault("put_object", refuse(503, "SlowDown", headers={"retry-after": "999999"}))

    async def main() -> float:
        async with cos.client(max_attempts=1) as client:
            with pytest.raises(cosxfer.ThrottledError):
                await client.upload_file(BUCKET, "k", path)
            return client._session.traffic.retry_after_seconds

    assert asyncio.run(main()) == 20.0


# -- what the scheduler is told ----------------------------------------------------------------------------------------


def test_the_latency_of_a_request_is_that_of_an_open_connection(
    cos: FakeCos, clock: types.SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For 2.5 of the 3 seconds the first request waits for its connection."""
    now, waits = [100.0], [2.5, 0.0]
    monkeypatch.setattr(
        "cosxfer.ops.session.time", types.SimpleNamespace(time=lambda: clock.now, monotonic=lambda: now[0])
    )

    def respond(request: HttpRequest, proceed: Callable[[], HttpResponse]) -> HttpResponse:
        waited = waits.pop(0)
        now[0] += waited + 0.5
        return dataclasses.replace(proceed(), connection_seconds=waited)

    async def main() -> None:
        async with cos.client() as client:
            await client.put_object(BUCKET, "k", b"content")
            cos.fault("head_object", respond, times=2)
            traffic = client._session.traffic
            await client.head_object(BUCKET, "k")
            assert traffic.latency_seconds == pytest.approx(0.5)
            await client.head_object(BUCKET, "k")
            assert traffic.latency_seconds == pytest.approx(0.5)

    asyncio.run(main())
