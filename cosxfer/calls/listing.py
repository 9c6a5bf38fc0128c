"""The blocking listings. Their asynchronous forms have the documentation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import overload

import cosxfer
from cosxfer.binding import explains_arguments
from cosxfer.calls.aio_listing import AsyncListingCalls
from cosxfer.calls.base import BlockingCalls
from cosxfer.models import CommonPrefix


@explains_arguments
class ListingCalls(BlockingCalls):
    """Pages of a bucket, and iterators over all pages."""

    _client: AsyncListingCalls

    def list_objects(
        self,
        bucket: str,
        *,
        prefix: str | None = None,
        delimiter: str | None = None,
        marker: str | None = None,
        max_keys: int | str | None = None,
        region: str | None = None,
    ) -> cosxfer.ListObjectsResult:
        return self._run(
            self._client.list_objects(
                bucket,
                prefix=prefix,
                delimiter=delimiter,
                marker=marker,
                max_keys=max_keys,
                region=region,
            )
        )

    @overload
    def iter_list_objects(
        self,
        bucket: str,
        *,
        prefix: str | None = None,
        delimiter: None = None,
        marker: str | None = None,
        max_keys: int | str | None = None,
        region: str | None = None,
    ) -> Iterator[cosxfer.ListedObject]: ...
    @overload
    def iter_list_objects(
        self,
        bucket: str,
        *,
        prefix: str | None = None,
        delimiter: str | None,
        marker: str | None = None,
        max_keys: int | str | None = None,
        region: str | None = None,
    ) -> Iterator[cosxfer.ListedObject | CommonPrefix]: ...
    def iter_list_objects(
        self,
        bucket: str,
        *,
        prefix: str | None = None,
        delimiter: str | None = None,
        marker: str | None = None,
        max_keys: int | str | None = None,
        region: str | None = None,
    ) -> Iterator[cosxfer.ListedObject] | Iterator[cosxfer.ListedObject | CommonPrefix]:
        return self._iterate(
            self._client.iter_list_objects(
                bucket,
                prefix=prefix,
                delimiter=delimiter,
                marker=marker,
                max_keys=max_keys,
                region=region,
            )
        )

    def list_object_versions(
        self,
        bucket: str,
        *,
        prefix: str | None = None,
        delimiter: str | None = None,
        key_marker: str | None = None,
        version_id_marker: str | None = None,
        max_keys: int | str | None = None,
        region: str | None = None,
    ) -> cosxfer.ListObjectVersionsResult:
        return self._run(
            self._client.list_object_versions(
                bucket,
                prefix=prefix,
                delimiter=delimiter,
                key_marker=key_marker,
                version_id_marker=version_id_marker,
                max_keys=max_keys,
                region=region,
            )
        )

    @overload
    def iter_list_object_versions(
        self,
        bucket: str,
        *,
        prefix: str | None = None,
        delimiter: None = None,
        key_marker: str | None = None,
        version_id_marker: str | None = None,
        max_keys: int | str | None = None,
        region: str | None = None,
    ) -> Iterator[cosxfer.VersionEntry]: ...
    @overload
    def iter_list_object_versions(
        self,
        bucket: str,
        *,
        prefix: str | None = None,
        delimiter: str | None,
        key_marker: str | None = None,
        version_id_marker: str | None = None,
        max_keys: int | str | None = None,
        region: str | None = None,
    ) -> Iterator[cosxfer.VersionEntry | CommonPrefix]: ...
    def iter_list_object_versions(
        self,
        bucket: str,
        *,
        prefix: str | None = None,
        delimiter: str | None = None,
        key_marker: str | None = None,
        version_id_marker: str | None = None,
        max_keys: int | str | None = None,
        region: str | None = None,
    ) -> Iterator[cosxfer.VersionEntry] | Iterator[cosxfer.VersionEntry | CommonPrefix]:
        return self._iterate(
            self._client.iter_list_object_versions(
                bucket,
                prefix=prefix,
                delimiter=delimiter,
                key_marker=key_marker,
                version_id_marker=version_id_marker,
                max_keys=max_keys,
                region=region,
            )
        )
