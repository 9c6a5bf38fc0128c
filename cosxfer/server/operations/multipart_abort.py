"""Abort Multipart Upload (source: product page 436/7740)."""

from __future__ import annotations

from cosxfer.server.call import Call
from cosxfer.server.http import Response


async def multipart_abort(call: Call) -> Response:
    call.store.abort(call.upload())
    return Response(status=204)
