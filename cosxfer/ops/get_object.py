"""GET Object: fetch the content of an object into memory or a file (source: product page 436/7753)."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Mapping
from concurrent.futures import Executor
from typing import Protocol, overload

from cosxfer._native import hashing
from cosxfer.address import ObjectAddress
from cosxfer.arguments import check_text
from cosxfer.cos.requests import CosRequest
from cosxfer.cos.responses import HttpResponse, malformed
from cosxfer.errors import IntegrityError, UsageError
from cosxfer.foreign import shorten
from cosxfer.limits import LARGEST_NUMBER
from cosxfer.models import GetObjectBytesResult, GetObjectFileResult
from cosxfer.ops.file_writer import FileWriter
from cosxfer.ops.head_object import object_fields
from cosxfer.ops.session import Session


@overload
async def get_object(
    session: Session,
    address: ObjectAddress,
    *,
    output: None = None,
    byte_range: tuple[int, int] | None = None,
    version_id: str | None = None,
    headers: Mapping[str, str] | None = None,
    params: Mapping[str, str] | None = None,
) -> GetObjectBytesResult: ...
@overload
async def get_object(
    session: Session,
    address: ObjectAddress,
    *,
    output: str | os.PathLike[str] | None,
    executor: Executor,
    byte_range: tuple[int, int] | None = None,
    version_id: str | None = None,
    headers: Mapping[str, str] | None = None,
    params: Mapping[str, str] | None = None,
) -> GetObjectBytesResult | GetObjectFileResult: ...
async def get_object(
    session: Session,
    address: ObjectAddress,
    *,
    output: str | os.PathLike[str] | None = None,
    executor: Executor | None = None,
    byte_range: tuple[int, int] | None = None,
    version_id: str | None = None,
    headers: Mapping[str, str] | None = None,
    params: Mapping[str, str] | None = None,
) -> GetObjectBytesResult | GetObjectFileResult:
    """Fetch an object into the file ``output``. If ``output`` is None, the content is in the result's ``body``.

    The file appears only when it is complete and its CRC64 matches. `PartFile` describes what it keeps of a file that
    it replaces. Threads of ``executor`` write it. ``byte_range`` is the first and the last byte, both included.
    """
    check_text(version_id, "version_id")
    operation = f"GET Object {shorten(address.key)}"
    ranged = {} if byte_range is None else {"range": range_header(byte_range)}
    sink: _Sink = _Memory() if output is None else await FileWriter.open(output, executor)
    crc = _Crc(sink)
    request = CosRequest(
        method="GET",
        operation=operation,
        address=address,
        params={**(params or {}), **({} if version_id is None else {"versionId": version_id})},
        headers={**(headers or {}), **ranged},
        on_attempt=crc.restart,
        on_body=crc.write,
        check=lambda response: _check(response, crc, operation, ranged=bool(ranged)),
    )
    try:
        response = await session.call(request)
        fields = {
            **object_fields(response, operation=operation),
            "content_range": response.headers.get("content-range"),
        }
        verified = response.status == 200 and fields["crc64"] is not None
        body = await sink.finish()
    except GeneratorExit:
        sink.abandon()
        raise
    except BaseException:
        await sink.discard()
        raise
    if body is None:
        assert output is not None
        return GetObjectFileResult(**fields, verified=verified, path=os.fsdecode(output))
    return GetObjectBytesResult(**fields, verified=verified, body=body)


def range_header(byte_range: tuple[int, int]) -> str:
    """Return the header Range. Raises `UsageError`."""
    whole_numbers = isinstance(byte_range, tuple) and [type(end) for end in byte_range] == [int, int]
    if not whole_numbers or not 0 <= byte_range[0] <= byte_range[1] <= LARGEST_NUMBER:
        raise UsageError(
            f"byte_range is {shorten(byte_range)}; it must be the first and the last byte, both included",
            name="byte_range",
            value=byte_range,
        )
    return f"bytes={byte_range[0]}-{byte_range[1]}"


def _check(response: HttpResponse, crc: _Crc, operation: str, *, ranged: bool) -> None:
    if ranged and response.status != 206:
        raise malformed(operation, f"a range was requested, but the status is {response.status}, not 206")
    fields = object_fields(response, operation=operation)
    if crc.size != fields["size"]:
        raise IntegrityError(
            f"{operation}: received {crc.size} of {fields['size']} bytes",
            expected=fields["size"],
            actual=crc.size,
            retryable=True,
        )
    expected = fields["crc64"]
    if response.status == 200 and expected is not None and crc.value != expected:
        raise IntegrityError(
            f"{operation}: checksum mismatch: server CRC64 {expected}, local {crc.value}",
            expected=expected,
            actual=crc.value,
            retryable=True,
        )


class _Sink(Protocol):
    def restart(self) -> None: ...
    def write(self, piece: bytes) -> Awaitable[None] | None: ...
    async def finish(self) -> bytes | None: ...
    async def discard(self) -> None: ...
    def abandon(self) -> None: ...


class _Crc:
    """Counts the bytes that go into a sink and computes their CRC64."""

    def __init__(self, sink: _Sink) -> None:
        self._sink = sink
        self.size = 0
        self.value = 0

    def restart(self) -> None:
        self.size = self.value = 0
        self._sink.restart()

    def write(self, piece: bytes) -> Awaitable[None] | None:
        self.value = hashing.crc64(piece, self.value)
        self.size += len(piece)
        return self._sink.write(piece)


class _Memory:
    def __init__(self) -> None:
        self._content = bytearray()

    def restart(self) -> None:
        self._content.clear()

    def write(self, piece: bytes) -> None:
        self._content += piece

    async def finish(self) -> bytes:
        return bytes(self._content)

    async def discard(self) -> None:
        self.abandon()

    def abandon(self) -> None:
        self._content.clear()
