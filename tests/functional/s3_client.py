"""A small client of S3 with a signature of its own, so that the server's is checked against another implementation."""

from __future__ import annotations

import hashlib
import hmac
import http.client
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from urllib.parse import quote, urlencode, urlsplit

from cosxfer.server import RunningServer

REGION = "ap-guangzhou"
EMPTY = hashlib.sha256(b"").hexdigest()


def mac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


class S3Client:
    def __init__(self, server: RunningServer, *, secret_key: str = "", now: datetime | None = None) -> None:
        self.server = server
        self.secret_id = server.credentials.secret_id
        self.secret_key = secret_key or server.credentials.secret_key
        moment = now or datetime.now(UTC)
        self.time = moment.strftime("%Y%m%dT%H%M%SZ")
        self.scope = f"{self.time[:8]}/{REGION}/s3/aws4_request"
        self.key = f"AWS4{self.secret_key}".encode()
        for part in self.scope.split("/"):
            self.key = mac(self.key, part)
        self.signature = ""
        """That of the last request."""

    @property
    def host(self) -> str:
        return urlsplit(self.server.url).netloc

    def path(self, key: str) -> str:
        return quote(f"/{self.server.bucket}/{key}" if key else f"/{self.server.bucket}", safe="/-_.~")

    def sign(self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], payload: str) -> str:
        canonical = [
            method,
            path,
            "&".join(sorted(urlencode({n: v}, quote_via=quote, safe="-_.~") for n, v in query.items())),
        ]
        canonical += [f"{name}:{value}" for name, value in sorted(headers.items())]
        canonical += ["", ";".join(sorted(headers)), payload]
        digest = hashlib.sha256("\n".join(canonical).encode()).hexdigest()
        self.signature = mac(self.key, f"AWS4-HMAC-SHA256\n{self.time}\n{self.scope}\n{digest}").hex()
        return self.signature

    def send(
        self,
        method: str,
        key: str = "",
        body: bytes | Iterable[bytes] = b"",
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        payload: str = "UNSIGNED-PAYLOAD",
    ) -> tuple[int, dict[str, str], bytes]:
        path, query = self.path(key), query or {}
        signed = {"host": self.host, "x-amz-date": self.time, "x-amz-content-sha256": payload, **(headers or {})}
        signature = self.sign(method, path, query, signed, payload)
        credential = f"Credential={self.secret_id}/{self.scope}"
        names = f"SignedHeaders={';'.join(sorted(signed))}"
        authorization = f"AWS4-HMAC-SHA256 {credential}, {names}, Signature={signature}"
        return self.exchange(method, path, query, {**signed, "authorization": authorization}, body)

    def presigned(self, method: str, key: str, *, expires: int = 60) -> tuple[str, dict[str, str]]:
        query = {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": f"{self.secret_id}/{self.scope}",
            "X-Amz-Date": self.time,
            "X-Amz-Expires": str(expires),
            "X-Amz-SignedHeaders": "host",
        }
        signature = self.sign(method, self.path(key), query, {"host": self.host}, "UNSIGNED-PAYLOAD")
        return self.path(key), {**query, "X-Amz-Signature": signature}

    def exchange(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes | Iterable[bytes] = b"",
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(self.host, timeout=30)
        try:
            target = f"{path}?{urlencode(query, quote_via=quote, safe='-_.~')}" if query else path
            connection.request(method, target, body=body, headers=dict(headers))
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return response.status, found, response.read()
        finally:
            connection.close()
