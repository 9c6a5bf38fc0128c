"""Applies the rules of a fault script to a request."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import replace

from cosxfer.server.body import Body
from cosxfer.server.call import CRC64_HEADER
from cosxfer.server.close_connections import close_connection
from cosxfer.server.faults import AT_ANSWER, Fault
from cosxfer.server.http import ClientGone, CosError, Response

Client = tuple[str, int]

SPACE_SECONDS = 0.5
"""Time between two spaces while the response to Complete is delayed."""
_FLUSH_SECONDS = 0.05
"""Time for the sent data to reach the client before the connection is cut."""
_WRONG_ETAG = "00000000000000000000000000000bad"
_ETAG = re.compile(rb"<ETag>[^<]*</ETag>")


async def apply_before(fault: Fault, body: Body, client: Client) -> None:
    """Apply the rule before the operation, or schedule it for a number of body bytes."""
    if fault.do not in ("error", "reset", "stall", "delay") or fault.at == AT_ANSWER:
        return
    if fault.at > 0:
        body.set_gate(fault.at, lambda: _interrupt(fault, client))
    else:
        await _interrupt(fault, client)


async def apply_after(fault: Fault, response: Response, operation: str, client: Client) -> Response:
    """Apply the rule after the operation, before the response."""
    if fault.do == "delay" and operation == "multipart_complete" and response.status == 200:
        return _with_spaces(response, fault.seconds)
    await _interrupt(fault, client)
    return response


def alter_response(fault: Fault, response: Response, client: Client) -> Response:
    """Falsify the digests of the response, or end it before its announced length."""
    headers, body = dict(response.headers), response.body
    if fault.do == "wrong_etag":
        if "etag" in headers:
            headers["etag"] = f'"{_WRONG_ETAG}"'
        if isinstance(body, bytes):
            body = _ETAG.sub(f'<ETag>"{_WRONG_ETAG}"</ETag>'.encode(), body)
    elif fault.do == "wrong_crc64" and CRC64_HEADER in headers:
        headers[CRC64_HEADER] = str(int(headers[CRC64_HEADER]) ^ 1)
    elif fault.do == "no_crc64":
        headers.pop(CRC64_HEADER, None)
    elif fault.do == "truncate":
        return _truncate(fault, response, client)
    return replace(response, headers=headers, body=body)


async def _interrupt(fault: Fault, client: Client) -> None:
    if fault.do == "error":
        retry_after = fault.retry_after_seconds
        headers = {} if retry_after is None else {"retry-after": str(retry_after)}
        raise CosError(fault.code, fault.message, status=fault.status, headers=headers)
    if fault.do in ("delay", "stall"):
        await asyncio.sleep(fault.seconds)
    if fault.do in ("reset", "stall"):
        close_connection(client, reset=True)
        raise ClientGone


def _truncate(fault: Fault, response: Response, client: Client) -> Response:
    body = response.body
    # The response to HEAD has no body.
    full = len(body) if isinstance(body, bytes) and response.content_length is None else response.content_length or 0
    keep = full // 2 if fault.after_bytes is None else min(fault.after_bytes, full)
    return replace(response, body=_first_bytes(body, keep, client), content_length=full)


async def _first_bytes(body: bytes | AsyncIterator[bytes], keep: int, client: Client) -> AsyncIterator[bytes]:
    """Yield ``keep`` bytes, then end the connection."""
    if isinstance(body, bytes):
        yield body[:keep]
    else:
        async for chunk in body:
            yield chunk[:keep]
            keep -= len(chunk)
            if keep <= 0:
                break
    await asyncio.sleep(_FLUSH_SECONDS)
    close_connection(client, reset=False)
    raise ClientGone


def _with_spaces(response: Response, seconds: float) -> Response:
    """Send status 200 at once, then spaces, then the document, as COS does while it assembles."""

    async def body() -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while (rest := end - loop.time()) > 0:
            yield b" "
            await asyncio.sleep(min(rest, SPACE_SECONDS))
        assert isinstance(response.body, bytes)
        yield response.body

    # The digest is not known when the head is sent.
    headers = {name: value for name, value in response.headers.items() if name != CRC64_HEADER}
    return Response(headers=headers, body=body())
