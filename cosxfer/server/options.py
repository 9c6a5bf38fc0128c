"""How a server is set up."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cosxfer.cos.identifiers import check_bucket, check_region
from cosxfer.credentials import Credentials
from cosxfer.errors import CosxferError, UsageError

DEFAULT_BUCKET = "examplebucket-1250000000"
DEFAULT_REGION = "ap-guangzhou"


class ServerStartError(CosxferError):
    """The server could not start: its port is taken, its directory cannot be used."""


@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """Everything has a default: a server on a free port with one bucket, whose objects vanish when it stops."""

    root: Path | str | None = None
    """Where buckets, objects and uploads are kept; None: a temporary directory."""
    buckets: Sequence[str] = (DEFAULT_BUCKET,)
    """Made when they are missing. Those that ``root`` already has stay."""
    host: str = "127.0.0.1"
    port: int = 0
    """0: a free one."""
    region: str = DEFAULT_REGION
    """Only reported; a request's host may name any region."""
    secret_id: str | None = None
    """Made up where it is None, and so is the secret key."""
    secret_key: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    """Makes the key a temporary one: requests must carry this token."""
    more_credentials: Sequence[Credentials] = ()
    """Accepted as well; one with ``expires_at`` in the past answers ExpiredToken."""
    allow_anonymous: bool = False
    """Answer requests without a signature too."""
    tls: bool = False
    """HTTPS with a certificate of an authority made for this server."""
    discard: bool = False
    """Keep nothing and check nothing: a sink for benchmarks."""
    fault_script: Path | str | None = None
    """A JSON file with rules, see docs/server.md."""
    clock_offset_seconds: float = 0.0
    """The server's clock is ahead of this machine's by so much."""

    def __post_init__(self) -> None:
        for name, value in (("root", self.root), ("host", self.host)):
            # Else it would be the current directory, or every address of this machine.
            if value == "":
                raise UsageError(f"{name} is empty; leave it out for the default", name=name, value=value)
        if isinstance(self.buckets, str) or not self.buckets:
            raise UsageError("buckets must be a list with at least one name", name="buckets", value=self.buckets)
        for bucket in self.buckets:
            check_bucket(bucket)
        check_region(self.region)
        if isinstance(self.port, bool) or not isinstance(self.port, int) or not 0 <= self.port <= 65535:
            raise UsageError(f"port is {self.port!r}; it must be from 0 to 65535", name="port", value=self.port)
        if (self.secret_id is None) != (self.secret_key is None):
            raise UsageError("give both secret_id and secret_key, or none of them", name="secret_key")
        if self.discard and self.fault_script is not None:
            raise UsageError("discard answers without looking; it has no fault script", name="fault_script")


def credentials_of(options: ServerOptions) -> Credentials:
    """The access key of ``options``; call it once, a missing one is made up anew each time."""
    return Credentials(
        secret_id=options.secret_id or f"AKID{secrets.token_hex(16)}",
        secret_key=options.secret_key or secrets.token_hex(16),
        token=options.token,
    )
