"""The body of an S3 request: takes off the chunks of ``aws-chunked``, and checks digests and the signatures of chunks.

Source: "Signature calculations for the authorization header: transferring payload in multiple chunks" of Amazon S3.
"""

from __future__ import annotations

import base64
import hmac
import re
import zlib
from collections.abc import Callable, Mapping
from hashlib import sha1, sha256
from typing import Any, Protocol

from cosxfer.server.body import Receive
from cosxfer.server.http import CosError
from cosxfer.server.s3.signature import EMPTY_SHA256, UNSIGNED, Signature

STREAMING = "STREAMING-"
_SIGNED_CHUNKS = f"{STREAMING}AWS4-HMAC-SHA256-PAYLOAD"
_KINDS = (_SIGNED_CHUNKS, f"{_SIGNED_CHUNKS}-TRAILER", f"{STREAMING}UNSIGNED-PAYLOAD-TRAILER")
_HEX_DIGEST = re.compile(r"[\da-f]{64}", re.ASCII)
_CHUNK_HEAD = re.compile(rb"([\da-fA-F]{1,15})(?:;chunk-signature=([\da-f]{64}))?", re.ASCII)
_MAX_LINE_BYTES = 4096
_MAX_TRAILERS = 16


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def digest(self) -> bytes: ...


class _Crc32:
    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes, /) -> None:
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


_CHECKSUM = "x-amz-checksum-"
_ALGORITHMS: dict[str, Callable[[], _Hash]] = {"crc32": _Crc32, "sha1": sha1, "sha256": sha256}
_WORDS = (f"{_CHECKSUM}algorithm", f"{_CHECKSUM}mode", f"{_CHECKSUM}type")
"""Headers that are no checksums."""


class Payload:
    """Receives the body of one request, and raises `CosError` if it is not what its head announces."""

    def __init__(self, receive: Receive, headers: Mapping[str, str]) -> None:
        self._receive = receive
        kind = headers.get("x-amz-content-sha256", "")
        self.is_chunked = kind.startswith(STREAMING)
        self._kind = kind
        self._expected = kind if _HEX_DIGEST.fullmatch(kind) else None
        self._sha256 = sha256()
        self._checksums = _checksums(headers)
        self._hashes = {name: _ALGORITHMS[name]() for name in self._checksums if name in _ALGORITHMS}
        self._signing: tuple[Signature, bytes] | None = None
        self._buffer = bytearray()
        self._left = 0
        """Bytes of the chunk that have not come yet."""
        self._chunk_signature = b""
        self._state = "head" if self.is_chunked else "plain"
        self._refused = False
        self._before = ""
        self._trailers: list[bytes] = []

    @property
    def is_proven(self) -> bool:
        """Whether a digest of the whole body is checked, so that Content-MD5 is not needed."""
        return self._expected is not None or bool(self._checksums) or self._kind.startswith(_SIGNED_CHUNKS)

    def check(self) -> None:
        """Refuse what this server cannot check; before the body is read."""
        if self.is_chunked and self._kind not in _KINDS:
            raise CosError("NotImplemented", f"This server does not implement x-amz-content-sha256: {self._kind}.")
        for name in self._checksums.keys() - self._hashes.keys():
            known = ", ".join(sorted(_ALGORITHMS))
            raise CosError("NotImplemented", f"This server cannot check {_CHECKSUM}{name}; it can check {known}.")
        if not self.is_chunked and self._expected is None and self._kind not in ("", UNSIGNED):
            raise CosError(
                "InvalidArgument", "x-amz-content-sha256 must be a SHA-256, UNSIGNED-PAYLOAD or STREAMING-…."
            )

    def signed_by(self, signature: Signature, secret_key: str) -> None:
        """The head is proven; the chunks are signed with the same key."""
        self._signing = (signature, signature.signing_key(secret_key))
        self._before = signature.value

    async def receive(self) -> Mapping[str, Any]:
        """An ASGI receive channel of the body itself."""
        message = await self._receive()
        if message["type"] != "http.request":
            return message
        more = message.get("more_body", False)
        body = b""
        if not self._refused:  # the rest of a refused body is only drained
            try:
                body = self._take(message.get("body", b""))
                if not more:
                    self._end()
            except CosError:
                self._refused = True
                raise
        return {"type": "http.request", "body": body, "more_body": more}

    def _take(self, data: bytes) -> bytes:
        if not self.is_chunked:
            self._hash(data)
            return data
        self._buffer += data
        taken: list[bytes] = []
        while self._step(taken):
            pass
        return b"".join(taken)

    def _hash(self, data: bytes) -> None:
        if self._expected is not None or self._kind.startswith(_SIGNED_CHUNKS):
            self._sha256.update(data)
        for one in self._hashes.values():
            one.update(data)

    def _step(self, taken: list[bytes]) -> bool:
        """Take one element of the chunked body from the buffer. Returns False if it has not come completely."""
        if self._state == "data":
            data = bytes(self._buffer[: self._left])
            del self._buffer[: len(data)]
            self._left -= len(data)
            self._hash(data)
            taken.append(data)
            if self._left:
                return False
            self._state = "data end"
            return True
        if self._state == "over":
            if self._buffer:
                raise _broken("bytes follow the last chunk")
            return False
        line = self._line()
        if line is None:
            return False
        if self._state == "data end":
            if line:
                raise _broken("a chunk is longer than it says")
            self._check_chunk()
            self._state = "head"
        elif self._state == "head":
            self._begin(line)
        elif not line:
            self._state = "over"
        else:
            self._trailer(line)
        return True

    def _line(self) -> bytes | None:
        at = self._buffer.find(b"\r\n")
        if at < 0 and len(self._buffer) <= _MAX_LINE_BYTES:
            return None
        if not 0 <= at <= _MAX_LINE_BYTES:
            raise _broken("a line is too long")
        line = bytes(self._buffer[:at])
        del self._buffer[: at + 2]
        return line

    def _begin(self, line: bytes) -> None:
        found = _CHUNK_HEAD.fullmatch(line)
        if found is None:
            raise _broken("the head of a chunk is malformed")
        self._left, self._chunk_signature = int(found[1], 16), found[2] or b""
        if self._left:
            self._state = "data"
            return
        self._check_chunk()
        self._state = "trailer"

    def _check_chunk(self) -> None:
        if not self._kind.startswith(_SIGNED_CHUNKS):
            return
        hashed, self._sha256 = self._sha256.hexdigest(), sha256()
        if self._signing is None:
            return  # an anonymous request
        signature, key = self._signing
        text = "\n".join(
            ["AWS4-HMAC-SHA256-PAYLOAD", signature.time, signature.scope, self._before, EMPTY_SHA256, hashed]
        )
        self._before = hmac.digest(key, text.encode(), "sha256").hex()
        if not hmac.compare_digest(self._before.encode(), self._chunk_signature):
            raise CosError("SignatureDoesNotMatch", "The signature of a chunk does not match.")

    def _trailer(self, line: bytes) -> None:
        name, colon, value = line.partition(b":")
        if not colon or len(self._trailers) == _MAX_TRAILERS:
            raise _broken("its trailers are malformed")
        lower = name.strip().lower().decode("latin-1")
        if lower == "x-amz-trailer-signature":
            self._check_trailer_signature(value.strip())
            return
        self._trailers.append(line)
        algorithm = lower.removeprefix(_CHECKSUM)
        if lower.startswith(_CHECKSUM) and algorithm in self._checksums:
            self._checksums[algorithm] = value.strip().decode("latin-1")

    def _check_trailer_signature(self, value: bytes) -> None:
        if self._signing is None:
            return
        signature, key = self._signing
        lines = b"".join(line + b"\n" for line in self._trailers)
        hashed = sha256(lines).hexdigest()
        text = "\n".join(["AWS4-HMAC-SHA256-TRAILER", signature.time, signature.scope, self._before, hashed])
        if not hmac.compare_digest(hmac.digest(key, text.encode(), "sha256").hex().encode(), value):
            raise CosError("SignatureDoesNotMatch", "The signature of the trailers does not match.")

    def _end(self) -> None:
        """The body is complete."""
        if self.is_chunked and self._state not in ("over", "trailer"):
            raise CosError("IncompleteBody", "The chunked body ended before its last chunk.")
        if self._expected is not None and self._sha256.hexdigest() != self._expected:
            raise CosError("XAmzContentSHA256Mismatch", "The SHA-256 of the body is not x-amz-content-sha256.")
        for name, one in self._hashes.items():
            if base64.b64encode(one.digest()).decode() != self._checksums[name]:
                raise CosError("BadDigest", f"The {name.upper()} you specified did not match what we received.")


def _checksums(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the checksums that the request announces, by algorithm; empty values come in a trailer."""
    found = {name: value for name, value in headers.items() if name.startswith(_CHECKSUM) and name not in _WORDS}
    found |= {name.strip().lower(): "" for name in headers.get("x-amz-trailer", "").split(",") if name.strip()}
    return {name.removeprefix(_CHECKSUM): value for name, value in found.items() if name.startswith(_CHECKSUM)}


def _broken(why: str) -> CosError:
    return CosError("InvalidRequest", f"The body is not valid aws-chunked: {why}.")
