from __future__ import annotations

import ssl

import pytest

from cosxfer.transport.tls import not_trusted


@pytest.mark.parametrize("reason", ["certificate has expired", "certificate is not valid for '127.0.0.1'."])
def test_the_reason_for_an_untrusted_certificate_is_one_sentence_in_every_openssl(reason: str) -> None:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = reason
    assert f"not trusted: {reason.removesuffix('.')}. Pass the file" in not_trusted(error)
