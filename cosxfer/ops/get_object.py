"""GET Object: the content of an object, into memory or a file (source: product page 436/7753)."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol, overload

from cosxfer._native import hashing
from cosxfer.address import ObjectAddress
from cosxfer.arguments import check_text, wrong_type
from cosxfer.cos.requests import CosRequest
from cosxfer.cos.responses import HttpResponse, malformed
from cosxfer.errors import CosxferError, IntegrityError, UsageError
from cosxfer.foreign import shorten
from cosxfer.models import GetObjectBytesResult, GetObjectFileResult
from cosxfer.ops.head_object import object_fields
from cosxfer.ops.part_file import PartFile
from cosxfer.ops.session import Session
from cosxfer.paths import stat_path


@overload
async def get_object(
    session: Session,
    address: ObjectAddress,
    *,
    output: None = None,
    byte_range: tuple[int, int] | None = None,
    version_id: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> GetObjectBytesResult: ...
@overload
async def get_object(
    session: Session,
    address: ObjectAddress,
    *,
    output: str | os.PathLike[str] | None,
    byte_range: tuple[int, int] | None = None,
    version_id: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> GetObjectBytesResult | GetObjectFileResult: ...
async def get_object(
    session: Session,
    address: ObjectAddress,
    *,
    output: str | os.PathLike[str] | None = None,
    byte_range: tuple[int, int] | None = None,
    version_id: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> GetObjectBytesResult | GetObjectFileResult:
    """Fetch an object; ``output`` None returns its content in ``body``, otherwise it is a file that is written.

    A file appears under ``output`` only when it is complete and its CRC64 agrees; `PartFile` says what it keeps of the
    file that it replaces. ``byte_range`` is first and last byte, both included.
    """
    check_text(version_id, "version_id")
    operation = f"GET Object {shorten(address.key)}"
    path = None if output is None else _checked(output)
    sink: _Sink = _Memory() if path is None else _File(path)
    crc = _Crc(sink)
    request = CosRequest(
        method="GET",
        operation=operation,
        address=address,
        params={} if version_id is None else {"versionId": version_id},
        headers={**(headers or {}), **({} if byte_range is None else {"range": _range(byte_range)})},
        on_attempt=crc.restart,
        on_body=crc.write,
        check=lambda response: _check(response, crc, operation, ranged=byte_range is not None),
    )
    try:
        response = await session.call(request)
        fields = {
            **object_fields(response, operation=operation),
            "content_range": response.headers.get("content-range"),
        }
        verified = response.status == 200 and fields["crc64"] is not None
        body = sink.finish()
    finally:
        sink.discard()
    if body is None:
        assert output is not None
        return GetObjectFileResult(**fields, verified=verified, path=os.fsdecode(output))
    return GetObjectBytesResult(**fields, verified=verified, body=body)


def _checked(output: str | os.PathLike[str]) -> Path:
    """Where the file goes; what cannot be written to is refused before anything is asked for."""
    if not isinstance(output, str | bytes | os.PathLike):
        raise wrong_type("output", output, "a path, or None")
    name = os.fsdecode(output)
    try:
        mode = stat_path(name).st_mode
    except (OSError, ValueError):
        mode = stat.S_IFREG  # it is made; or opening it says why it cannot be
    if stat.S_ISDIR(mode) or name.endswith(("/", "/.")):
        raise UsageError(f"output is {name!r}, which is a directory; name the file in it", name="output", value=name)
    if not stat.S_ISREG(mode):
        # The file that is made would take the place of the device or the pipe.
        raise UsageError(
            f"output is {name!r}, which is no regular file; leave output out, and write the result's body to it",
            name="output",
            value=name,
        )
    return Path(name)


def _range(byte_range: tuple[int, int]) -> str:
    whole_numbers = isinstance(byte_range, tuple) and [type(end) for end in byte_range] == [int, int]
    if not whole_numbers or not 0 <= byte_range[0] <= byte_range[1]:
        raise UsageError(
            f"byte_range is {byte_range!r}; it is first and last byte, both included",
            name="byte_range",
            value=byte_range,
        )
    return f"bytes={byte_range[0]}-{byte_range[1]}"


def _check(response: HttpResponse, crc: _Crc, operation: str, *, ranged: bool) -> None:
    if ranged and response.status != 206:
        raise malformed(operation, f"a range was asked for, and the status is {response.status}, not 206")
    fields = object_fields(response, operation=operation)
    if crc.size != fields["size"]:
        raise IntegrityError(
            f"{operation}: {crc.size} bytes arrived of {fields['size']}",
            expected=fields["size"],
            actual=crc.size,
            retryable=True,
        )
    expected = fields["crc64"]
    if response.status == 200 and expected is not None and crc.value != expected:
        raise IntegrityError(
            f"{operation}: the content was damaged on its way: its CRC64 is {crc.value}, the server's {expected}",
            expected=expected,
            actual=crc.value,
            retryable=True,
        )


class _Sink(Protocol):
    def restart(self) -> None: ...
    def write(self, piece: bytes) -> None: ...
    def finish(self) -> bytes | None: ...
    def discard(self) -> None: ...


class _Crc:
    """Counts and checks what passes into a sink."""

    def __init__(self, sink: _Sink) -> None:
        self._sink = sink
        self.size = 0
        self.value = 0

    def restart(self) -> None:
        self.size = self.value = 0
        self._sink.restart()

    def write(self, piece: bytes) -> None:
        self.value = hashing.crc64(piece, self.value)
        self.size += len(piece)
        self._sink.write(piece)


class _Memory:
    def __init__(self) -> None:
        self._content = bytearray()

    def restart(self) -> None:
        self._content.clear()

    def write(self, piece: bytes) -> None:
        self._content += piece

    def finish(self) -> bytes:
        return bytes(self._content)

    def discard(self) -> None:
        self._content = bytearray()


class _File:
    """A `PartFile`, whose errors are the library's."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part: PartFile | None = None
        with self._translated():
            self._path = Path(os.path.realpath(path))

    def restart(self) -> None:
        with self._translated():
            if self._part is None:
                self._part = PartFile(self._path)
            self._part.file.seek(0)
            self._part.file.truncate()

    def write(self, piece: bytes) -> None:
        assert self._part is not None
        with self._translated():
            self._part.file.write(piece)

    def finish(self) -> None:
        assert self._part is not None
        with self._translated():
            self._part.commit()

    def discard(self) -> None:
        if self._part is not None:
            self._part.discard()

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise CosxferError(f"cannot write {str(self._path)!r}: {why}") from error
