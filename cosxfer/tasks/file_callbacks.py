"""The callbacks of one file."""

from __future__ import annotations

from collections.abc import Mapping

from cosxfer.arguments import check_callback
from cosxfer.engine.upload.options import FileCallbacks, FileOptions
from cosxfer.tasks.record import Watch

CALLBACKS = tuple(FileCallbacks.__annotations__)


def check_callbacks(options: Mapping[str, object]) -> None:
    """Refuse what cannot be called."""
    for name in CALLBACKS:
        check_callback(options.get(name), name)


def watch_of(options: FileOptions) -> Watch | None:
    """The task's own callbacks, if it has any."""
    on_hash_progress, on_progress = options.get("on_hash_progress"), options.get("on_progress")
    # With nothing to report but the end, the result still waits for that.
    watched = on_hash_progress or on_progress or options.get("on_file_finish")
    return Watch(on_hash_progress, on_progress) if watched else None
