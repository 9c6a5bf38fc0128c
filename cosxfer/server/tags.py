"""Tags of objects: the header x-cos-tagging and the document Tagging (source: product page 436/42997)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from urllib.parse import parse_qsl, quote, urlencode
from xml.etree.ElementTree import Element

from cosxfer.cos import xml
from cosxfer.limits import MAX_TAGS
from cosxfer.server.http import CosError

TAGGING = "x-cos-tagging"
COUNT = "x-cos-tagging-count"
_KEY = re.compile(r"[\w +\-=.:/@]{1,127}")
_VALUE = re.compile(r"[\w +\-=.:/@]{0,255}")


def given(headers: Mapping[str, str]) -> dict[str, str]:
    """Return what to store for the tags in the headers of a request; empty without them. Raises InvalidTag."""
    text = headers.get(TAGGING)
    if not text:
        return {}
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=1000)
    except ValueError as error:
        raise CosError("InvalidTag", "The tags have the form k1=v1&k2=v2, url-encoded.") from error
    return _stored(pairs)


def parsed(root: Element) -> dict[str, str]:
    """Return what to store for the document Tagging. Raises InvalidTag."""
    return _stored((xml.text_of(tag, "Key"), xml.text_of(tag, "Value")) for tag in root.findall("TagSet/Tag"))


def document(kept: Mapping[str, str]) -> xml.Tree:
    """Return the content of Tagging for an object with these stored headers."""
    return [("TagSet", [("Tag", [("Key", key), ("Value", value)]) for key, value in _pairs(kept)])]


def count_header(kept: Mapping[str, str]) -> dict[str, str]:
    """Return the header with the number of tags; none without tags."""
    return {COUNT: str(len(_pairs(kept)))} if TAGGING in kept else {}


def _pairs(kept: Mapping[str, str]) -> list[tuple[str, str]]:
    return parse_qsl(kept.get(TAGGING, ""), keep_blank_values=True)


def _stored(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    listed = list(pairs)
    if len(listed) > MAX_TAGS or len({key for key, _ in listed}) != len(listed):
        raise CosError("InvalidTag", f"An object has at most {MAX_TAGS} tags, with different keys.")
    for key, value in listed:
        if not _KEY.fullmatch(key) or not _VALUE.fullmatch(value):
            raise CosError(
                "InvalidTag",
                "A tag's key has 1 to 127 characters, its value up to 255: letters, digits, "
                "spaces and + - = . _ : / @.",
            )
    return {TAGGING: urlencode(listed, quote_via=quote)} if listed else {}
