"""What the command finds out after a failure, so that its message can say what was probably wrong."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from cosxfer.client import Client
from cosxfer.cos.endpoint import resolve_endpoint
from cosxfer.errors import ConnectError, CosxferError, ServerError, TransportError

PROBE_SECONDS = 3.0


@contextmanager
def with_hint(client: Client, bucket: str) -> Iterator[None]:
    """Add to an error of the block what was probably wrong."""
    try:
        yield
    except CosxferError as error:
        if hint := tls_hint(client, bucket, error):
            error.add_note(hint)
        raise


def tls_hint(client: Client, bucket: str, error: Exception) -> str:
    """A sentence where plain HTTP was sent to a server that speaks TLS, or nothing. Asks the server if in doubt."""
    if not any(_may_be_tls(failure) for failure in (error, error.__cause__)):
        return ""
    endpoint = resolve_endpoint(client.config.endpoint, bucket=bucket, region=client.config.region)
    if endpoint.scheme != "http" or not _speaks_tls(endpoint.host, endpoint.port):
        return ""
    return f"The server speaks TLS; is its address https://{endpoint.host}:{endpoint.port}, with an s?"


def _may_be_tls(error: BaseException | None) -> bool:
    """Whether that is how plain HTTP fails at a port for TLS: 400 from some servers, nothing or garbage from others."""
    if isinstance(error, ServerError):
        return error.status == 400 and not error.code
    return isinstance(error, TransportError) and not isinstance(error, ConnectError)


def _speaks_tls(host: str, port: int) -> bool:
    """Try a handshake; nothing is sent over it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((host, port), timeout=PROBE_SECONDS) as sock,
            context.wrap_socket(sock, server_hostname=host),
        ):
            return True
    except (OSError, ValueError):
        return False
