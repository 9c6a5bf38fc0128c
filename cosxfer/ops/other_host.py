"""The second host name of a bucket, for when COS does not answer at the first one (AutoSwitchHost of the SDKs)."""

from __future__ import annotations

import ssl
import time
from dataclasses import replace

from cosxfer.config import ClientConfig
from cosxfer.cos.endpoint import Endpoint, other_host
from cosxfer.foreign import clean_logger
from cosxfer.transport.proxies import Proxies, Proxy

logger = clean_logger("cosxfer")

SWITCHED_SECONDS = 600.0
"""How long a client goes on with the second name after COS has answered there."""


class HostSwitch:
    """The hosts of one client that are reached by their second name.

    The second name gets only signed requests over TLS with a checked certificate, and only for COS's default hosts
    (`cosxfer.cos.endpoint.other_host`). Its certificate proves that it is COS, as that of the first name does. Both
    names must have the same proxy or none, because the transport was chosen for the first one.
    """

    def __init__(self, config: ClientConfig) -> None:
        self._allowed = config.switch_host and _checks_certificates(config)
        self._proxies = Proxies()
        self.switched: dict[str, float] = {}
        """By the first name: until when the second one is used, by the monotonic clock."""

    def of(self, endpoint: Endpoint) -> Endpoint:
        """Return the endpoint to use for ``endpoint`` now."""
        until = self.switched.get(endpoint.host)
        if until is None:
            return endpoint
        if time.monotonic() < until:
            return self.other(endpoint) or endpoint
        del self.switched[endpoint.host]
        return endpoint

    def other(self, endpoint: Endpoint) -> Endpoint | None:
        """Return ``endpoint`` with its second name; None if it must not be used, or there is none."""
        host = other_host(endpoint) if self._allowed else None
        if host is None or self._proxy(host) != self._proxy(endpoint.host):
            return None
        return replace(endpoint, host=host, authority=host)

    def _proxy(self, host: str) -> Proxy | None:
        return self._proxies.of("https", host, 443)

    def works(self, endpoint: Endpoint) -> None:
        """COS has answered at the second name of ``endpoint``."""
        if endpoint.host not in self.switched:
            logger.warning(
                "COS does not answer at %s; using %s for %.0f minutes (switch_host)",
                endpoint.host,
                other_host(endpoint),
                SWITCHED_SECONDS / 60,
            )
        self.switched[endpoint.host] = time.monotonic() + SWITCHED_SECONDS

    def fails(self, endpoint: Endpoint) -> None:
        """COS has not answered at the name in use: ``endpoint`` is used by its first name again."""
        self.switched.pop(endpoint.host, None)


def is_last_try(attempt: int, max_attempts: int) -> bool:
    """Whether ``attempt`` uses the second name: the last one, and each second one of those that follow it."""
    return attempt >= max(2, max_attempts) and (attempt - max_attempts) % 2 == 0


def _checks_certificates(config: ClientConfig) -> bool:
    if isinstance(config.verify, ssl.SSLContext):
        return config.verify.verify_mode is ssl.CERT_REQUIRED and config.verify.check_hostname
    return config.verify is not False
