"""The client for programs without asyncio: the engine of `AsyncClient`, on an event loop in a thread of its own."""

from __future__ import annotations

import os
import ssl
from types import TracebackType
from typing import Self

from cosxfer.aio import AsyncClient
from cosxfer.binding import explains_arguments
from cosxfer.calls.files import FileCalls
from cosxfer.calls.multipart import MultipartCalls
from cosxfer.calls.objects import ObjectCalls
from cosxfer.config import ClientConfig, HttpVersion
from cosxfer.credentials import Credentials, CredentialsProvider
from cosxfer.loop_thread import LoopThread
from cosxfer.spec import ClientSpec, arguments_of
from cosxfer.transport.choose import TransportChoice


@explains_arguments
class Client(ObjectCalls, MultipartCalls, FileCalls):
    """A client of COS; may be shared by threads, and is to be closed (``with``).

    Settings, calls and errors are those of `AsyncClient`. Ctrl-C in a call cancels it: what was sent so far is cleaned
    up on the server, then KeyboardInterrupt is raised. The callbacks of uploads of files may call the client.

    A client that was not closed is closed when the interpreter ends, or nobody holds it any more; the process waits up
    to 5 s for a server that does not answer. A program that must be sure that nothing is left there closes it.
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
        concurrency: int = 4,
        file_parallel_limit: int = 3,
        max_finished_tasks: int = 10_000,
        max_attempts: int = 5,
        connect_timeout_seconds: float = 10.0,
        stall_timeout_seconds: float = 60.0,
        complete_timeout_seconds: float = 600.0,
        max_bytes_per_second: float | None = None,
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
            max_finished_tasks=max_finished_tasks,
            max_attempts=max_attempts,
            connect_timeout_seconds=connect_timeout_seconds,
            stall_timeout_seconds=stall_timeout_seconds,
            complete_timeout_seconds=complete_timeout_seconds,
            max_bytes_per_second=max_bytes_per_second,
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
        """The settings in force."""
        return self._client.config

    def spec(self, *, include_secrets: bool = False) -> ClientSpec:
        return self._client.spec(include_secrets=include_secrets)

    def close(self) -> None:
        """Cancel the uploads that have not ended, clean up after them, and close the connections.

        The client cannot be used afterwards. Closing twice does nothing, and so does closing in a forked child.
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


# The documentation of a call stands once, at its asynchronous form.
for _name in dir(Client):
    _method = getattr(Client, _name)
    if not _name.startswith("_") and hasattr(AsyncClient, _name) and callable(_method) and not _method.__doc__:
        _method.__doc__ = getattr(AsyncClient, _name).__doc__
