"""The blocking copies within COS. Their asynchronous forms have the documentation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Unpack

import cosxfer
from cosxfer.binding import explains_arguments
from cosxfer.calls.aio_copying import AsyncCopyCalls
from cosxfer.calls.base import BlockingCalls
from cosxfer.cos.requests import ObjectHeaders
from cosxfer.models import Progress


@explains_arguments
class CopyCalls(BlockingCalls):
    """One request for each, or a whole copy."""

    _client: AsyncCopyCalls

    def copy_object(
        self,
        bucket: str,
        key: str,
        source: cosxfer.SourceInput,
        *,
        metadata_directive: str | None = None,
        tags: Mapping[str, str] | None = None,
        if_match: str | None = None,
        if_none_match: str | None = None,
        if_modified_since: str | None = None,
        if_unmodified_since: str | None = None,
        region: str | None = None,
        **parameters: Unpack[ObjectHeaders],
    ) -> cosxfer.CopyObjectResult:
        return self._run(
            self._client.copy_object(
                bucket,
                key,
                source,
                metadata_directive=metadata_directive,
                tags=tags,
                if_match=if_match,
                if_none_match=if_none_match,
                if_modified_since=if_modified_since,
                if_unmodified_since=if_unmodified_since,
                region=region,
                **parameters,
            )
        )

    def upload_part_copy(
        self,
        bucket: str,
        key: str,
        source: cosxfer.SourceInput,
        *,
        upload_id: str,
        part_number: int | str,
        byte_range: tuple[int, int] | None = None,
        if_match: str | None = None,
        if_none_match: str | None = None,
        if_modified_since: str | None = None,
        if_unmodified_since: str | None = None,
        region: str | None = None,
    ) -> cosxfer.UploadPartCopyResult:
        return self._run(
            self._client.upload_part_copy(
                bucket,
                key,
                source,
                upload_id=upload_id,
                part_number=part_number,
                byte_range=byte_range,
                if_match=if_match,
                if_none_match=if_none_match,
                if_modified_since=if_modified_since,
                if_unmodified_since=if_unmodified_since,
                region=region,
            )
        )

    def copy(
        self,
        bucket: str,
        key: str,
        source: cosxfer.SourceInput,
        *,
        metadata_directive: str | None = None,
        tags: Mapping[str, str] | None = None,
        slice_size: int | str | None = None,
        part_size: int | str | None = None,
        async_limit: int | str | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        region: str | None = None,
        **parameters: Unpack[ObjectHeaders],
    ) -> cosxfer.CopyResult:
        return self._run(
            self._client.copy(
                bucket,
                key,
                source,
                metadata_directive=metadata_directive,
                tags=tags,
                slice_size=slice_size,
                part_size=part_size,
                async_limit=async_limit,
                on_progress=on_progress,
                region=region,
                **parameters,
            )
        )

    def move(
        self,
        bucket: str,
        key: str,
        source: cosxfer.SourceInput,
        *,
        metadata_directive: str | None = None,
        tags: Mapping[str, str] | None = None,
        slice_size: int | str | None = None,
        part_size: int | str | None = None,
        async_limit: int | str | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        region: str | None = None,
        **parameters: Unpack[ObjectHeaders],
    ) -> cosxfer.CopyResult:
        return self._run(
            self._client.move(
                bucket,
                key,
                source,
                metadata_directive=metadata_directive,
                tags=tags,
                slice_size=slice_size,
                part_size=part_size,
                async_limit=async_limit,
                on_progress=on_progress,
                region=region,
                **parameters,
            )
        )
