"""The sources of ``cosxfer mv``: deleted when the destination is proven, and if they are still what was read."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from cosxfer.address import shown_key
from cosxfer.cli.notices import hide_retries, show
from cosxfer.client import Client
from cosxfer.cos.key_paths import KeyPaths
from cosxfer.cos.requests import CustomerKey
from cosxfer.errors import CosxferError, IntegrityError, ServerError, SourceChangedError, SourceError, UsageError
from cosxfer.foreign import foreign, shown_path
from cosxfer.limits import MAX_LIST_ENTRIES
from cosxfer.models import DownloadResult
from cosxfer.paths import stat_path
from cosxfer.tasks.directory import joined
from cosxfer.tasks.downloads import KeySelection

CHECKED_AT_ONCE = 16


class MovedFile:
    """A local file that is uploaded and then deleted. Make it before the upload: it looks at the file.

    Raises `UsageError` for a link or a directory, and `SourceError` if the file cannot be examined.
    """

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        mode, self._identity = self._look()
        if stat.S_ISLNK(mode):
            raise UsageError(
                f"{shown_path(self._path)} is a link, which mv does not move; use cp, or name the file", name="source"
            )
        if stat.S_ISDIR(mode):
            raise UsageError(
                f"{shown_path(self._path)} is a directory; use -r (--recursive) to move its content", name="source"
            )
        if not stat.S_ISREG(mode):
            raise UsageError(f"{shown_path(self._path)} is no regular file, which mv does not move", name="source")

    def _look(self) -> tuple[int, tuple[int, ...]]:
        try:
            found = stat_path(self._path, follow_symlinks=False)
        except (OSError, ValueError) as error:
            raise SourceError(f"cannot read {self._path!r}: {_why(error)}", path=self._path) from error
        identity = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        return found.st_mode, identity

    def remove(self, stored: str) -> None:
        """Delete the file if it has not changed. ``stored`` says where its content is, for the errors."""
        kept = f"it is stored as {stored}, but the file was not deleted"
        try:
            if self._look()[1] != self._identity:
                raise SourceChangedError(
                    f"{self._path!r} changed while it was moved", path=self._path, changed="content"
                )
            Path(self._path).unlink()
        except SourceError as error:
            error.add_note(kept)
            raise
        except OSError as error:
            raise SourceError(f"cannot delete {self._path!r}: {_why(error)}; {kept}", path=self._path) from error


def remove_object(client: Client, result: DownloadResult, key: CustomerKey) -> None:
    """Delete an object that was downloaded, if it is still that one and its file is on the disk."""
    try:
        _check(client, result, key)
        client.delete_object(result.bucket, result.key)
    except CosxferError as error:
        error.add_note(f"{shown_path(result.path)} is complete; cos://{result.bucket}/{result.key} was not deleted")
        raise


def remove_objects(client: Client, results: Sequence[DownloadResult], key: CustomerKey) -> dict[str, CosxferError]:
    """Do what `remove_object` does for many. Returns why an object was not deleted, by its key."""
    kept: dict[str, CosxferError] = {}
    for first in range(0, len(results), MAX_LIST_ENTRIES):
        some = results[first : first + MAX_LIST_ENTRIES]
        threads = ThreadPoolExecutor(CHECKED_AT_ONCE, thread_name_prefix="cosxfer-move")
        try:
            outcomes = list(threads.map(partial(_problem, client, key), some))
        except BaseException:
            hide_retries()
            raise
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
        kept |= {result.key: error for result, error in zip(some, outcomes, strict=True) if error is not None}
        doomed = [result.key for result in some if result.key not in kept]
        if doomed:
            kept |= _deleted(client, some[0].bucket, doomed)
    for name, why in kept.items():
        show(f"{shown_key(name)}: downloaded, but the object was not deleted: {why}")
    return kept


def remove_folder_keys(
    client: Client, bucket: str, prefix: str, target: str, selection: KeySelection
) -> dict[str, CosxferError]:
    """Delete the keys of folders (``a/``, without content) below ``prefix/`` that were created in ``target``.

    Those stay below which there still is an object, and those that the patterns do not choose. Returns why a key was
    not deleted, by the key.
    """
    start = joined(prefix, "")
    folders: list[str] = []
    needed: set[str] = set()
    """Folders of the objects that stay."""
    try:
        for entry in client.iter_list_objects(bucket, prefix=start):
            relative = entry.key.removeprefix("/").removeprefix(start.removeprefix("/"))
            if not entry.key.endswith("/") or entry.size or not _is_moved(relative, target, selection):
                parts = entry.key.split("/")[:-1]
                needed.update("/".join(parts[:length]) + "/" for length in range(1, len(parts) + 1))
            else:
                folders.append(entry.key)
    except CosxferError as error:
        show(f"the folders were not deleted: {error}")
        return {start: error}
    folders = [key for key in folders if key not in needed]
    kept: dict[str, CosxferError] = {}
    for first in range(0, len(folders), MAX_LIST_ENTRIES):
        kept |= _deleted(client, bucket, [shown_key(key) for key in folders[first : first + MAX_LIST_ENTRIES]])
    for name, why in kept.items():
        show(f"{shown_key(name)}: the folder was created, but its key was not deleted: {why}")
    return kept


def _deleted(client: Client, bucket: str, keys: list[str]) -> dict[str, CosxferError]:
    """Delete keys in one request. Returns why a key was not deleted, by the key."""
    try:
        told = client.delete_objects(bucket, keys)
    except CosxferError as error:
        return dict.fromkeys(keys, error)
    kept: dict[str, CosxferError] = {}
    for failure in told.errors:
        reason = ": ".join(filter(None, (failure.code, foreign(failure.message))))
        kept[failure.key] = ServerError(reason, status=0, code=failure.code)
    return kept


def _is_moved(relative: str, target: str, selection: KeySelection) -> bool:
    """Whether a key of a folder was chosen, and the folder is there."""
    if not relative or not selection.takes(relative, is_folder=True):
        return False
    try:
        names = KeyPaths(folds_case=False, windows=os.name == "nt").names(relative, is_folder=True)
        found = stat_path(str(Path(target, *names)), follow_symlinks=False)
    except (OSError, ValueError):
        return False
    return stat.S_ISDIR(found.st_mode)


def _problem(client: Client, key: CustomerKey, result: DownloadResult) -> CosxferError | None:
    try:
        _check(client, result, key)
    except CosxferError as error:
        return error
    return None


def _check(client: Client, result: DownloadResult, key: CustomerKey) -> None:
    """Raise unless the file is on the disk and the object unchanged. COS has no conditional deletion."""
    _to_disk(result)
    head = client.head_object(result.bucket, result.key, **key)
    # The file of an earlier call was compared with the listing, which has no version.
    version_id = head.version_id if result.parts or result.version_id else None
    now = (head.etag, head.size, head.crc64, version_id)
    if now != (result.etag, result.size, result.crc64, result.version_id):
        raise IntegrityError(
            f"cos://{result.bucket}/{result.key} was replaced while it was moved",
            expected=result.crc64,
            actual=head.crc64,
        )


def _to_disk(result: DownloadResult) -> None:
    """Wait until the disk has the file and its name, so that a power failure cannot take the last copy."""
    try:
        with Path(result.path).open("rb") as file:
            if os.fstat(file.fileno()).st_size != result.size:
                raise SourceChangedError(
                    f"{result.path!r} changed after it was written", path=result.path, changed="size"
                )
            os.fsync(file.fileno())
        folder = os.open(Path(result.path).resolve().parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise SourceError(f"cannot write {result.path!r} to the disk: {_why(error)}", path=result.path) from error


def _why(error: OSError | ValueError) -> str:
    return (getattr(error, "strerror", None) or str(error)).lower()
