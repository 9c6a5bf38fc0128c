"""Creates a certificate for this machine's names, from an authority that is generated for one server."""

from __future__ import annotations

from pathlib import Path

from cosxfer.records import dataclass
from cosxfer.server.store.files import write_private

NAMES = ("localhost", "*.localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """PEM files."""

    ca_file: Path
    cert_file: Path
    key_file: Path


def make_certificate(directory: Path, *, host: str) -> Certificate:
    """Write ``ca.pem``, ``server.pem`` and ``server.key`` into ``directory``, readable by the owner only."""
    import trustme

    names = NAMES if host in (*NAMES, "0.0.0.0", "::") else (*NAMES, host)  # noqa: S104 (compared, not bound)
    authority = trustme.CA(organization_name="cosxfer server")
    issued = authority.issue_cert(*names)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)
    made = Certificate(
        ca_file=directory / "ca.pem", cert_file=directory / "server.pem", key_file=directory / "server.key"
    )
    write_private(made.ca_file, authority.cert_pem.bytes())
    write_private(made.cert_file, b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    write_private(made.key_file, issued.private_key_pem.bytes())
    return made
