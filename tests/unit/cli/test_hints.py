"""Hints that the command adds after a failure."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import cosxfer
from cosxfer.cli.hints import only_tls
from cosxfer.errors import ConnectError, CosxferError, ProtocolError, ServerError, TransportError, UploadError
from cosxfer.server import RunningServer, running


def caused(error: CosxferError) -> CosxferError:
    upload = UploadError("failed")
    upload.__cause__ = error
    return upload


@pytest.fixture(scope="module", params=[True, False], ids=["TLS", "plain"])
def server(request: pytest.FixtureRequest) -> Iterator[RunningServer]:
    with running(tls=request.param) as server:
        yield server


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
def test_plain_http_sent_to_tls_is_recognised(server: RunningServer, error: CosxferError, in_question: bool) -> None:
    endpoint = f"http://127.0.0.1:{server.port}"
    with cosxfer.Client(endpoint=endpoint, secret_id="me", secret_key="mine") as client:
        secure = server.endpoint.startswith("https:")
        assert (only_tls(client, server.bucket, error) is not None) == (secure and in_question)
