"""The TLS settings of a client, the same for each transport."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from cosxfer.config import ClientConfig
from cosxfer.errors import UsageError


def context_of(config: ClientConfig) -> ssl.SSLContext:
    """The context that ``config.verify`` stands for; a caller's own is returned as it is.

    By default the authorities are those of ``SSL_CERT_FILE`` or ``SSL_CERT_DIR`` where set, else certifi's.
    """
    verify = config.verify
    if isinstance(verify, ssl.SSLContext):
        return verify
    if isinstance(verify, str):
        try:
            return ssl.create_default_context(cafile=verify)
        except (OSError, ssl.SSLError) as error:
            raise UsageError(
                f"the file with certificate authorities {verify!r} cannot be used: {error}", name="verify", value=verify
            ) from error
    if not verify:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if file or folder:
        try:
            return ssl.create_default_context(cafile=file or None, capath=folder or None)
        except (OSError, ssl.SSLError) as error:
            name = "SSL_CERT_FILE" if file and not Path(file).is_file() else "SSL_CERT_DIR"
            raise UsageError(f"{name} does not name usable certificate authorities: {error}", name=name) from error
    import certifi  # not needed in the other cases

    return ssl.create_default_context(cafile=certifi.where())


def no_tls(error: BaseException) -> bool:
    """Whether a handshake failed because what came back is no TLS at all: plain HTTP, most often."""
    return isinstance(error, ssl.SSLError) and error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST")


def no_tls_message(where: str) -> str:
    """What is said of it."""
    return f"cannot connect to {where}: it does not speak TLS. Is its address http://{where}, without the s?"
