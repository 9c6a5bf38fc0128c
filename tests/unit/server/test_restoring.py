"""Restores of archived objects, with a clock that the test moves."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cosxfer.server import restoring
from cosxfer.server.http import CosError
from cosxfer.server.store import Store, StoredObject
from cosxfer.server.store.records import ListedVersion

HOUR, DAY = 3600.0, 86400.0
START = 1_700_000_000.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path, executor=ThreadPoolExecutor(1), clock=lambda: START)
    store.add_bucket("b-1")
    yield store
    store.close()


def archived(store: Store, storage_class: str = "ARCHIVE") -> StoredObject:
    writer = store.writer("k")
    writer.write([b"x"])
    store.put(bucket="b-1", key="k", writer=writer, etag="e", storage_class=storage_class, headers={})
    found = store.object("b-1", "k")
    assert found is not None
    return found


def restored(store: Store, found: StoredObject, *, now: float, days: int = 1, tier: str = "Standard") -> StoredObject:
    store.set_headers(found, {**found.headers, **restoring.requested(found, days=days, tier=tier, now=now)})
    again = store.object("b-1", "k")
    assert again is not None
    return again


@pytest.mark.parametrize(
    ("storage_class", "tier", "hours"),
    [
        ("ARCHIVE", "Expedited", 1 / 12),
        ("ARCHIVE", "Standard", 5),
        ("ARCHIVE", "Bulk", 12),
        ("DEEP_ARCHIVE", "Standard", 24),
        ("MAZ_DEEP_ARCHIVE", "Bulk", 48),
    ],
)
def test_an_object_is_readable_after_the_time_of_its_tier_until_its_days_are_over(
    store: Store, storage_class: str, tier: str, hours: float
) -> None:
    found = restored(store, archived(store, storage_class), now=START, days=2, tier=tier)
    ready = START + hours * HOUR
    with pytest.raises(CosError, match="InvalidObjectState"):
        restoring.check_readable(found, ready - 1)
    assert restoring.headers(found.headers, ready - 1)["x-cos-restore"] == 'ongoing-request="true"'
    restoring.check_readable(found, ready)
    told = restoring.headers(found.headers, ready)["x-cos-restore"]
    assert told.startswith('ongoing-request="false", expiry-date="')
    restoring.check_readable(found, ready + 2 * DAY - 1)
    with pytest.raises(CosError, match="InvalidObjectState"):
        restoring.check_readable(found, ready + 2 * DAY)
    assert restoring.headers(found.headers, ready + 2 * DAY) == {}


def test_a_restore_in_progress_is_refused_again_and_a_restored_copy_is_kept_longer(store: Store) -> None:
    found = restored(store, archived(store), now=START)
    with pytest.raises(CosError, match="RestoreAlreadyInProgress"):
        restoring.requested(found, days=5, tier="Standard", now=START + 5 * HOUR - 1)
    longer = restored(store, found, now=START + 6 * HOUR, days=5)
    restoring.check_readable(longer, START + 6 * HOUR + 5 * DAY - 1)
    assert restoring.state(longer.headers, START + 6 * HOUR + 5 * DAY) is None


# A directory of format 1


def test_a_directory_of_the_first_format_is_read(tmp_path: Path) -> None:
    (tmp_path / "bodies").mkdir()
    with sqlite3.connect(tmp_path / "index.sqlite") as old:
        old.executescript(
            """
            CREATE TABLE buckets (name TEXT PRIMARY KEY, created REAL NOT NULL) WITHOUT ROWID;
            CREATE TABLE objects (
                id INTEGER PRIMARY KEY, bucket TEXT NOT NULL, key BLOB NOT NULL, size INTEGER NOT NULL,
                etag TEXT NOT NULL, crc64 TEXT, object_type TEXT NOT NULL, storage_class TEXT NOT NULL,
                headers TEXT NOT NULL, modified REAL NOT NULL, UNIQUE (bucket, key));
            INSERT INTO buckets VALUES ('b-1', 5.0);
            INSERT INTO objects VALUES (7, 'b-1', x'6b', 0, 'e', '0', 'normal', 'STANDARD', '{}', 9.0);
            PRAGMA user_version = 1;
            """
        )
    old.close()
    for _ in range(2):
        store = Store(tmp_path, executor=ThreadPoolExecutor(1))
        found = store.object("b-1", "k")
        assert found is not None
        assert (found.id, found.version, found.latest, found.marker) == (7, "null", True, False)
        assert store.versioning("b-1") == ""
        store.change_settings("b-1", versioning="Enabled")
        store.remove("b-1", "k")
        assert store.object("b-1", "k") is not None
        [marker] = [entry.found.version for entry in versions(store) if entry.found.marker]
        store.remove("b-1", "k", marker)
        store.change_settings("b-1", versioning="")
        store.close()


def versions(store: Store) -> tuple[ListedVersion, ...]:
    return store.list_versions("b-1", prefix="", delimiter="", key_marker="", version_marker="", limit=10).entries


def test_a_page_of_many_keys_comes_from_the_index(store: Store) -> None:
    connection = store._database._connection
    for query in (
        "SELECT * FROM objects WHERE bucket = 'b' AND latest = 1 AND key > x'00' AND key < x'ff' AND marker = 0 "
        "ORDER BY key LIMIT 1000",
        "SELECT * FROM objects WHERE bucket = 'b' AND (key, rank) > (x'00', '') ORDER BY key, rank LIMIT 1000",
    ):
        plan = " ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {query}"))
        assert "USING INDEX objects_" in plan
        assert "TEMP B-TREE" not in plan
