"""The blocking client. It runs an `AsyncClient` on an event loop in its own thread."""

from __future__ import annotations

import os
import ssl
from types import TracebackType
from typing import Self

from cosxfer.aio import AsyncClient
from cosxfer.arguments import AUTO, NumberOrAuto
from cosxfer.binding import explains_arguments
from cosxfer.calls.buckets import BucketCalls
from cosxfer.calls.copying import CopyCalls
from cosxfer.calls.downloads import DownloadCalls
from cosxfer.calls.files import FileCalls
from cosxfer.calls.listing import ListingCalls
from cosxfer.calls.multipart import MultipartCalls
from cosxfer.calls.objects import ObjectCalls
from cosxfer.calls.sync import SyncCalls
from cosxfer.config import (
    DEFAULT_MEMORY_BUDGET_BYTES,
    DEFAULT_RETRY_FOR_SECONDS,
    ClientConfig,
    FindUploads,
    HttpVersion,
)
from cosxfer.credentials import Credentials, CredentialsProvider
from cosxfer.loop_thread import LoopThread
from cosxfer.spec import ClientSpec, arguments_of
from cosxfer.transport.choose import TransportChoice


@explains_arguments
class Client(ObjectCalls, MultipartCalls, FileCalls, DownloadCalls, ListingCalls, BucketCalls, CopyCalls, SyncCalls):
    """A blocking client of COS. Threads may share it. Close it after use (``with``).

    Settings, calls and errors are those of `AsyncClient`. Ctrl-C in a call cancels it and then raises
    KeyboardInterrupt. Its parts stay on the server if the journal has the upload, which a note of the exception
    says; else they are deleted. Callbacks of file uploads may call the client.

    An unclosed client is closed when it is garbage-collected or the interpreter exits. The process then waits up to 5 s
    for a silent server, and parts may stay on the server. Close the client to be sure that none stay.
    """

    _client: AsyncClient

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
            transport=transport,
        )
        self._loop = LoopThread(name="cosxfer", at_end=self._client.aclose)

    @classmethod
    def from_spec(cls, spec: ClientSpec) -> Self:
        """Return a new client that equals the one whose `spec` this is.

        Raises `CredentialsError` if the keys come from the environment and this process has none.
        """
        return cls(**arguments_of(spec))

    @property
    def config(self) -> ClientConfig:
        """The client's settings."""
        return self._client.config

    def spec(self, *, include_secrets: bool = False) -> ClientSpec:
        return self._client.spec(include_secrets=include_secrets)

    def close(self) -> None:
        """Cancel the uploads that have not ended, clean up after them, and close the connections.

        The client cannot be used afterwards. Closing it again, or in a forked child, does nothing.
        """
        if not self._loop.closed and not self._loop.forked:
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


# Each call is documented once, at its asynchronous form.
for _name in dir(Client):
    _method = getattr(Client, _name)
    if not _name.startswith("_") and hasattr(AsyncClient, _name) and callable(_method) and not _method.__doc__:
        _method.__doc__ = getattr(AsyncClient, _name).__doc__
