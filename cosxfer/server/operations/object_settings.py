"""ACL, tags and restores of one object or version (source: product pages 436/7744, 7748, 42997, 12633)."""

from __future__ import annotations

from cosxfer.cos import xml
from cosxfer.server import access, restoring, tags, versions
from cosxfer.server.call import Call
from cosxfer.server.http import CosError, Response, xml_response


async def get_object_acl(call: Call) -> Response:
    found = versions.requested(call)
    response = xml_response("AccessControlPolicy", access.document(found.headers))
    if access.GRANTS not in found.headers and found.headers.get(access.ACL, "default") == "default":
        response.headers[access.ACL] = "default"
    return response


async def put_object_acl(call: Call) -> Response:
    versions.requested(call)
    changed = access.given(call.request.headers)
    if call.request.content_length != 0:
        content = await call.optional_document("AccessControlPolicy")
        if content is not None:
            if changed:
                raise CosError("InvalidArgument", "An ACL is in the headers or in the body, not in both.")
            changed = access.parsed(content)
    if not changed:
        raise CosError("InvalidArgument", "The request has no ACL.")
    _replace(call, (access.ACL, access.GRANTS), changed)
    return Response()


async def get_object_tagging(call: Call) -> Response:
    found = versions.requested(call)
    if tags.TAGGING not in found.headers:
        raise CosError("NoSuchTagSet", "The object has no tags.")
    response = xml_response("Tagging", tags.document(found.headers))
    response.headers |= versions.headers(call, found.version)
    return response


async def put_object_tagging(call: Call) -> Response:
    versions.requested(call)
    _replace(call, (tags.TAGGING,), tags.parsed(await call.document("Tagging")))
    return Response()


async def delete_object_tagging(call: Call) -> Response:
    _replace(call, (tags.TAGGING,), {})
    return Response(status=204)


async def restore_object(call: Call) -> Response:
    versions.requested(call)
    root = await call.document("RestoreRequest")
    try:
        days = xml.int_of(root, "Days")
    except xml.XmlError as error:
        raise CosError("MalformedXML", str(error)) from error
    if not 1 <= days <= 365:
        raise CosError("InvalidArgument", "Days must be from 1 to 365.")
    parameters = root.find("CASJobParameters")
    tier = "Standard" if parameters is None else xml.text_of(parameters, "Tier", "Standard").strip()
    now = call.request.now
    found = versions.requested(call)
    was_restored = restoring.state(found.headers, now) is not None
    _replace(call, (restoring.RESTORE,), restoring.requested(found, days=days, tier=tier, now=now))
    return Response(status=200 if was_restored else 202)


def _replace(call: Call, names: tuple[str, ...], changed: dict[str, str]) -> None:
    """Replace the stored headers ``names`` of the version by ``changed``."""
    found = versions.requested(call)  # again, because it may have changed while the body arrived
    kept = {name: value for name, value in found.headers.items() if name not in names}
    call.store.set_headers(found, kept | changed)
