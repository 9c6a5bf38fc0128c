"""What a copy is to make: the headers of the new object, and the conditions that pin its source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from cosxfer.address import ObjectAddress
from cosxfer.arguments import as_number_or_auto, check_count, check_text
from cosxfer.config import check_concurrency
from cosxfer.cos.header_values import META_PREFIX
from cosxfer.cos.requests import ObjectHeaders, object_headers
from cosxfer.errors import UsageError
from cosxfer.foreign import shorten
from cosxfer.limits import MAX_PART_BYTES, MAX_PUT_BYTES, MIN_PART_BYTES
from cosxfer.models import HeadObjectResult
from cosxfer.ops.object_tagging import checked_tags, tagging_header
from cosxfer.records import dataclass

_DESCRIBING = (
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
)
"""Headers that the metadata directive is about, besides the metadata."""

DIRECTIVES = ("Copy", "Replaced")
DIRECTIVE = "x-cos-metadata-directive"
CLASS = "x-cos-storage-class"
TAGGING = "x-cos-tagging"


@dataclass(frozen=True, kw_only=True)
class CopyRequest:
    """A checked call of `copy`."""

    target: ObjectAddress
    source: ObjectAddress
    version_id: str | None
    headers: Mapping[str, str] = field(repr=False)
    """Those of the call, for the new object."""
    replaced: bool
    """Whether they replace the metadata of the source."""
    tags: Mapping[str, str] | None
    """None keeps the tags of the source."""
    slice_size: int
    part_size: int | None
    async_limit: int | None

    @property
    def onto_itself(self) -> bool:
        """Whether source and target are the same object."""
        return (self.source.bucket, self.source.key) == (self.target.bucket, self.target.key)

    def headers_for(self, head: HeadObjectResult) -> dict[str, str]:
        """Return all headers of the new object but the tags: a source does not hand its class or metadata to parts."""
        described = {} if self.replaced else described_by(head.headers)
        return {CLASS: head.storage_class, **described, **self.headers}


def described_by(headers: Mapping[str, str]) -> dict[str, str]:
    """Return those of an object's headers that describe its content, and its metadata."""
    return {name: value for name, value in headers.items() if name in _DESCRIBING or name.startswith(META_PREFIX)}


def copy_headers(key: str, parameters: ObjectHeaders, directive: str | None) -> tuple[dict[str, str], bool]:
    """Return the headers of a copy, and whether they replace the metadata of the source. Raises `UsageError`.

    COS ignores headers that describe the content unless the directive is Replaced. That would be a silent loss.
    """
    check_text(directive, "metadata_directive")
    replaced = (directive or "Copy") == "Replaced"
    if directive is not None and directive not in DIRECTIVES:
        raise UsageError(
            f"metadata_directive is {shorten(directive)}; it can be Copy or Replaced",
            name="metadata_directive",
            value=directive,
        )
    headers = object_headers(key, parameters, guess_type=replaced)
    headers.pop("expect", None)  # there is no body
    if not replaced and (ignored := described_by(headers)):
        name = min(ignored)
        raise UsageError(
            f'{name} would be ignored: pass metadata_directive="Replaced" too, with all metadata of the new object',
            name="metadata_directive",
            value=name,
        )
    return headers, replaced


def checked_request(
    *,
    target: ObjectAddress,
    source: ObjectAddress,
    version_id: str | None,
    metadata_directive: str | None,
    tags: Mapping[str, str] | None,
    slice_size: int | str | None,
    part_size: int | str | None,
    async_limit: int | str | None,
    parameters: ObjectHeaders,
) -> CopyRequest:
    """Check the arguments of a call. Raises `UsageError`."""
    headers, replaced = copy_headers(target.key, parameters, metadata_directive)
    if tags is not None:
        checked_tags(tags)
    sizes = []
    for name, value, maximum in (("slice_size", slice_size, MAX_PUT_BYTES), ("part_size", part_size, MAX_PART_BYTES)):
        number = as_number_or_auto(value)
        if number is not None:
            check_count(number, name, minimum=MIN_PART_BYTES, maximum=maximum, unit="bytes")
        sizes.append(number)
    limit = as_number_or_auto(async_limit)
    if limit is not None:
        check_concurrency(limit, name="async_limit")
    return CopyRequest(
        target=target,
        source=source,
        version_id=version_id,
        headers=headers,
        replaced=replaced,
        tags=tags,
        slice_size=MAX_PUT_BYTES if sizes[0] is None else int(sizes[0]),
        part_size=None if sizes[1] is None else int(sizes[1]),
        async_limit=limit if isinstance(limit, int) else None,
    )


def tags_header(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the header that sets ``tags``; none for no tags."""
    return {TAGGING: tagging_header(tags)} if tags else {}
