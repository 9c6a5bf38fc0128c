"""Deletes what a benchmark has made, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cosxfer.benchmark.records import Cleanup
from cosxfer.bucket_models import DeleteMarker, ObjectVersion
from cosxfer.client import Client
from cosxfer.errors import CosxferError, NotFoundError, ServerError
from cosxfer.limits import MAX_LIST_ENTRIES

Target = tuple[str, str | None]
"""A key, and its version if the bucket has versions."""


class Cleaner:
    """Deletes objects, their versions and unfinished uploads below ``prefix``, if their keys are among ``own``.

    ``versions`` are those that uploads returned. They are used if versions cannot be listed.
    """

    def __init__(self, client: Client, bucket: str, prefix: str, own: Iterable[str], versions: dict[str, str]) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = prefix
        self._own = frozenset(own)
        self._versions = versions
        self._deleted = self._aborted = 0
        self._left: list[str] = []
        self._left_uploads: list[str] = []
        self._reasons: dict[str, None] = {}

    def run(self) -> Cleanup:
        """Delete, and return what became of it. An error of the server or of the way to it is a reason, not raised."""
        if self._own and self._abort_uploads():
            self._delete_objects()
        return Cleanup(
            kept=False,
            deleted_objects=self._deleted,
            aborted_uploads=self._aborted,
            left=tuple(self._left),
            left_uploads=tuple(self._left_uploads),
            reasons=tuple(self._reasons),
        )

    def _abort_uploads(self) -> bool:
        """Return whether the server was reached."""
        try:
            for key, upload_id in list(self._uploads()):
                try:
                    self._client.multipart_abort(self._bucket, key, upload_id=upload_id)
                except NotFoundError:
                    continue  # its client has deleted it
                except CosxferError as error:
                    self._left_uploads.append(key)
                    self._because(error)
                else:
                    self._aborted += 1
        except ServerError as error:
            self._because(error, "unfinished uploads cannot be listed")
        except CosxferError as error:
            self._left += sorted(self._own)
            self._because(error)
            return False
        return True

    def _uploads(self) -> Iterator[tuple[str, str]]:
        key_marker = upload_id_marker = None
        while True:
            page = self._client.multipart_list(
                self._bucket, prefix=self._prefix, key_marker=key_marker, upload_id_marker=upload_id_marker
            )
            yield from ((found.key, found.upload_id) for found in page.uploads if found.key in self._own)
            if not page.is_truncated:
                return
            key_marker, upload_id_marker = page.next_key_marker, page.next_upload_id_marker

    def _delete_objects(self) -> None:
        targets = self._targets()
        for first in range(0, len(targets), MAX_LIST_ENTRIES):
            some = targets[first : first + MAX_LIST_ENTRIES]
            try:
                result = self._client.delete_objects(self._bucket, some)
            except CosxferError as error:
                # The next requests would probably fail in the same way, and each may take minutes.
                self._left += [key for key, _ in targets[first:]]
                self._because(error)
                return
            self._deleted += len(result.deleted)
            for failure in result.errors:
                self._left.append(failure.key)
                self._reasons[": ".join(filter(None, (failure.code, failure.message)))] = None

    def _targets(self) -> list[Target]:
        """Return what is there of our keys. If it cannot be listed, all that may be there."""
        for listed in (self._listed_versions, self._listed_objects):
            try:
                return [target for target in listed() if target[0] in self._own]
            except CosxferError:
                continue  # if it is not the keys that may not list, deleting says why
        return [(key, self._versions.get(key)) for key in sorted(self._own)]

    def _listed_versions(self) -> list[Target]:
        entries: Iterator[ObjectVersion | DeleteMarker] = self._client.iter_list_object_versions(
            self._bucket, prefix=self._prefix
        )
        return [(entry.key, entry.version_id or None) for entry in entries]

    def _listed_objects(self) -> list[Target]:
        # An object whose version is known is deleted for good. Without it, a delete marker would hide it.
        entries = self._client.iter_list_objects(self._bucket, prefix=self._prefix)
        return [(entry.key, self._versions.get(entry.key)) for entry in entries]

    def _because(self, error: CosxferError, what: str = "") -> None:
        self._reasons[f"{what}: {error}" if what else str(error)] = None
