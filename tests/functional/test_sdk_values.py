"""Values as the SDKs accept them: numbers as strings of digits, headers as numbers, parts as mappings."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cosxfer
from cosxfer.arguments import warn_unknown_value
from cosxfer.limits import MIB
from cosxfer.server import RunningServer
from tests.unit.test_arguments import CALLS, asynchronous, blocking, clients, parameters  # noqa: F401 # a fixture

NUMBERS = {
    *("content_length", "position", "part_number", "max_parts", "part_number_marker", "max_uploads", "traffic_limit"),
    *("slice_size", "part_size", "async_limit", "expires_seconds", "success_action_status"),
}

NONSENSE = ["12a", "", " 1", "+1", "-1", "1.0", "1_0", "\uff11", "9" * 21, "9" * 5000, -1, 1.0, True, b"1"]


@pytest.mark.parametrize("run", [blocking, asynchronous])
@pytest.mark.parametrize(
    ("call", "name"), [(call, name) for call in CALLS for name in parameters(call) if name in NUMBERS]
)
def test_a_malformed_number_is_refused_by_name_before_anything_is_sent(run: Any, call: str, name: str) -> None:
    for value in NONSENSE:
        with pytest.raises(cosxfer.UsageError) as caught:
            run(call, {**CALLS[call], name: value})
        assert caught.value.name == name, value


def test_a_length_and_a_position_may_be_digits(client: cosxfer.Client, server: RunningServer) -> None:
    bucket = server.bucket
    assert client.put_object(bucket, "put", iter([b"12", b"345"]), content_length="5").etag
    assert client.submit_put_object(bucket, "put", b"12345", content_length="5").result().etag
    assert client.append_object(bucket, "log", b"12345", position="0", content_length="5").next_append_position == 5
    position = client.head_object(bucket, "log").headers["content-length"]
    assert client.append_object(bucket, "log", b"6", position=position).next_append_position == 6
    form = client.post_object(
        bucket, "post", b"12", content_length="2", expires_seconds="60", success_action_status="201"
    )
    assert form.status_code == 201
    assert client.presign_post(bucket, "post", expires_seconds="60", success_action_status="200").fields
    for length in ("4", "6"):
        with pytest.raises(cosxfer.UsageError):
            client.put_object(bucket, "wrong", iter([b"12345"]), content_length=length)
    assert client.get_object(bucket, "put").body == b"12345"


def test_numbers_of_file_uploads_may_be_digits(client: cosxfer.Client, server: RunningServer, tmp_path: Path) -> None:
    path, bucket = tmp_path / "f", server.bucket
    path.write_bytes(bytes(2 * MIB + 1))
    limits: dict[str, Any] = {"async_limit": "2", "content_length": str(2 * MIB + 1), "traffic_limit": "838860800"}
    assert client.upload_file(bucket, "f", path, slice_size="1048576", part_size="1048576", **limits).parts == 3
    assert client.slice_upload_file(bucket, "f", path, slice_size="1048576", **limits).parts == 3
    entry: Any = {"bucket": bucket, "key": "f", "path": path, "part_size": "1048576", **limits}
    [file] = client.upload_files([entry], slice_size="5")
    assert file.result is not None
    assert file.result.parts == 3
    assert file.options is entry
    [file] = client.upload_directory(bucket, "d", tmp_path, slice_size="5", part_size="1048576", async_limit="2")
    assert file.result is not None
    assert file.result.parts == 3


AS_PART: dict[str, Callable[[cosxfer.Part], Any]] = {
    "record": lambda part: part,
    "as Node.js has it": lambda part: {"PartNumber": part.part_number, "ETag": part.etag},
    "as the Python SDK lists it": lambda part: {
        "PartNumber": str(part.part_number),
        "ETag": part.etag,
        "Size": str(part.size),
        "LastModified": "",
    },
    "lower-case letters": lambda part: {"partnumber": part.part_number, "etag": part.etag.strip('"')},
    "our names": lambda part: {"part_number": str(part.part_number), "etag": part.etag},
    "camel case": lambda part: {"partNumber": part.part_number, "eTag": part.etag},
    "pair": lambda part: (part.part_number, part.etag),
    "pair of texts": lambda part: (str(part.part_number), part.etag),
}


@pytest.mark.parametrize("kind", AS_PART)
def test_parts_may_be_mappings_like_those_of_the_sdks(client: cosxfer.Client, server: RunningServer, kind: str) -> None:
    bucket = server.bucket
    upload_id = client.multipart_init(bucket, "k").upload_id
    for number, body in (("2", b"end"), ("1", bytes(MIB))):
        sent = client.multipart_upload(
            bucket, "k", body, upload_id=upload_id, part_number=number, content_length=str(len(body))
        )
        assert sent.part_number == int(number)
    page = client.multipart_list_part(bucket, "k", upload_id=upload_id, max_parts="1", part_number_marker="1")
    assert [part.part_number for part in page.parts] == [2]
    listed = list(
        client.iter_multipart_list_part(bucket, "k", upload_id=upload_id, max_parts="1", part_number_marker="0")
    )
    assert client.multipart_list(bucket, max_uploads="5").max_uploads == 5
    assert list(client.iter_multipart_list(bucket, max_uploads="1"))
    parts = [AS_PART[kind](part) for part in reversed(listed)]
    assert client.multipart_complete(bucket, "k", upload_id=upload_id, parts=iter(parts)).etag.endswith('-2"')
    assert client.head_object(bucket, "k").size == MIB + 3


@pytest.mark.parametrize(
    "part",
    [
        *({"PartNumber": number, "ETag": "e"} for number in (0, -1, "12a", True, 1.0, None, 10_001, "10001")),
        *((1, etag) for etag in (5, None, "", '""', "a\n")),
        *({}, {"PartNumber": 1}, {"ETag": "e"}, (), (1,), (1, "e", 5), [1, "e"], "1e", 5, None),
    ],
)
@pytest.mark.parametrize("run", [blocking, asynchronous])
def test_an_invalid_part_is_refused_before_anything_is_sent(run: Any, part: Any) -> None:
    with pytest.raises(cosxfer.UsageError) as caught:
        run("multipart_complete", {**CALLS["multipart_complete"], "parts": [part]})
    assert caught.value.name == "parts"


def test_a_part_given_twice_in_two_forms_is_refused() -> None:
    with pytest.raises(cosxfer.UsageError, match="parts holds part 1 twice"):
        blocking(
            "multipart_complete", {**CALLS["multipart_complete"], "parts": [(1, "e"), {"PartNumber": "1", "ETag": "f"}]}
        )


def test_headers_and_metadata_may_be_whole_numbers(
    client: cosxfer.Client, server: RunningServer, tmp_path: Path
) -> None:
    path, bucket = tmp_path / "f", server.bucket
    path.write_bytes(b"x")
    given: dict[str, Any] = {"headers": {"x-cos-traffic-limit": 819_200, "x-cos-meta-n": 5}, "metadata": {"m": 6}}
    client.put_object(bucket, "put", b"x", **given)
    client.append_object(bucket, "append", b"x", position=0, **given)
    client.upload_file(bucket, "file", path, **given)
    client.upload_directory(bucket, "tree", tmp_path, **given)
    upload_id = client.multipart_init(bucket, "parts", **given).upload_id
    part = client.multipart_upload(bucket, "parts", b"x", upload_id=upload_id, part_number=1, headers={"x-n": 5})
    client.multipart_complete(bucket, "parts", upload_id=upload_id, parts=[part])
    for key in ("put", "append", "file", "tree/f", "parts"):
        assert client.head_object(bucket, key).metadata == {"n": "5", "m": "6"}


@pytest.mark.parametrize("name", ["headers", "metadata"])
@pytest.mark.parametrize("value", [True, 1.5, None, b"5", [5]])
def test_other_values_of_headers_are_refused(
    client: cosxfer.Client, server: RunningServer, name: str, value: Any
) -> None:
    given: Any = {name: {"x-n": value}}
    with pytest.raises(cosxfer.UsageError) as caught:
        client.put_object(server.bucket, "k", b"x", **given)
    assert caught.value.name == name


WARNED = "which cosxfer does not know"


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ({"acl": "nonsense-1"}, "it knows default, private, public-read, public-read-write, authenticated-read."),
        ({"acl": "publicread"}, "did you mean public-read?"),
        ({"acl": "Private"}, "did you mean private?"),
        ({"headers": {"X-Cos-Acl": "privat"}}, "did you mean private?"),
        ({"storage_class": "standard-ia"}, "did you mean STANDARD_IA?"),
        ({"storage_class": "GLACIER"}, "it knows STANDARD, STANDARD_IA, "),
        ({"server_side_encryption": "AES-256"}, "did you mean AES256?"),
    ],
)
def test_an_unknown_value_is_sent_with_one_warning(
    client: cosxfer.Client, server: RunningServer, caplog: pytest.LogCaptureFixture, given: Any, hint: str
) -> None:
    caplog.set_level(logging.WARNING, "cosxfer")
    warn_unknown_value.cache_clear()
    server.requests(clear=True)
    for _ in range(3):
        with contextlib.suppress(cosxfer.ServerError):  # the server may refuse it, but the request was sent
            client.put_object(server.bucket, "k", b"x", **given)
    assert len(server.requests()) == 3
    warned = [record.getMessage() for record in caplog.records if WARNED in record.getMessage()]
    assert len(warned) == 1
    assert hint in warned[0]


def test_an_unknown_encoding_of_names_logs_a_warning(
    client: cosxfer.Client, server: RunningServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "cosxfer")
    warn_unknown_value.cache_clear()
    upload_id = client.multipart_init(server.bucket, "k").upload_id
    for encoding in ("url", "URL"):
        with contextlib.suppress(cosxfer.ServerError):
            client.multipart_list(server.bucket, encoding_type=encoding)
        with contextlib.suppress(cosxfer.ServerError):
            client.multipart_list_part(server.bucket, "k", upload_id=upload_id, encoding_type=encoding)
    assert [message for message in caplog.messages if WARNED in message] == [
        "encoding_type is 'URL', which cosxfer does not know; did you mean url? It is sent unchanged"
    ]


@pytest.mark.parametrize("call", ["upload_file", "presign_post", "multipart_init", "append_object"])
def test_known_values_log_no_warning(call: str, server: RunningServer, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with cosxfer.AsyncClient(endpoint=server.endpoint, credentials=server.credentials) as client:
            given = {**CALLS[call], "bucket": server.bucket, "key": f"known {call}"}
            await getattr(client, call)(**given, acl="private", storage_class="STANDARD_IA")

    caplog.set_level(logging.WARNING, "cosxfer")
    asyncio.run(main())
    assert WARNED not in caplog.text
