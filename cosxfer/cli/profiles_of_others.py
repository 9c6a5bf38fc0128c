"""The files of coscli (``~/.cos.yaml``) and coscmd (``~/.cos.conf``) as profiles.

The parser takes the part of YAML that coscli writes: mappings and lists by indentation, and scalars on one line. A
library for YAML would be a dependency for this one file. Everything else is a ValueError with the number of the line.
No message repeats a value, which may be a secret.
"""

from __future__ import annotations

import base64
import binascii
import configparser
import re
from typing import Any

from cosxfer.cli.profiles import COSCLI, COSCMD, Profile

_BLOCK = 16
"""Bytes of a block of the cipher with which coscli encodes its secrets."""

MAX_INDENT = 64
"""It bounds the recursion."""

_ENDPOINT = re.compile(r"cos(?:-internal)?\.([a-z\d-]+)\.(?:myqcloud\.com|tencentcos\.cn)", re.ASCII)
_DOUBLE_QUOTED = re.compile(r'"(?:[^"\\]|\\["\\/])*"')
_SINGLE_QUOTED = re.compile(r"'(?:[^']|'')*'")
_ESCAPED = re.compile(r"\\(.)")
_KEY = re.compile(r"([A-Za-z_][A-Za-z0-9_-]*):(?: +(.*))?")
_PLAIN = re.compile(
    r"(?:[A-Za-z0-9_./+=~]|-(?=\S))[^#:\[\]{},&*!|>'\"%@`]*(?::(?! )[^#:\[\]{},&*!|>'\"%@`]*)*", re.ASCII
)


def of_coscli(text: str, path: str) -> Profile:
    """Return the profile in the text of ``~/.cos.yaml``. Raises ValueError."""
    document = parse_yaml(text)
    cos = document.get("cos") if isinstance(document, dict) else None
    if not isinstance(cos, dict):
        raise ValueError("it has no section cos; it is no file of coscli")
    base = _mapping(cos.get("base"), "cos.base")
    _known(base, _BASE, "cos.base")
    if (base.get("mode") or "SecretKey") != "SecretKey":
        raise ValueError("cos.base.mode is not SecretKey; cosxfer cannot take keys from the role of a machine")
    secrets = {name: base.get(name) or None for name in ("secretid", "secretkey", "sessiontoken")}
    if (base.get("disableencryption") or "false").lower() != "true" and _is_encoded(secrets["secretid"]):
        raise ValueError(
            "its secrets are encoded, which is what coscli does unless disableencryption is true, and cosxfer does not "
            "decode them. Write them to a profile of cosxfer's own file, or let coscli write them plainly"
        )
    protocol = (base.get("protocol") or "https").lower()
    if protocol not in ("http", "https"):
        raise ValueError("cos.base.protocol must be http or https")
    buckets, regions = {}, set()
    endpoints = set()
    for number, entry in enumerate(_list(cos.get("buckets")), 1):
        bucket = _mapping(entry, f"cos.buckets, entry {number}")
        _known(bucket, ("name", "alias", "region", "endpoint", "ofs"), f"cos.buckets, entry {number}")
        region = bucket.get("region") or _region_of(bucket.get("endpoint") or "")
        if bucket.get("name") and region:
            buckets[bucket["name"]] = region
            regions.add(region)
        if bucket.get("endpoint") and bucket["endpoint"] != f"cos.{region}.myqcloud.com":
            endpoints.add(bucket["endpoint"])
    if len(endpoints) > 1:
        raise ValueError("its buckets have several endpoints; give --endpoint, and use a profile of cosxfer's own file")
    endpoint = f"{protocol}://{{bucket}}.{endpoints.pop()}" if endpoints else None
    if endpoint is None and protocol == "http":
        endpoint = "http://{bucket}.cos.{region}.myqcloud.com"
    return Profile(
        name=COSCLI,
        path=path,
        secret_id=secrets["secretid"],
        secret_key=secrets["secretkey"],
        token=secrets["sessiontoken"],
        region=regions.pop() if len(regions) == 1 else None,
        endpoint=endpoint,
        buckets=buckets,
    )


_BASE = (
    *("secretid", "secretkey", "sessiontoken", "protocol", "mode", "cvmrolename"),
    *("closeautoswitchhost", "disableencryption", "disableautofetchbuckettype"),
)


def of_coscmd(text: str, path: str) -> Profile:
    """Return the profile in the text of ``~/.cos.conf``. Raises ValueError."""
    parser = configparser.RawConfigParser(strict=True)
    try:
        parser.read_string(text)
    except configparser.Error as error:
        # The message of the library repeats the line, which may hold a secret.
        number = getattr(error, "lineno", None)
        raise ValueError(f"it is no INI file{'' if number is None else f': line {number}'}") from None
    if not parser.has_section("common"):
        raise ValueError("it has no section [common]; it is no file of coscmd")
    common = {name: value.strip() for name, value in parser.items("common")}
    schema = (common.get("schema") or "https").lower()
    if schema not in ("http", "https"):
        raise ValueError("schema must be http or https")
    region, host = common.get("region") or None, common.get("endpoint") or None
    endpoint = f"{schema}://{{bucket}}.{host}" if host else None
    if endpoint is None and schema == "http":
        endpoint = "http://{bucket}.cos.{region}.myqcloud.com"
    anonymous = (common.get("anonymous") or "false").lower() == "true"
    return Profile(
        name=COSCMD,
        path=path,
        secret_id=None if anonymous else common.get("secret_id") or common.get("access_id") or None,
        secret_key=None if anonymous else common.get("secret_key") or None,
        token=None if anonymous else common.get("token") or None,
        region=region,
        endpoint=endpoint,
        anonymous=anonymous,
    )


def _is_encoded(secret_id: str | None) -> bool:
    """Whether it is base64 of whole blocks. A plain id (36 characters, 27 bytes) is not."""
    if not secret_id:
        return False
    try:
        decoded = base64.b64decode(secret_id, validate=True)
    except (binascii.Error, ValueError):
        return False
    return len(decoded) >= _BLOCK and len(decoded) % _BLOCK == 0


def _region_of(endpoint: str) -> str:
    match = _ENDPOINT.fullmatch(endpoint)
    return "" if match is None or match[1] == "accelerate" else match[1]


def _mapping(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{name} is missing, or no mapping")
    return value


def _list(value: Any) -> list[Any]:
    if value in (None, ""):
        return []
    if not isinstance(value, list):
        raise ValueError("cos.buckets is no list")
    return value


def _known(values: dict[str, Any], names: tuple[str, ...], where: str) -> None:
    if unknown := values.keys() - set(names):
        raise ValueError(f"{where} has {min(unknown)}, which cosxfer does not know")
    if wrong := [name for name, value in values.items() if not isinstance(value, str)]:
        raise ValueError(f"{where}.{wrong[0]} must be a text on one line")


# -- YAML --------------------------------------------------------------------------------------------------------------

_Line = tuple[int, int, str]
"""Number, indentation and text of a line."""


def parse_yaml(text: str) -> Any:
    """Parse the part of YAML that coscli writes. All scalars are texts. Raises ValueError for anything else."""
    lines: list[_Line] = []
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.rstrip(" \r")
        bare = line.lstrip(" ")
        if not bare or bare.startswith("#") or (number == 1 and bare == "---"):
            continue
        if not bare.isprintable():
            raise ValueError(f"line {number} has a tab or another control character")
        indent = len(line) - len(bare)
        if indent > MAX_INDENT:
            raise ValueError(f"line {number} has an indentation of {indent}; it can have {MAX_INDENT}")
        lines.append((number, indent, bare))
    value, rest = _block(lines, 0) if lines else ({}, 0)
    if rest < len(lines):
        raise ValueError(f"line {lines[rest][0]} has an indentation that fits no line above")
    return value


def _block(lines: list[_Line], at: int) -> tuple[Any, int]:
    """Parse the mapping or the list that begins with line ``at``. Returns it and the index of the line after it."""
    return _sequence(lines, at) if _is_item(lines[at][2]) else _map(lines, at)


def _is_item(text: str) -> bool:
    return text == "-" or text.startswith("- ")


def _sequence(lines: list[_Line], at: int) -> tuple[list[Any], int]:
    items: list[Any] = []
    indent = lines[at][1]
    while at < len(lines) and lines[at][1] == indent and _is_item(lines[at][2]):
        number, _, text = lines[at]
        rest = text[1:].lstrip(" ")
        if not rest:
            raise ValueError(f"line {number} has an item that is empty, which is not understood")
        # The rest of the line is the first line of the item, at its own indentation.
        lines[at] = (number, indent + len(text) - len(rest), rest)
        if _KEY.fullmatch(rest):
            value, at = _map(lines, at)
        else:
            value, at = _scalar(rest, number), at + 1
        items.append(value)
    return items, at


def _map(lines: list[_Line], at: int) -> tuple[dict[str, Any], int]:
    found: dict[str, Any] = {}
    indent = lines[at][1]
    while at < len(lines) and lines[at][1] == indent and not _is_item(lines[at][2]):
        number, _, text = lines[at]
        match = _KEY.fullmatch(text)
        if match is None:
            raise ValueError(f"line {number} is not of the form KEY: VALUE")
        name, value = match[1], match[2]
        if name in found:
            raise ValueError(f"line {number} has {name} a second time")
        at += 1
        if value:
            found[name] = _scalar(value, number)
        # A list may have the indentation of its key.
        elif at < len(lines) and (lines[at][1] > indent or (lines[at][1] == indent and _is_item(lines[at][2]))):
            found[name], at = _block(lines, at)
        else:
            found[name] = ""
    return found, at


def _scalar(text: str, number: int) -> Any:
    if text in ("[]", "{}"):
        return [] if text == "[]" else {}
    if text in ("null", "~"):
        return ""
    if text.startswith('"') and _DOUBLE_QUOTED.fullmatch(text):
        return _ESCAPED.sub(r"\1", text[1:-1])
    if text.startswith("'") and _SINGLE_QUOTED.fullmatch(text):
        return text[1:-1].replace("''", "'")
    if _PLAIN.fullmatch(text):
        return text
    raise ValueError(f"line {number} has a value of a form that is not understood; write it in quotes")
