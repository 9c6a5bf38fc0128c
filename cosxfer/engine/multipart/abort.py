"""Deleting or keeping the parts of a failed upload, and the sentence that reports which."""

from __future__ import annotations

import asyncio

from cosxfer.address import ObjectAddress
from cosxfer.engine.multipart.checkpoint import Checkpoint
from cosxfer.engine.multipart.completion import is_gone
from cosxfer.engine.report import logger
from cosxfer.errors import (
    AccessDeniedError,
    CosxferError,
    IntegrityError,
    NotFoundError,
    ServerError,
    SourceChangedError,
    UsageError,
)
from cosxfer.journal import Entry
from cosxfer.ops.multipart_abort import multipart_abort
from cosxfer.ops.session import Session
from cosxfer.records import dataclass

ABORT_SECONDS = 15.0
"""The time that a failed upload may take to delete its parts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Leaving:
    """What a failed upload leaves on the server."""

    abort_on_failure: bool | None
    """Whether its parts are deleted at last. None: unless a later call can go on with them."""
    restartable: bool
    """Whether a later run may continue with the parts, so they are not deleted yet."""

    def keeps(self, checkpoint: Checkpoint, *, later: bool = True) -> bool:
        """Whether the parts stay on the server for another call. ``later`` says that one may succeed (`passes`)."""
        if checkpoint.foreign:
            return True
        if self.abort_on_failure is not None:
            return not self.abort_on_failure
        return checkpoint.resumable and later


_OLD_SIGNATURE = frozenset({"ExpiredToken", "RequestTimeTooSkewed"})


def passes(error: Exception) -> bool:
    """Whether a later call of the same may succeed, although this one has failed with ``error`` in its middle.

    The network, the server, the disk, the keys and permissions may be right later. A request that COS calls wrong stays
    wrong, and so does a fault of ours.
    """
    if not isinstance(error, CosxferError) or isinstance(error, UsageError | SourceChangedError) or is_gone(error):
        return False
    if isinstance(error, IntegrityError):
        return error.retryable
    if isinstance(error, ServerError) and not isinstance(error, AccessDeniedError):
        # Without a code it is no answer of COS.
        return error.retryable or not error.code or error.code in _OLD_SIGNATURE
    return True


async def leave(
    session: Session, address: ObjectAddress, checkpoint: Checkpoint, leaving: Leaving, error: Exception
) -> tuple[bool, str]:
    """Keep the parts on the server after ``error``, or delete them.

    Returns whether they are gone, and a sentence about it.
    """
    # The parts of a changed source are useless, and an upload that the server no longer has cannot be continued.
    useless = isinstance(error, SourceChangedError) or is_gone(error)
    keeps = leaving.keeps(checkpoint, later=passes(error))
    if keeps or (leaving.restartable and not useless):
        left = kept(checkpoint, for_later=keeps)
        if not checkpoint.done and isinstance(error, ServerError) and error.status == 404:
            left += f". {_if_damaged(address)}"
        return False, left
    return await abort_checkpoint(session, address, checkpoint)


async def abort_checkpoint(session: Session, address: ObjectAddress, checkpoint: Checkpoint) -> tuple[bool, str]:
    """Delete the parts of ``checkpoint`` from the server; returns whether they are gone, and a sentence about it."""
    if not checkpoint.upload_id:
        return True, "nothing was left on the server"
    if checkpoint.foreign:
        return False, _found(checkpoint)
    gone, left = await abort_upload(
        session,
        address,
        upload_id=checkpoint.upload_id,
        completing=checkpoint.completing,
        empty=not checkpoint.done,
    )
    if gone:
        checkpoint.clear()
    return gone, left


def kept(checkpoint: Checkpoint, *, for_later: bool) -> str:
    """Return a sentence about what a failed run leaves on the server, and when that is deleted.

    ``for_later``: only the caller deletes it. Else it is for `restart_task`.
    """
    if checkpoint.foreign:
        return _found(checkpoint)
    count = len(checkpoint.done)
    parts = f"The multipart upload {checkpoint.upload_id} and its {count} part{'s' * (count != 1)}"
    if for_later:
        then = "; the same call goes on with them" if checkpoint.resumable else ""
        return f"{parts} were kept on the server{then}"
    return (
        f"{parts} stay on the server for restart_task, until the task is cancelled or leaves the task list, or the "
        "client is closed"
    )


def _found(checkpoint: Checkpoint) -> str:
    return (
        f"The multipart upload {checkpoint.upload_id} stays on the server, where the same call finds it again. It was "
        "found there, so another process may use it; multipart_abort deletes its parts"
    )


async def abort_upload(
    session: Session, address: ObjectAddress, *, upload_id: str, completing: bool = False, empty: bool = False
) -> tuple[bool, str]:
    """Delete the parts from the server; returns whether they are gone, and a sentence about it. Raises no error.

    ``completing`` means that Complete was sent: then an upload that is gone may have become an object. ``empty`` means
    that the server has confirmed no part: then the id itself may be wrong, because nothing protects the response to
    Initiate.
    """
    name = f"multipart upload {upload_id}"
    try:
        async with asyncio.timeout(ABORT_SECONDS):
            await multipart_abort(session, address, upload_id=upload_id)
    except NotFoundError as error:
        if not error.code:  # something on the way refused it, not COS; or its response is damaged too
            return False, _stays(name, str(error)) + (f". {_if_damaged(address)}" if empty else "")
        if completing:
            return False, (
                f"The {name} is no longer on the server, so the object may exist; compare it with the "
                "file (head_object) before you use it"
            )
        if empty:
            return True, f"The {name} is not on the server. {_if_damaged(address)}"
        return True, f"The {name} is no longer on the server"
    except (CosxferError, TimeoutError) as error:
        why = str(error) or f"no response in {ABORT_SECONDS:g} s"
        return False, _stays(name, why)
    return True, f"The {name} was aborted; nothing is left on the server"


async def replace_upload(
    session: Session, address: ObjectAddress, upload_id: str, entry: Entry | None, *, why: str
) -> None:
    """Delete the parts of an upload that another one replaces, and report ``why``. Raises no error."""
    gone, left = await abort_upload(session, address, upload_id=upload_id)
    logger.warning("%s. %s", why, left)
    if entry is not None:
        if gone:
            entry.remove()
        else:
            entry.hold(False)


def _if_damaged(address: ObjectAddress) -> str:
    """Return a sentence for an upload that the server does not know: nothing protects its id in the response."""
    return (
        f"If its id was damaged on the way, an empty multipart upload of {address} may stay on the server; "
        "multipart_list shows it"
    )


def _stays(name: str, why: str) -> str:
    return (
        f"The {name} could not be aborted ({why}): its parts stay on the server and cost money until you "
        "call multipart_abort with this upload id"
    )
