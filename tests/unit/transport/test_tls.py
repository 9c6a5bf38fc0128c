from __future__ import annotations

import ssl

import pytest

from cosxfer.transport.tls import not_trusted, preferred_suites


@pytest.mark.parametrize("reason", ["certificate has expired", "certificate is not valid for '127.0.0.1'."])
def test_the_reason_for_an_untrusted_certificate_is_one_sentence_in_every_openssl(reason: str) -> None:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = reason
    assert f"not trusted: {reason.removesuffix('.')}. Pass the file" in not_trusted(error)


class Suites:
    """A context with these cipher suites."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def get_ciphers(self) -> list[dict[str, str]]:
        return [{"name": name, "protocol": "TLSv1.3" if name[:4] == "TLS_" else "TLSv1.2"} for name in self.names]


AES_128, AES_256, CHACHA = "TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"


@pytest.mark.parametrize(
    ("names", "preferred"),
    [
        ((AES_256, CHACHA, AES_128, "ECDHE-RSA-AES128-GCM-SHA256"), f"{AES_128}:{AES_256}:{CHACHA}"),
        ((AES_128, AES_256), ""),
        # The system's settings do not allow it.
        ((AES_256, CHACHA), ""),
        (("ECDHE-RSA-AES128-GCM-SHA256",), ""),
        ((), ""),
    ],
)
def test_aes_128_comes_first_if_it_is_allowed(names: tuple[str, ...], preferred: str) -> None:
    assert preferred_suites(Suites(*names)) == preferred  # type: ignore[arg-type]
