"""A certificate for this machine's names, from an authority that exists for one server only."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

NAMES = ("localhost", "*.localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """PEM files."""

    ca_file: Path
    cert_file: Path
    key_file: Path


def make_certificate(directory: Path, *, host: str) -> Certificate:
    """Write ``ca.pem``, ``server.pem`` and ``server.key`` into ``directory``; the key is readable by its owner only."""
    import trustme

    names = NAMES if host in (*NAMES, "0.0.0.0", "::") else (*NAMES, host)  # noqa: S104 (compared, not bound)
    authority = trustme.CA(organization_name="cosxfer server")
    issued = authority.issue_cert(*names)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)
    made = Certificate(
        ca_file=directory / "ca.pem", cert_file=directory / "server.pem", key_file=directory / "server.key"
    )
    authority.cert_pem.write_to_path(str(made.ca_file))
    made.cert_file.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    made.key_file.unlink(missing_ok=True)
    fd = os.open(made.key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(issued.private_key_pem.bytes())
    return made
