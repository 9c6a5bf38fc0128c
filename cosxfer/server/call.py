"""What an operation gets to work with, and the pieces that several operations share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import formatdate
from urllib.parse import quote

from cosxfer.cos import xml
from cosxfer.cos.endpoint import PATH_SAFE
from cosxfer.credentials import Credentials
from cosxfer.server import checks, encryption
from cosxfer.server.body import Body
from cosxfer.server.http import CosError, Request
from cosxfer.server.store import BlobWriter, Store, StoredUpload

CRC64_HEADER = "x-cos-hash-crc64ecma"

OWNER: xml.Tree = [("ID", "qcs::cam::uin/100000000001:uin/100000000001"), ("DisplayName", "100000000001")]
"""The one account of this server."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One request that was addressed, authenticated and routed."""

    request: Request
    bucket: str
    """Empty for the service."""
    key: str
    """Empty for the bucket."""
    body: Body
    store: Store
    executor: Executor
    region: str
    keys: Mapping[str, Credentials]
    """The known credentials by their secret id, for the operation whose signature stands in its body."""
    allow_anonymous: bool

    def upload(self) -> StoredUpload:
        """The multipart upload that the request names; raises NoSuchUpload."""
        found = self.store.upload(self.request.query.get("uploadId", ""), self.bucket, self.key)
        if found is None:
            raise CosError("NoSuchUpload", "The specified multipart upload does not exist.")
        return found

    def location(self) -> str:
        """Host and path of the object, as COS returns it."""
        return f"{self.request.host}{quote(self.request.path, safe=PATH_SAFE)}"

    def object_headers(self, given: Mapping[str, str]) -> dict[str, str]:
        """What is kept of the headers, or a form's fields, that make an object: also how it is encrypted."""
        return checks.stored_headers(given) | encryption.wanted(given, scheme=self.request.scheme)

    @contextmanager
    def new_blob(self, label: str) -> Iterator[BlobWriter]:
        """A file for the body, deleted where the block fails or does not keep it."""
        writer = self.store.writer(label)
        try:
            yield writer
        finally:
            writer.drop()

    async def receive(self, writer: BlobWriter, *, limit: int) -> None:
        """Write the body, and compare it with Content-MD5; raises BadDigest."""
        expected = checks.content_md5(self.request.headers)
        await self.body.write_to(writer, limit=limit)
        if expected is not None and expected != writer.md5:
            raise CosError("BadDigest", "The Content-MD5 you specified did not match what we received.")


def quoted(etag: str) -> str:
    return f'"{etag}"'


def http_date(when: float) -> str:
    return formatdate(when, usegmt=True)


def iso_date(when: float) -> str:
    return datetime.fromtimestamp(int(when), UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def encoded(text: str, encoding_type: str) -> str:
    """A name of a listing: percent-encoded where ``encoding-type=url`` was asked for."""
    return quote(text, safe=PATH_SAFE) if encoding_type == "url" else text
