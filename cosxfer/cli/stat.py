"""``cosxfer stat``: the properties of an object or a bucket."""

from __future__ import annotations

from cosxfer.cli.connection import Connection
from cosxfer.cli.hints import with_hint
from cosxfer.cli.output import printable, say, say_object
from cosxfer.figures import human_bytes
from cosxfer.models import HeadObjectResult

_HEADERS = (
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "expires",
    "x-cos-replication-status",
    "x-cos-restore",
    "x-cos-server-side-encryption",
    "x-cos-storage-tier",
    "x-cos-tagging-count",
)
"""Headers that are shown if the object has them."""


def run(bucket: str, key: str, connection: Connection, *, version_id: str | None, as_json: bool) -> None:
    """Print the properties of the object; without a key, those of the bucket."""
    with connection.client() as client, with_hint(client, bucket):
        if key:
            known = _of_object(bucket, key, client.head_object(bucket, key, version_id=version_id))
        else:
            head = client.head_bucket(bucket)
            known = {"bucket": bucket, "region": head.region, "az_type": head.az_type, "arch": head.arch}
    if as_json:
        say_object(known)
        return
    for name, value in known.items():
        if isinstance(value, dict):
            for inner, text in value.items():
                say(printable(f"{name}: {inner}={text}"))
        elif value not in (None, ""):
            people = f" ({human_bytes(value)})" if name == "bytes" and isinstance(value, int) else ""
            say(printable(f"{name}: {value}{people}"))


def _of_object(bucket: str, key: str, head: HeadObjectResult) -> dict[str, object]:
    return {
        "bucket": bucket,
        "key": key,
        "bytes": head.size,
        "content_type": head.content_type,
        "last_modified": head.last_modified,
        "etag": head.etag,
        # Many JSON parsers round a number of 64 bits.
        "crc64": None if head.crc64 is None else str(head.crc64),
        "storage_class": head.storage_class or "STANDARD",
        "object_type": head.object_type,
        "version_id": head.version_id,
        "metadata": dict(head.metadata),
        "headers": {name: head.headers[name] for name in _HEADERS if name in head.headers},
    }
