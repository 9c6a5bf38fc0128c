"""An in-memory COS behind `MemoryTransport`. It checks signatures and digests, and fails as a test scripts it."""

from __future__ import annotations

import asyncio
import hashlib
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from urllib.parse import parse_qsl, unquote

import cosxfer
from cosxfer._native import hashing
from cosxfer.cos import xml
from cosxfer.cos.requests import HttpRequest
from cosxfer.cos.responses import HttpResponse
from cosxfer.cos.sign import parse_authorization
from cosxfer.errors import TransportError
from cosxfer.limits import MIB
from cosxfer.transport.memory import MemoryTransport

BUCKET = "examplebucket-1250000000"
REGION = "ap-guangzhou"
SECRET_ID = "AKIDexampleexampleexample"
SECRET_KEY = "hush-this-is-the-secret-key"

Response = HttpResponse | Awaitable[HttpResponse]
Do = Callable[[HttpRequest, Callable[[], HttpResponse]], Response]


@dataclass
class Call:
    """One request that was received."""

    operation: str
    part: int | None
    request: HttpRequest
    body: bytes


@dataclass
class Fault:
    """Replaces the responses to the next ``times`` requests of this operation (and part)."""

    operation: str
    do: Do
    part: int | None = None
    times: int = 1


@dataclass
class Upload:
    key: str
    headers: dict[str, str]
    parts: dict[int, bytes] = field(default_factory=dict)


@dataclass
class Stored:
    content: bytes
    headers: dict[str, str]
    etag: str


@dataclass
class FakeCos:
    """A COS with one bucket."""

    secrets: dict[str, str] = field(default_factory=lambda: {SECRET_ID: SECRET_KEY})
    tokens: set[str] = field(default_factory=set)
    """Valid session tokens; a request with another token gets ExpiredToken."""
    clock: Callable[[], float] = time.time
    with_crc64: bool = True
    """False: behave like an old server, which sends no CRC64."""
    objects: dict[str, Stored] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    # -- for tests ------------------------------------------------------------------------------------------------

    def fault(self, operation: str, do: Do, *, part: int | None = None, times: int = 1) -> None:
        self.faults.append(Fault(operation=operation, do=do, part=part, times=times))

    def operations(self) -> list[str]:
        return [call.operation for call in self.calls]

    def count(self, operation: str, part: int | None = None) -> int:
        return sum(call.operation == operation and part in (None, call.part) for call in self.calls)

    def transport(self) -> MemoryTransport:
        return MemoryTransport(self)

    def client(self, **settings: object) -> cosxfer.AsyncClient:
        return cosxfer.AsyncClient(**self._settings(settings))  # type: ignore[arg-type]

    def blocking_client(self, **settings: object) -> cosxfer.Client:
        return cosxfer.Client(**self._settings(settings))  # type: ignore[arg-type]

    def _settings(self, settings: dict[str, object]) -> dict[str, object]:
        keys = {} if "credentials" in settings else {"secret_id": SECRET_ID, "secret_key": SECRET_KEY}
        # Most faults of tests are for good. No test waits, so retrying for a time would be a busy loop. Few tests want
        # a request that looks for an earlier upload.
        usual = {"retry_for_seconds": 0, "find_uploads": False}
        return {"region": REGION, "transport": self.transport(), **usual, **keys, **settings}

    # -- the server -----------------------------------------------------------------------------------------------

    def __call__(self, request: HttpRequest, body: bytes) -> Response:
        path, _, query = request.target.partition("?")
        params = dict(parse_qsl(query, keep_blank_values=True))
        key = unquote(path)[1:]
        operation = _operation(request.method, key, params)
        part = int(params["partNumber"]) if "partNumber" in params else None
        self.calls.append(Call(operation, part, request, body))

        def proceed() -> HttpResponse:
            refused = self._refusal(request, "/" + key, params, body)
            response = refused or getattr(self, f"_{operation}")(request, body, key, params)
            return replace(response, headers={**self._common(), **response.headers})

        for fault in self.faults:
            if fault.times and fault.operation == operation and fault.part in (None, part):
                fault.times -= 1
                return fault.do(request, proceed)
        return proceed()

    def _common(self) -> dict[str, str]:
        return {"x-cos-request-id": f"request-{len(self.calls)}", "date": formatdate(self.clock(), usegmt=True)}

    def _refusal(self, request: HttpRequest, path: str, params: dict[str, str], body: bytes) -> HttpResponse | None:
        headers = dict(request.headers)
        if headers["host"].partition(f"{BUCKET}.cos.{REGION}.")[2] not in ("myqcloud.com", "tencentcos.cn"):
            return error(404, "NoSuchBucket")
        signature = parse_authorization(headers.get("authorization", ""))
        if signature is None:
            return error(403, "AccessDenied")
        secret_key = self.secrets.get(signature.secret_id)
        if secret_key is None:
            return error(403, "InvalidAccessKeyId")
        begins, ends = signature.window()
        if not begins - 900 <= self.clock() <= ends:
            return error(403, "RequestTimeTooSkewed")
        if not signature.matches(
            secret_key=secret_key, method=request.method, path=path, params=params, headers=headers
        ):
            return error(403, "SignatureDoesNotMatch")
        if "host" not in signature.header_list:
            return error(403, "AccessDenied")
        token = headers.get("x-cos-security-token")
        if token is not None and token not in self.tokens:
            return error(400, "ExpiredToken")
        if "content-length" in headers and int(headers["content-length"]) != len(body):
            return error(400, "EntitySizeNotMatch")
        if "content-md5" in headers and headers["content-md5"] != b64encode(hashlib.md5(body).digest()).decode():
            return error(400, "BadDigest")
        return None

    def _crc(self, content: bytes) -> dict[str, str]:
        return {"x-cos-hash-crc64ecma": str(hashing.crc64(content))} if self.with_crc64 else {}

    def _put_object(self, request: HttpRequest, body: bytes, key: str, params: dict[str, str]) -> HttpResponse:
        stored = Stored(body, dict(request.headers), f'"{hashlib.md5(body).hexdigest()}"')
        self.objects[key] = stored
        return HttpResponse(status=200, headers={"etag": stored.etag, **self._crc(body)})

    def _append_object(self, request: HttpRequest, body: bytes, key: str, params: dict[str, str]) -> HttpResponse:
        before = self.objects[key].content if key in self.objects else b""
        if int(params["position"]) != len(before):
            return error(409, "AppendPositionErr")
        stored = Stored(before + body, dict(request.headers), '"opaque"')
        self.objects[key] = stored
        return HttpResponse(status=200, headers={"etag": stored.etag, **self._crc(stored.content)})

    def _delete_object(self, request: HttpRequest, body: bytes, key: str, params: dict[str, str]) -> HttpResponse:
        self.objects.pop(key, None)
        return HttpResponse(status=204, headers={})

    def _head_object(self, request: HttpRequest, body: bytes, key: str, params: dict[str, str]) -> HttpResponse:
        response = self._get_object(request, body, key, params)
        return replace(response, body=b"")

    def _get_object(self, request: HttpRequest, body: bytes, key: str, params: dict[str, str]) -> HttpResponse:
        stored = self.objects.get(key)
        if stored is None:
            return error(404, "NoSuchKey")
        headers = {n: v for n, v in stored.headers.items() if n.startswith("x-cos-meta-") or n == "content-type"}
        headers |= {"etag": stored.etag, **self._crc(stored.content)}
        if "range" in request.headers:
            first, last = map(int, request.headers["range"].removeprefix("bytes=").split("-"))
            content = stored.content[first : last + 1]
            headers["content-range"] = f"bytes {first}-{first + len(content) - 1}/{len(stored.content)}"
            status = 206
        else:
            content, status = stored.content, 200
        return HttpResponse(status=status, headers={**headers, "content-length": str(len(content))}, body=content)

    def _multipart_init(self, request: HttpRequest, body: bytes, key: str, params: dict[str, str]) -> HttpResponse:
        upload_id = f"upload-{self.count('multipart_init')}"
        self.uploads[upload_id] = Upload(key, dict(request.headers))
        fields = [("Bucket", BUCKET), ("Key", key), ("UploadId", upload_id)]
        return document("InitiateMultipartUploadResult", fields)

    def _multipart_upload(self, request: HttpRequest, body: bytes, key: str, params: dict[str, str]) -> HttpResponse:
        upload = self._upload(key, params)
        if upload is None:
            return error(404, "NoSuchUpload")
        upload.parts[int(params["partNumber"])] = body
        return HttpResponse(status=200, headers={"etag": f'"{hashlib.md5(body).hexdigest()}"', **self._crc(body)})

    def _multipart_list_part(self, request: HttpRequest, body: bytes, key: str, params: dict[str, str]) -> HttpResponse:
        upload = self._upload(key, params)
        if upload is None:
            return error(404, "NoSuchUpload")
        fields: list[tuple[str, xml.Tree]] = [("Bucket", BUCKET), ("Key", key), ("IsTruncated", "false")]
        for number, content in sorted(upload.parts.items()):
            tag = f'"{hashlib.md5(content).hexdigest()}"'
            fields.append(("Part", [("PartNumber", number), ("ETag", tag), ("Size", len(content))]))
        return document("ListPartsResult", fields)

    def _multipart_list(self, request: HttpRequest, body: bytes, key: str, params: dict[str, str]) -> HttpResponse:
        fields: list[tuple[str, xml.Tree]] = [("Bucket", BUCKET), ("IsTruncated", "false")]
        for upload_id, upload in self.uploads.items():
            fields.append(("Upload", [("Key", upload.key), ("UploadId", upload_id)]))
        return document("ListMultipartUploadsResult", fields)

    def _multipart_complete(self, request: HttpRequest, body: bytes, key: str, params: dict[str, str]) -> HttpResponse:
        upload = self._upload(key, params)
        if upload is None:
            return error(404, "NoSuchUpload")
        asked = [
            (xml.int_of(part, "PartNumber"), xml.text_of(part, "ETag"))
            for part in xml.parse(body, root="CompleteMultipartUpload").findall("Part")
        ]
        if asked != sorted(asked):
            return error(400, "InvalidPartOrder")
        for number, tag in asked:
            if number not in upload.parts or tag != f'"{hashlib.md5(upload.parts[number]).hexdigest()}"':
                return error(400, "InvalidPart")
            if number != asked[-1][0] and len(upload.parts[number]) < MIB:
                return error(400, "EntityTooSmall")
        content = b"".join(upload.parts[number] for number, _ in asked)
        stored = Stored(content, upload.headers, f'"{hashlib.md5(content).hexdigest()}-{len(asked)}"')
        self.objects[key] = stored
        del self.uploads[params["uploadId"]]
        fields = [("Location", f"{request.endpoint.authority}/{key}"), ("Bucket", BUCKET), ("Key", key)]
        response = document("CompleteMultipartUploadResult", [*fields, ("ETag", stored.etag)])
        return replace(response, headers={**response.headers, **self._crc(content)})

    def _multipart_abort(self, request: HttpRequest, body: bytes, key: str, params: dict[str, str]) -> HttpResponse:
        if self._upload(key, params) is None:
            return error(404, "NoSuchUpload")
        del self.uploads[params["uploadId"]]
        return HttpResponse(status=204, headers={})

    def _upload(self, key: str, params: dict[str, str]) -> Upload | None:
        upload = self.uploads.get(params["uploadId"])
        return upload if upload is not None and upload.key == key else None


def _operation(method: str, key: str, params: dict[str, str]) -> str:
    if "uploads" in params:
        return "multipart_init" if method == "POST" else "multipart_list"
    if "uploadId" in params:
        by_method = {"PUT": "upload", "GET": "list_part", "POST": "complete", "DELETE": "abort"}
        return f"multipart_{by_method[method]}"
    if "append" in params:
        return "append_object"
    return {"PUT": "put_object", "GET": "get_object", "HEAD": "head_object", "DELETE": "delete_object"}[method]


# -- responses ----------------------------------------------------------------------------------------------------


def document(root: str, fields: xml.Tree, *, status: int = 200) -> HttpResponse:
    return HttpResponse(status=status, headers={"content-type": "application/xml"}, body=xml.build(root, fields))


def error(status: int, code: str, *, headers: dict[str, str] | None = None, message: str = "said so") -> HttpResponse:
    fields = [("Code", code), ("Message", message), ("Resource", "/r"), ("RequestId", "id-1"), ("TraceId", "trace-1")]
    response = document("Error", fields, status=status)
    return replace(response, headers={**response.headers, **(headers or {})})


# -- faults -------------------------------------------------------------------------------------------------------


def refuse(status: int, code: str, *, headers: dict[str, str] | None = None) -> Do:
    """Respond with an error and do nothing."""
    return lambda request, proceed: error(status, code, headers=headers)


class Hang:
    """Never responds. ``arrived`` is set when a request has come."""

    def __init__(self) -> None:
        self.arrived = asyncio.Event()

    async def __call__(self, request: HttpRequest, proceed: Callable[[], HttpResponse]) -> HttpResponse:
        self.arrived.set()
        await asyncio.Event().wait()
        raise AssertionError


def lose_request(request: HttpRequest, proceed: Callable[[], HttpResponse]) -> HttpResponse:
    """Break the connection before the server has received the request."""
    raise TransportError("the connection broke", url=request.url)


def lose_response(request: HttpRequest, proceed: Callable[[], HttpResponse]) -> HttpResponse:
    """Carry out the request, then break the connection before the response arrives."""
    proceed()
    raise TransportError("the connection broke", url=request.url)


def change(*, body: Callable[[bytes], bytes] | None = None, **headers: str | None) -> Do:
    """Carry out the request, but change the response: replace its body and headers; None removes a header."""

    def do(request: HttpRequest, proceed: Callable[[], HttpResponse]) -> HttpResponse:
        response = proceed()
        changed = dict(response.headers)
        for name, value in headers.items():
            changed.pop(name.replace("_", "-"), None)
            if value is not None:
                changed[name.replace("_", "-")] = value
        return replace(response, headers=changed, body=response.body if body is None else body(response.body))

    return do
