"""GET Service, and HEAD, PUT and DELETE Bucket (source: pages 436/8291, 7735, 7738)."""

from __future__ import annotations

from cosxfer.cos.identifiers import check_bucket
from cosxfer.errors import UsageError
from cosxfer.server.call import OWNER, Call, iso_date
from cosxfer.server.http import CosError, Response, xml_response


async def get_service(call: Call) -> Response:
    buckets = [
        ("Bucket", [("Name", name), ("Location", call.region), ("CreationDate", iso_date(created))])
        for name, created in call.store.buckets().items()
    ]
    return xml_response("ListAllMyBucketsResult", [("Owner", OWNER), ("Buckets", buckets)])


async def head_bucket(call: Call) -> Response:
    return Response(headers={"x-cos-bucket-region": call.region})


async def put_bucket(call: Call) -> Response:
    try:
        check_bucket(call.bucket)
    except UsageError as error:
        raise CosError("InvalidArgument", str(error)) from error
    if call.bucket in call.store.bucket_names:
        raise CosError("BucketAlreadyExists", "The bucket already exists.")
    call.store.add_bucket(call.bucket)
    return Response(headers={"location": f"/{call.bucket}"})


async def delete_bucket(call: Call) -> Response:
    if not call.store.remove_bucket(call.bucket):
        raise CosError("BucketNotEmpty", "The bucket holds objects or multipart uploads.")
    return Response(status=204)
