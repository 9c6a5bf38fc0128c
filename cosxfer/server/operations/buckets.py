"""GET Service, and the bucket itself: HEAD, PUT, DELETE, location, versioning (pages 436/8291, 7735, 7738, 19889)."""

from __future__ import annotations

from cosxfer.cos import xml
from cosxfer.cos.identifiers import check_bucket
from cosxfer.errors import UsageError
from cosxfer.limits import MAX_LIST_BUCKETS
from cosxfer.server import checks
from cosxfer.server.call import Call, iso_date
from cosxfer.server.http import CosError, Response, xml_response
from cosxfer.server.owner import OWNER

MAX_HOST_CHARACTERS = 60
BUCKET_ACLS = ("private", "public-read", "public-read-write", "authenticated-read")


async def get_service(call: Call) -> Response:
    """List the buckets of this server, sorted by name."""
    query = call.request.query
    if unknown := {"tagkey", "tagvalue", "create-time", "range"} & query.keys():
        raise CosError("NotImplemented", f"This server does not filter buckets by {min(unknown)}.")
    marker, wanted = query.get("marker", ""), query.get("region", "")
    limit = min(checks.whole_number(query, "max-keys", default=MAX_LIST_BUCKETS), MAX_LIST_BUCKETS)
    names = [(name, created) for name, created in call.store.buckets().items() if name > marker]
    if wanted and wanted != call.region:
        names = []
    page, more = names[:limit], len(names) > limit > 0
    buckets = [
        ("Bucket", [("Name", name), ("Location", call.region), ("CreationDate", iso_date(created)[:-5] + "Z")])
        for name, created in page
    ]
    content: list[tuple[str, xml.Tree]] = [("Owner", OWNER), ("Buckets", buckets)]
    if "marker" in query or "max-keys" in query:
        content += [("Marker", marker), ("IsTruncated", str(more).lower())]
        content += [("NextMarker", page[-1][0])] if more else []
    return xml_response("ListAllMyBucketsResult", content)


async def head_bucket(call: Call) -> Response:
    return Response(headers={"x-cos-bucket-region": call.region})


async def put_bucket(call: Call) -> Response:
    try:
        check_bucket(call.bucket)
    except UsageError as error:
        raise CosError("InvalidArgument", str(error)) from error
    host = f"{call.bucket}.cos.{call.region}.myqcloud.com"
    if len(host) > MAX_HOST_CHARACTERS:
        raise CosError("InvalidArgument", f"{host} has more than {MAX_HOST_CHARACTERS} characters.")
    acl = call.request.headers.get("x-cos-acl", "private")
    if acl not in BUCKET_ACLS:
        raise CosError("InvalidArgument", f"x-cos-acl of a bucket can be {', '.join(BUCKET_ACLS)}.")
    if call.bucket in call.store.bucket_names:
        raise CosError("BucketAlreadyExists", "The bucket already exists.")
    call.store.add_bucket(call.bucket)
    return Response(headers={"location": f"/{call.bucket}"})


async def delete_bucket(call: Call) -> Response:
    if not call.store.remove_bucket(call.bucket):
        raise CosError("BucketNotEmpty", "The bucket holds objects, versions or multipart uploads.")
    return Response(status=204)


async def get_bucket_location(call: Call) -> Response:
    return xml_response("LocationConstraint", call.region)


async def get_bucket_versioning(call: Call) -> Response:
    status = call.store.versioning(call.bucket)
    return xml_response("VersioningConfiguration", [("Status", status)] if status else [])


async def put_bucket_versioning(call: Call) -> Response:
    root = await call.document("VersioningConfiguration")
    status = xml.text_of(root, "Status").strip()
    if status not in ("Enabled", "Suspended"):
        raise CosError("MalformedXML", "Status can be Enabled or Suspended.")
    call.store.change_settings(call.bucket, versioning=status)
    return Response()
