"""The client for asyncio. `cosxfer.Client` is the same for programs without it."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self, Unpack

from cosxfer.calls.aio_multipart import AsyncMultipartCalls
from cosxfer.calls.aio_objects import AsyncObjectCalls
from cosxfer.config import ClientConfig, HttpVersion, endpoint_from_environment
from cosxfer.cos.requests import ObjectHeaders
from cosxfer.credentials import Credentials, CredentialsProvider, CredentialsResolver, from_environment
from cosxfer.engine.options import UploadOptions
from cosxfer.engine.upload_file import DEFAULT_SLICE_SIZE, upload_file
from cosxfer.errors import CredentialsError
from cosxfer.models import Progress, UploadResult
from cosxfer.ops.session import Session
from cosxfer.transport.base import Transport


class AsyncClient(AsyncObjectCalls, AsyncMultipartCalls):
    """A client of COS for asyncio; to be used from one event loop, and closed (``async with``).

    ``credentials`` are a `Credentials`, or a function (also a coroutine function) that returns temporary ones and is
    asked again before they end; ``secret_id``, ``secret_key`` and ``token`` are the short form. Where none are given
    they come from ``COS_SECRET_ID``, ``COS_SECRET_KEY`` and ``COS_TOKEN``; ``anonymous=True`` signs nothing.
    ``region`` and ``endpoint`` default to ``COS_REGION`` and ``COS_ENDPOINT``; the other settings are described in
    `cosxfer.ClientConfig`. ``transport`` replaces the way to the network (`cosxfer.transport.base.Transport`).

    Every call may raise `cosxfer.UsageError` before anything is sent, `cosxfer.TransportError` where the server
    cannot be reached, and `cosxfer.ServerError` for what COS refuses.
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
        verify: bool | str | ssl.SSLContext = True,
        concurrency: int = 4,
        file_parallel_limit: int = 3,
        max_finished_tasks: int = 10_000,
        max_attempts: int = 5,
        connect_timeout_seconds: float = 10.0,
        stall_timeout_seconds: float = 60.0,
        transport: Transport | None = None,
    ) -> None:
        config = ClientConfig(
            region=region or os.environ.get("COS_REGION") or None,
            endpoint=endpoint or endpoint_from_environment(os.environ),
            http_version=http_version,
            verify=verify,
            concurrency=concurrency,
            file_parallel_limit=file_parallel_limit,
            max_finished_tasks=max_finished_tasks,
            max_attempts=max_attempts,
            connect_timeout_seconds=connect_timeout_seconds,
            stall_timeout_seconds=stall_timeout_seconds,
        )
        source = None if anonymous else _credentials(credentials, secret_id, secret_key, token)
        if transport is None:
            # Imported here: httpx is most of the start-up time of a program that may not need it yet.
            from cosxfer.transport.httpx import HttpxTransport

            transport = HttpxTransport(config)
        self._session = Session(config=config, transport=transport, credentials=CredentialsResolver(source))
        self._executor = ThreadPoolExecutor(max_workers=os.cpu_count() or 1, thread_name_prefix="cosxfer-hash")
        self._closed = False

    @property
    def config(self) -> ClientConfig:
        """The settings in force."""
        return self._session.config

    async def aclose(self) -> None:
        """Close the connections; the client cannot be used afterwards."""
        self._closed = True
        await self._session.transport.aclose()
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.config.endpoint!r}, region {self.config.region!r}>"

    # -- files ------------------------------------------------------------------------------------------------------

    async def upload_file(
        self,
        bucket: str,
        key: str,
        path: str | os.PathLike[str],
        *,
        slice_size: int = DEFAULT_SLICE_SIZE,
        part_size: int | None = None,
        async_limit: int | None = None,
        upload_add_meta_md5: bool = False,
        abort_on_failure: bool = True,
        region: str | None = None,
        on_task_ready: Callable[[str], None] | None = None,
        on_hash_progress: Callable[[Progress], None] | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        **given: Unpack[ObjectHeaders],
    ) -> UploadResult:
        """Upload a file: up to ``slice_size`` bytes (1 MiB) in a single PUT, longer in parts (COS SDK: uploadFile).

        ``part_size`` is in bytes, 1 MiB to 5 GiB; None chooses 8 MiB, or more where 10,000 parts need it.
        ``async_limit`` is the number of parts in flight, by default the client's ``concurrency``.
        ``upload_add_meta_md5`` stores the file's MD5 as x-cos-meta-md5, for which the file is hashed before the first
        byte is sent.

        Each part's MD5 goes along as Content-MD5, its ETag and CRC64 are compared, and so is the CRC64 of the whole
        object at the end: ``result.verified``. The object appears whole, or not at all. A file that changes meanwhile
        ends in `cosxfer.SourceChangedError`, another failure in `cosxfer.UploadError`; the parts sent so far are
        aborted on the server unless ``abort_on_failure`` is False.

        The callbacks are called on the event loop, ``on_hash_progress`` and ``on_progress`` with a
        `cosxfer.Progress` several times a second.
        """
        options = UploadOptions(
            part_size=part_size,
            async_limit=async_limit,
            upload_add_meta_md5=upload_add_meta_md5,
            abort_on_failure=abort_on_failure,
            region=region,
            on_task_ready=on_task_ready,
            on_hash_progress=on_hash_progress,
            on_progress=on_progress,
            given=given,
        )
        executor = self._ready()
        return await upload_file(self._session, executor, bucket, key, path, slice_size=slice_size, options=options)

    async def slice_upload_file(
        self,
        bucket: str,
        key: str,
        path: str | os.PathLike[str],
        *,
        slice_size: int | None = None,
        async_limit: int | None = None,
        upload_add_meta_md5: bool = False,
        abort_on_failure: bool = True,
        region: str | None = None,
        on_task_ready: Callable[[str], None] | None = None,
        on_hash_progress: Callable[[Progress], None] | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        **given: Unpack[ObjectHeaders],
    ) -> UploadResult:
        """Upload a file in parts of ``slice_size`` bytes, whatever its size (COS SDK: sliceUploadFile).

        An empty file has no parts and goes in a single PUT. For everything else see `upload_file`, whose
        ``part_size`` is ``slice_size`` here.
        """
        options = UploadOptions(
            part_size=slice_size,
            part_size_name="slice_size",
            async_limit=async_limit,
            upload_add_meta_md5=upload_add_meta_md5,
            abort_on_failure=abort_on_failure,
            region=region,
            on_task_ready=on_task_ready,
            on_hash_progress=on_hash_progress,
            on_progress=on_progress,
            given=given,
        )
        executor = self._ready()
        return await upload_file(self._session, executor, bucket, key, path, slice_size=0, options=options)


def _credentials(
    credentials: Credentials | CredentialsProvider | None,
    secret_id: str | None,
    secret_key: str | None,
    token: str | None,
) -> Credentials | CredentialsProvider:
    if credentials is not None:
        if secret_id or secret_key or token:
            raise CredentialsError("give either credentials or secret_id and secret_key, not both")
        return credentials
    if secret_id or secret_key or token:
        return Credentials(secret_id=secret_id or "", secret_key=secret_key or "", token=token)
    found = from_environment(os.environ)
    if found is None:
        raise CredentialsError(
            "no credentials: pass secret_id and secret_key (or credentials), set COS_SECRET_ID and COS_SECRET_KEY, "
            "or say anonymous=True"
        )
    return found
