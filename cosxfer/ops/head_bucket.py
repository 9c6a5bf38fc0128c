"""HEAD Bucket: whether a bucket exists and the keys may read it (source: product page 436/7735)."""

from __future__ import annotations

from cosxfer.address import ObjectAddress
from cosxfer.bucket_models import HeadBucketResult
from cosxfer.cos import responses
from cosxfer.cos.requests import CosRequest
from cosxfer.ops.session import Session


async def head_bucket(session: Session, address: ObjectAddress) -> HeadBucketResult:
    request = CosRequest(method="HEAD", operation=f"HEAD Bucket {address.bucket}", address=address)
    response = await session.call(request)
    return HeadBucketResult(
        **responses.common(response),
        region=response.headers.get("x-cos-bucket-region", ""),
        az_type=response.headers.get("x-cos-bucket-az-type", ""),
        arch=response.headers.get("x-cos-bucket-arch", ""),
    )
