"""Syncs of folders and buckets, for asyncio."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Unpack

import cosxfer
from cosxfer.binding import explains_arguments
from cosxfer.calls.aio_copying import AsyncCopyCalls
from cosxfer.calls.aio_files import AsyncFileCalls
from cosxfer.cos.requests import ObjectHeaders
from cosxfer.models import Progress
from cosxfer.threads import import_lock


@explains_arguments
class AsyncSyncCalls(AsyncFileCalls, AsyncCopyCalls):
    """Making one tree equal to another."""

    async def sync(
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
        """Make ``target`` equal to ``source``. One of them, or both, is ``cos://BUCKET/PREFIX``; else it is a folder.

        Both sides are listed in the order of their keys and compared (``docs/sync.md`` has all rules). A file is
        transferred if its size differs or if it is newer than its counterpart. ``size_only`` ignores times.
        ``checksum`` compares the CRC64 of all files of equal size. ``update`` keeps a target that is newer, and
        ``no_overwrite`` each that exists. ``preserve_mtime`` keeps the time of files in the metadata ``mtime``.

        ``delete`` deletes what the source does not have, after everything else. If there was any error, nothing is
        deleted. Nothing is deleted either if there are more than ``max_delete`` keys, or if the source is empty and
        ``max_delete`` is None. Before a key is deleted that the listing of a source bucket lacks, HEAD confirms that it
        is missing. ``backup_prefix`` (for a local target a folder) keeps what is replaced or
        deleted.

        ``filters`` is an ordered list of pairs such as ``("exclude", "*.tmp")``; the first that matches decides. What
        they exclude is neither transferred nor deleted. ``files_from`` names the files to look at; each that is missing
        is an error. ``parameters`` are headers of new objects. The customer's key is that of the bucket's objects, also
        for a download. Between buckets, metadata and content headers need ``metadata_directive="Replaced"``, as in
        `copy`.
        ``region`` is that of a bucket, and ``source_region`` that of a source bucket if it differs.

        If a part of a side cannot be listed, its keys are unknown: they are neither transferred nor deleted. Such
        errors, and those of single keys, are in the result and not raised: check ``result.ok``. Raises
        `cosxfer.SourceError` if the source folder cannot be opened.

        ``dry_run`` runs the same comparison and changes nothing. ``on_event`` gets a `cosxfer.SyncEvent` for each key
        that is not unchanged, and ``on_progress`` the progress of all transfers, in a thread of the client. The call
        waits for a slow ``on_event``, but not if one of its calls takes more than ten seconds.
        """
        with import_lock:
            from cosxfer.bucket_models import CopySource
            from cosxfer.ops.copy_object import checked_source
            from cosxfer.sync.checksums import Checksums
            from cosxfer.sync.events import Events
            from cosxfer.sync.options import check_callbacks, sync_options
            from cosxfer.sync.run import SyncRun

        executor = self._ready()
        check_callbacks(on_event, on_progress)
        options = sync_options(
            source,
            target,
            size_only=size_only,
            checksum=checksum,
            update=update,
            no_overwrite=no_overwrite,
            preserve_mtime=preserve_mtime,
            delete=delete,
            max_delete=max_delete,
            backup_prefix=backup_prefix,
            filters=filters,
            files_from=files_from,
            dry_run=dry_run,
            region=region,
            source_region=source_region,
            metadata_directive=metadata_directive,
            parameters=parameters,
        )
        if options.rules.direction == "copy":
            side = options.source
            checked_source(self._session, CopySource(bucket=side.bucket, key="key", region=side.region))
        run = SyncRun(
            options,
            self._session,
            executor,
            Checksums(self._session, executor, self._transfers.journal),
            upload_files=self.upload_files,
            downloads=self._transfers.downloads,
            copy=self.copy,
            events=Events(on_event, self._transfers.queue.dispatcher),
            on_progress=on_progress,
        )
        result = await run.run()
        await self._callbacks_done(on_progress)
        return result
