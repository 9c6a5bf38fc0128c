"""The settings of a client."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from typing import Literal, TypeAlias

from cosxfer.arguments import (
    AUTO,
    NumberOrAuto,
    check_count,
    check_count_or_auto,
    check_flag,
    check_positive,
    check_seconds,
    check_text,
    is_auto,
    shown,
    wrong_type,
)
from cosxfer.binding import explains_arguments
from cosxfer.errors import UsageError
from cosxfer.limits import GIB, MAX_PART_BYTES, MIB, MIN_PART_BYTES
from cosxfer.records import dataclass

DEFAULT_ENDPOINT = "https://{bucket}.cos.{region}.myqcloud.com"

HttpVersion: TypeAlias = Literal["auto", "1.1", "2"]
"""``"auto"``: HTTP/2 if TLS negotiates it, else HTTP/1.1. ``"2"``: HTTP/2; over plain TCP with prior knowledge."""

FindUploads: TypeAlias = bool | Literal["auto"]

MAX_CONCURRENCY = 256

DEFAULT_MEMORY_BUDGET_BYTES = 256 * MIB
MIN_MEMORY_BUDGET_BYTES = 16 * MIB


DEFAULT_RETRY_FOR_SECONDS = 120.0


def window_bytes(memory_budget_bytes: int) -> int:
    """Return how many bytes of parts may be in flight: three quarters of the budget. The rest is kept for retries."""
    return memory_budget_bytes * 3 // 4


def stream_bytes(memory_budget_bytes: int) -> int:
    """Return how many bytes of parts one stream may hold, read, hashed or in flight: a quarter of the budget."""
    return memory_budget_bytes // 4


DEFAULT_WINDOW_BYTES = window_bytes(DEFAULT_MEMORY_BUDGET_BYTES)


@explains_arguments
@dataclass(frozen=True, kw_only=True)
class ClientConfig:
    """Settings of a client. Each has a default."""

    region: str | None = None
    endpoint: str = DEFAULT_ENDPOINT
    """Template with ``{bucket}`` and ``{region}``. Without ``{bucket}`` it is bound to one bucket: the one that it
    names, else the first that the client uses. A call for another bucket raises `UsageError`."""
    http_version: HttpVersion = "auto"
    verify: bool | str | os.PathLike[str] | ssl.SSLContext = True
    """True: the system's authorities. A path: those in that PEM file. A context: its own. False: no check."""
    concurrency: NumberOrAuto = AUTO
    """Parts of one upload in flight, 1 to 256. ``"auto"``: the client chooses. A number is fixed. If
    ``file_parallel_limit`` is a number too, their product limits the parts in flight of all uploads."""
    file_parallel_limit: NumberOrAuto = AUTO
    """The most upload tasks that run at a time, 1 to 256. ``"auto"``: the client chooses."""
    part_size: NumberOrAuto = AUTO
    """Bytes of a part, 1 MiB to 5 GiB. ``"auto"``: the client chooses for each upload. A number is kept, or refused for
    a file that would need over 10,000 parts."""
    memory_budget_bytes: int = DEFAULT_MEMORY_BUDGET_BYTES
    """Memory for the parts of a stream, at least 16 MiB. A quarter of it is kept for retries. A stream holds at least
    two parts, whatever their size."""
    endpoint_memory: bool = True
    """Whether the client starts from what earlier ones learned of its endpoint, and keeps what it learns. That is a
    small file in the user's state directory (``COSXFER_STATE_DIR``). It has no keys and no names of buckets."""
    journal: str | os.PathLike[str] | None = AUTO
    """Where the client keeps what unfinished uploads of files have done, so that the same call goes on after the
    process has ended. ``"auto"``: in the user's state directory (``COSXFER_STATE_DIR``). Else a file, which several
    processes may share. None: nowhere. It has no keys; it names buckets, objects and files (``docs/settings.md``)."""
    find_uploads: FindUploads = "auto"
    """Whether an upload in parts that the journal does not know looks on the server for one that was begun earlier.
    ``"auto"``: without a journal, or for at least 32 parts; and only for a call without metadata and headers, because
    the server does not show those of an upload. True: for each call; the caller vouches that unfinished uploads of its
    keys were begun with the same metadata and headers. False: never (``docs/api.md``, "Resuming without a journal")."""
    max_finished_tasks: int = 10_000
    """Finished tasks that stay in the task list. If there are more, the oldest leave the list."""
    max_attempts: int = 5
    """Attempts for one request. The requests of a transfer that has begun have more (``retry_for_seconds``)."""
    retry_for_seconds: float = DEFAULT_RETRY_FOR_SECONDS
    """How long an outage may last that a transfer outlasts once it has begun: an upload in parts whose Initiate has
    succeeded, or an upload of many files of which one has. Its requests are retried for this time after the first
    failure, and at least ``max_attempts`` times. 0: only ``max_attempts`` counts."""
    connect_timeout_seconds: float = 10.0
    stall_timeout_seconds: float = 60.0
    """How long a request may make no progress: less than 1 KiB and no finished stage (over httpx: not one byte)."""
    complete_timeout_seconds: float = 600.0
    """The same for Complete Multipart Upload, if it is more than ``stall_timeout_seconds``. The assembly may take
    minutes. The spaces that COS sends meanwhile do not extend it (over httpx they do)."""
    switch_host: bool = True
    """Whether the last attempt of a request goes to the bucket's second name (``….tencentcos.cn`` instead of
    ``….myqcloud.com``) if COS itself did not answer. Only for signed requests to the default hosts over https with a
    checked certificate."""
    hedge: bool = True
    """Whether a part that straggles may be sent a second time, on another connection. That costs at most 5 % more
    bytes."""
    max_bytes_per_second: float | None = None
    """Limit for all requests of the client together, for what they send and the content of objects that they receive.
    None: no limit. ``traffic_limit`` limits one request."""
    trace: str | os.PathLike[str] | None = None
    """File for a trace of what the scheduler sees and decides; ``cosxfer plot`` draws it. An existing file is replaced
    only if it is a trace. The trace names objects; it contains no keys and no signatures."""

    def __post_init__(self) -> None:
        check_text(self.region, "region")
        check_text(self.endpoint, "endpoint", optional=False)
        if isinstance(self.verify, str):
            check_text(self.verify, "verify")
        if isinstance(self.verify, str | os.PathLike) and not os.fspath(self.verify):
            raise UsageError(
                "verify is empty; give the path of a PEM file, or omit it for the system's certificate authorities",
                name="verify",
                value=self.verify,
            )
        if not isinstance(self.verify, bool | str | os.PathLike | ssl.SSLContext):
            raise wrong_type("verify", self.verify, "True, False, the path of a PEM file, or an ssl.SSLContext")
        if self.http_version not in ("auto", "1.1", "2"):
            raise UsageError(
                f'http_version is {shown(self.http_version)}; it can be "auto", "1.1" or "2"',
                name="http_version",
                value=self.http_version,
            )
        check_concurrency(self.concurrency)
        check_concurrency(self.file_parallel_limit, name="file_parallel_limit")
        check_part_size(self.part_size)
        check_count(self.memory_budget_bytes, "memory_budget_bytes", minimum=MIN_MEMORY_BUDGET_BYTES, unit="bytes")
        check_flag(self.endpoint_memory, "endpoint_memory")
        _check_file(self.journal, "journal", 'the path of a file, "auto", or None')
        if not isinstance(self.find_uploads, bool) and not is_auto(self.find_uploads):
            raise wrong_type("find_uploads", self.find_uploads, 'True, False or "auto"')
        check_count(self.max_finished_tasks, "max_finished_tasks")
        check_count(self.max_attempts, "max_attempts", minimum=1)
        for name in ("connect_timeout_seconds", "stall_timeout_seconds", "complete_timeout_seconds"):
            check_positive(getattr(self, name), name)
        check_seconds(self.retry_for_seconds, "retry_for_seconds")
        check_flag(self.switch_host, "switch_host")
        check_flag(self.hedge, "hedge")
        check_positive(self.max_bytes_per_second, "max_bytes_per_second", optional=True)
        _check_file(self.trace, "trace", "the path of a file as a string or a path object, or None")


def check_concurrency(value: object, *, name: str = "concurrency") -> NumberOrAuto:
    """Return ``value`` if it is a legal number of parts in flight, 1 to 256, or ``"auto"``."""
    return check_count_or_auto(value, name, minimum=1, maximum=MAX_CONCURRENCY)


def check_part_size(value: object, *, name: str = "part_size") -> NumberOrAuto:
    """Return ``value`` if it is a valid part size in bytes, or ``"auto"``."""
    if is_auto(value):
        return AUTO
    if isinstance(value, bool) or not isinstance(value, int):
        raise UsageError(
            f'{name} is {shown(value)}; it must be a whole number of bytes, or "auto"', name=name, value=value
        )
    if not MIN_PART_BYTES <= value <= MAX_PART_BYTES:
        raise UsageError(
            f"{name} is {shown(value)} bytes; COS allows parts from {MIN_PART_BYTES} (1 MiB) "
            f'to {MAX_PART_BYTES} ({MAX_PART_BYTES // GIB} GiB). Give a size between them, or "auto"',
            name=name,
            value=value,
        )
    return value


def _check_file(value: object, name: str, wanted: str) -> None:
    if value is None:
        return
    path = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(path, str):
        raise wrong_type(name, value, wanted)
    try:
        possible = b"\0" not in os.fsencode(path) and path != ""
    except UnicodeEncodeError:
        possible = False
    if not possible:
        raise UsageError(f"{name} is {path!r}, which cannot be the path of a file", name=name, value=value)


def endpoint_from_environment(environment: Mapping[str, str]) -> str:
    """Return ``COS_ENDPOINT``, or the public endpoint."""
    return environment.get("COS_ENDPOINT") or DEFAULT_ENDPOINT
