"""Makes a connected socket, with TLS if asked for. Runs on the caller's event loop."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import time

from cosxfer._native import wire
from cosxfer.cos.endpoint import host_and_port
from cosxfer.errors import ConnectError
from cosxfer.foreign import clean_logger
from cosxfer.records import dataclass
from cosxfer.transport.tcp import addresses, connect_any, ready
from cosxfer.transport.tls import no_tls, no_tls_message, not_trusted, refusal

logger = clean_logger("cosxfer")


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where and how to connect. ``protocols`` are offered by ALPN. Without a ``context`` the first one is used."""

    host: str
    port: int
    context: ssl.SSLContext | None
    protocols: tuple[str, ...]
    """``"h2"``, ``"http/1.1"``."""
    suites: str = ""
    """Cipher suites of TLS 1.3, in the order of preference (``A:B``); empty: those of the context."""

    @property
    def where(self) -> str:
        return host_and_port(self.host, self.port)


async def connect(target: Target, *, timeout_seconds: float) -> tuple[socket.socket, bool]:
    """Return a non-blocking socket (with TLS an ``ssl.SSLSocket``) and whether it speaks HTTP/2.

    Raises `ConnectError`.
    """
    where = target.where
    began = time.monotonic()
    try:
        async with asyncio.timeout(timeout_seconds):
            sock = await _connect(target)
            if target.context is None:
                logger.debug("connected to %s in %.3f s, without TLS", where, time.monotonic() - began)
                return sock, target.protocols[0] == "h2"
            secure = await _secure(sock, target.context, target)
    except TimeoutError as error:
        raise ConnectError(f"cannot connect to {where}: no response in {timeout_seconds:g} s") from error
    except ssl.SSLCertVerificationError as error:
        raise ConnectError(f"cannot connect to {where}: {not_trusted(error)}", permanent=True) from error
    except (OSError, UnicodeError) as error:
        if no_tls(error):
            raise ConnectError(no_tls_message(where), permanent=True) from error
        final = refusal(str(error))
        raise ConnectError(f"cannot connect to {where}: {final or _reason(error)}", permanent=bool(final)) from error
    chosen = secure.selected_alpn_protocol()
    if "http/1.1" not in target.protocols and chosen != "h2":
        secure.close()
        raise ConnectError(f"cannot connect to {where}: it does not speak HTTP/2", permanent=True)
    logger.debug(
        "connected to %s in %.3f s, %s, %s", where, time.monotonic() - began, secure.version(), chosen or "no ALPN"
    )
    return secure, chosen == "h2"


def _reason(error: OSError | UnicodeError) -> str:
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError | socket.gaierror) and error.errno:
        return os.strerror(error.errno)  # asyncio's own text repeats the address
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


async def _connect(target: Target) -> socket.socket:
    return await connect_any(await addresses(target.host, target.port))


async def _secure(sock: socket.socket, context: ssl.SSLContext, target: Target) -> ssl.SSLSocket:
    """Do the TLS handshake. ALPN is set for this connection only, because other clients may share the context."""
    try:
        # If the connection was reset, ssl would detect that itself and leave its own socket open.
        if broken := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(broken, os.strerror(broken))
        secure = _wrapped(sock, context, target)
        if not wire.offer(secure, target.protocols, target.suites):
            # Only the context can be changed, before the session is made: ALPN, and that an end without close_notify
            # is an error.
            context.set_alpn_protocols(list(target.protocols))
            context.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
            sock = socket.socket(fileno=secure.detach())
            sock.setblocking(False)
            secure = _wrapped(sock, context, target)
    except BaseException:
        sock.close()
        raise
    try:
        while True:
            try:
                secure.do_handshake()
                return secure
            except ssl.SSLWantReadError:
                await ready(secure, reading=True)
            except ssl.SSLWantWriteError:
                await ready(secure, reading=False)
    except BaseException:
        secure.close()
        raise


def _wrapped(sock: socket.socket, context: ssl.SSLContext, target: Target) -> ssl.SSLSocket:
    return context.wrap_socket(
        sock, server_hostname=target.host, do_handshake_on_connect=False, suppress_ragged_eofs=False
    )
