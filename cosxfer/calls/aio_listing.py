"""Listings of objects and versions, for asyncio."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import overload

import cosxfer
from cosxfer.address import ObjectAddress
from cosxfer.binding import explains_arguments
from cosxfer.calls.base import AsyncCalls
from cosxfer.cos.identifiers import check_bucket
from cosxfer.models import CommonPrefix
from cosxfer.threads import import_lock


@explains_arguments
class AsyncListingCalls(AsyncCalls):
    """Pages of a bucket, and iterators over all pages."""

    async def list_objects(
        self,
        bucket: str,
        *,
        prefix: str | None = None,
        delimiter: str | None = None,
        marker: str | None = None,
        max_keys: int | str | None = None,
        region: str | None = None,
    ) -> cosxfer.ListObjectsResult:
        """Return one page of the objects of a bucket (COS: GET Bucket), at most 1,000, by the bytes of their keys.

        ``delimiter`` collects keys that are equal up to it, after ``prefix``, in ``common_prefixes``. ``marker`` is
        exclusive. A listing is eventually consistent: use `head_object` to learn if an object was stored.
        """
        with import_lock:
            from cosxfer.ops.list_objects import list_objects

        self._ready()
        return await list_objects(
            self._session,
            ObjectAddress(check_bucket(bucket), region=region),
            prefix=prefix,
            delimiter=delimiter,
            marker=marker,
            max_keys=max_keys,
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
    ) -> AsyncIterator[cosxfer.ListedObject]: ...
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
    ) -> AsyncIterator[cosxfer.ListedObject | CommonPrefix]: ...
    def iter_list_objects(
        self,
        bucket: str,
        *,
        prefix: str | None = None,
        delimiter: str | None = None,
        marker: str | None = None,
        max_keys: int | str | None = None,
        region: str | None = None,
    ) -> AsyncIterator[cosxfer.ListedObject] | AsyncIterator[cosxfer.ListedObject | CommonPrefix]:
        """Iterate over all objects of a bucket (COS: GET Bucket).

        With ``delimiter`` the common prefixes (`cosxfer.CommonPrefix`) of each page follow its objects. Each page has
        ``max_keys`` entries (1,000) and is requested when the entries before it were taken. A server that repeats a
        marker is a `cosxfer.ProtocolError`. The parameters are those of `list_objects`.
        """
        with import_lock:
            from cosxfer.ops.list_objects import all_objects

        return self._when_ready(
            all_objects(
                self._session,
                ObjectAddress(check_bucket(bucket), region=region),
                prefix=prefix,
                delimiter=delimiter,
                marker=marker,
                max_keys=max_keys,
            )
        )

    async def list_object_versions(
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
        """Return one page of the versions of a bucket (COS: GET Bucket Object Versions), at most 1,000.

        ``versions`` has versions and delete markers in the order of COS: by key, the newest first. Both markers are
        exclusive; ``version_id_marker`` needs ``key_marker``.
        """
        with import_lock:
            from cosxfer.ops.list_object_versions import list_object_versions

        self._ready()
        return await list_object_versions(
            self._session,
            ObjectAddress(check_bucket(bucket), region=region),
            prefix=prefix,
            delimiter=delimiter,
            key_marker=key_marker,
            version_id_marker=version_id_marker,
            max_keys=max_keys,
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
    ) -> AsyncIterator[cosxfer.VersionEntry]: ...
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
    ) -> AsyncIterator[cosxfer.VersionEntry | CommonPrefix]: ...
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
    ) -> AsyncIterator[cosxfer.VersionEntry] | AsyncIterator[cosxfer.VersionEntry | CommonPrefix]:
        """Iterate over all versions and delete markers of a bucket (COS: GET Bucket Object Versions).

        With ``delimiter`` the common prefixes of each page follow. The parameters are those of `list_object_versions`.
        """
        with import_lock:
            from cosxfer.ops.list_object_versions import all_versions

        return self._when_ready(
            all_versions(
                self._session,
                ObjectAddress(check_bucket(bucket), region=region),
                prefix=prefix,
                delimiter=delimiter,
                key_marker=key_marker,
                version_id_marker=version_id_marker,
                max_keys=max_keys,
            )
        )
