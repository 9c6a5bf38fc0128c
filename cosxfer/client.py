"""The client for programs without asyncio: the engine of `AsyncClient`, on an event loop in a thread of its own."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from types import TracebackType
from typing import Self, Unpack

from cosxfer.aio import AsyncClient
from cosxfer.calls.multipart import MultipartCalls
from cosxfer.calls.objects import ObjectCalls
from cosxfer.config import ClientConfig, HttpVersion
from cosxfer.cos.requests import ObjectHeaders
from cosxfer.credentials import Credentials, CredentialsProvider
from cosxfer.engine.upload_file import DEFAULT_SLICE_SIZE
from cosxfer.loop_thread import LoopThread
from cosxfer.models import Progress, UploadResult
from cosxfer.transport.base import Transport


class Client(ObjectCalls, MultipartCalls):
    """A client of COS; may be shared by threads, and is to be closed (``with``).

    Settings, calls and errors are those of `AsyncClient`. Ctrl-C in a call cancels it: what was sent so far is cleaned
    up on the server, then KeyboardInterrupt is raised. Callbacks run in the client's own thread; a call of the client
    from within one is an error.
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
        self._client = AsyncClient(
            region=region,
            endpoint=endpoint,
            credentials=credentials,
            secret_id=secret_id,
            secret_key=secret_key,
            token=token,
            anonymous=anonymous,
            http_version=http_version,
            verify=verify,
            concurrency=concurrency,
            file_parallel_limit=file_parallel_limit,
            max_finished_tasks=max_finished_tasks,
            max_attempts=max_attempts,
            connect_timeout_seconds=connect_timeout_seconds,
            stall_timeout_seconds=stall_timeout_seconds,
            transport=transport,
        )
        self._loop = LoopThread(name="cosxfer")

    @property
    def config(self) -> ClientConfig:
        """The settings in force."""
        return self._client.config

    def close(self) -> None:
        """Close the connections; the client cannot be used afterwards. Closing twice does nothing."""
        if not self._loop.closed:
            self._loop.run(self._client.aclose())
            self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.config.endpoint!r}, region {self.config.region!r}>"

    # -- files ------------------------------------------------------------------------------------------------------

    def upload_file(
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
        return self._run(
            self._client.upload_file(
                bucket,
                key,
                path,
                slice_size=slice_size,
                part_size=part_size,
                async_limit=async_limit,
                upload_add_meta_md5=upload_add_meta_md5,
                abort_on_failure=abort_on_failure,
                region=region,
                on_task_ready=on_task_ready,
                on_hash_progress=on_hash_progress,
                on_progress=on_progress,
                **given,
            )
        )

    def slice_upload_file(
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
        return self._run(
            self._client.slice_upload_file(
                bucket,
                key,
                path,
                slice_size=slice_size,
                async_limit=async_limit,
                upload_add_meta_md5=upload_add_meta_md5,
                abort_on_failure=abort_on_failure,
                region=region,
                on_task_ready=on_task_ready,
                on_hash_progress=on_hash_progress,
                on_progress=on_progress,
                **given,
            )
        )


# The documentation of a call stands once, at its asynchronous form.
for _name in dir(Client):
    _method = getattr(Client, _name)
    if not _name.startswith("_") and hasattr(AsyncClient, _name) and callable(_method):
        _method.__doc__ = getattr(AsyncClient, _name).__doc__
