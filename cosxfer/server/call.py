"""The argument of every operation, and helpers that several operations share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import formatdate
from hashlib import md5
from urllib.parse import quote
from xml.etree.ElementTree import Element

from cosxfer.cos import xml
from cosxfer.cos.endpoint import PATH_SAFE
from cosxfer.credentials import Credentials
from cosxfer.limits import MIB
from cosxfer.records import dataclass
from cosxfer.server import access, checks, encryption, tags
from cosxfer.server.body import Body
from cosxfer.server.http import CosError, Request
from cosxfer.server.store import BlobWriter, Store, StoredUpload

CRC64_HEADER = "x-cos-hash-crc64ecma"


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
    body_is_proven: bool = False
    """Whether the request has another digest of its body than Content-MD5, which is checked while it is read."""

    def upload(self) -> StoredUpload:
        """Return the multipart upload that the request names. Raises NoSuchUpload."""
        found = self.store.upload(self.request.query.get("uploadId", ""), self.bucket, self.key)
        if found is None:
            raise CosError("NoSuchUpload", "The specified multipart upload does not exist.")
        return found

    def check_overwrite(self, headers: Mapping[str, str], *, key: str | None = None) -> None:
        """Refuse to replace an object if the request forbids it. Raises FileAlreadyExists.

        As in COS, the header has no effect in a bucket that ever had versioning.
        """
        value = headers.get("x-cos-forbid-overwrite", "false").lower()
        if value not in ("true", "false"):
            raise CosError("InvalidArgument", "x-cos-forbid-overwrite can be true or false.")
        if value != "true" or self.store.versioning(self.bucket):
            return
        if self.store.object(self.bucket, self.key if key is None else key) is not None:
            raise CosError("FileAlreadyExists", "The object already exists.")

    async def document(self, root: str, *, limit: int = MIB) -> Element:
        """Return the XML document that the request carries. Raises BadDigest and MalformedXML."""
        found = await self.optional_document(root, limit=limit)
        if found is None:
            raise CosError("MissingRequestBodyError", "The request has no body.")
        return found

    async def optional_document(self, root: str, *, limit: int = MIB) -> Element | None:
        """Return the XML document that the request carries; None if it has no body."""
        expected = checks.content_md5(self.request.headers)
        content = await self.body.read_all(limit=limit)
        if expected is not None and md5(content, usedforsecurity=False).digest() != expected:
            raise CosError("BadDigest", "The Content-MD5 you specified did not match what we received.")
        if not content:
            return None
        try:
            return xml.parse(content, root=root)
        except xml.XmlError as error:
            raise CosError("MalformedXML", str(error)) from error

    def location(self) -> str:
        """Return host and path of the object, in COS's form."""
        return f"{self.request.host}{quote(self.request.path, safe=PATH_SAFE)}"

    def object_headers(self, given: Mapping[str, str]) -> dict[str, str]:
        """Return the headers (or form fields) to store with an object, including those of its encryption."""
        described = checks.stored_headers(given) | encryption.wanted(given, scheme=self.request.scheme)
        return described | access.given(given) | tags.given(given)

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
