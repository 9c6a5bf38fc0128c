"""GET Object for one range, straight into memory or an open file (source: product page 436/7753)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from cosxfer.address import ObjectAddress
from cosxfer.cos.requests import AttemptFollower, CosRequest
from cosxfer.cos.responses import HttpResponse, malformed
from cosxfer.cos.sink import BodySink
from cosxfer.errors import ObjectChangedError
from cosxfer.foreign import shorten
from cosxfer.ops.attempt import Attempt
from cosxfer.ops.session import Session


async def get_range(
    session: Session,
    address: ObjectAddress,
    sink: BodySink,
    *,
    version_id: str | None = None,
    headers: Mapping[str, str] | None = None,
    on_received: Callable[[int], None] | None = None,
    follower: AttemptFollower | None = None,
    tried: Attempt | None = None,
) -> HttpResponse:
    """Fetch the range of ``sink`` and return the head of the response.

    If the sink names an ETag, the request has If-Match, and an attempt continues after the bytes of the one before.
    Without an ETag nothing proves that these belong to the same object, so each attempt starts anew.

    ``on_received`` gets the bytes that were received, negative if they are not there any more. ``tried`` is a failed
    attempt at the request. Raises `ObjectChangedError` if the object is not the one of the ETag.
    """
    request = range_request(
        address, sink, version_id=version_id, headers=headers, on_received=on_received, follower=follower
    )
    return await session.call(request, tried=tried)


def range_request(
    address: ObjectAddress,
    sink: BodySink,
    *,
    version_id: str | None,
    headers: Mapping[str, str] | None,
    on_received: Callable[[int], None] | None,
    follower: AttemptFollower | None = None,
) -> CosRequest:
    """Return the request of `get_range`."""
    operation = f"GET Object {shorten(address.key)}"
    outgoing = {**(headers or {})}
    if sink.etag:
        outgoing["if-match"] = sink.etag
    told = 0

    def begin() -> None:
        nonlocal told
        if not sink.etag or sink.received >= sink.length:
            sink.restart()
        if sink.ranged:
            outgoing["range"] = f"bytes={sink.first + sink.received}-{sink.first + sink.length - 1}"
        if on_received is not None and sink.received != told:
            on_received(sink.received - told)
            told = sink.received

    def check(response: HttpResponse) -> None:
        if sink.accepted:
            return
        if sink.etag and response.headers.get("etag") not in (None, sink.etag):
            raise ObjectChangedError(f"{operation}: the object was replaced while it was being downloaded")
        found = response.headers.get("content-range") or "no Content-Range"
        wanted = outgoing.get("range", "the whole object")
        raise malformed(operation, f"it is {response.status} with {shorten(found)}, but the request was for {wanted}")

    return CosRequest(
        method="GET",
        operation=operation,
        address=address,
        params={} if version_id is None else {"versionId": version_id},
        headers=outgoing,
        sink=sink,
        on_attempt=begin,
        on_sent=on_received,
        follower=follower,
        check=check,
    )
