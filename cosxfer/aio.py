"""The client for asyncio. `cosxfer.Client` is the same for programs without it."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self, Unpack

from cosxfer.config import ClientConfig, HttpVersion, endpoint_from_environment
from cosxfer.cos.requests import ObjectHeaders
from cosxfer.credentials import Credentials, CredentialsProvider, CredentialsResolver, from_environment
from cosxfer.engine.bodies import BodyInput, prepared
from cosxfer.engine.options import UploadOptions
from cosxfer.engine.report import Reporter
from cosxfer.engine.upload_file import DEFAULT_SLICE_SIZE, upload_file
from cosxfer.errors import CosxferError, CredentialsError
from cosxfer.limits import MAX_PART_BYTES, MAX_PUT_BYTES
from cosxfer.models import (
    GetObjectResult,
    HeadObjectResult,
    MultipartAbortResult,
    MultipartCompleteResult,
    MultipartInitResult,
    MultipartListPartResult,
    MultipartListResult,
    MultipartUploadResult,
    Part,
    Progress,
    PutObjectResult,
    UploadResult,
)
from cosxfer.ops.get_object import get_object
from cosxfer.ops.head_object import head_object
from cosxfer.ops.multipart_abort import multipart_abort
from cosxfer.ops.multipart_complete import multipart_complete
from cosxfer.ops.multipart_init import multipart_init
from cosxfer.ops.multipart_list import multipart_list
from cosxfer.ops.multipart_list_part import multipart_list_part
from cosxfer.ops.multipart_upload import multipart_upload
from cosxfer.ops.put_object import put_object
from cosxfer.ops.session import Session
from cosxfer.transport.base import Transport


class AsyncClient:
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

    # -- objects ----------------------------------------------------------------------------------------------------

    async def put_object(
        self,
        bucket: str,
        key: str,
        body: BodyInput,
        *,
        content_md5: str | None = None,
        region: str | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        **given: Unpack[ObjectHeaders],
    ) -> PutObjectResult:
        """Send an object of at most 5 GiB in one request (COS: PUT Object). It appears whole, or not at all.

        ``body`` is bytes, a string (sent as UTF-8) or a ``pathlib.Path``. Content-MD5 is sent with it (computed,
        unless ``content_md5`` gives it in base64), and the server's CRC64 is compared: `cosxfer.IntegrityError`
        where it differs. ``given`` are the headers of `cosxfer.cos.requests.ObjectHeaders`.
        """
        async with prepared(body, self._ready(), content_md5=content_md5, largest=MAX_PUT_BYTES) as ready:
            reporter = Reporter(on_progress, ready.content_length)
            reporter.start()
            result, _ = await put_object(
                self._session,
                bucket,
                key,
                ready.body,
                content_length=ready.content_length,
                md5=ready.md5,
                crc64=ready.crc64,
                given=given,
                region=region,
                on_sent=reporter.add,
            )
        reporter.finish()
        return result

    async def head_object(
        self, bucket: str, key: str, *, version_id: str | None = None, region: str | None = None
    ) -> HeadObjectResult:
        """What is known of an object (COS: HEAD Object). `cosxfer.NotFoundError` where there is none."""
        self._ready()
        return await head_object(self._session, bucket, key, version_id=version_id, region=region)

    async def get_object(
        self,
        bucket: str,
        key: str,
        *,
        output: str | os.PathLike[str] | None = None,
        byte_range: tuple[int, int] | None = None,
        version_id: str | None = None,
        region: str | None = None,
    ) -> GetObjectResult:
        """Fetch an object (COS: GET Object) into ``body``, or into the file ``output``.

        The file appears only when it is complete and its CRC64 agrees with the server's. ``byte_range`` is first and
        last byte, both included; a range has no CRC64 to compare.
        """
        self._ready()
        return await get_object(
            self._session, bucket, key, output=output, byte_range=byte_range, version_id=version_id, region=region
        )

    # -- multipart --------------------------------------------------------------------------------------------------

    async def multipart_init(
        self, bucket: str, key: str, *, region: str | None = None, **given: Unpack[ObjectHeaders]
    ) -> MultipartInitResult:
        """Begin a multipart upload (COS: Initiate Multipart Upload); all headers of the object belong here."""
        self._ready()
        return await multipart_init(self._session, bucket, key, given=given, region=region)

    async def multipart_upload(
        self,
        bucket: str,
        key: str,
        body: BodyInput,
        *,
        upload_id: str,
        part_number: int,
        content_md5: str | None = None,
        traffic_limit: int | None = None,
        region: str | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> MultipartUploadResult:
        """Send one part (COS: Upload Part): number 1 to 10,000, 1 MiB to 5 GiB; the last one may be smaller.

        Content-MD5 is sent with it, and the server's ETag and CRC64 are compared. The same number again replaces the
        part.
        """
        async with prepared(body, self._ready(), content_md5=content_md5, largest=MAX_PART_BYTES) as ready:
            reporter = Reporter(on_progress, ready.content_length)
            reporter.start()
            result, _ = await multipart_upload(
                self._session,
                bucket,
                key,
                ready.body,
                upload_id=upload_id,
                part_number=part_number,
                content_length=ready.content_length,
                md5=ready.md5,
                crc64=ready.crc64,
                headers={} if traffic_limit is None else {"x-cos-traffic-limit": str(traffic_limit)},
                region=region,
                on_sent=reporter.add,
            )
        reporter.finish()
        return result

    async def multipart_list_part(
        self,
        bucket: str,
        key: str,
        *,
        upload_id: str,
        max_parts: int | None = None,
        part_number_marker: int | None = None,
        encoding_type: str | None = None,
        region: str | None = None,
    ) -> MultipartListPartResult:
        """One page of the uploaded parts (COS: List Parts), 1,000 at most."""
        self._ready()
        return await multipart_list_part(
            self._session,
            bucket,
            key,
            upload_id=upload_id,
            max_parts=max_parts,
            part_number_marker=part_number_marker,
            encoding_type=encoding_type,
            region=region,
        )

    async def multipart_list(
        self,
        bucket: str,
        *,
        prefix: str | None = None,
        delimiter: str | None = None,
        encoding_type: str | None = None,
        max_uploads: int | None = None,
        key_marker: str | None = None,
        upload_id_marker: str | None = None,
        region: str | None = None,
    ) -> MultipartListResult:
        """One page of the unfinished uploads of a bucket (COS: List Multipart Uploads), 1,000 at most."""
        self._ready()
        return await multipart_list(
            self._session,
            bucket,
            prefix=prefix,
            delimiter=delimiter,
            encoding_type=encoding_type,
            max_uploads=max_uploads,
            key_marker=key_marker,
            upload_id_marker=upload_id_marker,
            region=region,
        )

    async def multipart_complete(
        self,
        bucket: str,
        key: str,
        *,
        upload_id: str,
        parts: Iterable[Part | MultipartUploadResult],
        region: str | None = None,
    ) -> MultipartCompleteResult:
        """Make one object of the parts (COS: Complete Multipart Upload); they may come in any order.

        COS answers 200 before it has assembled them; an error that follows is raised like any other.
        """
        self._ready()
        return await multipart_complete(self._session, bucket, key, upload_id=upload_id, parts=parts, region=region)

    async def multipart_abort(
        self, bucket: str, key: str, *, upload_id: str, region: str | None = None
    ) -> MultipartAbortResult:
        """Give a multipart upload up and delete its parts (COS: Abort Multipart Upload)."""
        self._ready()
        return await multipart_abort(self._session, bucket, key, upload_id=upload_id, region=region)

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

    def _ready(self) -> ThreadPoolExecutor:
        if self._closed:
            raise CosxferError("the client is closed; make a new one")
        return self._executor


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
