"""The blocking multipart operations. Their asynchronous forms have the documentation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Unpack, overload

from cosxfer.binding import explains_arguments
from cosxfer.calls.aio_multipart import AsyncMultipartCalls
from cosxfer.calls.base import BlockingCalls
from cosxfer.cos.requests import ObjectHeaders, PartHeaders
from cosxfer.engine.upload.bodies import BodyInput
from cosxfer.models import (
    CommonPrefix,
    MultipartAbortResult,
    MultipartCompleteResult,
    MultipartInitResult,
    MultipartListPartResult,
    MultipartListResult,
    MultipartUploadResult,
    Part,
    Progress,
    Upload,
)
from cosxfer.ops.multipart_complete import PartInput


@explains_arguments
class MultipartCalls(BlockingCalls):
    """One call for each operation on multipart uploads."""

    _client: AsyncMultipartCalls

    def multipart_init(
        self, bucket: str, key: str, *, region: str | None = None, **parameters: Unpack[ObjectHeaders]
    ) -> MultipartInitResult:
        return self._run(self._client.multipart_init(bucket, key, region=region, **parameters))

    def multipart_upload(
        self,
        bucket: str,
        key: str,
        body: BodyInput,
        *,
        upload_id: str,
        part_number: int | str,
        content_length: int | str | None = None,
        content_md5: str | None = None,
        region: str | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        **parameters: Unpack[PartHeaders],
    ) -> MultipartUploadResult:
        return self._run(
            self._client.multipart_upload(
                bucket,
                key,
                body,
                upload_id=upload_id,
                part_number=part_number,
                content_length=content_length,
                content_md5=content_md5,
                region=region,
                on_progress=on_progress,
                **parameters,
            )
        )

    def multipart_list_part(
        self,
        bucket: str,
        key: str,
        *,
        upload_id: str,
        max_parts: int | str | None = None,
        part_number_marker: int | str | None = None,
        encoding_type: str | None = None,
        region: str | None = None,
    ) -> MultipartListPartResult:
        return self._run(
            self._client.multipart_list_part(
                bucket,
                key,
                upload_id=upload_id,
                max_parts=max_parts,
                part_number_marker=part_number_marker,
                encoding_type=encoding_type,
                region=region,
            )
        )

    def multipart_list(
        self,
        bucket: str,
        *,
        prefix: str | None = None,
        delimiter: str | None = None,
        encoding_type: str | None = None,
        max_uploads: int | str | None = None,
        key_marker: str | None = None,
        upload_id_marker: str | None = None,
        region: str | None = None,
    ) -> MultipartListResult:
        return self._run(
            self._client.multipart_list(
                bucket,
                prefix=prefix,
                delimiter=delimiter,
                encoding_type=encoding_type,
                max_uploads=max_uploads,
                key_marker=key_marker,
                upload_id_marker=upload_id_marker,
                region=region,
            )
        )

    @overload
    def iter_multipart_list(
        self,
        bucket: str,
        *,
        prefix: str | None = None,
        delimiter: None = None,
        encoding_type: str | None = None,
        max_uploads: int | str | None = None,
        key_marker: str | None = None,
        upload_id_marker: str | None = None,
        region: str | None = None,
    ) -> Iterator[Upload]: ...
    @overload
    def iter_multipart_list(
        self,
        bucket: str,
        *,
        prefix: str | None = None,
        delimiter: str | None,
        encoding_type: str | None = None,
        max_uploads: int | str | None = None,
        key_marker: str | None = None,
        upload_id_marker: str | None = None,
        region: str | None = None,
    ) -> Iterator[Upload | CommonPrefix]: ...
    def iter_multipart_list(
        self,
        bucket: str,
        *,
        prefix: str | None = None,
        delimiter: str | None = None,
        encoding_type: str | None = None,
        max_uploads: int | str | None = None,
        key_marker: str | None = None,
        upload_id_marker: str | None = None,
        region: str | None = None,
    ) -> Iterator[Upload] | Iterator[Upload | CommonPrefix]:
        return self._iterate(
            self._client.iter_multipart_list(
                bucket,
                prefix=prefix,
                delimiter=delimiter,
                encoding_type=encoding_type,
                max_uploads=max_uploads,
                key_marker=key_marker,
                upload_id_marker=upload_id_marker,
                region=region,
            )
        )

    def iter_multipart_list_part(
        self,
        bucket: str,
        key: str,
        *,
        upload_id: str,
        max_parts: int | str | None = None,
        part_number_marker: int | str | None = None,
        encoding_type: str | None = None,
        region: str | None = None,
    ) -> Iterator[Part]:
        return self._iterate(
            self._client.iter_multipart_list_part(
                bucket,
                key,
                upload_id=upload_id,
                max_parts=max_parts,
                part_number_marker=part_number_marker,
                encoding_type=encoding_type,
                region=region,
            )
        )

    def multipart_complete(
        self,
        bucket: str,
        key: str,
        *,
        upload_id: str,
        parts: Iterable[PartInput],
        forbid_overwrite: bool = False,
        region: str | None = None,
    ) -> MultipartCompleteResult:
        return self._run(
            self._client.multipart_complete(
                bucket, key, upload_id=upload_id, parts=parts, forbid_overwrite=forbid_overwrite, region=region
            )
        )

    def multipart_abort(
        self, bucket: str, key: str, *, upload_id: str, region: str | None = None
    ) -> MultipartAbortResult:
        return self._run(self._client.multipart_abort(bucket, key, upload_id=upload_id, region=region))
