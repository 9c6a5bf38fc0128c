"""The download of a folder as a batch of the journal: what an interrupted run has completed is not fetched again.

As for uploads (`cosxfer.tasks.unfinished`), a batch is open from the beginning of a call until all its files are done,
except those whose keys have no path. A file counts as done if the listing shows the object that was downloaded, and the
file has its content (`cosxfer.engine.download.kept`). After all files are done, the next call fetches all again.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence

from cosxfer.bucket_models import ListedObject
from cosxfer.engine.download.kept import Known
from cosxfer.engine.download.options import DownloadSettings
from cosxfer.engine.report import logger
from cosxfer.foreign import shown_path
from cosxfer.journal import Journal
from cosxfer.journal_rows import FinishedObject, fingerprint, targets_of
from cosxfer.models import DownloadResult
from cosxfer.ops.session import Session

_NO_SOURCE = bytes(8)
"""A downloaded object has no source with a fingerprint."""


class FolderRows:
    """What the journal has of the download of a folder."""

    def __init__(self, journal: Journal, number: int, place: tuple[str, str, str]) -> None:
        """``place`` is the folder with the endpoint, the region and the bucket."""
        self.number = number
        self._journal = journal
        self._place = place

    def done(self, key: str, result: DownloadResult) -> None:
        """A file is complete. ``key`` is as it was listed. Quick, because it is called on the event loop."""
        if result.crc64 is not None and result.etag and result.parts:
            row = FinishedObject(_NO_SOURCE, self.number, result.size, result.crc64, result.etag)
            self._journal.finished(self._target(key), row)

    def end(self) -> None:
        """All files are done, except those that cannot be."""
        self._journal.end_batch(self.number)

    async def known(self, listed: Sequence[ListedObject]) -> dict[str, Known]:
        """Return what an interrupted run has completed of the listed objects, by their keys."""
        targets = targets_of(*self._place, [entry.key for entry in listed])
        rows = await asyncio.wrap_future(self._journal.objects(targets))
        found = {}
        for entry, target in zip(listed, targets, strict=True):
            row = rows.get(target)
            if row is not None and row == FinishedObject(_NO_SOURCE, self.number, entry.size, row.crc64, entry.etag):
                found[entry.key] = Known(finished=row, storage_class=entry.storage_class)
        return found

    def _target(self, key: str) -> bytes:
        return targets_of(*self._place, [key])[0]


async def begin(
    journal: Journal | None, session: Session, bucket: str, *, start: str, root: str, region: str | None,
    settings: DownloadSettings, listed: Sequence[ListedObject],
) -> tuple[FolderRows | None, dict[str, Known]]:  # fmt: skip
    """Begin the batch of a folder, or go on with an interrupted one; None without a journal, or if it is busy.

    ``start`` is what all keys begin with, and ``root`` the folder. Also returns what was completed, by the keys.
    """
    if journal is None:
        return None, {}
    place = os.path.abspath(root)  # noqa: ASYNC240, PTH100 (resolve() would read the file system; this does not)
    where = region or session.config.region or ""
    shape = f"{settings.preserve_mtime} {settings.sparse} {settings.last_modified}"
    endpoint = session.config.endpoint
    batch = await asyncio.wrap_future(
        journal.open_batch(fingerprint("folder", endpoint, where, bucket, start, place, shape))
    )
    if batch.busy:
        logger.warning("another process or client downloads to %s already; this one fetches all too", shown_path(place))
    if not batch.number:
        return None, {}
    rows = FolderRows(journal, batch.number, (f"to {place} from {endpoint}", where, bucket))
    return rows, await rows.known(listed) if batch.goes_on else {}
