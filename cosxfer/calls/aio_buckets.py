"""Buckets, and what objects have beside their content: rights, tags, restores, pre-signed URLs; for asyncio."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Unpack

import cosxfer
from cosxfer.address import ObjectAddress
from cosxfer.binding import explains_arguments
from cosxfer.calls.base import AsyncCalls
from cosxfer.cos.identifiers import check_bucket
from cosxfer.cos.requests import AclHeaders, acl_headers
from cosxfer.threads import import_lock


@explains_arguments
class AsyncBucketCalls(AsyncCalls):
    """One call for each operation."""

    async def head_bucket(
        self,
        bucket: str,
        *,
        region: str | None = None,
    ) -> cosxfer.HeadBucketResult:
        """Ask for a bucket (COS: HEAD Bucket); raises `cosxfer.NotFoundError` if there is none.

        `cosxfer.AccessDeniedError` means that it may exist, but the keys may not read it.
        """
        with import_lock:
            from cosxfer.ops.head_bucket import head_bucket

        self._ready()
        return await head_bucket(self._session, ObjectAddress(check_bucket(bucket), region=region))

    async def put_bucket(
        self, bucket: str, *, region: str | None = None, **parameters: Unpack[AclHeaders]
    ) -> cosxfer.PutBucketResult:
        """Create a bucket (COS: PUT Bucket) in ``region``, with the rights of ``parameters`` (default: private).

        A bucket that exists is a `cosxfer.ServerError` with the status 409 and the code BucketAlreadyOwnedByYou or
        BucketAlreadyExists. If a response was lost, that may be the bucket of an earlier attempt; a note says so.
        """
        with import_lock:
            from cosxfer.ops.put_bucket import put_bucket

        self._ready()
        headers = acl_headers(parameters)
        return await put_bucket(self._session, ObjectAddress(check_bucket(bucket), region=region), headers=headers)

    async def delete_bucket(self, bucket: str, *, region: str | None = None) -> cosxfer.DeleteBucketResult:
        """Delete an empty bucket (COS: DELETE Bucket).

        A bucket with objects, versions, delete markers or unfinished uploads is a `cosxfer.ServerError` with the status
        409 and the code BucketNotEmpty; one that does not exist is a `cosxfer.NotFoundError`.
        """
        with import_lock:
            from cosxfer.ops.delete_bucket import delete_bucket

        self._ready()
        return await delete_bucket(self._session, ObjectAddress(check_bucket(bucket), region=region))

    async def list_buckets(
        self,
        *,
        marker: str | None = None,
        max_keys: int | str | None = None,
        region: str | None = None,
    ) -> cosxfer.ListBucketsResult:
        """Return one page of the buckets of the account (COS: GET Service), at most 2,000.

        ``region`` returns only the buckets of that region. The endpoint must have ``{bucket}``; without the bucket, it
        is the address of the service.
        """
        with import_lock:
            from cosxfer.ops.list_buckets import list_buckets

        self._ready()
        return await list_buckets(self._session, region=region, marker=marker, max_keys=max_keys)

    def iter_list_buckets(
        self,
        *,
        marker: str | None = None,
        max_keys: int | str | None = None,
        region: str | None = None,
    ) -> AsyncIterator[cosxfer.Bucket]:
        """Iterate over all buckets of the account (COS: GET Service). The parameters are those of `list_buckets`."""
        with import_lock:
            from cosxfer.ops.list_buckets import all_buckets

        return self._when_ready(all_buckets(self._session, region=region, marker=marker, max_keys=max_keys))

    async def delete_objects(
        self,
        bucket: str,
        keys: Iterable[cosxfer.DeleteInput],
        *,
        region: str | None = None,
    ) -> cosxfer.DeleteObjectsResult:
        """Delete any number of objects or versions, 1,000 with each request (COS: DELETE Multiple Objects).

        Each entry of ``keys`` is a key, a pair ``(key, version_id)``, an entry of a listing, or a mapping with ``Key``
        and ``VersionId``. A missing object is no error. The result has ``errors``: a key that COS did not delete is
        there, after retries if it was a conflict. If a whole request fails, its error is raised; the call can be
        repeated.
        """
        with import_lock:
            from cosxfer.ops.delete_objects import delete_objects, targets_of

        self._ready()
        return await delete_objects(self._session, ObjectAddress(check_bucket(bucket), region=region), targets_of(keys))

    async def restore_object(
        self,
        bucket: str,
        key: str,
        *,
        days: int | str,
        tier: str = "Standard",
        version_id: str | None = None,
        region: str | None = None,
    ) -> cosxfer.RestoreObjectResult:
        """Make an archived object readable for ``days`` (COS: POST Object restore).

        ``tier`` is ``Expedited``, ``Standard`` or ``Bulk``. It takes minutes to two days; the headers of `head_object`
        have ``x-cos-restore``. A restore that is in progress already is no error.
        """
        with import_lock:
            from cosxfer.ops.restore_object import restore_object

        self._ready()
        address = self._session.address(bucket, key, region)
        return await restore_object(self._session, address, days=days, tier=tier, version_id=version_id)

    async def get_object_acl(
        self,
        bucket: str,
        key: str,
        *,
        version_id: str | None = None,
        region: str | None = None,
    ) -> cosxfer.GetObjectAclResult:
        """Return the access control list of an object (COS: GET Object ACL)."""
        with import_lock:
            from cosxfer.ops.object_acl import get_object_acl

        self._ready()
        return await get_object_acl(self._session, self._session.address(bucket, key, region), version_id=version_id)

    async def put_object_acl(
        self,
        bucket: str,
        key: str,
        *,
        version_id: str | None = None,
        region: str | None = None,
        **parameters: Unpack[AclHeaders],
    ) -> cosxfer.PutObjectAclResult:
        """Replace the access control list of an object (COS: PUT Object ACL).

        ``parameters`` are those of `cosxfer.AclHeaders`: ``acl``, or ``grant_…``. A bucket has at most 1,000 lists.
        """
        with import_lock:
            from cosxfer.ops.object_acl import put_object_acl

        self._ready()
        address = self._session.address(bucket, key, region)
        headers = acl_headers(parameters)
        return await put_object_acl(self._session, address, version_id=version_id, headers=headers)

    async def get_object_tagging(
        self,
        bucket: str,
        key: str,
        *,
        version_id: str | None = None,
        region: str | None = None,
    ) -> cosxfer.GetObjectTaggingResult:
        """Return the tags of an object (COS: GET Object tagging); empty if it has none."""
        with import_lock:
            from cosxfer.ops.object_tagging import get_object_tagging

        self._ready()
        return await get_object_tagging(
            self._session, self._session.address(bucket, key, region), version_id=version_id
        )

    async def put_object_tagging(
        self,
        bucket: str,
        key: str,
        *,
        tags: Mapping[str, str],
        version_id: str | None = None,
        region: str | None = None,
    ) -> cosxfer.PutObjectTaggingResult:
        """Replace all tags of an object (COS: PUT Object tagging), at most 10."""
        with import_lock:
            from cosxfer.ops.object_tagging import put_object_tagging

        self._ready()
        return await put_object_tagging(
            self._session, self._session.address(bucket, key, region), tags=tags, version_id=version_id
        )

    async def delete_object_tagging(
        self,
        bucket: str,
        key: str,
        *,
        version_id: str | None = None,
        region: str | None = None,
    ) -> cosxfer.DeleteObjectTaggingResult:
        """Remove all tags of an object (COS: DELETE Object tagging)."""
        with import_lock:
            from cosxfer.ops.object_tagging import delete_object_tagging

        self._ready()
        return await delete_object_tagging(
            self._session, self._session.address(bucket, key, region), version_id=version_id
        )

    async def presign_url(
        self,
        bucket: str,
        key: str,
        *,
        method: str = "GET",
        expires_seconds: int | str = 3600,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str | int] | None = None,
        region: str | None = None,
    ) -> cosxfer.PresignedUrl:
        """Return a URL that carries the signature of one request. Nothing is sent.

        ``method`` is ``GET``, ``HEAD``, ``PUT``, ``POST`` or ``DELETE``. ``params`` is the query, such as
        ``{"versionId": …}`` or ``{"response-content-type": …}``. ``headers`` must be sent by who uses the URL. All are
        in the signature. A URL never outlives the temporary key that signs it.
        """
        with import_lock:
            from cosxfer.ops.presign_url import presign_url

        self._ready()
        return await presign_url(
            self._session,
            self._session.address(bucket, key, region),
            method=method,
            expires_seconds=expires_seconds,
            params=params,
            headers=headers,
        )
