"""DELETE Object and DELETE Multiple Objects (source: product pages 436/7743, 8289)."""

from __future__ import annotations

from hashlib import md5

from cosxfer.cos import xml
from cosxfer.limits import MAX_LIST_ENTRIES, MIB
from cosxfer.server import checks
from cosxfer.server.call import Call
from cosxfer.server.http import CosError, Response, xml_response


async def delete_object(call: Call) -> Response:
    """Delete the object. It is no error if it does not exist."""
    call.store.remove(call.bucket, call.key)
    return Response(status=204)


async def delete_objects(call: Call) -> Response:
    expected = checks.content_md5(call.request.headers)
    document = await call.body.read_all(limit=2 * MIB)
    if expected is not None and md5(document, usedforsecurity=False).digest() != expected:
        raise CosError("BadDigest", "The Content-MD5 you specified did not match what we received.")
    try:
        root = xml.parse(document, root="Delete")
    except xml.XmlError as error:
        raise CosError("MalformedXML", str(error)) from error
    keys = [xml.text_of(entry, "Key") for entry in root.findall("Object")]
    if not keys or not all(keys) or len(keys) > MAX_LIST_ENTRIES:
        raise CosError("MalformedXML", f"The document must name 1 to {MAX_LIST_ENTRIES} keys.")
    for key in keys:
        call.store.remove(call.bucket, key)
    quiet = xml.text_of(root, "Quiet").strip().lower() == "true"
    return xml_response("DeleteResult", [] if quiet else [("Deleted", [("Key", key)]) for key in keys])
