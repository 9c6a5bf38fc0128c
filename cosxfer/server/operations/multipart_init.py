"""Initiate Multipart Upload (source: product page 436/7746)."""

from __future__ import annotations

from cosxfer.server import checks, encryption
from cosxfer.server.call import Call
from cosxfer.server.http import CosError, Response, xml_response


async def multipart_init(call: Call) -> Response:
    checks.refuse_conditions(call.request.headers)
    call.check_overwrite(call.request.headers)
    headers = call.object_headers(call.request.headers)
    upload = call.store.begin_upload(
        bucket=call.bucket,
        key=call.key,
        storage_class=checks.storage_class(call.request.headers),
        headers=headers,
    )
    try:
        response = xml_response(
            "InitiateMultipartUploadResult", [("Bucket", call.bucket), ("Key", call.key), ("UploadId", upload.id)]
        )
    except CosError:
        # XML cannot hold the key, so the client would not receive the id.
        call.store.abort(upload)
        raise
    response.headers |= encryption.response_headers(headers)
    return response
