"""Turns a request of S3 into one of COS, and the response back (source: product page 436/41284)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from cosxfer.credentials import Credentials
from cosxfer.server.authentication import check_token, credentials_of
from cosxfer.server.body import Receive
from cosxfer.server.http import CosError, Query, Request
from cosxfer.server.s3 import signature
from cosxfer.server.s3.payload import Payload

_THEIRS, _OURS = "x-amz-", "x-cos-"
_OF_TRANSPORT = ("x-amz-date", "x-amz-content-sha256", "x-amz-decoded-content-length", "x-amz-trailer")
_NOT_RENAMED = frozenset({"x-cos-hash-crc64ecma", "x-cos-request-id", "x-cos-trace-id"})
_CLASSES = {"GLACIER": "ARCHIVE", "REDUCED_REDUNDANCY": "STANDARD"}
_DIRECTIVES = ("x-amz-metadata-directive", "x-amz-tagging-directive")
_STORAGE_CLASS = "x-amz-storage-class"
_COPY_SOURCE = "x-amz-copy-source"


class Face:
    """One request of S3."""

    def __init__(self, request: Request, *, raw_path: str, raw_query: str, receive: Receive) -> None:
        self._request = request
        self._raw_path = raw_path
        self._raw_query = raw_query
        self.payload = Payload(receive, request.headers)

    def translated(self) -> Request:
        """Return the request of COS."""
        request = self._request
        headers = dict(request.headers)
        if self.payload.is_chunked:
            headers.pop("content-length", None)
            if decoded := headers.get("x-amz-decoded-content-length"):
                headers["content-length"] = decoded
            codings = [one.strip() for one in headers.pop("content-encoding", "").split(",")]
            if kept := ", ".join(one for one in codings if one and one.lower() != "aws-chunked"):
                headers["content-encoding"] = kept
        if request.method in ("PUT", "POST") and headers.get("if-none-match") == "*":
            del headers["if-none-match"]
            headers["x-cos-forbid-overwrite"] = "true"
        for name in [name for name in headers if name.startswith(_THEIRS)]:
            value = headers.pop(name)
            if name == _STORAGE_CLASS:
                value = _CLASSES.get(value.upper(), value)
            elif name in _DIRECTIVES and value.upper() == "REPLACE":
                value = "Replaced"
            elif name == _COPY_SOURCE:
                value = value.replace("+", "%20")  # clients encode it as a form, and a plus is %2B there
            if name not in _OF_TRANSPORT and (value or name != "x-amz-acl"):  # s3fs sends an empty one
                headers[_OURS + name.removeprefix(_THEIRS)] = value
        query = {
            name: value for name, value in request.query.items() if name != "x-id" and not name.startswith("X-Amz-")
        }
        return replace(request, headers=headers, query=Query(query.items(), ambiguous=request.query.ambiguous))

    def operation(self, operation: str) -> str:
        """Return the operation that S3 has in place of one of COS."""
        second = operation == "list_objects" and self._request.query.get("list-type") == "2"
        return "list_objects_v2" if second else operation

    def authenticate(self, keys: Mapping[str, Credentials]) -> Credentials | None:
        """Return the credentials that signed the request, None if it is not signed. Raises `CosError`."""
        request = self._request
        self.payload.check()
        found = signature.parse(request.headers, request.query)
        if found is None:
            return None
        if request.query.ambiguous:
            raise CosError("SignatureDoesNotMatch", "A parameter is repeated.")
        credentials = credentials_of(found.secret_id, keys)
        found.check_time(request.now)
        token = request.headers.get("x-amz-security-token") or request.query.get("X-Amz-Security-Token")
        check_token(token, credentials, now=request.now, name="x-amz-security-token")
        if not found.matches(
            secret_key=credentials.secret_key,
            method=request.method,
            paths=signature.signed_paths(self._raw_path),
            pairs=signature.signed_pairs(self._raw_query),
            headers=request.headers,
        ):
            raise CosError(
                "SignatureDoesNotMatch",
                "The signature does not match: check the secret key, the signed path, headers and parameters.",
            )
        self.payload.signed_by(found, credentials.secret_key)
        return credentials

    def error(self, error: CosError) -> CosError:
        """Return the error that S3 has for one of COS."""
        asked = self._request.headers.get("if-none-match") == "*"
        if error.code == "FileAlreadyExists" and asked:
            return CosError("PreconditionFailed", "At least one of the pre-conditions you specified did not hold.")
        return error

    @staticmethod
    def response_headers(headers: Mapping[str, str]) -> dict[str, str]:
        """Return the headers of a response with the names of S3."""
        named: dict[str, str] = {}
        for name, value in headers.items():
            if name.startswith(_OURS) and name not in _NOT_RENAMED:
                named[_THEIRS + name.removeprefix(_OURS)] = value
            else:
                named[name] = value
        if named.get(_STORAGE_CLASS) == "ARCHIVE":
            named[_STORAGE_CLASS] = "GLACIER"
        named["x-amz-request-id"] = headers.get("x-cos-request-id", "")
        return named


def is_s3(headers: Mapping[str, str], query: Mapping[str, str]) -> bool:
    """Whether a request is one of S3: by its signature, a header or a parameter that only S3 has."""
    if headers.get("authorization", "").startswith("q-") or "q-signature" in query:
        return False
    return (
        signature.is_signed(headers, query) or "list-type" in query or any(name.startswith(_THEIRS) for name in headers)
    )
