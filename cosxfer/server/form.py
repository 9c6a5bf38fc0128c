"""Parses multipart/form-data as it arrives (RFC 7578): fields in memory, the file in pieces. No I/O here."""

from __future__ import annotations

import re
from typing import TypeAlias
from urllib.parse import unquote

from cosxfer.limits import KIB
from cosxfer.records import dataclass
from cosxfer.server.http import CosError

MAX_FIELDS_BYTES = 64 * KIB
"""Limit for all fields before the file, with their headers: a policy of some KiB, 2 KB of metadata, some names."""

MAX_PART_HEADER_BYTES = 8 * KIB
MAX_PART_HEADERS = 16
MAX_FIELDS = 256

_BOUNDARY = re.compile(r'boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)
# Linear time: a match begins after the previous one, and no two parts of the pattern can match the same character.
_PARAMETER = re.compile(r'[ \t]*([^\s;="]{1,64})[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))[ \t]*(?:;|$)')


@dataclass(frozen=True, slots=True)
class Field:
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class FileBegin:
    filename: str


@dataclass(frozen=True, slots=True)
class FileData:
    data: bytes


@dataclass(frozen=True, slots=True)
class FileEnd:
    pass


Event: TypeAlias = Field | FileBegin | FileData | FileEnd


def boundary_of(content_type: str) -> bytes:
    """Return the boundary from a Content-Type. Raises MalformedPOSTRequest."""
    found = _BOUNDARY.search(content_type)
    if found is None or not content_type.lower().lstrip().startswith("multipart/form-data"):
        raise _malformed("The Content-Type is not multipart/form-data with a boundary.")
    return (found.group(1) or found.group(2)).encode()


class FormParser:
    """Accepts the body in pieces of any size and returns what they complete. It ignores everything after the file."""

    def __init__(self, boundary: bytes) -> None:
        self._delimiter = b"\r\n--" + boundary
        # The first boundary may be at the very beginning. This prefix makes it look like the others.
        self._buffer = bytearray(b"\r\n")
        self._state = self._preamble
        self._name = ""
        self._fields_bytes = 0
        self._fields = 0
        self._searched = 0
        self.done = False
        """The file is complete."""

    def feed(self, chunk: bytes) -> list[Event]:
        """Raises MalformedPOSTRequest, and EntityTooLarge for fields beyond 64 KiB."""
        self._buffer += chunk
        events: list[Event] = []
        while not self.done and self._state(events):
            pass
        return events

    # Each state consumes what it can from the buffer and returns whether the next state can continue.

    def _preamble(self, events: list[Event]) -> bool:
        found = self._find(self._delimiter)
        if found < 0:
            return False
        del self._buffer[: found + len(self._delimiter)]
        self._state = self._after_boundary
        return True

    def _after_boundary(self, events: list[Event]) -> bool:
        if len(self._buffer) < 2:
            return False
        if self._buffer.startswith(b"--"):
            raise _malformed("The form has no file.")
        end = self._find(b"\r\n")
        if end < 0:
            return False
        if self._buffer[:end].strip(b" \t"):
            raise _malformed("A boundary is not followed by the end of its line.")
        del self._buffer[: end + 2]
        self._state = self._headers
        return True

    def _headers(self, events: list[Event]) -> bool:
        end = self._find(b"\r\n\r\n")
        if max(end, self._searched) > MAX_PART_HEADER_BYTES:
            raise _malformed(f"The headers of a part exceed {MAX_PART_HEADER_BYTES} bytes.")
        if end < 0:
            return False
        self._fields += 1
        if self._fields > MAX_FIELDS:
            raise _malformed(f"The form has more than {MAX_FIELDS} fields.")
        parameters = _disposition(bytes(self._buffer[:end]))
        self._count(end)
        del self._buffer[: end + 4]
        self._name = parameters.get("name", "")
        if self._name.lower() == "file":
            events.append(FileBegin(parameters.get("filename", "")))
            self._state = self._file
        elif not self._name or "filename" in parameters:
            raise _malformed('A form has named fields, and one file, called "file".')
        else:
            self._state = self._value
        return True

    def _value(self, events: list[Event]) -> bool:
        end = self._find(self._delimiter)
        if end < 0:
            return False
        self._count(end)
        try:
            events.append(Field(self._name, self._buffer[:end].decode()))
        except UnicodeDecodeError as error:
            raise _malformed(f"The field {self._name} is not UTF-8.") from error
        del self._buffer[: end + len(self._delimiter)]
        self._state = self._after_boundary
        return True

    def _file(self, events: list[Event]) -> bool:
        end = self._buffer.find(self._delimiter)
        # The possible beginning of a boundary stays in the buffer until more data arrives.
        safe = end if end >= 0 else len(self._buffer) - len(self._delimiter) + 1
        if safe > 0:
            events.append(FileData(bytes(memoryview(self._buffer)[:safe])))
            del self._buffer[:safe]
        if end >= 0:
            events.append(FileEnd())
            self.done = True
        return False

    def _count(self, size: int) -> None:
        self._fields_bytes += size
        if self._fields_bytes > MAX_FIELDS_BYTES:
            raise _too_large()

    def _find(self, end: bytes) -> int:
        """Return the position of ``end``, or -1 if it has not arrived. Examines each byte once, even in small pieces.

        Raises EntityTooLarge if the data before ``end`` exceeds the limit for all fields.
        """
        found = self._buffer.find(end, max(0, self._searched - len(end)))
        self._searched = 0 if found >= 0 else len(self._buffer)
        if found >= 0:
            return found
        if self._fields_bytes + len(self._buffer) > MAX_FIELDS_BYTES + len(self._delimiter):
            raise _too_large()
        return -1


def _too_large() -> CosError:
    return CosError("EntityTooLarge", f"The fields before the file exceed {MAX_FIELDS_BYTES} bytes.")


def _disposition(raw: bytes) -> dict[str, str]:
    """Return the parameters of a part's Content-Disposition."""
    try:
        lines = raw.decode().split("\r\n")
    except UnicodeDecodeError as error:
        raise _malformed("A part's headers are not UTF-8.") from error
    if len(lines) > MAX_PART_HEADERS:
        raise _malformed(f"A part has more than {MAX_PART_HEADERS} headers.")
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip().lower() == "content-disposition":
            kind, _, rest = value.partition(";")
            if kind.strip().lower() == "form-data":
                return _parameters(rest)
    raise _malformed("A part has no Content-Disposition of form-data.")


def _parameters(text: str) -> dict[str, str]:
    parameters: dict[str, str] = {}
    text, at = text.strip(" \t"), 0
    while at < len(text):
        found = _PARAMETER.match(text, at)
        if found is None:
            raise _malformed("The parameters of a Content-Disposition are malformed.")
        at = found.end()
        name, quoted, bare = (group or "" for group in found.groups())
        if name.endswith("*"):
            charset, _, encoded = bare.partition("'")
            if charset.lower() == "utf-8":
                parameters[name[:-1].lower()] = unquote(encoded.partition("'")[2])
            continue
        # Browsers escape these three characters, and no others (the HTML standard, section 4.10.22.8).
        value = quoted.replace('\\"', '"').replace("%22", '"').replace("%0D", "\r").replace("%0A", "\n") or bare
        parameters.setdefault(name.lower(), value)
    return parameters


def _malformed(why: str) -> CosError:
    return CosError("MalformedPOSTRequest", why)
