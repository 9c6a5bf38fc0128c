"""Parameters that are not on the SDKs' page: each becomes a header, or a form field, on each call that has it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

import cosxfer
from cosxfer.server import RunningServer, running
from tests.functional.recorder import Recorder

OF_PARTS: dict[str, tuple[Any, str, str]] = {
    "traffic_limit": (838_860_800, "x-cos-traffic-limit", "838860800"),
    "sse_customer_algorithm": ("AES256", "x-cos-server-side-encryption-customer-algorithm", "AES256"),
    "sse_customer_key": ("a2V5", "x-cos-server-side-encryption-customer-key", "a2V5"),
    "sse_customer_key_md5": ("bWQ1", "x-cos-server-side-encryption-customer-key-md5", "bWQ1"),
    "headers": ({"X-Cos-Mime-Limit": "image/*"}, "x-cos-mime-limit", "image/*"),
}
OF_OBJECTS: dict[str, tuple[Any, str, str]] = {
    **OF_PARTS,
    "server_side_encryption": ("cos/kms", "x-cos-server-side-encryption", "cos/kms"),
    "sse_kms_key_id": ("id", "x-cos-server-side-encryption-cos-kms-key-id", "id"),
    "sse_context": ("e30=", "x-cos-server-side-encryption-context", "e30="),
}
CALLS: dict[str, Callable[..., Any]] = {
    "put_object": lambda client, bucket, **given: client.put_object(bucket, "k", b"a", **given),
    "append_object": lambda client, bucket, **given: client.append_object(bucket, "k", b"a", position=0, **given),
    "multipart_init": lambda client, bucket, **given: client.multipart_init(bucket, "k", **given),
    "post_object": lambda client, bucket, **given: client.post_object(bucket, "k", b"a", **given),
    "multipart_upload": lambda client, bucket, **given: client.multipart_upload(
        bucket, "k", b"a", upload_id="none", part_number=1, **given
    ),
}


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running() as server:
        yield server


@pytest.fixture(scope="module")
def recorder(server: RunningServer) -> Iterator[Recorder]:
    with Recorder(server.port) as recorder:
        yield recorder


@pytest.fixture
def client(server: RunningServer, recorder: Recorder) -> Iterator[cosxfer.Client]:
    recorder.clear()
    endpoint = f"http://127.0.0.1:{recorder.port}/{{bucket}}"
    with cosxfer.Client(endpoint=endpoint, credentials=server.credentials, max_attempts=1) as client:
        yield client


@pytest.mark.parametrize("call", CALLS)
def test_each_parameter_is_sent_as_its_header(
    client: cosxfer.Client, server: RunningServer, recorder: Recorder, call: str
) -> None:
    parameters = OF_PARTS if call == "multipart_upload" else OF_OBJECTS
    # This server has no keys of customers and says so; what it received is looked at.
    with suppress(cosxfer.ServerError):
        CALLS[call](client, server.bucket, **{name: value for name, (value, _, _) in parameters.items()})
    request = recorder.requests()[0]
    for name, (_, header, expected) in parameters.items():
        if call == "post_object":
            assert f'name="{header}"\r\n\r\n{expected}\r\n'.encode() in request.body, name
        else:
            assert request.headers.get(header) == expected, name


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "wrong",
    [
        {"traffic_limit": 819_199},
        {"traffic_limit": "819200"},
        {"headers": {"Host": "elsewhere"}},
        {"headers": {"Content-Length": "1"}},
        {"headers": {"x-cos-a": "b\r\nx-cos-c: d"}},
        {"sse_customer_key": 5},
        {"expect": "the unexpected"},
        {"nonsense": "x"},
    ],
)
def test_what_can_never_work_is_refused_before_anything_is_sent(
    client: cosxfer.Client, server: RunningServer, recorder: Recorder, call: str, wrong: dict[str, Any]
) -> None:
    with pytest.raises(cosxfer.UsageError):
        CALLS[call](client, server.bucket, **wrong)
    assert recorder.requests() == []


def test_what_describes_the_object_is_no_parameter_of_a_part(client: cosxfer.Client, server: RunningServer) -> None:
    with pytest.raises(cosxfer.UsageError, match="belongs to multipart_init"):
        CALLS["multipart_upload"](client, server.bucket, acl="private")
