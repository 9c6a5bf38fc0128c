"""The client for asyncio. `cosxfer.Client` is its blocking variant."""

from __future__ import annotations

import os
import ssl
import warnings
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Self

from cosxfer.arguments import AUTO, NumberOrAuto, check_flag, check_text
from cosxfer.binding import explains_arguments
from cosxfer.calls.aio_buckets import AsyncBucketCalls
from cosxfer.calls.aio_copying import AsyncCopyCalls
from cosxfer.calls.aio_downloads import AsyncDownloadCalls
from cosxfer.calls.aio_files import AsyncFileCalls
from cosxfer.calls.aio_listing import AsyncListingCalls
from cosxfer.calls.aio_multipart import AsyncMultipartCalls
from cosxfer.calls.aio_objects import AsyncObjectCalls
from cosxfer.calls.aio_sync import AsyncSyncCalls
from cosxfer.config import (
    DEFAULT_MEMORY_BUDGET_BYTES,
    DEFAULT_RETRY_FOR_SECONDS,
    ClientConfig,
    FindUploads,
    HttpVersion,
    endpoint_from_environment,
)
from cosxfer.cos.endpoint import check_endpoint, region_of, with_bucket
from cosxfer.credentials import Credentials, CredentialsProvider, CredentialsResolver, from_environment
from cosxfer.errors import CredentialsError
from cosxfer.ops.session import Session
from cosxfer.spec import ClientSpec, CredentialsSource, arguments_of, spec_of
from cosxfer.tasks.transfers import Transfers
from cosxfer.threads import Workers
from cosxfer.transport.choose import TransportChoice, choose_transport
from cosxfer.transport.native_pool import ConnectionLimits


@explains_arguments
class AsyncClient(
    AsyncSyncCalls,
    AsyncObjectCalls,
    AsyncMultipartCalls,
    AsyncFileCalls,
    AsyncDownloadCalls,
    AsyncListingCalls,
    AsyncBucketCalls,
    AsyncCopyCalls,
):
    """A client of COS for asyncio. Use it from one event loop and close it (``async with``).

    An unclosed client that was used issues a `ResourceWarning`. Running uploads continue.

    ``credentials`` is a `Credentials` or a function (also a coroutine function) that returns temporary ones. The client
    calls it again before they expire. ``secret_id``, ``secret_key`` and ``token`` are the short form. By default, the
    keys come from ``COS_SECRET_ID``, ``COS_SECRET_KEY`` and ``COS_TOKEN``. ``anonymous=True`` signs nothing.
    ``region`` and ``endpoint`` default to ``COS_REGION`` and ``COS_ENDPOINT``. `cosxfer.ClientConfig` describes the
    other settings. ``transport`` is ``"native"``, ``"httpx"``, ``"auto"`` (`cosxfer.transport.choose`) or a
    `cosxfer.transport.base.Transport` of the caller.

    Every call may raise `cosxfer.UsageError` before anything is sent, `cosxfer.TransportError` if the server cannot be
    reached, and `cosxfer.ServerError` if COS refuses the request.
    """

    def __init__(
        self,
        *,
        region: str | None = None,
        endpoint: str | None = None,
        credentials: Credentials | CredentialsProvider | None = None,
        secret_id: str | None = None,
        secret_key: str | None = None,
        token: str | None = None,
        anonymous: bool = False,
        http_version: HttpVersion = "auto",
        verify: bool | str | os.PathLike[str] | ssl.SSLContext = True,
        concurrency: NumberOrAuto = AUTO,
        file_parallel_limit: NumberOrAuto = AUTO,
        part_size: NumberOrAuto = AUTO,
        memory_budget_bytes: int = DEFAULT_MEMORY_BUDGET_BYTES,
        endpoint_memory: bool = True,
        journal: str | os.PathLike[str] | None = AUTO,
        find_uploads: FindUploads = "auto",
        max_finished_tasks: int = 10_000,
        max_attempts: int = 5,
        retry_for_seconds: float = DEFAULT_RETRY_FOR_SECONDS,
        connect_timeout_seconds: float = 10.0,
        stall_timeout_seconds: float = 60.0,
        complete_timeout_seconds: float = 600.0,
        switch_host: bool = True,
        hedge: bool = True,
        max_bytes_per_second: float | None = None,
        trace: str | os.PathLike[str] | None = None,
        transport: TransportChoice = "auto",
    ) -> None:
        endpoint = endpoint or endpoint_from_environment(os.environ)
        check_text(endpoint, "endpoint", optional=False)
        endpoint = with_bucket(endpoint)
        if not region and region_of(endpoint) is None:
            region = os.environ.get("COS_REGION")
        config = ClientConfig(
            region=region or None,
            endpoint=endpoint,
            http_version=http_version,
            verify=verify,
            concurrency=concurrency,
            file_parallel_limit=file_parallel_limit,
            part_size=part_size,
            memory_budget_bytes=memory_budget_bytes,
            endpoint_memory=endpoint_memory,
            journal=journal,
            find_uploads=find_uploads,
            max_finished_tasks=max_finished_tasks,
            max_attempts=max_attempts,
            retry_for_seconds=retry_for_seconds,
            connect_timeout_seconds=connect_timeout_seconds,
            stall_timeout_seconds=stall_timeout_seconds,
            complete_timeout_seconds=complete_timeout_seconds,
            switch_host=switch_host,
            hedge=hedge,
            max_bytes_per_second=max_bytes_per_second,
            trace=trace,
        )
        check_endpoint(config.endpoint, region=config.region)
        check_flag(anonymous, "anonymous")
        source = None if anonymous else _credentials(credentials, secret_id, secret_key, token)
        self._keys_given = credentials is not None or bool(secret_id or secret_key or token)
        # Keep only the type of an object, because its repr could show secrets.
        self._transport_choice = transport if isinstance(transport, str) else type(transport)
        connections = ConnectionLimits()
        way = choose_transport(transport, config, connections)
        self._session = Session(config=config, transport=way, credentials=CredentialsResolver(source))
        self._executor = Workers()
        self._transfers = Transfers(self._session, self._executor, connections)
        self._closed = False

    @classmethod
    def from_spec(cls, spec: ClientSpec) -> Self:
        """Return a new client that equals the one whose `spec` this is.

        Raises `CredentialsError` if the keys come from the environment and this process has none.
        """
        return cls(**arguments_of(spec))

    @property
    def config(self) -> ClientConfig:
        """The client's settings."""
        return self._session.config

    def spec(self, *, include_secrets: bool = False) -> ClientSpec:
        """Return what builds an equal client in another process: `from_spec`.

        ``include_secrets`` allows the spec to hold the keys that this client was given. Keys from the environment and
        from a credentials function never enter it; the function must be importable in the other process.

        Raises `UsageError` if an equal client cannot be built elsewhere: keys without ``include_secrets``, a
        credentials function that cannot be pickled, a transport object, ``verify`` as an `ssl.SSLContext`.
        """
        source = self._session.keys.source
        credentials: CredentialsSource = (
            "anonymous" if source is None else source if self._keys_given else "environment"
        )
        return spec_of(self.config, credentials, self._transport_choice, include_secrets=include_secrets)

    async def aclose(self) -> None:
        """Cancel the uploads that have not ended, clean up after them, and close the connections.

        Waiting for a cancelled task raises `cosxfer.TaskCanceledError`. The client cannot be used afterwards.
        """
        self._closed = True
        await self._transfers.aclose()
        await self._session.transport.aclose()
        self._executor.end()

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        if getattr(self, "_closed", True) or not self._transfers.queue.home.bound:
            return  # closed, or never used
        if self._transfers.queue.idle:
            self._closed = True
            self._transfers.queue.end_keeping(partial(_abandon, self._session, self._executor, self._transfers.abandon))
        # Last, as it may raise.
        _warn(f"unclosed client {self!r}; use async with, or await aclose()", ResourceWarning, source=self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.config.endpoint!r}, region {self.config.region!r}>"


def _abandon(session: Session, executor: Workers, abandon_transfers: Callable[[], None]) -> None:
    abandon_transfers()
    abandon = getattr(session.transport, "abandon", None)
    if abandon is not None:
        abandon()
    executor.end()


def _credentials(
    credentials: Credentials | CredentialsProvider | None,
    secret_id: str | None,
    secret_key: str | None,
    token: str | None,
) -> Credentials | CredentialsProvider:
    if credentials is not None:
        if not isinstance(credentials, Credentials) and not callable(credentials):
            raise CredentialsError(
                f"credentials is {type(credentials).__name__}; it must be cosxfer.Credentials, or a function that "
                "returns them"
            )
        if secret_id or secret_key or token:
            raise CredentialsError("give either credentials or secret_id and secret_key, not both")
        return credentials
    if secret_id or secret_key or token:
        return Credentials(secret_id=secret_id or "", secret_key=secret_key or "", token=token)
    found = from_environment(os.environ)
    if found is None:
        raise CredentialsError(
            "no credentials: pass secret_id and secret_key (or credentials), set COS_SECRET_ID and COS_SECRET_KEY, "
            "or pass anonymous=True"
        )
    return found
