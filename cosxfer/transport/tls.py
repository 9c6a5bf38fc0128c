"""The TLS settings of a client, the same for each transport."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from cosxfer.config import ClientConfig
from cosxfer.errors import UsageError

_CERTIFICATE_WANTED = (
    "the server demands a client certificate: give verify= an ssl.SSLContext that has loaded one (load_cert_chain)"
)
_CERTIFICATE_REFUSED = "the server does not accept the client certificate"
_NO_COMMON_VERSION = "the server and we have no version of TLS in common"
_REFUSALS = {
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": _CERTIFICATE_WANTED,
    # What TLS 1.2 says of a client certificate that is missing is said of other things too.
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "the server refused the handshake: it may demand a client certificate (verify= an "
    "ssl.SSLContext that has loaded one), or have no cipher in common with us",
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
    "TLSV1_ALERT_NO_APPLICATION_PROTOCOL": "the server does not speak the version of HTTP that is asked for",
}


def refusal(said: str) -> str:
    """What an error of OpenSSL's means where trying again cannot help; empty for all others.

    ``said`` is its text, as the ssl module or as OpenSSL itself puts it. TLS 1.3 refuses a client's certificate after
    the handshake: then it is what reading or writing ends with.
    """
    text = said.upper().replace(" ", "_")
    return next((f"{meaning} [{name}]" for name, meaning in _REFUSALS.items() if name in text), "")


def context_of(config: ClientConfig) -> ssl.SSLContext:
    """The context that ``config.verify`` stands for; a caller's own is returned as it is.

    By default the authorities are those of ``SSL_CERT_FILE`` or ``SSL_CERT_DIR`` where set and not empty, else
    certifi's. A caller's context without a check of the host's name or of the certificate is the caller's decision.
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
        # OpenSSL takes a folder that is not there for one without authorities, and Python both for the usual ones.
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


TLS_ALERT = "the answer is an alert of TLS"
"""What the native parser says of an answer to plain HTTP from a port for TLS."""


def only_tls_message(where: str) -> str:
    """What is said of such a port."""
    return f"cannot connect to {where}: it speaks TLS. Is its address https://{where}, with an s?"


def not_trusted(error: ssl.SSLCertVerificationError) -> str:
    """What is said of a certificate that failed its check."""
    reason = error.verify_message.rstrip(".")  # some of OpenSSL's reasons are sentences
    return f"its certificate is not trusted: {reason}. Name the file of its certificate authority (verify=…, --ca-file)"


def no_tls(error: BaseException) -> bool:
    """Whether a handshake failed because what came back is no TLS at all: plain HTTP, most often."""
    return isinstance(error, ssl.SSLError) and error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST")


def no_tls_message(where: str, *, through: str = "") -> str:
    """What is said of it; ``through`` names the proxy between."""
    return f"cannot connect to {where}{through}: it does not speak TLS. Is its address http://{where}, without the s?"
