"""Checks of header names and values, and the ``x-cos-meta-*`` headers of an object (COS page 7749)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import cast

from cosxfer.arguments import check_mapping
from cosxfer.errors import UsageError
from cosxfer.foreign import shorten
from cosxfer.limits import MAX_METADATA_BYTES

META_PREFIX = "x-cos-meta-"

_META_NAME = re.compile(r"[a-z\d-]+", re.ASCII)
_HEADER_NAME = re.compile(r"[a-z\d!#$%&'*+.^_`|~-]+", re.ASCII)
_SECRET_HEADERS = frozenset({"authorization", "x-cos-security-token", "x-cos-server-side-encryption-customer-key"})


def number_text(value: str | int) -> str:
    """Return an int in decimal digits, and any other value unchanged, for `check_header_value`."""
    return str(value) if type(value) is int else cast(str, value)


def metadata_headers(metadata: Mapping[str, str | int] | None) -> dict[str, str]:
    """Return ``x-cos-meta-*`` headers for ``metadata``, whose names may have that prefix or not.

    Header names ignore case, so two names that differ only in case are an error.
    """
    check_mapping(metadata, "metadata", example='{"colour": "red"}')
    headers: dict[str, str] = {}
    names: dict[str, str] = {}
    for name, value in (metadata or {}).items():
        suffix = name.lower().removeprefix(META_PREFIX) if isinstance(name, str) else ""
        if not _META_NAME.fullmatch(suffix):
            raise UsageError(
                f"the metadata name {shorten(name)} may contain only letters, digits and '-'",
                name="metadata",
                value=name,
            )
        header = META_PREFIX + suffix
        if header in headers:
            raise same_header(header, names[header], name, argument="metadata")
        text = number_text(value)
        check_header_value(header, text, argument="metadata")
        headers[header], names[header] = text, name
    check_metadata_size(headers)
    return headers


def check_metadata_size(headers: Mapping[str, str]) -> None:
    """Refuse more than 2 KB of ``x-cos-meta-*`` headers."""
    size = sum([len(n) + len(v.encode()) for n, v in headers.items() if n.startswith(META_PREFIX)])
    if size > MAX_METADATA_BYTES:
        raise UsageError(
            f"the metadata is {size} bytes, names and values together; COS allows {MAX_METADATA_BYTES}",
            name="metadata",
            value=size,
        )


def same_header(header: str, first: str, second: str, *, argument: str) -> UsageError:
    """Return the error for two names of the same header, one of which would be lost."""
    return UsageError(
        f"{argument} has {first!r} and {second!r}, which are the same header ({header}); give only one",
        name=argument,
        value=(first, second),
    )


def check_header_name(name: str) -> str:
    """Return the header's name in lower case if HTTP allows it."""
    lower = name.lower() if isinstance(name, str) else ""
    if not _HEADER_NAME.fullmatch(lower):
        raise UsageError(f"{shorten(name)} is not the name of a header", name="headers", value=name)
    return lower


def check_header_value(name: str, value: str, *, argument: str = "") -> None:
    """Refuse a value that would break the header line or change on the way (spaces at the ends).

    ``argument`` is the caller's name for the value, if it is not the header's name.
    """
    shown = showable(name, value)
    argument = argument or name
    if not isinstance(value, str):
        raise UsageError(
            f"the header {name} is {type(value).__name__}; it must be a string", name=argument, value=shown
        )
    if any((ord(c) < 0x20 and c != "\t") or ord(c) == 0x7F for c in value):
        raise UsageError(
            f"the header {name} contains a control character: {shorten(shown)}", name=argument, value=shown
        )
    if value != value.strip(" \t"):
        raise UsageError(
            f"the header {name} has spaces at its ends, which HTTP removes: {shorten(shown)}",
            name=argument,
            value=shown,
        )
    try:
        value.encode()
    except UnicodeEncodeError as error:
        # The original error contains the value, so it must not be shown for a secret.
        raise UsageError(
            f"the header {name} cannot be encoded as UTF-8: {error.reason}", name=argument, value=shown
        ) from (None if name in _SECRET_HEADERS else error)


def showable(header: str, value: object) -> object:
    """Return ``value`` for a message, or a placeholder if the header is secret."""
    return "(not shown)" if header in _SECRET_HEADERS else value
