"""Calls on whole objects, for asyncio."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Unpack, overload

from cosxfer.arguments import as_number, check_text
from cosxfer.binding import explains_arguments
from cosxfer.calls.base import AsyncCalls
from cosxfer.cos import requests
from cosxfer.cos.policy import FILENAME, Condition
from cosxfer.cos.requests import CustomerKey, ObjectHeaders, check_content_md5, reading_headers
from cosxfer.credentials import Credentials
from cosxfer.engine.report import Reporter
from cosxfer.engine.upload.append import Append
from cosxfer.engine.upload.bodies import BodyInput, prepared
from cosxfer.engine.upload.stream_upload import StreamInput
from cosxfer.errors import UsageError
from cosxfer.limits import MAX_PUT_BYTES
from cosxfer.models import (
    AppendObjectResult,
    DeleteObjectResult,
    GetObjectBytesResult,
    GetObjectFileResult,
    HeadObjectResult,
    PostObjectResult,
    PresignedPost,
    Progress,
    PutObjectResult,
    UploadResult,
)
from cosxfer.ops.append_object import check_position
from cosxfer.ops.delete_object import delete_object
from cosxfer.ops.get_object import get_object
from cosxfer.ops.head_object import head_object
from cosxfer.ops.post_object import check_form, post_fields, post_object, presign_post
from cosxfer.tasks.at_once import run_at_once
from cosxfer.tasks.task import AsyncUploadTask


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
        """Send an object of at most 5 GiB in one request (COS: PUT Object). It appears whole, or not at all.

        ``body`` is bytes, a string (sent as UTF-8), a ``pathlib.Path``, a binary file object (from its position on),
        or an iterable or asynchronous iterable of bytes. Content-MD5 is sent with it (computed, unless
        ``content_md5`` gives it in base64), and the server's CRC64 is compared: `cosxfer.IntegrityError` where it
        differs.

        What can be read once only (an iterator, a pipe) is kept in a temporary file first, so that it can be sent
        again after a failure. With ``content_length`` it is sent as it comes instead: once, and without Content-MD5.
        A body of another length than ``content_length`` is a `cosxfer.UsageError`, and no object comes of it.

        It is a task in the list (`get_task_list`), whatever the body and the arguments, and can be paused and
        cancelled. It takes none of the ``file_parallel_limit`` slots: it is sent at once, so as many are under way as
        there are calls. `submit_put_object` waits for a slot. A body in memory is not kept for `restart_task` after an
        error, unless ``on_task_ready`` is given.

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
        """Put the sending of a body into the queue and return its task at once; the parameters are `put_object`'s.

        A paused one begins anew when it is restarted. A body that can be read only once can be cancelled, but pausing
        it while it is sent is a `cosxfer.UsageError`.
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
        In the end the CRC64 of the object is compared.

        ``part_size`` is that of the first 1,000 parts, by default 8 MiB; the next 1,000 parts are twice as large, and
        so on. With ``content_length`` all parts have one size, and a stream of another length is a
        `cosxfer.UsageError`: no object is made. ``async_limit`` is the number of parts in flight, by default the
        client's ``concurrency``. Parts that are read, hashed or sent take at most 96 MiB, or two parts if these are
        larger. Until the end of the stream is seen, the ``total`` of a progress is 0, unless a file object or
        ``content_length`` tells it.

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
        """Put a stream into the queue and return its task at once; the parameters are `upload_stream`'s."""
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
        """Add to the end of an appendable object, which the first append makes (COS: APPEND Object).

        ``position`` is the object's size, 0 for the first append; the result's ``next_append_position`` is the next
        one. `cosxfer.AppendPositionError` says the right one, `cosxfer.ObjectNotAppendableError` that the object was
        made in another way. ``body`` is that of `put_object`; one that comes in pieces is kept in a temporary file
        first. The object's headers are those of its first append.

        Never sent twice blindly: where an answer is lost, the object is asked (HEAD Object) whether the bytes are
        there, and only if none of them is they are sent again.
        """
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
        """Sign an HTML form with which a browser sends one object of at most 5 GiB (COS: POST Object).

        ``key`` may hold ``${filename}``, which stands for the name of the file that is sent. The policy pins the
        bucket, the key (up to that placeholder) and every field that is given here; ``conditions`` add to that, such
        as ``["content-length-range", 1, 10485760]``, and a condition on a field replaces its pin, such as
        ``["starts-with", "$Content-Type", "image/"]``. The form ends after ``expires_seconds`` (an hour), or with a
        temporary key.

        The answer has ``success_action_status`` 200, 201 or 204 (the default), or leads to ``success_action_redirect``.
        Nothing is sent. Whoever has the fields can send one form after another until it ends.
        """
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
        """Send an object as a browser does, by a form (COS: POST Object); `put_object` is the simpler way.

        ``body``, ``content_length`` and ``content_md5`` are those of `put_object`, the other parameters those of
        `presign_post`. ``filename`` is what ``${filename}`` in ``key`` becomes, by default the name of the file; where
        ``body`` has none it must be given.
        """
        executor = self._ready()
        address = self._session.address(bucket, key, region)
        fields = post_fields(
            address.key,
            parameters,
            success_action_status=as_number(success_action_status),
            success_action_redirect=success_action_redirect,
        )
        expires_seconds = check_form(conditions, expires_seconds)
        conditions = list(conditions)  # a form may be signed twice
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
                # An anonymous client's form has no policy: the bucket must be open to anyone.
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
        **parameters: Unpack[CustomerKey],
    ) -> HeadObjectResult:
        """What is known of an object (COS: HEAD Object). `cosxfer.NotFoundError` where there is none.

        ``parameters`` is the `cosxfer.CustomerKey` of an object that has one.
        """
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
        **parameters: Unpack[CustomerKey],
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
        **parameters: Unpack[CustomerKey],
    ) -> GetObjectFileResult: ...
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
        **parameters: Unpack[CustomerKey],
    ) -> GetObjectBytesResult | GetObjectFileResult: ...
    async def get_object(
        self,
        bucket: str,
        key: str,
        *,
        output: str | os.PathLike[str] | None = None,
        byte_range: tuple[int, int] | None = None,
        version_id: str | None = None,
        region: str | None = None,
        **parameters: Unpack[CustomerKey],
    ) -> GetObjectBytesResult | GetObjectFileResult:
        """Fetch an object (COS: GET Object) into the result's ``body``, or into the file ``output``, then its ``path``.

        The file appears only when it is complete and its CRC64 agrees with the server's. ``byte_range`` is first and
        last byte, both included; a range has no CRC64 to compare. An ``output`` that is a directory is refused.
        ``parameters`` is the `cosxfer.CustomerKey` of an object that has one.
        """
        executor = self._ready()
        return await get_object(
            self._session,
            self._session.address(bucket, key, region),
            output=output,
            executor=executor.waiting,
            byte_range=byte_range,
            version_id=version_id,
            headers=reading_headers(parameters),
        )


def _file_name(parameters: str | None, body: object, key: str) -> str:
    if parameters is not None:
        return parameters
    named = body if isinstance(body, os.PathLike) else getattr(body, "name", None)
    if isinstance(named, str | bytes | os.PathLike):
        name = os.path.basename(os.fsdecode(named))  # noqa: PTH119 # bytes paths too
        # What stands for no file is called <stdin> and the like; what was opened by a number, by that.
        if name and not (name.startswith("<") and name.endswith(">")):
            return name
    if FILENAME in key:
        raise UsageError(
            f"the key {key!r} waits for the name of the file, and the body has none; give filename=", name="filename"
        )
    return key.rpartition("/")[2] or "file"
