"""A refusal corrects the clock or renews the keys, even if the refused request cannot be sent again."""

from __future__ import annotations

import asyncio
import types
from collections.abc import AsyncIterator, Callable

import pytest

import cosxfer
from cosxfer.address import ObjectAddress
from cosxfer.config import ClientConfig
from cosxfer.cos.requests import CosRequest, HttpRequest
from cosxfer.cos.responses import HttpResponse
from cosxfer.credentials import CredentialsResolver
from cosxfer.ops.session import Session
from tests.unit.fake_cos import BUCKET, FakeCos, error
from tests.unit.ops.test_session import NOW, clock, cos, temporary

__all__ = ["clock", "cos"]


async def stream() -> AsyncIterator[bytes]:
    yield b"content"


def provider(cos: FakeCos) -> tuple[Callable[[], cosxfer.Credentials], list[int]]:
    asked: list[int] = []

    def give() -> cosxfer.Credentials:
        asked.append(1)
        return temporary(cos, len(asked))

    return give, asked


def send_streams(cos: FakeCos, times: int, **settings: object) -> list[str]:
    """The outcome of each of ``times`` uploads of a one-shot stream."""
    outcomes = []

    async def main() -> None:
        async with cos.client(**settings) as client:
            for _ in range(times):
                try:
                    await client.put_object(BUCKET, "k", stream(), content_length=7)
                    outcomes.append("stored")
                except cosxfer.ServerError as failure:
                    outcomes.append("; ".join([failure.code, *getattr(failure, "__notes__", [])]))

    asyncio.run(main())
    return outcomes


@pytest.mark.parametrize("skew", [-7_200, 7_200])
def test_a_stream_that_is_refused_for_the_clock_corrects_it_for_the_next(
    cos: FakeCos, clock: types.SimpleNamespace, skew: float
) -> None:
    clock.now = NOW + skew
    first, *others = send_streams(cos, 8)
    assert "the clock was corrected, so the same call with a new body may succeed now" in first
    assert others == ["stored"] * 7


def test_a_stream_that_is_refused_for_expired_keys_renews_them_for_the_next(cos: FakeCos) -> None:
    give, asked = provider(cos)
    cos.fault("put_object", lambda request, proceed: error(400, "ExpiredToken"))
    first, *others = send_streams(cos, 8, credentials=give)
    assert first.startswith("ExpiredToken; the keys are renewed")
    assert others == ["stored"] * 7
    assert len(asked) == 2


class Unread:
    """A one-shot body that has not been read."""

    started = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self.started = True
        yield b"content"


class Refusing:
    """Refuses the first request before its body, like a server after Expect, and accepts the second one."""

    def __init__(self, refusal: HttpResponse) -> None:
        self.replies = [refusal, HttpResponse(status=200, headers={})]
        self.requests: list[HttpRequest] = []

    async def send(self, request: HttpRequest) -> HttpResponse:
        self.requests.append(request)
        reply = self.replies.pop(0)
        if reply.status == 200:
            assert [piece async for piece in request.body] == [b"content"]  # type: ignore[union-attr]
        return reply

    async def aclose(self) -> None: ...


DATE = {"date": "Tue, 14 Nov 2023 22:13:20 GMT"}  # `NOW`


@pytest.mark.parametrize("refusal", [error(403, "RequestTimeTooSkewed", headers=DATE), error(400, "ExpiredToken")])
def test_a_stream_that_is_refused_before_it_was_read_is_sent_again(
    cos: FakeCos, clock: types.SimpleNamespace, refusal: HttpResponse
) -> None:
    clock.now = NOW - 7_200
    give, _ = provider(cos)
    transport = Refusing(refusal)

    async def main() -> HttpResponse:
        session = Session(
            config=ClientConfig(region="ap-guangzhou"), transport=transport, credentials=CredentialsResolver(give)
        )
        body = Unread()
        return await session.call(
            CosRequest(
                method="PUT",
                operation="a test",
                address=ObjectAddress(BUCKET, "k"),
                body=body,  # type: ignore[arg-type]
                content_length=7,
            )
        )

    assert asyncio.run(main()).status == 200
    first, second = [request.headers["authorization"] for request in transport.requests]
    assert first != second


@pytest.mark.parametrize("status", [400, 403])
def test_a_head_request_refused_without_a_reason_is_sent_again_with_new_keys(cos: FakeCos, status: int) -> None:
    give, asked = provider(cos)
    cos.fault("head_object", lambda request, proceed: HttpResponse(status=status, headers=cos._common()))

    async def main() -> None:
        async with cos.client(credentials=give) as client:
            await client.put_object(BUCKET, "k", b"content")
            assert (await client.head_object(BUCKET, "k")).size == 7

    asyncio.run(main())
    assert len(asked) == 2


def test_forbidden_head_requests_do_not_renew_the_keys_each_time(cos: FakeCos) -> None:
    give, asked = provider(cos)
    cos.fault("head_object", lambda request, proceed: HttpResponse(status=403, headers=cos._common()), times=99)

    async def main() -> None:
        async with cos.client(credentials=give) as client:
            for _ in range(5):
                with pytest.raises(cosxfer.AccessDeniedError):
                    await client.head_object(BUCKET, "k")

    asyncio.run(main())
    assert len(asked) == 2
    assert len(cos.calls) == 6


def test_doubted_keys_stay_in_use_if_the_provider_fails(cos: FakeCos) -> None:
    asked: list[int] = []

    def give() -> cosxfer.Credentials:
        asked.append(1)
        if len(asked) > 1:
            raise RuntimeError("the vault is down")
        return temporary(cos, 1)

    cos.fault("head_object", lambda request, proceed: HttpResponse(status=403, headers=cos._common()), times=99)

    async def main() -> None:
        async with cos.client(credentials=give) as client:
            with pytest.raises(cosxfer.AccessDeniedError):
                await client.head_object(BUCKET, "k")
            for _ in range(3):
                await client.put_object(BUCKET, "k", b"content")

    asyncio.run(main())
    assert len(asked) == 2


def test_concurrent_head_requests_renew_the_keys_once_and_succeed(cos: FakeCos) -> None:
    give, asked = provider(cos)

    async def main() -> None:
        async with cos.client(credentials=give) as client:
            await client.put_object(BUCKET, "k", b"content")
            cos.tokens.clear()

            async def bare(request: HttpRequest, proceed: Callable[[], HttpResponse]) -> HttpResponse:
                reply = proceed()
                for _ in range(5):
                    await asyncio.sleep(0)
                return HttpResponse(status=reply.status, headers=reply.headers)

            cos.fault("head_object", bare, times=99)
            heads = await asyncio.gather(*(client.head_object(BUCKET, "k") for _ in range(4)))
            assert [head.size for head in heads] == [7] * 4

    asyncio.run(main())
    assert len(asked) == 2


def test_a_wrong_clock_and_expired_keys_are_both_corrected_in_one_call(
    cos: FakeCos, clock: types.SimpleNamespace
) -> None:
    give, asked = provider(cos)

    def late(request: HttpRequest, proceed: Callable[[], HttpResponse]) -> HttpResponse:
        return error(400, "ExpiredToken")

    clock.now = NOW - 7_200
    cos.fault("put_object", lambda request, proceed: error(403, "RequestTimeTooSkewed", headers=DATE))
    cos.fault("put_object", late)

    async def main() -> None:
        async with cos.client(credentials=give) as client:
            await client.put_object(BUCKET, "k", b"content")

    asyncio.run(main())
    assert len(asked) == 2
    assert cos.count("put_object") == 3


@pytest.mark.parametrize(
    "refusal", [error(403, "RequestTimeTooSkewed", headers=DATE), error(400, "ExpiredToken")], ids=["clock", "keys"]
)
def test_a_form_is_signed_again_after_a_refusal(
    cos: FakeCos, clock: types.SimpleNamespace, refusal: HttpResponse
) -> None:
    clock.now = NOW - 7_200
    give, asked = provider(cos)
    stored = HttpResponse(status=204, headers={"etag": '"9a0364b9e99bb480dd25e1f0284c8555"'})
    forms: list[bytes] = []

    class Forms:
        async def send(self, request: HttpRequest) -> HttpResponse:
            forms.append(b"".join(bytes(piece) for piece in request.body))  # type: ignore[union-attr, arg-type]
            return refusal if len(forms) == 1 else stored

        async def aclose(self) -> None: ...

    async def main() -> None:
        async with cos.client(credentials=give) as client:
            client._session.transport = Forms()
            await client.post_object(BUCKET, "k", b"content", filename="f")

    asyncio.run(main())
    first, second = (form.partition(b'name="q-signature"')[2].splitlines()[2] for form in forms)
    assert first != second
    if refusal.status == 400:
        assert len(asked) == 2
        assert b"token2" in forms[1]


@pytest.mark.parametrize("call", ["put", "form"])
@pytest.mark.parametrize(("jumps", "stored"), [(1, True), (2, True), (3, True), (4, False)])
def test_a_clock_that_jumps_several_times_in_one_call_is_corrected_each_time(
    cos: FakeCos, clock: types.SimpleNamespace, waits: list[float], call: str, jumps: int, stored: bool
) -> None:
    """Each jump happens after a request was signed, so that the server refuses it. The fourth is an error."""
    left = [7_200.0 * (-2) ** n for n in range(jumps)]
    sent: list[HttpRequest] = []

    class Jumping:
        async def send(self, request: HttpRequest) -> HttpResponse:
            sent.append(request)
            if left:
                clock.now = NOW + left.pop(0)
                return error(403, "RequestTimeTooSkewed", headers=DATE)
            return HttpResponse(status=200, headers={"etag": '"9a0364b9e99bb480dd25e1f0284c8555"'})

        async def aclose(self) -> None: ...

    async def main() -> None:
        async with cos.client() as client:
            client._session.transport = Jumping()
            if call == "put":
                await client.put_object(BUCKET, "k", b"content")
            else:
                await client.post_object(BUCKET, "k", b"content", filename="f")

    if stored:
        asyncio.run(main())
    else:
        with pytest.raises(cosxfer.AccessDeniedError, match="RequestTimeTooSkewed"):
            asyncio.run(main())
    assert len(sent) == min(jumps, 3) + 1
    assert not waits


def test_a_form_that_is_refused_for_the_clock_and_for_its_keys_is_signed_again_each_time(
    cos: FakeCos, clock: types.SimpleNamespace
) -> None:
    clock.now = NOW - 7_200
    give, asked = provider(cos)
    replies = [
        error(403, "RequestTimeTooSkewed", headers=DATE),
        error(400, "ExpiredToken"),
        HttpResponse(status=204, headers={"etag": '"9a0364b9e99bb480dd25e1f0284c8555"'}),
    ]

    class Forms:
        async def send(self, request: HttpRequest) -> HttpResponse:
            return replies.pop(0)

        async def aclose(self) -> None: ...

    async def main() -> None:
        async with cos.client(credentials=give) as client:
            client._session.transport = Forms()
            await client.post_object(BUCKET, "k", b"content", filename="f")

    asyncio.run(main())
    assert not replies
    assert len(asked) == 2
