"""Calls on whole objects, blocking; documented at their asynchronous forms."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Unpack

from cosxfer.calls.base import BlockingCalls
from cosxfer.cos.requests import ObjectHeaders
from cosxfer.engine.bodies import BodyInput
from cosxfer.models import AppendObjectResult, GetObjectResult, HeadObjectResult, Progress, PutObjectResult


class ObjectCalls(BlockingCalls):
    """PUT, HEAD and GET Object."""

    def put_object(
        self,
        bucket: str,
        key: str,
        body: BodyInput,
        *,
        content_length: int | None = None,
        content_md5: str | None = None,
        region: str | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        **given: Unpack[ObjectHeaders],
    ) -> PutObjectResult:
        return self._run(
            self._client.put_object(
                bucket,
                key,
                body,
                content_length=content_length,
                content_md5=content_md5,
                region=region,
                on_progress=on_progress,
                **given,
            )
        )

    def append_object(
        self,
        bucket: str,
        key: str,
        body: BodyInput,
        *,
        position: int,
        content_length: int | None = None,
        content_md5: str | None = None,
        region: str | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        **given: Unpack[ObjectHeaders],
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
                **given,
            )
        )

    def head_object(
        self, bucket: str, key: str, *, version_id: str | None = None, region: str | None = None
    ) -> HeadObjectResult:
        return self._run(self._client.head_object(bucket, key, version_id=version_id, region=region))

    def get_object(
        self,
        bucket: str,
        key: str,
        *,
        output: str | os.PathLike[str] | None = None,
        byte_range: tuple[int, int] | None = None,
        version_id: str | None = None,
        region: str | None = None,
    ) -> GetObjectResult:
        return self._run(
            self._client.get_object(
                bucket, key, output=output, byte_range=byte_range, version_id=version_id, region=region
            )
        )
