"""Parameters that are not on the SDKs' page: each becomes a header, or a form field, on each call that has it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import cosxfer
from cosxfer.server import RunningServer
from tests.functional.recorder import Recorder

ID, CONTEXT = "48ba38aa-26c5-11ea-855c-525400850000", "eyJhIjoiYiJ9"
KEY, KEY_MD5 = "MDEyMzQ1Njc4OUFCQ0RFRjAxMjM0NTY3ODlBQkNERUY=", "U5L61r7jcwdNvT7frmUG8g=="
SSE = "x-cos-server-side-encryption"

Parameters = dict[str, tuple[Any, str, str]]
"""By parameter name: the argument, the header, and its expected value."""

OF_PARTS: Parameters = {
    "traffic_limit": (838_860_800, "x-cos-traffic-limit", "838860800"),
    "headers": ({"X-Cos-Mime-Limit": "image/*"}, "x-cos-mime-limit", "image/*"),
}
BY_COS: Parameters = {"server_side_encryption": ("AES256", SSE, "AES256")}
BY_KMS: Parameters = {
    "server_side_encryption": ("cos/kms", SSE, "cos/kms"),
    "sse_kms_key_id": (ID, f"{SSE}-cos-kms-key-id", ID),
    "sse_context": (CONTEXT, f"{SSE}-context", CONTEXT),
}
BY_CUSTOMER: Parameters = {
    "sse_customer_algorithm": ("AES256", f"{SSE}-customer-algorithm", "AES256"),
    "sse_customer_key": (KEY, f"{SSE}-customer-key", KEY),
    "sse_customer_key_md5": (KEY_MD5, f"{SSE}-customer-key-md5", KEY_MD5),
}
CALLS: dict[str, Callable[..., Any]] = {
    "put_object": lambda client, bucket, **given: client.put_object(bucket, "k", b"a", **given),
    "append_object": lambda client, bucket, **given: client.append_object(
        bucket, "appended", b"a", position=0, **given
    ),
    "multipart_init": lambda client, bucket, **given: client.multipart_init(bucket, "k", **given),
    "post_object": lambda client, bucket, **given: client.post_object(bucket, "k", b"a", **given),
    "multipart_upload": lambda client, bucket, **given: client.multipart_upload(
        bucket, "k", b"a", upload_id="none", part_number=1, **given
    ),
}


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


REFUSALS = {
    # The upload does not exist, appendable objects take no encryption, and customer keys need TLS.
    ("multipart_upload", "plain"): "NoSuchUpload",
    ("multipart_upload", "by a customer's key"): "NoSuchUpload",
    ("append_object", "by COS"): "SSEHeaderNotAllowed",
    ("append_object", "by the KMS"): "SSEHeaderNotAllowed",
    ("append_object", "by a customer's key"): "SSEHeaderNotAllowed",
    ("put_object", "by a customer's key"): "InvalidRequest",
    ("multipart_init", "by a customer's key"): "InvalidRequest",
    ("post_object", "by a customer's key"): "InvalidRequest",
}
GIVEN: dict[str, Parameters] = {
    "plain": OF_PARTS,
    "by COS": OF_PARTS | BY_COS,
    "by the KMS": OF_PARTS | BY_KMS,
    "by a customer's key": OF_PARTS | BY_CUSTOMER,
}


@pytest.mark.parametrize(
    ("call", "encrypted"),
    # Only multipart_init takes the parameters of encryption by COS or KMS.
    [(c, e) for c in CALLS for e in GIVEN if c != "multipart_upload" or e not in ("by COS", "by the KMS")],
)
def test_each_parameter_is_sent_as_its_header(
    client: cosxfer.Client, server: RunningServer, recorder: Recorder, call: str, encrypted: str
) -> None:
    parameters = GIVEN[encrypted]
    code, response = "", {}
    try:
        result = CALLS[call](client, server.bucket, **{name: value for name, (value, _, _) in parameters.items()})
        response = result.headers
    except cosxfer.ServerError as error:
        code = error.code
    assert code == REFUSALS.get((call, encrypted), "")
    request = recorder.requests()[0]
    for name, (_, header, expected) in parameters.items():
        if call == "post_object":
            assert f'name="{header}"\r\n\r\n{expected}\r\n'.encode() in request.body, name
        else:
            assert request.headers.get(header) == expected, name
        if header in (SSE, f"{SSE}-cos-kms-key-id") and not code:
            assert response[header] == expected


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "wrong",
    [
        {"traffic_limit": 819_199},
        {"traffic_limit": "819199"},
        {"headers": {"Host": "elsewhere"}},
        {"headers": {"Content-Length": "1"}},
        {"headers": {"x-cos-a": "b\r\nx-cos-c: d"}},
        {"sse_customer_key": 5},
        {"expect": "the unexpected"},
        {"nonsense": "x"},
    ],
)
def test_invalid_arguments_are_refused_before_anything_is_sent(
    client: cosxfer.Client, server: RunningServer, recorder: Recorder, call: str, wrong: dict[str, Any]
) -> None:
    with pytest.raises(cosxfer.UsageError):
        CALLS[call](client, server.bucket, **wrong)
    assert recorder.requests() == []


def test_a_part_takes_no_parameters_that_describe_the_object(client: cosxfer.Client, server: RunningServer) -> None:
    with pytest.raises(cosxfer.UsageError, match="belong to multipart_init"):
        CALLS["multipart_upload"](client, server.bucket, acl="private")
