"""PUT Bucket: creates a bucket in the region of the request (source: product page 436/7738)."""

from __future__ import annotations

from collections.abc import Mapping

from cosxfer.address import ObjectAddress
from cosxfer.bucket_models import PutBucketResult
from cosxfer.cos import responses
from cosxfer.cos.requests import CosRequest
from cosxfer.errors import ServerError
from cosxfer.ops.session import Session

EXIST = ("BucketAlreadyOwnedByYou", "BucketAlreadyExists")


async def put_bucket(session: Session, address: ObjectAddress, *, headers: Mapping[str, str]) -> PutBucketResult:
    session = session.observed()
    request = CosRequest(method="PUT", operation=f"PUT Bucket {address.bucket}", address=address, headers=headers)
    try:
        response = await session.call(request)
    except ServerError as error:
        if error.code in EXIST and session.retries:
            error.add_note("an earlier attempt of this call may have created it")
        raise
    return PutBucketResult(**responses.common(response), location=response.headers.get("location", ""))
