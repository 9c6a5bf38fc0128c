"""The argument of every operation, and helpers that several operations share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import formatdate
from urllib.parse import quote

from cosxfer.cos import xml
from cosxfer.cos.endpoint import PATH_SAFE
from cosxfer.credentials import Credentials
from cosxfer.records import dataclass
from cosxfer.server import checks, encryption
from cosxfer.server.body import Body
from cosxfer.server.http import CosError, Request
from cosxfer.server.store import BlobWriter, Store, StoredUpload

CRC64_HEADER = "x-cos-hash-crc64ecma"

OWNER: xml.Tree = [("ID", "qcs::cam::uin/100000000001:uin/100000000001"), ("DisplayName", "100000000001")]
"""The one account of this server."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One request after addressing, authentication and routing."""

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
    """The known credentials by their secret id, for POST Object, whose body contains the signature."""
    allow_anonymous: bool

    def upload(self) -> StoredUpload:
        """Return the multipart upload that the request names. Raises NoSuchUpload."""
        found = self.store.upload(self.request.query.get("uploadId", ""), self.bucket, self.key)
        if found is None:
            raise CosError("NoSuchUpload", "The specified multipart upload does not exist.")
        return found

    def location(self) -> str:
        """Return host and path of the object, in COS's form."""
        return f"{self.request.host}{quote(self.request.path, safe=PATH_SAFE)}"

    def object_headers(self, given: Mapping[str, str]) -> dict[str, str]:
        """Return the headers (or form fields) to store with an object, including those of its encryption."""
        return checks.stored_headers(given) | encryption.wanted(given, scheme=self.request.scheme)

    @contextmanager
    def new_blob(self, label: str) -> Iterator[BlobWriter]:
        """Create a file for the body. It is deleted unless the block keeps it."""
        writer = self.store.writer(label)
        try:
            yield writer
        finally:
            writer.drop()

    async def receive(self, writer: BlobWriter, *, limit: int) -> None:
        """Write the body and compare it with Content-MD5. Raises BadDigest."""
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
    """Return a name for a listing, percent-encoded if the request has ``encoding-type=url``."""
    return quote(text, safe=PATH_SAFE) if encoding_type == "url" else text
