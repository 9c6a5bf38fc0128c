"""Buckets, objects and multipart uploads on disk: bodies in files, everything else in one SQLite database."""

from cosxfer.server.store.files import BlobWriter
from cosxfer.server.store.records import StoredObject, StoredPart, StoredUpload
from cosxfer.server.store.store import Store, StoreError

__all__ = ["BlobWriter", "Store", "StoreError", "StoredObject", "StoredPart", "StoredUpload"]
