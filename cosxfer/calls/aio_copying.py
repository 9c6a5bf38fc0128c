"""Copies of objects within COS, for asyncio."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Unpack

import cosxfer
from cosxfer.binding import explains_arguments
from cosxfer.calls.base import AsyncCalls
from cosxfer.cos.identifiers import check_part_number, check_upload_id
from cosxfer.cos.requests import ObjectHeaders, copy_conditions
from cosxfer.models import Progress
from cosxfer.threads import import_lock

if TYPE_CHECKING:
    from cosxfer.engine.copy.request import CopyRequest


@explains_arguments
class AsyncCopyCalls(AsyncCalls):
    """One request for each, or a whole copy."""

    def _copy_request(
        self,
        bucket: str,
        key: str,
        source: cosxfer.SourceInput,
        region: str | None,
        metadata_directive: str | None,
        tags: Mapping[str, str] | None,
        slice_size: int | str | None,
        part_size: int | str | None,
        async_limit: int | str | None,
        parameters: ObjectHeaders,
    ) -> CopyRequest:
        with import_lock:
            from cosxfer.engine.copy.request import checked_request
            from cosxfer.ops.copy_object import checked_source

        target = self._session.address(bucket, key, region)
        source_address, version_id = checked_source(self._session, source)
        return checked_request(
            target=target,
            source=source_address,
            version_id=version_id,
            metadata_directive=metadata_directive,
            tags=tags,
            slice_size=slice_size,
            part_size=part_size,
            async_limit=async_limit,
            parameters=parameters,
        )

    async def copy_object(
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
        """Copy an object of up to 5 GiB in one request (COS: PUT Object - Copy); `copy` also proves the copy.

        ``source`` is a `cosxfer.CopySource`, also of another bucket or region. The class of the new object is
        STANDARD unless ``storage_class`` says otherwise. Rights and encryption are never those of the source. The
        metadata are copied; with ``metadata_directive="Replaced"`` those of the call replace all of them. ``tags``
        replace the tags. ``if_…`` are conditions on the source: if one does not hold, the error has the status 412.
        """
        with import_lock:
            from cosxfer.engine.copy.request import copy_headers, tags_header
            from cosxfer.ops.copy_object import checked_source, copy_object
            from cosxfer.ops.object_tagging import checked_tags

        self._ready()
        address = self._session.address(bucket, key, region)
        source_address, version_id = checked_source(self._session, source)
        headers, replaced = copy_headers(address.key, parameters, metadata_directive)
        headers |= copy_conditions(
            if_match=if_match,
            if_none_match=if_none_match,
            if_modified_since=if_modified_since,
            if_unmodified_since=if_unmodified_since,
        )
        headers["x-cos-metadata-directive"] = "Replaced" if replaced else "Copy"
        if tags is not None:
            headers |= {"x-cos-tagging-directive": "Replaced", **tags_header(dict(checked_tags(tags)))}
        return await copy_object(self._session, address, source=source_address, version_id=version_id, headers=headers)

    async def upload_part_copy(
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
        """Copy a range of an object as one part (COS: Upload Part - Copy), 1 MiB to 5 GiB.

        ``byte_range`` is the first and the last byte, both included; None is the whole object. Pass ``if_match`` or
        the version of the source for each part: otherwise a source that changes meanwhile makes a mixture.
        """
        with import_lock:
            from cosxfer.ops.copy_object import checked_source
            from cosxfer.ops.upload_part_copy import check_source_range, upload_part_copy

        self._ready()
        address = self._session.address(bucket, key, region)
        source_address, version_id = checked_source(self._session, source)
        check_source_range(byte_range)
        return await upload_part_copy(
            self._session,
            address,
            source=source_address,
            version_id=version_id,
            upload_id=check_upload_id(upload_id),
            part_number=check_part_number(part_number),
            byte_range=byte_range,
            headers=copy_conditions(
                if_match=if_match,
                if_none_match=if_none_match,
                if_modified_since=if_modified_since,
                if_unmodified_since=if_unmodified_since,
            ),
        )

    async def copy(
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
        """Copy an object of any size within COS, and compare the copy with its source.

        No byte passes this machine. Up to ``slice_size`` (5 GiB) one request copies it; a larger one is copied in
        parts of ``part_size``, side by side. The copy has the metadata, the content headers, the storage class and
        the tags of the source. ``parameters`` and ``tags`` replace them; metadata and content headers need
        ``metadata_directive="Replaced"``, which replaces all of them. Rights and encryption are never those of the
        source.

        Each request is pinned to the version that was seen first. A source that changes is an error with the status
        412. If a copy in parts fails or is cancelled, its parts are deleted. Size and CRC64 are compared; a
        difference raises `cosxfer.IntegrityError`. ``result.verified`` is False if COS has no CRC64 of the source.
        """
        with import_lock:
            from cosxfer.engine.copy.copy import copy

        self._ready()
        report = self._in_callback_thread(on_progress)
        request = self._copy_request(
            bucket, key, source, region, metadata_directive, tags, slice_size, part_size, async_limit, parameters
        )
        result = await copy(self._session, self._transfers.limiter, request, on_progress=report)
        await self._callbacks_done(on_progress)
        return result

    async def move(
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
        """Copy an object as `copy` does, then delete its source, if the copy is proven and the source unchanged.

        If ``source`` names a version, that version is deleted. Otherwise the object is: in a bucket with versioning
        that adds a delete marker. On any error the source stays.
        """
        with import_lock:
            from cosxfer.engine.copy.move import move

        self._ready()
        report = self._in_callback_thread(on_progress)
        request = self._copy_request(
            bucket, key, source, region, metadata_directive, tags, slice_size, part_size, async_limit, parameters
        )
        result = await move(self._session, self._transfers.limiter, request, on_progress=report)
        await self._callbacks_done(on_progress)
        return result
