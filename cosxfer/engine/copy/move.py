"""A move: a copy that was proven, and then the deletion of its unchanged source."""

from __future__ import annotations

from collections.abc import Callable

from cosxfer.bucket_models import CopyResult
from cosxfer.engine.copy.copy import copy
from cosxfer.engine.copy.request import CopyRequest
from cosxfer.engine.limiter import Limiter
from cosxfer.errors import CosxferError, IntegrityError, UsageError
from cosxfer.models import Progress
from cosxfer.ops.delete_object import delete_object
from cosxfer.ops.head_object import head_object
from cosxfer.ops.session import Session


async def move(
    session: Session, limiter: Limiter, request: CopyRequest, *, on_progress: Callable[[Progress], None] | None
) -> CopyResult:
    """Copy an object, compare it with its source, then delete the source. On any error the source stays."""
    if request.onto_itself:
        raise UsageError("the source of a move is its target", name="source")
    copied = await copy(session, limiter, request, on_progress=on_progress)
    try:
        if not copied.verified:
            raise IntegrityError(
                f"{request.source} was copied, but COS has no CRC64 of it, so the copy is not proven",
                expected=None,
                actual=copied.crc64,
            )
        if request.version_id is None:
            await _check_unchanged(session, request, copied)
        await delete_object(session, request.source, version_id=request.version_id)
    except CosxferError as error:
        error.add_note(f"the copy {request.target} exists; the source {request.source} was not deleted")
        raise
    return copied


async def _check_unchanged(session: Session, request: CopyRequest, copied: CopyResult) -> None:
    """Raise `IntegrityError` if the source was replaced while it was copied. COS has no conditional deletion."""
    head = await head_object(session, request.source)
    now = (head.etag, head.size, head.crc64, head.version_id)
    before = (copied.source_etag, copied.size, copied.crc64, copied.source.version_id)
    if now != before:
        raise IntegrityError(
            f"{request.source} was replaced while it was copied", expected=copied.crc64, actual=head.crc64
        )
