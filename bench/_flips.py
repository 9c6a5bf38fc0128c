"""Flipped bits: each must be found, and the name of the check that found it is counted.

Four campaigns aim at bytes of content. A single attempt is made, so the first check that notices ends the call.

- request body: the proxy flips a bit of the body on its way to the server, which compares it with Content-MD5;
- stored part: the same without Content-MD5, so the server stores other bytes than were sent, and its digests show it;
- disk: the server's file is damaged after the upload, and a download shows it;
- response body: the proxy flips a bit of the body on its way to the client.

Two more flip any bit of a connection: one of HTTP in plain text, with its request lines, headers and frames; one of
TLS. There an error is as good as no effect, but no wrong object may be reported done.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal
from unittest import mock

from _chaos import ChaosProxy, Trouble, Way
from _survive import KEYS, Direct, World

import cosxfer
from cosxfer._native import hashing
from cosxfer.address import ObjectAddress
from cosxfer.cos.requests import CosRequest
from cosxfer.ops.multipart_upload import multipart_upload
from cosxfer.ops.session import Session

Campaign = Literal["request body", "stored part", "disk", "response body", "anywhere", "anywhere in TLS"]
CAMPAIGNS: tuple[Campaign, ...] = (
    "request body",
    "stored part",
    "disk",
    "response body",
    "anywhere",
    "anywhere in TLS",
)
CONTENT = CAMPAIGNS[:4]
"""Here each flip must be found."""

BODY_BYTES = 4096
MARKER_BYTES = 16
REQUEST_BYTES, RESPONSE_BYTES = 2500, 2500
"""Flips anywhere: about what one small upload and download send each way."""


@dataclass(kw_only=True)
class Flips:
    """What became of the flips of one campaign."""

    campaign: str
    flips: int = 0
    found_by: Counter[str] = field(default_factory=Counter)
    harmless: int = 0
    missed: list[str] = field(default_factory=list)
    """Flips in content that nothing noticed, and wrong objects that were reported done."""


def named(error: BaseException) -> str:
    """Return the name of the check that raised ``error``."""
    text = str(error)
    if isinstance(error, cosxfer.ServerError):
        return f"the server's check of Content-MD5 ({error.code})" if error.code == "BadDigest" else "the server's HTTP"
    if isinstance(error, cosxfer.IntegrityError):
        if "checksum mismatch" not in text:
            return "length"
        return "ETag" if "ETag" in text else "CRC64"
    if isinstance(error, cosxfer.TransportTimeoutError):
        return "timeout"
    if isinstance(error, cosxfer.TransportError):
        return "the client's HTTP or TLS"
    return type(error).__name__


@contextmanager
def without_content_md5() -> Iterator[None]:
    """Send no Content-MD5, so the server cannot notice a damaged body."""
    real = Session.call

    async def call(self: Session, request: CosRequest, **given: Any) -> Any:
        headers = {name: value for name, value in request.headers.items() if name != "content-md5"}
        return await real(self, replace(request, headers=headers), **given)

    with mock.patch.object(Session, "call", call):
        yield


class Flipper:
    """Runs the campaigns. ``pairs`` are protocols and transports."""

    def __init__(self, world: World, seed: int, *, transports: tuple[str, ...] = ("native", "httpx")) -> None:
        self._world = world
        self._rng = random.Random(f"flips {seed}")
        self._transports = transports

    def run(self, campaign: Campaign, count: int) -> Flips:
        """Flip ``count`` bits."""
        protocols = ("tls1", "tls2") if campaign == "anywhere in TLS" else ("http1", "h2c")
        ways = [(protocol, transport) for protocol in protocols for transport in self._transports]
        flips = Flips(campaign=campaign)
        for index, (protocol, transport) in enumerate(ways):
            share = count // len(ways) + (index < count % len(ways))
            asyncio.run(self._share(campaign, flips, share, protocol, transport))
        return flips

    async def _share(self, campaign: Campaign, flips: Flips, count: int, protocol: str, transport: str) -> None:
        work: Callable[[_Bench, Flips], Any] = {
            "request body": self._request_body,
            "stored part": self._stored_part,
            "disk": self._disk,
            "response body": self._response_body,
        }.get(campaign, self._anywhere)
        # Damaged lengths make either side wait; damaged content does not.
        async with self._bench(protocol, transport, stall_seconds=20.0 if campaign in CONTENT else 0.5) as bench:
            for number in range(count):
                flips.flips += 1
                bench.key = f"{campaign.replace(' ', '-')}-{protocol}-{transport}-{number}"
                await work(bench, flips)

    @asynccontextmanager
    async def _bench(self, protocol: str, transport: str, *, stall_seconds: float) -> AsyncIterator[_Bench]:
        server = self._world.server(tls=protocol.startswith("tls"))
        with self._world.proxies.proxy(server.port) as proxy:
            client = cosxfer.AsyncClient(
                endpoint=f"{server.url.partition(':')[0]}://127.0.0.1:{proxy.port}/{{bucket}}",
                credentials=KEYS,
                http_version="2" if protocol in ("h2c", "tls2") else "1.1",
                verify=str(server.ca_file) if server.ca_file else True,
                transport=transport,  # type: ignore[arg-type]
                max_attempts=1,
                retry_for_seconds=0,
                connect_timeout_seconds=10.0,
                stall_timeout_seconds=stall_seconds,
                complete_timeout_seconds=stall_seconds,
                endpoint_memory=False,
            )
            async with client:
                yield _Bench(client, proxy, Direct(server), server.bucket, server.root)

    def _flip_of(self, body: bytes, way: Way) -> Trouble:
        at, bit = self._rng.randrange(len(body)), self._rng.randrange(8)
        return Trouble(kind="flip", way=way, at=at, bit=bit, marker=body[:MARKER_BYTES])

    # -- content -----------------------------------------------------------------------------------------------------

    async def _request_body(self, bench: _Bench, flips: Flips) -> None:
        body = self._rng.randbytes(BODY_BYTES)
        call = self._rng.choice((_put, _part, _append, _form))
        await _find(bench, flips, self._flip_of(body, "up"), lambda: call(bench, body))

    async def _stored_part(self, bench: _Bench, flips: Flips) -> None:
        body = self._rng.randbytes(BODY_BYTES)
        call = self._rng.choice((_part, _part_without_md5, _put))
        with without_content_md5():
            await _find(bench, flips, self._flip_of(body, "up"), lambda: call(bench, body))

    async def _response_body(self, bench: _Bench, flips: Flips) -> None:
        body = self._rng.randbytes(BODY_BYTES)
        await bench.client.put_object(bench.bucket, bench.key, body)
        flip = self._flip_of(body, "down")
        await _find(bench, flips, flip, lambda: bench.client.get_object(bench.bucket, bench.key))

    async def _disk(self, bench: _Bench, flips: Flips) -> None:
        body = self._rng.randbytes(BODY_BYTES)
        upload = await bench.client.multipart_init(bench.bucket, bench.key)
        part = await bench.client.multipart_upload(
            bench.bucket, bench.key, body, upload_id=upload.upload_id, part_number=1
        )
        at, bit = self._rng.randrange(BODY_BYTES), self._rng.randrange(8)
        assert await asyncio.to_thread(_damage, bench.root, body, at, bit), "the part is not on the server's disk"
        await bench.client.multipart_complete(bench.bucket, bench.key, upload_id=upload.upload_id, parts=[part])
        await _find(bench, flips, None, lambda: bench.client.get_object(bench.bucket, bench.key))

    # -- anywhere ----------------------------------------------------------------------------------------------------

    async def _anywhere(self, bench: _Bench, flips: Flips) -> None:
        body = self._rng.randbytes(300)
        way: Way = self._rng.choice(("up", "down"))
        reach = REQUEST_BYTES if way == "up" else RESPONSE_BYTES
        at = bench.proxy.carried[way] + self._rng.randrange(reach)
        flip = Trouble(kind="flip", way=way, at=at, bit=self._rng.randrange(8))
        bench.proxy.add(flip)
        call = self._rng.choice((_put, _multipart, _append, _form))
        got, error = None, None
        try:
            await call(bench, body)
            stored = await asyncio.to_thread(bench.direct.content, bench.key)
            if stored != body:
                flips.missed.append(f"{bench.key}: reported done, but the object differs; {flip}")
                return
            # The flip may not have happened yet.
            got = await bench.client.get_object(bench.bucket, bench.key)
            while flip not in bench.proxy.happened:
                got = await bench.client.get_object(bench.bucket, bench.key)
        except cosxfer.CosxferError as caught:
            error = caught
        if got is not None and got.body != body and not got.verified:
            # A flip in the header table of HTTP/2 lasts: responses have no CRC64 from then on, so a second flip passes.
            flips.found_by["the result is not verified"] += 1
        elif got is not None and (got.body != body or got.crc64 not in (None, hashing.crc64(body))):
            flips.missed.append(f"{bench.key}: the download differs; {flip}")
        elif error is None:
            flips.harmless += 1
        else:
            flips.found_by[named(error)] += 1


@dataclass(kw_only=False)
class _Bench:
    client: cosxfer.AsyncClient
    proxy: ChaosProxy
    direct: Direct
    bucket: str
    root: Path
    key: str = ""


async def _find(bench: _Bench, flips: Flips, flip: Trouble | None, call: Callable[[], Any]) -> None:
    if flip is not None:
        bench.proxy.add(flip)
    found: cosxfer.CosxferError | None = None
    try:
        await call()
    except cosxfer.CosxferError as error:
        found = error
    assert flip is None or flip in bench.proxy.happened, f"the flip did not happen: {found}"
    if found is None:
        flips.missed.append(f"{bench.key}: {flip}")
    else:
        flips.found_by[named(found)] += 1


def _damage(root: Path, body: bytes, at: int, bit: int) -> bool:
    """Flip a bit of the file with this content."""
    for path in root.joinpath("bodies").rglob("*"):
        if path.is_file() and path.stat().st_size == len(body) and path.read_bytes() == body:
            damaged = bytearray(body)
            damaged[at] ^= 1 << bit
            path.write_bytes(damaged)
            return True
    return False


async def _put(bench: _Bench, body: bytes) -> None:
    await bench.client.put_object(bench.bucket, bench.key, body)


async def _append(bench: _Bench, body: bytes) -> None:
    await bench.client.append_object(bench.bucket, bench.key, body, position=0)


async def _form(bench: _Bench, body: bytes) -> None:
    await bench.client.post_object(bench.bucket, bench.key, body, filename="f")


async def _part(bench: _Bench, body: bytes, *, etag_is_md5: bool | None = True) -> None:
    """Send a part as uploads of files do."""
    upload = await bench.client.multipart_init(bench.bucket, bench.key)
    digest = hashing.md5(body)
    await multipart_upload(
        bench.client._session,
        ObjectAddress(bucket=bench.bucket, key=bench.key, region=None),
        body,
        upload_id=upload.upload_id,
        part_number=1,
        content_length=len(body),
        md5=digest,
        crc64=hashing.crc64(body),
        etag_is_md5=etag_is_md5,
    )


async def _part_without_md5(bench: _Bench, body: bytes) -> None:
    """The ETag of a part that the bucket encrypts is no MD5: the CRC64 alone counts."""
    await _part(bench, body, etag_is_md5=None)


async def _multipart(bench: _Bench, body: bytes) -> None:
    upload = await bench.client.multipart_init(bench.bucket, bench.key)
    part = await bench.client.multipart_upload(bench.bucket, bench.key, body, upload_id=upload.upload_id, part_number=1)
    await bench.client.multipart_complete(bench.bucket, bench.key, upload_id=upload.upload_id, parts=[part])
