"""Types and helpers for the parameter table: one call for each operation, and one check for each row."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import cosxfer
from tests.functional.recorder import Recorded, Recorder

KEY = "folder/table 1.txt"
GRANT = 'id="qcs::cam::uin/100000000001:uin/100000000001"'
VERSION = "MTg0NDUxNTc1NjIzMTQ1MDAwODg"

DESCRIBED: dict[str, Any] = {
    "cache_control": "max-age=60",
    "content_disposition": 'attachment; filename="a.txt"',
    "content_encoding": "identity",
    "content_type": "text/x-table",
    "expires": "Thu, 01 Dec 2033 16:00:00 GMT",
}
OWNED: dict[str, Any] = {"storage_class": "STANDARD_IA", "metadata": {"colour": "grün"}}
GRANTED: dict[str, Any] = {"acl": "private", "grant_read": GRANT, "grant_full_control": GRANT}
GRANTED_ACP: dict[str, Any] = {"grant_read_acp": GRANT, "grant_write_acp": GRANT}


@dataclass
class Exchange:
    """One operation: the request at the server, the result, and the arguments of the callbacks."""

    bucket: str
    seen: Recorded
    """The request of the operation; for an upload in parts, its first request."""
    all_seen: list[Recorded]
    result: Any
    error: BaseException | None
    """The error of the same call on a missing bucket."""
    other_region: str
    """The path of the same call in another region, if the path contains the region."""
    told: dict[str, list[Any]]
    """Arguments of the callbacks, by callback name."""
    extra: Any = None


Row: TypeAlias = Callable[[Exchange], "tuple[object, object]"]
"""Returns the observed and the expected value."""


@dataclass
class World:
    """Client, recorder and files for the calls."""

    client: cosxfer.Client
    recorder: Recorder
    bucket: str
    folder: Path
    told: dict[str, list[Any]] = field(default_factory=dict)
    extra: Any = None
    """A value that a call keeps for its rows."""

    def listen(self, name: str) -> Callable[..., None]:
        """Make a callback that records its arguments."""
        kept = self.told.setdefault(name, [])
        lock = threading.Lock()

        def callback(*values: Any) -> None:
            with lock:
                kept.append(values[0] if len(values) == 1 else values)

        return callback

    def file(self, size: int) -> Path:
        path = self.folder / f"{size}.bin"
        if path.exists():
            return path  # an upload may still read it
        path.write_bytes(bytes(range(251)) * (size // 251) + bytes(size % 251))
        return path


def header(name: str, value: str) -> Row:
    """The request carried this header."""
    return lambda x: (x.seen.headers.get(name), value)


def query(name: str, value: str) -> Row:
    """The request carried this parameter."""
    return lambda x: (x.seen.query.get(name), value)


def result(name: str, value: object) -> Row:
    """The result has this value. A function computes the value from the exchange."""
    return lambda x: (_find(x.result, name), value(x) if callable(value) else value)


def truth(check: Callable[[Exchange], object]) -> Row:
    """A condition is true."""
    return lambda x: (bool(check(x)), True)


def _find(record: Any, name: str) -> Any:
    for step in name.split("."):
        record = record[int(step)] if step.isdigit() else getattr(record, step)
    return record


def server_error(error: BaseException | None) -> cosxfer.ServerError:
    """Find the server's error, which may be the cause of another error."""
    while error is not None and not isinstance(error, cosxfer.ServerError):
        error = error.__cause__
    assert error is not None
    return error


def progress(name: str, total: int) -> dict[str, Row]:
    """The five rows of a progress callback."""
    last: Callable[[Exchange], cosxfer.Progress] = lambda x: x.told[name][-1]  # noqa: E731 # five rows share it
    return {
        "": truth(lambda x: x.told[name]),
        "/progressData.loaded": lambda x: ((x.told[name][0].loaded, last(x).loaded), (0, total)),
        "/progressData.total": lambda x: ({told.total for told in x.told[name]}, {total}),
        "/progressData.speed": truth(lambda x: last(x).speed > 0),
        "/progressData.percent": lambda x: (last(x).percent, 1.0),
    }


ADDRESSED: dict[str, Row] = {
    "Bucket": truth(lambda x: x.seen.path.startswith(f"/{x.bucket}/")),
    "Region": truth(lambda x: x.other_region.startswith(f"/ap-beijing/{x.bucket}/")),
    "Key": lambda x: (x.seen.path, f"/{x.bucket}/{KEY}"),
}

DESCRIPTION: dict[str, Row] = {
    "CacheControl": header("cache-control", "max-age=60"),
    "ContentDisposition": header("content-disposition", 'attachment; filename="a.txt"'),
    "ContentEncoding": header("content-encoding", "identity"),
    "ContentType": header("content-type", "text/x-table"),
    "Expires": header("expires", "Thu, 01 Dec 2033 16:00:00 GMT"),
}

OWNERSHIP: dict[str, Row] = {
    "ACL": header("x-cos-acl", "private"),
    "GrantRead": header("x-cos-grant-read", GRANT),
    "GrantFullControl": header("x-cos-grant-full-control", GRANT),
    "StorageClass": header("x-cos-storage-class", "STANDARD_IA"),
    "x-cos-meta-*": header("x-cos-meta-colour", "grün"),
}

OWNERSHIP_ACP: dict[str, Row] = {
    "GrantReadAcp": header("x-cos-grant-read-acp", GRANT),
    "GrantWriteAcp": header("x-cos-grant-write-acp", GRANT),
}

OUTCOME: dict[str, Row] = {
    "err": truth(lambda x: isinstance(x.error, cosxfer.CosxferError)),
    "err/statusCode": lambda x: (server_error(x.error).status, 404),
    "err/headers": truth(lambda x: server_error(x.error).headers["x-cos-request-id"]),
    "data": truth(lambda x: x.result is not None),
    "data/statusCode": result("status_code", 200),
    "data/headers": truth(lambda x: x.result.headers["x-cos-request-id"]),
}
