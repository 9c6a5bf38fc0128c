"""``cosxfer serve``: runs the embedded server until a signal stops it."""

from __future__ import annotations

from pathlib import Path

from cosxfer.cli.output import say
from cosxfer.server import ServerOptions, serve
from cosxfer.server.options import DEFAULT_BUCKET


def run(
    *,
    root: Path | None,
    buckets: list[str],
    host: str,
    port: int,
    secret_id: str | None,
    secret_key: str | None,
    tls: bool,
    discard: bool,
    checksum: bool,
    fault_script: Path | None,
) -> None:
    """Serve until SIGINT or SIGTERM. Both end the server cleanly."""
    serve(
        ServerOptions(
            root=root,
            buckets=buckets or (DEFAULT_BUCKET,),
            host=host,
            port=port,
            secret_id=secret_id,
            secret_key=secret_key,
            tls=tls,
            discard=discard,
            checksum=checksum,
            fault_script=fault_script,
        ),
        say=say,
    )
