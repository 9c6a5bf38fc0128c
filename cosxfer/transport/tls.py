"""The TLS settings of a client, the same for each transport."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from cosxfer.config import ClientConfig
from cosxfer.errors import UsageError

_CERTIFICATE_WANTED = (
    "the server requires a client certificate: pass verify= an ssl.SSLContext that has loaded one (load_cert_chain)"
)
_CERTIFICATE_REFUSED = "the server does not accept the client certificate"
_NO_COMMON_VERSION = "the server supports no TLS version that this client supports"
_REFUSALS = {
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": _CERTIFICATE_WANTED,
    # TLS 1.2 uses this alert for a missing client certificate and for other failures.
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "the server refused the handshake: it may require a client certificate (pass "
    "verify= an ssl.SSLContext that has loaded one), or support no common cipher",
    "SSLV3_ALERT_BAD_CERTIFICATE": _CERTIFICATE_REFUSED,
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": _CERTIFICATE_REFUSED,
    "SSLV3_ALERT_CERTIFICATE_REVOKED": _CERTIFICATE_REFUSED,
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": _CERTIFICATE_REFUSED,
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": _CERTIFICATE_REFUSED,
    "TLSV1_ALERT_UNKNOWN_CA": _CERTIFICATE_REFUSED,
    "TLSV1_ALERT_ACCESS_DENIED": _CERTIFICATE_REFUSED,
    "TLSV1_ALERT_PROTOCOL_VERSION": _NO_COMMON_VERSION,
    "UNSUPPORTED_PROTOCOL": _NO_COMMON_VERSION,
    "NO_PROTOCOLS_AVAILABLE": _NO_COMMON_VERSION,
    "TLSV1_ALERT_NO_APPLICATION_PROTOCOL": "the server does not support the requested HTTP version",
}


def refusal(said: str) -> str:
    """Explain an error of OpenSSL for which a retry cannot help; empty for other errors.

    ``said`` is its text, from the ssl module or from OpenSSL. TLS 1.3 refuses a client certificate after the handshake,
    so a read or write may fail with this error.
    """
    text = said.upper().replace(" ", "_")
    return next((f"{meaning} [{name}]" for name, meaning in _REFUSALS.items() if name in text), "")


def context_of(config: ClientConfig) -> ssl.SSLContext:
    """Return the context for ``config.verify``. A caller's context is returned unchanged, even if it checks nothing.

    By default the authorities are those of ``SSL_CERT_FILE`` or ``SSL_CERT_DIR`` if set and not empty, else certifi's.
    """
    verify = config.verify
    if isinstance(verify, ssl.SSLContext):
        return verify
    if isinstance(verify, str | os.PathLike):
        try:
            return ssl.create_default_context(cafile=verify)
        except (OSError, ssl.SSLError) as error:
            raise UsageError(
                f"the file with certificate authorities {os.fspath(verify)!r} cannot be used: {error}",
                name="verify",
                value=verify,
            ) from error
    if not verify:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if file or folder:
        # OpenSSL treats a missing folder as one without authorities. If both are missing, Python uses the default ones.
        for name, path in (("SSL_CERT_FILE", file), ("SSL_CERT_DIR", folder)):
            if path and not (Path(path).is_file() if name == "SSL_CERT_FILE" else Path(path).is_dir()):
                raise UsageError(f"{name} does not name usable certificate authorities: {path!r} is missing", name=name)
        try:
            return ssl.create_default_context(cafile=file or None, capath=folder or None)
        except (OSError, ssl.SSLError) as error:
            name = "SSL_CERT_FILE" if file and not Path(file).is_file() else "SSL_CERT_DIR"
            raise UsageError(f"{name} does not name usable certificate authorities: {error}", name=name) from error
    import certifi  # not needed in the other cases

    return ssl.create_default_context(cafile=certifi.where())


_FASTEST_SUITE = "TLS_AES_128_GCM_SHA256"


def preferred_suites(context: ssl.SSLContext) -> str:
    """Return the cipher suites of TLS 1.3 in ``context`` (``A:B``), AES-128 first; empty if there is nothing to change.

    OpenSSL prefers AES-256, which needs a tenth more CPU. Browsers and Go prefer AES-128 too. Python can set the suites
    from 3.15 on, and for a whole context only.
    """
    suites = [cipher["name"] for cipher in context.get_ciphers() if cipher["protocol"] == "TLSv1.3"]
    if _FASTEST_SUITE not in suites[1:]:
        return ""  # the system's settings do not allow it, or it is the first one
    return ":".join([_FASTEST_SUITE, *(suite for suite in suites if suite != _FASTEST_SUITE)])


TLS_ALERT = "the response is a TLS alert"
"""The native parser's message for a TLS alert in response to plain HTTP."""


def only_tls_message(where: str) -> str:
    """Return the message for plain HTTP at a TLS port."""
    return f"cannot connect to {where}: it speaks TLS. Is its address https://{where}, with an s?"


def not_trusted(error: ssl.SSLCertVerificationError) -> str:
    """Return the message for an untrusted certificate."""
    reason = error.verify_message.rstrip(".")  # some of OpenSSL's reasons are sentences
    return f"its certificate is not trusted: {reason}. Pass the file of its certificate authority (verify=…, --ca-file)"


def no_tls(error: BaseException) -> bool:
    """Whether a handshake failed because the response is not TLS, usually plain HTTP."""
    return isinstance(error, ssl.SSLError) and error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST")


def no_tls_message(where: str, *, through: str = "") -> str:
    """Return the message for a port without TLS. ``through`` names a proxy."""
    return f"cannot connect to {where}{through}: it does not speak TLS. Is its address http://{where}, without the s?"
