"""Parses the values of options and arguments, and formats values for people."""

from __future__ import annotations

import re
import stat
from collections.abc import Mapping
from pathlib import Path

from cosxfer.arguments import AUTO, NumberOrAuto, is_auto
from cosxfer.cos.header_values import META_PREFIX
from cosxfer.errors import UsageError
from cosxfer.foreign import shorten
from cosxfer.paths import stat_path
from cosxfer.trace import check_trace_path

STREAM = "-"
"""Means standard input or standard output. Use ``./-`` for a file of that name."""

_SIZE = re.compile(r"(\d{1,18})\s*([kmgt]?)(i?)b?", re.IGNORECASE | re.ASCII)
_DURATION = re.compile(r"(\d{1,9})([smhd]?)", re.ASCII)
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def parse_size(text: str, *, name: str, otherwise: str = "") -> int:
    """Parse a number of bytes such as ``8388608``, ``8MiB``, ``8M`` (both 8 * 2**20) or ``8MB`` (8 * 10**6).

    ``otherwise``, another legal value, is for the message.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        end = f", or {otherwise}" if otherwise else ""
        raise UsageError(f"{name} is {shorten(text)}; write a size such as 8MiB or 8388608{end}", name=name, value=text)
    number, unit, binary = match.groups()
    decimal = not binary and len(unit) == 1 and text.strip().lower().endswith("b")
    base = 1000 if decimal else 1024
    return int(number) * int(base ** _POWERS[unit.lower()])


def parse_size_or_auto(text: str, *, name: str) -> NumberOrAuto:
    """Parse what `parse_size` does, or ``auto``."""
    return AUTO if is_auto(text.strip()) else parse_size(text, name=name, otherwise=AUTO)


def parse_count(text: str, *, name: str, otherwise: str = "") -> int:
    """Parse a whole number. ``otherwise``, another legal value, is for the message."""
    if re.fullmatch(r"[+-]?\d{1,18}", text.strip(), re.ASCII) is None:
        end = f", or {otherwise}" if otherwise else ""
        raise UsageError(f"{name} is {shorten(text)}; write a whole number{end}", name=name, value=text)
    return int(text)


def parse_count_or_auto(text: str, *, name: str) -> NumberOrAuto:
    """Parse a whole number, or ``auto``."""
    return AUTO if is_auto(text.strip()) else parse_count(text, name=name, otherwise=AUTO)


def parse_seconds(text: str, *, name: str) -> float:
    """Parse seconds, which may have a fraction."""
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"{name} is {shorten(text)}; write seconds such as 2.5", name=name, value=text) from None


def parse_duration(text: str, *, name: str) -> int:
    """Parse a duration such as ``90``, ``90s``, ``15m``, ``1h`` or ``7d`` into seconds."""
    match = _DURATION.fullmatch(text.strip())
    seconds = 0 if match is None else int(match.group(1)) * _SECONDS[match.group(2)]
    if not seconds:
        raise UsageError(f"{name} is {shorten(text)}; write a time such as 15m, 1h or 7d", name=name)
    return seconds


def parse_path(text: str, *, name: str) -> Path:
    """Parse a path. An empty one, often from an unset variable, is an error and not the current directory."""
    if not text:
        raise UsageError(f"{name} is empty; give a path or omit the option", name=name, value=text)
    return Path(text)


def parse_journal(text: str) -> str | None:
    """Read where the journal is: ``auto``, ``none`` (None), or a path. A file of such a name is ``./auto``."""
    if text in (AUTO, "none"):
        return AUTO if text == AUTO else None
    return str(parse_path(text, name="--journal").absolute())


def parse_path_or_stream(text: str, *, name: str) -> Path | None:
    """Read a path; None for ``-``, which is a standard stream. A file of that name is ``./-``."""
    # A Path cannot tell the two: Path("./-") == Path("-"). Nor does it keep a / at the end.
    if text == STREAM:
        return None
    path = parse_path(text, name=name)
    try:
        stat_path(text)
    except NotADirectoryError as error:
        if text.endswith(("/", "/.")):
            raise _no_directory(text, name) from error
    except (OSError, ValueError):
        pass  # opening it gives the reason
    return path


def parse_output(text: str) -> Path | None:
    """Read the path of a file to write; None for ``-``."""
    path = parse_path_or_stream(text, name="--output")
    if path is not None and text.endswith(("/", "/.")) and not is_directory(path):
        raise _no_directory(text, "--output")
    return path


def parse_trace(text: str, source: Path | None) -> Path:
    """Read the path of a trace to write, which is not the file that is uploaded. Raises `UsageError`."""
    path = parse_path(text, name="--trace")
    if source is not None and path.exists() and source.exists() and path.samefile(source):
        raise UsageError("--trace is the source itself; name another file", name="--trace", value=text)
    check_trace_path(text)
    return path


def _no_directory(text: str, name: str) -> UsageError:
    return UsageError(
        f"{name} is {shorten(text)}; a / at the end names a directory, and that is none. Leave it out for a file",
        name=name,
        value=text,
    )


def parse_source(text: str) -> Path | None:
    """Parse the source of an upload; None for standard input. An empty one is an error, not the current directory."""
    if not text:
        raise UsageError("the source is empty; name a file or a directory", name="source", value=text)
    return parse_path_or_stream(text, name="source")


def is_directory(path: Path) -> bool:
    """Whether ``path`` is a directory. Returns False if it cannot be read; opening it then gives the reason."""
    try:
        return stat.S_ISDIR(stat_path(str(path)).st_mode)
    except (OSError, ValueError):
        return False


def is_address(text: str) -> bool:
    """Whether ``text`` names something in COS. A file of such a name is ``./cos:…``."""
    return text[:6].lower() == "cos://"


def parse_address(text: str, *, form: str = "cos://BUCKET/KEY", name: str = "destination") -> tuple[str, str]:
    """Parse ``cos://bucket/key``. The key may be empty. ``name`` is what the argument is called in a message."""
    bucket, _, key = text[6:].partition("/")
    if not is_address(text) or not bucket:
        raise UsageError(f"the {name} {shorten(text)} is not of the form {form}", name=name, value=text)
    return bucket, key


def place_of(source: str, target: str) -> str:
    """Return the bucket to which a transfer connects: the target's, else the source's; empty if none is named."""
    place = target if is_address(target) else source
    return place[6:].partition("/")[0] if is_address(place) else ""


def parse_object(text: str, *, name: str = "address") -> tuple[str, str]:
    """Parse ``cos://bucket/key`` with a key."""
    bucket, key = parse_address(text, name=name)
    if not key:
        raise UsageError(f"the {name} {shorten(text)} has no key; write cos://BUCKET/KEY", name=name, value=text)
    return bucket, key


def parse_destination(text: str, file: Path | None) -> tuple[str, str]:
    """Parse ``cos://bucket/key``. If the key is empty or ends with ``/``, add the name of ``file``."""
    bucket, key = parse_address(text)
    if key and not key.endswith("/"):
        return bucket, key
    if file is None:
        raise UsageError("standard input has no name; give the complete key in the destination", name="destination")
    # For ".." or "photos/.", use the name of the directory itself.
    name = file.name if file.name not in ("", "..") else file.resolve().name
    return bucket, f"{key}{name}"


def parse_metadata(pairs: list[str]) -> dict[str, str]:
    """Parse ``k=v`` pairs. Each name may occur once; COS ignores case in names."""
    metadata: dict[str, str] = {}
    seen: set[str] = set()
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator or not name:
            raise UsageError(f"--meta is {shorten(pair)}; write k=v", name="--meta", value=pair)
        plain = name.lower().removeprefix(META_PREFIX)
        if plain in seen:
            raise UsageError(
                f"--meta sets {shorten(plain)} twice; an object has one value per name", name="--meta", value=pair
            )
        seen.add(plain)
        metadata[name] = value
    return metadata


_HEADERS = frozenset(
    """
    accept-ranges access-control-allow-origin acl age authorization cache-control connection content-disposition
    content-encoding content-language content-length content-location content-md5 content-range content-security-policy
    content-type cookie date etag expect expires host if-match if-modified-since if-none-match if-unmodified-since
    last-modified link location origin pragma range referer server set-cookie storage-class strict-transport-security
    traffic-limit transfer-encoding user-agent vary x-content-type-options
    """.replace("-", "").split()
)
"""Standard headers, without hyphens. Headers that begin with ``x-cos-`` are checked separately."""


def meant_as_headers(metadata: Mapping[str, object]) -> list[str]:
    """Return the names in ``metadata`` that look like headers: ``Content-Type``, ``x-cos-acl``."""
    return [
        name
        for name in metadata
        if not (lower := name.lower()).startswith(META_PREFIX)
        and (lower.replace("-", "") in _HEADERS or lower.startswith("x-cos-"))
    ]
