"""DELETE Bucket: deletes an empty bucket."""

from __future__ import annotations

from cosxfer.address import ObjectAddress
from cosxfer.bucket_models import DeleteBucketResult
from cosxfer.cos import responses
from cosxfer.cos.requests import CosRequest
from cosxfer.errors import NotFoundError, ServerError
from cosxfer.ops.session import Session


async def delete_bucket(session: Session, address: ObjectAddress) -> DeleteBucketResult:
    assert not address.key, "with a key the request would delete an object"
    session = session.observed()
    request = CosRequest(method="DELETE", operation=f"DELETE Bucket {address.bucket}", address=address)
    try:
        response = await session.call(request)
    except NotFoundError as error:
        if session.retries:
            error.add_note("an earlier attempt of this call may have deleted it")
        raise
    except ServerError as error:
        if error.code == "BucketNotEmpty":
            error.add_note("It must have no object, no version, no delete marker and no unfinished upload")
        raise
    return DeleteBucketResult(**responses.common(response))
