"""Calls on whole objects, for asyncio."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Unpack, overload

from cosxfer.arguments import as_number, check_text
from cosxfer.binding import explains_arguments
from cosxfer.calls.base import AsyncCalls
from cosxfer.cos import requests
from cosxfer.cos.policy import Condition
from cosxfer.cos.requests import (
    Buffer,
    GetParameters,
    HeadParameters,
    ObjectHeaders,
    check_content_md5,
    reading_headers,
    response_params,
)
from cosxfer.credentials import Credentials
from cosxfer.engine.report import Reporter
from cosxfer.engine.upload.bodies import BodyInput, prepared
from cosxfer.engine.upload.stream_upload import StreamInput
from cosxfer.errors import UsageError
from cosxfer.limits import MAX_PUT_BYTES
from cosxfer.models import (
    AppendObjectResult,
    DeleteObjectResult,
    GetObjectBytesResult,
    GetObjectFileResult,
    GetObjectIntoResult,
    HeadObjectResult,
    PostObjectResult,
    PresignedPost,
    Progress,
    PutObjectResult,
    UploadResult,
)
from cosxfer.tasks.at_once import run_at_once
from cosxfer.tasks.task import AsyncUploadTask
from cosxfer.threads import import_lock


@explains_arguments
class AsyncObjectCalls(AsyncCalls):
    """PUT, APPEND, POST, HEAD and GET Object."""

    async def put_object(
        self,
        bucket: str,
        key: str,
        body: BodyInput,
        *,
        content_length: int | str | None = None,
        content_md5: str | None = None,
        region: str | None = None,
        on_task_ready: Callable[[str], None] | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        **parameters: Unpack[ObjectHeaders],
    ) -> PutObjectResult:
        """Send an object of at most 5 GiB in one request (COS: PUT Object). It appears whole or not at all.

        ``body`` is bytes, a string (sent as UTF-8), a ``pathlib.Path``, a binary file object (from its position on),
        or an iterable or asynchronous iterable of bytes. Content-MD5 is sent with it: ``content_md5`` in base64, else
        it is computed. The server's CRC64 is compared; the call raises `cosxfer.IntegrityError` if it differs.

        A body that can be read only once (an iterator, a pipe) is kept in memory up to one part, 8 MiB. A longer one is
        sent in parts like `upload_stream`, and so is a file object of more than 5 GiB. With ``content_length`` such a
        body is sent directly, once and without a computed Content-MD5. With ``content_md5`` alone it is first kept in a
        temporary file. If the body does not have ``content_length`` bytes, the call raises `cosxfer.UsageError` and
        stores no object.

        Each call is a task in the list (`get_task_list`) and can be paused and cancelled. It takes none of the
        ``file_parallel_limit`` slots and is sent at once; `submit_put_object` waits for a slot. A body in memory is not
        kept for `restart_task` after an error unless ``on_task_ready`` is given.

        ``parameters`` are the headers of `cosxfer.ObjectHeaders`.
        """
        self._ready()
        job = self._transfers.put_job(
            bucket,
            key,
            body,
            content_length=content_length,
            content_md5=content_md5,
            region=region,
            parameters=parameters,
            at_once=True,
        )
        record = self._transfers.submit_put(
            job,
            on_task_ready=on_task_ready,
            on_progress=on_progress,
            at_once=True,
        )
        keep = on_task_ready is not None or isinstance(body, os.PathLike)
        return await run_at_once(self._transfers.queue, record, keep=keep)

    def submit_put_object(
        self,
        bucket: str,
        key: str,
        body: BodyInput,
        *,
        content_length: int | str | None = None,
        content_md5: str | None = None,
        region: str | None = None,
        on_task_ready: Callable[[str], None] | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        **parameters: Unpack[ObjectHeaders],
    ) -> AsyncUploadTask[PutObjectResult]:
        """Put a body into the queue and return its task at once; the parameters are those of `put_object`.

        A paused task starts again from the beginning when it is restarted. If its body can be read only once, the task
        can be cancelled, but pausing it while it is sent raises `cosxfer.UsageError`.
        """
        self._ready()
        job = self._transfers.put_job(
            bucket,
            key,
            body,
            content_length=content_length,
            content_md5=content_md5,
            region=region,
            parameters=parameters,
        )
        record = self._transfers.submit_put(job, on_task_ready=on_task_ready, on_progress=on_progress)
        return AsyncUploadTask(self._transfers.queue, record)

    async def upload_stream(
        self,
        bucket: str,
        key: str,
        stream: StreamInput,
        *,
        part_size: int | str | None = None,
        async_limit: int | str | None = None,
        content_length: int | str | None = None,
        region: str | None = None,
        on_task_ready: Callable[[str], None] | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        **parameters: Unpack[ObjectHeaders],
    ) -> UploadResult:
        """Upload a stream of any length, in bounded memory and without a temporary file.

        ``stream`` is a binary file object (from its position on), or an iterable or asynchronous iterable of bytes. It
        is read once. A stream that ends within the first part is sent in one request (COS: PUT Object), a longer one
        in parts. Each part is kept in memory until the server has it, so it has a Content-MD5 and can be sent again.
        At the end the CRC64 of the object is compared.

        ``part_size`` is that of the first 1,000 parts (``"auto"``: about 8 MiB); the next 1,000 parts are twice as
        large, and so on. By default it is the client's ``part_size``. With ``content_length`` all parts have one size,
        and a stream of another length raises `cosxfer.UsageError` and stores no object. ``async_limit`` is the most
        parts in flight, by default the client's ``concurrency``. Parts that are read, hashed or sent take at most a
        quarter of the client's ``memory_budget_bytes``, or two parts if these are larger. Until the end of the stream
        is seen, the ``total`` of a progress is 0, unless ``content_length`` or a file object gives it.

        Like `put_object` it is a task that takes no slot. It can be cancelled, but not paused, because its stream
        cannot be read again. If it fails or is cancelled, its parts are deleted from the server. ``parameters`` are the
        headers of `cosxfer.ObjectHeaders`.
        """
        self._ready()
        job = self._transfers.stream_job(
            bucket,
            key,
            stream,
            content_length=content_length,
            part_size=part_size,
            async_limit=async_limit,
            region=region,
            parameters=parameters,
        )
        record = self._transfers.submit_put(job, on_task_ready=on_task_ready, on_progress=on_progress, at_once=True)
        return await run_at_once(self._transfers.queue, record, keep=False)

    def submit_upload_stream(
        self,
        bucket: str,
        key: str,
        stream: StreamInput,
        *,
        part_size: int | str | None = None,
        async_limit: int | str | None = None,
        content_length: int | str | None = None,
        region: str | None = None,
        on_task_ready: Callable[[str], None] | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        **parameters: Unpack[ObjectHeaders],
    ) -> AsyncUploadTask[UploadResult]:
        """Put a stream into the queue and return its task at once; the parameters are those of `upload_stream`."""
        self._ready()
        job = self._transfers.stream_job(
            bucket,
            key,
            stream,
            content_length=content_length,
            part_size=part_size,
            async_limit=async_limit,
            region=region,
            parameters=parameters,
        )
        record = self._transfers.submit_put(job, on_task_ready=on_task_ready, on_progress=on_progress)
        return AsyncUploadTask(self._transfers.queue, record)

    async def append_object(
        self,
        bucket: str,
        key: str,
        body: BodyInput,
        *,
        position: int | str,
        content_length: int | str | None = None,
        content_md5: str | None = None,
        region: str | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        **parameters: Unpack[ObjectHeaders],
    ) -> AppendObjectResult:
        """Add bytes to the end of an appendable object; the first append creates it (COS: APPEND Object).

        ``position`` is the size of the object, 0 for the first append. The result's ``next_append_position`` is the
        next one. `cosxfer.AppendPositionError` has the right position. `cosxfer.ObjectNotAppendableError` means that
        another call created the object. ``body`` is that of `put_object`, but pieces are first kept in a temporary
        file. The headers of the first append become those of the object.

        If a response is lost, the call checks the object (HEAD Object) and sends the bytes again only if none of them
        is there.
        """
        with import_lock:
            from cosxfer.engine.upload.append import Append
            from cosxfer.ops.append_object import check_position

        executor = self._ready()
        address = self._session.address(bucket, key, region)
        headers = requests.object_headers(address.key, parameters)
        position = check_position(position)
        report = self._in_callback_thread(on_progress)
        async with prepared(
            body,
            executor,
            content_length=as_number(content_length),
            content_md5=check_content_md5(content_md5),
            largest=MAX_PUT_BYTES,
            repeatable=True,
        ) as ready:
            reporter = Reporter(report, ready.content_length)
            reporter.start()
            append = Append(
                self._session,
                address,
                ready,
                position=position,
                headers=headers,
                on_sent=reporter.add,
            )
            result = await append.run()
        reporter.finish()
        await self._callbacks_done(on_progress)
        return result

    async def presign_post(
        self,
        bucket: str,
        key: str,
        *,
        conditions: Iterable[Condition] = (),
        expires_seconds: int | str = 3600,
        success_action_status: int | str | None = None,
        success_action_redirect: str | None = None,
        region: str | None = None,
        **parameters: Unpack[ObjectHeaders],
    ) -> PresignedPost:
        """Sign an HTML form that lets a browser send one object of at most 5 GiB (COS: POST Object).

        ``key`` may hold ``${filename}``, which stands for the name of the file that is sent. The policy fixes the
        bucket, the key (up to that placeholder) and every field that is given here. ``conditions`` add to it, for
        example ``["content-length-range", 1, 10485760]``. A condition on a field replaces its fixed value, for example
        ``["starts-with", "$Content-Type", "image/"]``. The form expires after ``expires_seconds`` (an hour), or with a
        temporary key.

        The response has the status ``success_action_status`` 200, 201 or 204 (the default), or redirects to
        ``success_action_redirect``. This call sends nothing. Anyone who has the fields can send any number of forms
        until they expire.
        """
        with import_lock:
            from cosxfer.ops.post_object import post_fields, presign_post

        self._ready()
        address = self._session.address(bucket, key, region)
        fields = post_fields(
            address.key,
            parameters,
            success_action_status=as_number(success_action_status),
            success_action_redirect=success_action_redirect,
        )
        return await presign_post(
            self._session,
            address,
            conditions=conditions,
            expires_seconds=expires_seconds,
            fields=fields,
        )

    async def post_object(
        self,
        bucket: str,
        key: str,
        body: BodyInput,
        *,
        filename: str | None = None,
        conditions: Iterable[Condition] = (),
        expires_seconds: int | str = 3600,
        success_action_status: int | str | None = None,
        success_action_redirect: str | None = None,
        content_length: int | str | None = None,
        content_md5: str | None = None,
        region: str | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        **parameters: Unpack[ObjectHeaders],
    ) -> PostObjectResult:
        """Send an object with a form, like a browser (COS: POST Object); `put_object` is the simpler way.

        ``body``, ``content_length`` and ``content_md5`` are those of `put_object`, but pieces are first kept in a
        temporary file. The other parameters are those of `presign_post`. ``filename`` replaces ``${filename}`` in
        ``key``. It defaults to the name of the file; if ``body`` has no name, it is required.
        """
        with import_lock:
            from cosxfer.ops.post_object import check_form, post_fields, post_object, presign_post

        executor = self._ready()
        address = self._session.address(bucket, key, region)
        fields = post_fields(
            address.key,
            parameters,
            success_action_status=as_number(success_action_status),
            success_action_redirect=success_action_redirect,
        )
        expires_seconds = check_form(conditions, expires_seconds)
        conditions = list(conditions)  # a form may be signed twice, so keep an iterator's values
        check_text(filename, "filename")
        filename = _file_name(filename, body, key)
        report = self._in_callback_thread(on_progress)
        async with prepared(
            body,
            executor,
            content_length=as_number(content_length),
            content_md5=check_content_md5(content_md5),
            largest=MAX_PUT_BYTES,
            repeatable=True,
        ) as ready:
            assert ready.md5 is not None
            fields["Content-MD5"] = requests.content_md5(ready.md5)
            reporter = Reporter(report, ready.content_length)
            reporter.start()

            async def signed(credentials: Credentials | None) -> Mapping[str, str]:
                # The form of an anonymous client has no policy, so the bucket must allow anonymous writes.
                if credentials is None:
                    return {"key": address.key, **fields}
                presigned = await presign_post(
                    self._session,
                    address,
                    conditions=conditions,
                    expires_seconds=expires_seconds,
                    fields=fields,
                    credentials=credentials,
                )
                return presigned.fields

            result = await post_object(
                self._session,
                address,
                ready.body,
                filename=filename,
                signed=signed,
                content_length=ready.content_length,
                md5=ready.md5,
                crc64=ready.crc64,
                on_sent=reporter.add,
            )
        reporter.finish()
        await self._callbacks_done(on_progress)
        return result

    async def head_object(
        self,
        bucket: str,
        key: str,
        *,
        version_id: str | None = None,
        region: str | None = None,
        **parameters: Unpack[HeadParameters],
    ) -> HeadObjectResult:
        """Return the properties of an object (COS: HEAD Object); raises `cosxfer.NotFoundError` if there is none.

        ``parameters`` is the `cosxfer.CustomerKey` of an object that has one, and the conditions ``if_…``.
        """
        with import_lock:
            from cosxfer.ops.head_object import head_object

        self._ready()
        return await head_object(
            self._session,
            self._session.address(bucket, key, region),
            version_id=version_id,
            headers=reading_headers(parameters),
        )

    async def delete_object(
        self, bucket: str, key: str, *, version_id: str | None = None, region: str | None = None
    ) -> DeleteObjectResult:
        """Delete an object, or one version of it (COS: DELETE Object). A missing object is no error.

        In a bucket with versioning, a call without ``version_id`` adds a delete marker and keeps the versions.
        """
        with import_lock:
            from cosxfer.ops.delete_object import delete_object

        self._ready()
        return await delete_object(self._session, self._session.address(bucket, key, region), version_id=version_id)

    @overload
    async def get_object(
        self,
        bucket: str,
        key: str,
        *,
        output: None = None,
        byte_range: tuple[int, int] | None = None,
        version_id: str | None = None,
        region: str | None = None,
        **parameters: Unpack[GetParameters],
    ) -> GetObjectBytesResult: ...
    @overload
    async def get_object(
        self,
        bucket: str,
        key: str,
        *,
        output: str | os.PathLike[str],
        byte_range: tuple[int, int] | None = None,
        version_id: str | None = None,
        region: str | None = None,
        **parameters: Unpack[GetParameters],
    ) -> GetObjectFileResult: ...
    @overload
    async def get_object(
        self,
        bucket: str,
        key: str,
        *,
        into: Buffer,
        byte_range: tuple[int, int] | None = None,
        version_id: str | None = None,
        region: str | None = None,
        **parameters: Unpack[GetParameters],
    ) -> GetObjectIntoResult: ...
    @overload
    async def get_object(
        self,
        bucket: str,
        key: str,
        *,
        output: str | os.PathLike[str] | None,
        byte_range: tuple[int, int] | None = None,
        version_id: str | None = None,
        region: str | None = None,
        **parameters: Unpack[GetParameters],
    ) -> GetObjectBytesResult | GetObjectFileResult: ...
    async def get_object(
        self,
        bucket: str,
        key: str,
        *,
        output: str | os.PathLike[str] | None = None,
        into: Buffer | None = None,
        byte_range: tuple[int, int] | None = None,
        version_id: str | None = None,
        region: str | None = None,
        **parameters: Unpack[GetParameters],
    ) -> GetObjectBytesResult | GetObjectFileResult | GetObjectIntoResult:
        """Fetch an object (COS: GET Object) into the result's ``body``, or into the file ``output``.

        The file appears only when it is complete and its CRC64 agrees with the server's. ``byte_range`` is first and
        last byte, both included; a range has no CRC64 to compare. An ``output`` that is a directory is refused.
        ``parameters`` is the `cosxfer.CustomerKey` of an object that has one, the conditions ``if_…``, and
        ``response_…``, which replaces a header of the response.

        ``into`` is a writable buffer (bytearray, memoryview, NumPy array). The content goes straight from the socket to
        its beginning, without another copy; ``size`` of the result is how many bytes these are. If the buffer is
        smaller than the object or the range, the call raises `cosxfer.UsageError` before any content is read. After
        another error the buffer may hold a part of the content.
        """
        return await self._get_object(bucket, key, output, into, byte_range, version_id, region, parameters)

    async def _get_object(
        self,
        bucket: str,
        key: str,
        output: str | os.PathLike[str] | None,
        into: Buffer | None,
        byte_range: tuple[int, int] | None,
        version_id: str | None,
        region: str | None,
        parameters: GetParameters,
    ) -> GetObjectBytesResult | GetObjectFileResult | GetObjectIntoResult:
        with import_lock:
            from cosxfer.ops.get_into import get_into
            from cosxfer.ops.get_object import get_object

        executor = self._ready()
        if into is not None:
            if output is not None:
                raise UsageError("output and into are both given; the content has one place", name="into")
            return await get_into(
                self._session,
                self._session.address(bucket, key, region),
                into,
                byte_range=byte_range,
                version_id=version_id,
                headers=reading_headers(parameters),
                params=response_params(parameters),
            )
        return await get_object(
            self._session,
            self._session.address(bucket, key, region),
            output=output,
            executor=executor.waiting,
            byte_range=byte_range,
            version_id=version_id,
            headers=reading_headers(parameters),
            params=response_params(parameters),
        )


def _file_name(parameters: str | None, body: object, key: str) -> str:
    with import_lock:
        from cosxfer.cos.policy import FILENAME

    if parameters is not None:
        return parameters
    named = body if isinstance(body, os.PathLike) else getattr(body, "name", None)
    if isinstance(named, str | bytes | os.PathLike):
        name = os.path.basename(os.fsdecode(named))  # noqa: PTH119 # bytes paths too
        # A name such as <stdin> is not that of a file.
        if name and not (name.startswith("<") and name.endswith(">")):
            return name
    if FILENAME in key:
        raise UsageError(
            f"the key {key!r} needs the name of the file, but the body has none; pass filename=", name="filename"
        )
    return key.rpartition("/")[2] or "file"
