"""Hints that the command adds after a failure."""

from __future__ import annotations

import pytest

import cosxfer
from cosxfer.cli.hints import only_tls
from cosxfer.errors import ConnectError, CosxferError, ProtocolError, ServerError, TransportError, UploadError
from cosxfer.server import running


def caused(error: CosxferError) -> CosxferError:
    upload = UploadError("failed")
    upload.__cause__ = error
    return upload


@pytest.mark.parametrize("tls", [True, False])
@pytest.mark.parametrize(
    ("error", "in_question"),
    [
        (TransportError("the server closed the connection"), True),
        (ProtocolError("the response does not begin with HTTP/1.1"), True),
        (ServerError("bad request", status=400), True),
        # COS had responded before.
        (caused(ProtocolError("the response does not begin with HTTP/1.1")), False),
        (ServerError("no", status=400, code="InvalidArgument"), False),
        (ServerError("no", status=503), False),
        (ConnectError("refused"), False),
    ],
)
def test_plain_http_sent_to_tls_is_recognised(tls: bool, error: CosxferError, in_question: bool) -> None:
    with (
        running(tls=tls) as server,
        cosxfer.Client(endpoint=f"http://127.0.0.1:{server.port}", secret_id="me", secret_key="mine") as client,
    ):
        assert (only_tls(client, server.bucket, error) is not None) == (tls and in_question)
