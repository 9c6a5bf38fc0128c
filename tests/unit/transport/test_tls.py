from __future__ import annotations

import ssl

import pytest

from cosxfer.transport.tls import not_trusted


@pytest.mark.parametrize("reason", ["certificate has expired", "certificate is not valid for '127.0.0.1'."])
def test_why_a_certificate_is_not_trusted_is_one_sentence_whichever_way_openssl_says_it(reason: str) -> None:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = reason
    assert f"not trusted: {reason.removesuffix('.')}. Pass the file" in not_trusted(error)
