"""What the uploading calls have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from cosxfer.cos.requests import ObjectHeaders
from cosxfer.models import Progress


@dataclass(frozen=True, kw_only=True)
class UploadOptions:
    """How a file is uploaded; each field is the keyword of the same name of `upload_file` and `slice_upload_file`."""

    part_size: int | None = None
    part_size_name: str = "part_size"
    """What the caller calls it, for messages."""
    async_limit: int | None = None
    upload_add_meta_md5: bool = False
    abort_on_failure: bool = True
    region: str | None = None
    on_task_ready: Callable[[str], None] | None = None
    on_hash_progress: Callable[[Progress], None] | None = None
    on_progress: Callable[[Progress], None] | None = None
    given: ObjectHeaders = field(default_factory=ObjectHeaders)
