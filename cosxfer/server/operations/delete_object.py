"""DELETE Object and DELETE Multiple Objects (source: product pages 436/7743, 8289)."""

from __future__ import annotations

from cosxfer.cos import xml
from cosxfer.limits import MAX_LIST_ENTRIES, MIB
from cosxfer.server import checks, versions
from cosxfer.server.call import Call
from cosxfer.server.http import CosError, Response, xml_response


async def delete_object(call: Call) -> Response:
    """Delete the object, or one version of it. It is no error if it does not exist."""
    checks.refuse_conditions(call.request.headers)
    version, is_marker = call.store.remove(call.bucket, call.key, versions.named(call))
    headers = versions.headers(call, version) if version else {}
    if is_marker:
        headers[versions.MARKER_HEADER] = "true"
    return Response(status=204, headers=headers)


async def delete_objects(call: Call) -> Response:
    if "content-md5" not in call.request.headers and not call.body_is_proven:
        raise CosError("InvalidRequest", "Missing required header for this request: Content-MD5")
    root = await call.document("Delete", limit=2 * MIB)
    wanted = [(xml.text_of(entry, "Key"), xml.text_of(entry, "VersionId")) for entry in root.findall("Object")]
    if not wanted or not all(key for key, _ in wanted) or len(wanted) > MAX_LIST_ENTRIES:
        raise CosError("MalformedXML", f"The document must name 1 to {MAX_LIST_ENTRIES} keys.")
    quiet = xml.text_of(root, "Quiet").strip().lower() == "true"
    content: list[tuple[str, xml.Tree]] = []
    for key, version in wanted:
        named: list[tuple[str, xml.Tree]] = [("Key", key), *([("VersionId", version)] if version else [])]
        try:
            checks.check_key(key)
            removed, is_marker = call.store.remove(call.bucket, key, version or None)
        except CosError as error:
            content.append(("Error", [*named, ("Code", error.code), ("Message", error.message)]))
            continue
        if not quiet:
            marker: list[tuple[str, xml.Tree]] = []
            if is_marker:
                marker = [("DeleteMarker", "true"), ("DeleteMarkerVersionId", removed)]
            content.append(("Deleted", [*named, *marker]))
    return xml_response("DeleteResult", content)
