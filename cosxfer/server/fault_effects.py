"""What the rules of a fault script do to a request."""

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
"""Between two spaces while the answer to Complete is held back."""
_FLUSH_SECONDS = 0.05
"""What was sent reaches the client before its connection is cut."""
_WRONG_ETAG = "00000000000000000000000000000bad"
_ETAG = re.compile(rb"<ETag>[^<]*</ETag>")


async def meet_head(fault: Fault, body: Body, client: Client) -> None:
    """Do what the rule wants before the work, or arrange it for when so many bytes of the body were read."""
    if fault.do not in ("error", "reset", "stall", "delay") or fault.at == AT_ANSWER:
        return
    if fault.at > 0:
        body.set_gate(fault.at, lambda: _interrupt(fault, client))
    else:
        await _interrupt(fault, client)


async def hold_answer(fault: Fault, response: Response, operation: str, client: Client) -> Response:
    """Do what the rule wants after the work."""
    if fault.do == "delay" and operation == "multipart_complete" and response.status == 200:
        return _with_spaces(response, fault.seconds)
    await _interrupt(fault, client)
    return response


def alter_answer(fault: Fault, response: Response, client: Client) -> Response:
    """Falsify the answer's digests, or have it announced longer than it is sent."""
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
    # The answer to HEAD has none of the bytes that it announces.
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
    """Status 200 at once, spaces, and the document at the end: what COS does while it assembles."""

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
