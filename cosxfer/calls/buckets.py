"""Blocking calls on buckets, rights and tags. Their asynchronous forms have the documentation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Unpack

import cosxfer
from cosxfer.binding import explains_arguments
from cosxfer.calls.aio_buckets import AsyncBucketCalls
from cosxfer.calls.base import BlockingCalls
from cosxfer.cos.requests import AclHeaders
from cosxfer.threads import import_lock


@explains_arguments
class BucketCalls(BlockingCalls):
    """One call for each operation."""

    _client: AsyncBucketCalls

    def head_bucket(
        self,
        bucket: str,
        *,
        region: str | None = None,
    ) -> cosxfer.HeadBucketResult:
        return self._run(
            self._client.head_bucket(
                bucket,
                region=region,
            )
        )

    def put_bucket(
        self, bucket: str, *, region: str | None = None, **parameters: Unpack[AclHeaders]
    ) -> cosxfer.PutBucketResult:
        return self._run(self._client.put_bucket(bucket, region=region, **parameters))

    def delete_bucket(self, bucket: str, *, region: str | None = None) -> cosxfer.DeleteBucketResult:
        return self._run(self._client.delete_bucket(bucket, region=region))

    def list_buckets(
        self,
        *,
        marker: str | None = None,
        max_keys: int | str | None = None,
        region: str | None = None,
    ) -> cosxfer.ListBucketsResult:
        return self._run(
            self._client.list_buckets(
                marker=marker,
                max_keys=max_keys,
                region=region,
            )
        )

    def iter_list_buckets(
        self,
        *,
        marker: str | None = None,
        max_keys: int | str | None = None,
        region: str | None = None,
    ) -> Iterator[cosxfer.Bucket]:
        return self._iterate(
            self._client.iter_list_buckets(
                marker=marker,
                max_keys=max_keys,
                region=region,
            )
        )

    def delete_objects(
        self,
        bucket: str,
        keys: Iterable[cosxfer.DeleteInput],
        *,
        region: str | None = None,
    ) -> cosxfer.DeleteObjectsResult:
        with import_lock:
            from cosxfer.ops.delete_objects import listed_keys

        return self._run(
            self._client.delete_objects(
                bucket,
                listed_keys(keys),
                region=region,
            )
        )

    def restore_object(
        self,
        bucket: str,
        key: str,
        *,
        days: int | str,
        tier: str = "Standard",
        version_id: str | None = None,
        region: str | None = None,
    ) -> cosxfer.RestoreObjectResult:
        return self._run(
            self._client.restore_object(
                bucket,
                key,
                days=days,
                tier=tier,
                version_id=version_id,
                region=region,
            )
        )

    def get_object_acl(
        self,
        bucket: str,
        key: str,
        *,
        version_id: str | None = None,
        region: str | None = None,
    ) -> cosxfer.GetObjectAclResult:
        return self._run(
            self._client.get_object_acl(
                bucket,
                key,
                version_id=version_id,
                region=region,
            )
        )

    def put_object_acl(
        self,
        bucket: str,
        key: str,
        *,
        version_id: str | None = None,
        region: str | None = None,
        **parameters: Unpack[AclHeaders],
    ) -> cosxfer.PutObjectAclResult:
        return self._run(
            self._client.put_object_acl(
                bucket,
                key,
                version_id=version_id,
                region=region,
                **parameters,
            )
        )

    def get_object_tagging(
        self,
        bucket: str,
        key: str,
        *,
        version_id: str | None = None,
        region: str | None = None,
    ) -> cosxfer.GetObjectTaggingResult:
        return self._run(
            self._client.get_object_tagging(
                bucket,
                key,
                version_id=version_id,
                region=region,
            )
        )

    def put_object_tagging(
        self,
        bucket: str,
        key: str,
        *,
        tags: Mapping[str, str],
        version_id: str | None = None,
        region: str | None = None,
    ) -> cosxfer.PutObjectTaggingResult:
        return self._run(
            self._client.put_object_tagging(
                bucket,
                key,
                tags=tags,
                version_id=version_id,
                region=region,
            )
        )

    def delete_object_tagging(
        self,
        bucket: str,
        key: str,
        *,
        version_id: str | None = None,
        region: str | None = None,
    ) -> cosxfer.DeleteObjectTaggingResult:
        return self._run(
            self._client.delete_object_tagging(
                bucket,
                key,
                version_id=version_id,
                region=region,
            )
        )

    def presign_url(
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
        return self._run(
            self._client.presign_url(
                bucket,
                key,
                method=method,
                expires_seconds=expires_seconds,
                params=params,
                headers=headers,
                region=region,
            )
        )
