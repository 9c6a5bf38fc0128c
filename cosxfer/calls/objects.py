"""Blocking calls on whole objects. Their asynchronous forms have the documentation."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Unpack, overload

from cosxfer.binding import explains_arguments
from cosxfer.calls.aio_objects import AsyncObjectCalls
from cosxfer.calls.base import BlockingCalls
from cosxfer.cos.policy import Condition
from cosxfer.cos.requests import Buffer, GetParameters, HeadParameters, ObjectHeaders
from cosxfer.engine.upload.bodies import BodyInput
from cosxfer.engine.upload.stream_upload import StreamInput
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
from cosxfer.tasks.task import UploadTask


@explains_arguments
class ObjectCalls(BlockingCalls):
    """PUT, APPEND, POST, HEAD and GET Object."""

    _client: AsyncObjectCalls

    def put_object(
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
        if on_task_ready is not None:
            # `on_task_ready` is called in this thread.
            transfers = self._running_transfers()
            job = transfers.put_job(
                bucket,
                key,
                body,
                content_length=content_length,
                content_md5=content_md5,
                region=region,
                parameters=parameters,
                at_once=True,
            )
            record = transfers.submit_put(job, on_task_ready=on_task_ready, on_progress=on_progress, at_once=True)
            try:
                return self._run(run_at_once(transfers.queue, record, keep=True))
            finally:
                transfers.queue.withdraw(record)
        return self._run(
            self._client.put_object(
                bucket,
                key,
                body,
                content_length=content_length,
                content_md5=content_md5,
                region=region,
                on_progress=on_progress,
                **parameters,
            )
        )

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
    ) -> UploadTask[PutObjectResult]:
        transfers = self._running_transfers()
        job = transfers.put_job(
            bucket,
            key,
            body,
            content_length=content_length,
            content_md5=content_md5,
            region=region,
            parameters=parameters,
        )
        record = transfers.submit_put(job, on_task_ready=on_task_ready, on_progress=on_progress)
        return UploadTask(transfers.queue, record, self._loop)

    def upload_stream(
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
        transfers = self._running_transfers()
        job = transfers.stream_job(
            bucket,
            key,
            stream,
            content_length=content_length,
            part_size=part_size,
            async_limit=async_limit,
            region=region,
            parameters=parameters,
        )
        record = transfers.submit_put(job, on_task_ready=on_task_ready, on_progress=on_progress, at_once=True)
        try:
            return self._run(run_at_once(transfers.queue, record, keep=False))
        finally:
            transfers.queue.withdraw(record)

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
    ) -> UploadTask[UploadResult]:
        transfers = self._running_transfers()
        job = transfers.stream_job(
            bucket,
            key,
            stream,
            content_length=content_length,
            part_size=part_size,
            async_limit=async_limit,
            region=region,
            parameters=parameters,
        )
        record = transfers.submit_put(job, on_task_ready=on_task_ready, on_progress=on_progress)
        return UploadTask(transfers.queue, record, self._loop)

    def append_object(
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
        return self._run(
            self._client.append_object(
                bucket,
                key,
                body,
                position=position,
                content_length=content_length,
                content_md5=content_md5,
                region=region,
                on_progress=on_progress,
                **parameters,
            )
        )

    def presign_post(
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
        return self._run(
            self._client.presign_post(
                bucket,
                key,
                conditions=conditions,
                expires_seconds=expires_seconds,
                success_action_status=success_action_status,
                success_action_redirect=success_action_redirect,
                region=region,
                **parameters,
            )
        )

    def post_object(
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
        return self._run(
            self._client.post_object(
                bucket,
                key,
                body,
                filename=filename,
                conditions=conditions,
                expires_seconds=expires_seconds,
                success_action_status=success_action_status,
                success_action_redirect=success_action_redirect,
                content_length=content_length,
                content_md5=content_md5,
                region=region,
                on_progress=on_progress,
                **parameters,
            )
        )

    def head_object(
        self,
        bucket: str,
        key: str,
        *,
        version_id: str | None = None,
        region: str | None = None,
        **parameters: Unpack[HeadParameters],
    ) -> HeadObjectResult:
        return self._run(self._client.head_object(bucket, key, version_id=version_id, region=region, **parameters))

    def delete_object(
        self, bucket: str, key: str, *, version_id: str | None = None, region: str | None = None
    ) -> DeleteObjectResult:
        return self._run(self._client.delete_object(bucket, key, version_id=version_id, region=region))

    @overload
    def get_object(
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
    def get_object(
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
    def get_object(
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
    def get_object(
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
    def get_object(
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
        return self._run(
            self._client._get_object(bucket, key, output, into, byte_range, version_id, region, parameters)
        )
