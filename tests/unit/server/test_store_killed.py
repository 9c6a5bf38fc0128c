"""A process killed at any point of a change leaves the old or the new state; the next start removes the rest."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from cosxfer._native import hashing
from cosxfer.server.store import Store

BUCKET, KEY = "examplebucket-1250000000", "a/b"
OLD, NEW = b"old", b"new" * 100_000

MAKE_AND_DIE = """
import os, signal, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from cosxfer.server.store import BlobWriter, Store
from cosxfer.server.store.database import Database

root, what, point, bucket, key = sys.argv[1:]
body = b"new" * 100_000

def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

def die_after(step):
    return lambda *args, **kwargs: die(step(*args, **kwargs))

STEPS = {"append": "extend_object", "part": "set_part"}
POINTS = {
    "before the file is in its place": (BlobWriter, "keep", die),
    "after the file is in its place": (BlobWriter, "keep", die_after(BlobWriter.keep)),
    "within the transaction": (Database, STEPS.get(what, "add_version"), None),
    "after the transaction": (Store, "_delete", die),
}
store = Store(Path(root), executor=ThreadPoolExecutor(1))
more = {"storage_class": "STANDARD", "headers": {}}
at = {"bucket": bucket, "key": key}

def arm():
    owner, name, deadly = POINTS[point]
    setattr(owner, name, deadly or die_after(getattr(owner, name)))

with_writer = store.writer(key)
with_writer.write([body])
if what == "put":
    arm()
    store.put(**at, writer=with_writer, etag="e", **more)
elif what == "append":
    arm()
    store.append(**at, writer=with_writer, to=store.object(bucket, key), **more)
else:
    upload = store.begin_upload(**at, **more)
    if what == "part":
        # The second version replaces this one.
        first = store.writer(key)
        first.write([b"old"])
        store.put_part(upload, number=1, writer=first, etag="e")
        arm()
        store.put_part(upload, number=1, writer=with_writer, etag="e")
    else:
        store.put_part(upload, number=1, writer=with_writer, etag="e")
        arm()
        store.complete(upload, parts=store.parts(upload), etag="e", crc64=with_writer.crc64)
"""

BEFORE = ("before the file is in its place", "after the file is in its place", "within the transaction")
AFTER = "after the transaction"


@contextmanager
def opened(root: Path) -> Iterator[Store]:
    with ThreadPoolExecutor(1) as executor:
        store = Store(root, executor=executor)
        try:
            yield store
        finally:
            store.close()


def die(root: Path, what: str, point: str) -> None:
    ended = subprocess.run([sys.executable, "-c", MAKE_AND_DIE, str(root), what, point, BUCKET, KEY], check=False)
    assert ended.returncode == -signal.SIGKILL


def content(store: Store) -> bytes:
    found = store.object(BUCKET, KEY)
    assert found is not None
    with store.reading(found) as segments:
        body = b"".join(path.read_bytes() for path, _ in segments)
        assert [path.stat().st_size for path, _ in segments] == [size for _, size in segments]
    assert (found.size, found.crc64) == (len(body), hashing.crc64(body))
    return body


def files(root: Path) -> int:
    return len(list((root / "bodies").iterdir())) + len(list((root / "incoming").iterdir()))


@pytest.mark.parametrize(
    ("what", "point"),
    [
        (what, point)
        for what in ("put", "append", "complete", "part")
        for point in (*BEFORE, AFTER)
        # An append deletes nothing afterwards, and completing an upload moves no file.
        if (what, point) != ("append", AFTER) and (what != "complete" or "file" not in point)
    ],
)
def test_a_change_is_complete_or_has_no_effect(tmp_path: Path, what: str, point: str) -> None:
    root = tmp_path / "store"
    with opened(root) as store:
        store.add_bucket(BUCKET)
        writer = store.writer(KEY)
        writer.write([OLD])
        more: dict[str, object] = {"storage_class": "STANDARD", "headers": {}}
        store.append(bucket=BUCKET, key=KEY, writer=writer, to=None, **more)  # type: ignore[arg-type]
    die(root, what, point)
    done = point == AFTER
    with opened(root) as store:
        expected = {"put": NEW, "append": OLD + NEW, "complete": NEW}.get(what, OLD) if done else OLD
        assert content(store) == expected
        page = store.list_uploads(BUCKET, prefix="", delimiter="", key_marker="", id_marker="", limit=9)
        parts = [part for upload in page.entries for part in store.parts(upload)]
        if what == "part":
            assert [(part.number, part.size) for part in parts] == [(1, len(NEW if done else OLD))]
        else:
            assert len(parts) == (what == "complete" and not done)
        assert files(root) == 1 + len(parts)
