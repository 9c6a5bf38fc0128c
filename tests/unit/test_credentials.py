"""Credentials that a provider gives."""

from __future__ import annotations

import asyncio

import pytest

from cosxfer.credentials import Credentials, CredentialsResolver
from cosxfer.errors import CredentialsError, TransportError


def test_a_blocking_provider_that_waits_for_itself_raises_an_error() -> None:
    async def ask() -> None:
        loop = asyncio.get_running_loop()

        def provider() -> Credentials:
            asyncio.run_coroutine_threadsafe(resolver.get(0.0), loop).result()
            raise AssertionError("the provider got a result")

        resolver = CredentialsResolver(provider)
        with pytest.raises(CredentialsError, match="is waiting for it"):
            await resolver.get(0.0)

    asyncio.run(ask())


def test_an_asynchronous_provider_that_waits_for_itself_raises_an_error() -> None:
    async def provider() -> Credentials:
        found = await resolver.get(0.0)
        assert found is not None
        return found

    resolver = CredentialsResolver(provider)
    with pytest.raises(CredentialsError, match="is waiting for it"):
        asyncio.run(resolver.get(0.0))


def test_concurrent_callers_share_one_call_of_the_provider() -> None:
    asked = 0

    async def provider() -> Credentials:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        return Credentials(secret_id="a", secret_key="b", expires_at=1000.0)

    async def ask() -> None:
        await asyncio.gather(resolver.get(0.0), resolver.get(0.0))

    resolver = CredentialsResolver(provider)
    asyncio.run(ask())
    assert asked == 1


def test_a_provider_that_fails_while_the_keys_are_valid_is_no_error() -> None:
    results = [Credentials(secret_id="a", secret_key="b", expires_at=100.0)]

    async def ask() -> None:
        assert (await resolver.get(0.0)) is not None
        assert (await resolver.get(99.0)) is not None
        with pytest.raises(CredentialsError, match="provider failed"):
            await resolver.get(101.0)

    resolver = CredentialsResolver(lambda: results.pop())
    asyncio.run(ask())


def test_a_provider_that_fails_at_an_early_renewal_does_not_fail_the_call() -> None:
    """A provider may itself use cosxfer."""
    results = [Credentials(secret_id="a", secret_key="b", expires_at=100.0)]

    def provider() -> Credentials:
        if not results:
            raise TransportError("the connection broke")
        return results.pop()

    async def ask() -> None:
        assert (await resolver.get(0.0)) is not None
        assert (await resolver.get(99.0)) is not None
        with pytest.raises(TransportError, match="broke"):
            await resolver.get(101.0)

    resolver = CredentialsResolver(provider)
    asyncio.run(ask())


def test_doubted_keys_stay_in_use_while_the_provider_fails() -> None:
    good = Credentials(secret_id="a", secret_key="b", expires_at=100.0)
    results = [good]

    async def ask() -> None:
        assert (await resolver.get(0.0)) is good
        assert resolver.discard(good, doubted=True)
        assert (await resolver.get(0.0)) is good
        assert resolver.is_current(good)
        # Keys that have expired, by the clock or by the server, cannot be used.
        assert resolver.discard(good)
        with pytest.raises(CredentialsError, match="provider failed"):
            await resolver.get(0.0)
        assert resolver.discard(good, doubted=True)
        with pytest.raises(CredentialsError, match="provider failed"):
            await resolver.get(101.0)

    resolver = CredentialsResolver(lambda: results.pop())
    asyncio.run(ask())


@pytest.mark.parametrize("ends", ["5", True, float("nan"), float("inf"), 1_795_844_697_000, 10**400, b"5"])
def test_an_expiry_that_is_no_time_is_refused(ends: object) -> None:
    with pytest.raises(CredentialsError, match="expires_at is not a time"):
        Credentials(secret_id="a", secret_key="b", expires_at=ends)  # type: ignore[arg-type]


@pytest.mark.parametrize("ends", [None, -1, 0, 1_795_844_697, 1_795_844_697.5, 253_402_300_799])
def test_an_expiry_may_be_any_time(ends: float | None) -> None:
    assert Credentials(secret_id="a", secret_key="b", expires_at=ends).expires_at == ends


def test_expired_keys_are_reported_with_the_time_of_the_clock() -> None:
    """With a clock that is a year ahead, valid keys look expired."""
    keys = Credentials(secret_id="a", secret_key="b", expires_at=1_700_000_000)
    for resolver in (CredentialsResolver(keys), CredentialsResolver(lambda: keys)):
        with pytest.raises(
            CredentialsError, match="expired at 2023-11-14 22:13:20 UTC; the local clock says 2024-11-13"
        ):
            asyncio.run(resolver.get(1_731_536_000.0))
