"""The options of a server."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import field
from pathlib import Path

from cosxfer.cos.identifiers import check_bucket, check_region
from cosxfer.credentials import Credentials
from cosxfer.errors import CosxferError, UsageError
from cosxfer.records import dataclass

DEFAULT_BUCKET = "examplebucket-1250000000"
DEFAULT_REGION = "ap-guangzhou"


class ServerStartError(CosxferError):
    """The server could not start. For example, its port is in use or its directory cannot be used."""


@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """Options of a server. The default is a free port and one bucket, whose objects vanish when the server stops."""

    root: Path | str | None = None
    """The data directory; None: a temporary directory."""
    buckets: Sequence[str] = (DEFAULT_BUCKET,)
    """Created if missing. Buckets that ``root`` already has stay."""
    host: str = "127.0.0.1"
    port: int = 0
    """0 chooses a free port."""
    region: str = DEFAULT_REGION
    """Only reported; a request's host may name any region."""
    secret_id: str | None = None
    """None generates one, and a secret key."""
    secret_key: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    """Makes the key a temporary one: requests must carry this token."""
    more_credentials: Sequence[Credentials] = ()
    """More accepted keys. A key with ``expires_at`` in the past returns ExpiredToken."""
    allow_anonymous: bool = False
    """Accept requests without a signature too."""
    tls: bool = False
    """HTTPS, with a certificate of an authority that is generated for this server."""
    discard: bool = False
    """Store nothing and check nothing: a sink for benchmarks."""
    checksum: bool = False
    """With ``discard``: compute the CRC64 of what is discarded and return it."""
    fault_script: Path | str | None = None
    """A JSON file with rules, see docs/server.md."""
    clock_offset_seconds: float = 0.0
    """How far the server's clock is ahead of this machine's."""

    def __post_init__(self) -> None:
        for name, value in (("root", self.root), ("host", self.host)):
            # It would mean the current directory, or every address of this machine.
            if value == "":
                raise UsageError(f"{name} is empty; omit it for the default", name=name, value=value)
        if isinstance(self.buckets, str) or not self.buckets:
            raise UsageError("buckets must be a list with at least one name", name="buckets", value=self.buckets)
        for bucket in self.buckets:
            check_bucket(bucket)
        check_region(self.region)
        if isinstance(self.port, bool) or not isinstance(self.port, int) or not 0 <= self.port <= 65535:
            raise UsageError(f"port is {self.port!r}; it must be from 0 to 65535", name="port", value=self.port)
        if (self.secret_id is None) != (self.secret_key is None):
            raise UsageError("give both secret_id and secret_key, or none of them", name="secret_key")
        if self.checksum and not self.discard:
            raise UsageError("checksum is for discard; a server that stores always returns the CRC64", name="checksum")
        if self.discard and self.fault_script is not None:
            raise UsageError("discard and fault_script exclude each other", name="fault_script")


def credentials_of(options: ServerOptions) -> Credentials:
    """Return the access key of ``options``. Call it once: it generates a missing key at each call."""
    return Credentials(
        secret_id=options.secret_id or f"AKID{secrets.token_hex(16)}",
        secret_key=options.secret_key or secrets.token_hex(16),
        token=options.token,
    )
