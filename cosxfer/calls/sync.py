"""The blocking sync. Its asynchronous form has the documentation."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Unpack

import cosxfer
from cosxfer.binding import explains_arguments
from cosxfer.calls.aio_sync import AsyncSyncCalls
from cosxfer.calls.base import BlockingCalls
from cosxfer.cos.requests import ObjectHeaders
from cosxfer.models import Progress


@explains_arguments
class SyncCalls(BlockingCalls):
    """Making one tree equal to another."""

    _client: AsyncSyncCalls

    def sync(
        self,
        source: str | os.PathLike[str],
        target: str | os.PathLike[str],
        *,
        delete: bool = False,
        max_delete: int | None = None,
        backup_prefix: str | None = None,
        size_only: bool = False,
        checksum: bool = False,
        update: bool = False,
        no_overwrite: bool = False,
        preserve_mtime: bool = False,
        filters: Iterable[tuple[str, str]] | None = None,
        files_from: Iterable[str] | None = None,
        dry_run: bool = False,
        on_event: Callable[[cosxfer.SyncEvent], None] | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        region: str | None = None,
        source_region: str | None = None,
        metadata_directive: str | None = None,
        **parameters: Unpack[ObjectHeaders],
    ) -> cosxfer.SyncResult:
        return self._run(
            self._client.sync(
                source,
                target,
                delete=delete,
                max_delete=max_delete,
                backup_prefix=backup_prefix,
                size_only=size_only,
                checksum=checksum,
                update=update,
                no_overwrite=no_overwrite,
                preserve_mtime=preserve_mtime,
                filters=filters,
                files_from=files_from,
                dry_run=dry_run,
                on_event=on_event,
                on_progress=on_progress,
                region=region,
                source_region=source_region,
                metadata_directive=metadata_directive,
                **parameters,
            )
        )
