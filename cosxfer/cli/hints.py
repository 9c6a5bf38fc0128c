"""Checks after a failure that find the probable cause for the message."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from cosxfer.client import Client
from cosxfer.cos.endpoint import Endpoint, resolve_endpoint
from cosxfer.errors import ConnectError, CosxferError, ServerError, TransportError, UploadError
from cosxfer.transport.tls import only_tls_message

PROBE_SECONDS = 3.0

_NGINX_SAYS = "The plain HTTP request was sent to HTTPS port"


@contextmanager
def with_hint(client: Client, bucket: str) -> Iterator[None]:
    """Replace an error of the block by its probable cause, if that is found."""
    try:
        yield
    except CosxferError as error:
        if meant := only_tls(client, bucket, error):
            raise meant from error
        raise


def only_tls(client: Client, bucket: str, error: Exception) -> ConnectError | None:
    """Return an error if plain HTTP was sent to a TLS port, else None. Tries a handshake if in doubt."""
    if not _may_be_tls(error):
        return None
    endpoint = resolve_endpoint(client.config.endpoint, bucket=bucket, region=client.config.region)
    if endpoint.scheme != "http" or not (_NGINX_SAYS in str(error) or _speaks_tls(endpoint)):
        return None
    return ConnectError(only_tls_message(endpoint.where), permanent=True)


def _may_be_tls(error: BaseException) -> bool:
    """Whether plain HTTP at a TLS port may cause this error: some servers return 400, others nothing or garbage."""
    if isinstance(error, UploadError) and error.upload_id:
        return False  # the server has accepted a request before
    if isinstance(error, ServerError):
        return error.status == 400 and not error.code
    return isinstance(error, TransportError) and not isinstance(error, ConnectError)


def _speaks_tls(endpoint: Endpoint) -> bool:
    """Try a TLS handshake and send nothing over it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((endpoint.host, endpoint.port), timeout=PROBE_SECONDS) as sock,
            context.wrap_socket(sock, server_hostname=endpoint.host),
        ):
            return True
    except (OSError, ValueError):
        return False
