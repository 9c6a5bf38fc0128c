"""Every parameter of every call refuses values of the wrong type. The error names it, and nothing is sent."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import cosxfer
from cosxfer.arguments import check_count
from cosxfer.config import DEFAULT_ENDPOINT
from cosxfer.cos.requests import (
    AclHeaders,
    CustomerKey,
    GetParameters,
    HeadParameters,
    HttpRequest,
    ObjectHeaders,
    PartHeaders,
)
from cosxfer.cos.responses import HttpResponse
from cosxfer.engine.download.options import DownloadDirectoryOptions, DownloadOptions
from cosxfer.engine.upload import options
from cosxfer.errors import UsageError
from cosxfer.journal_rows import headers_fingerprint
from cosxfer.planning import plan_parts
from cosxfer.resume_token import ResumeToken, encode
from cosxfer.transport.memory import MemoryTransport
from tests.unit.fake_cos import BUCKET, FakeCos


async def coroutine_function(_: object) -> None:
    """A coroutine function, whose result no caller would await."""


class Anything:
    """An object of an unknown type."""


SAMPLES: dict[str, object] = {
    "none": None,
    "int": 5,
    "negative": -1,
    "bool": True,
    "float": 1.5,
    "text": "text",
    "surrogate": "\ud800",
    "bytes": b"x",
    "list": ["x"],
    "mapping": {"a": "b"},
    "pairs": [("a", "b")],
    "object": Anything(),
    "coroutine function": coroutine_function,
    "type": Anything,
}

OBJECT = {"bucket": BUCKET, "key": "k"}
BODY = {**OBJECT, "body": b"x"}
UPLOAD = {**OBJECT, "upload_id": "u"}
FILE = {**OBJECT, "path": __file__}
SOURCE = cosxfer.CopySource(bucket=BUCKET, key="s")

TOKEN = encode(
    ResumeToken(
        endpoint=DEFAULT_ENDPOINT,
        region="",
        bucket=BUCKET,
        key="k",
        path=__file__,
        upload_id="u",
        plan=plan_parts(Path(__file__).stat().st_size),
        headers=headers_fingerprint({"content-type": "application/octet-stream"}, add_md5=False),
        parameters={},
        add_md5=False,
        parts={},
    )
)

CALLS: dict[str, dict[str, Any]] = {
    "put_object": BODY,
    "submit_put_object": BODY,
    "upload_stream": {**OBJECT, "stream": [b"x"]},
    "submit_upload_stream": {**OBJECT, "stream": [b"x"]},
    "append_object": {**BODY, "position": 0},
    "presign_post": OBJECT,
    "post_object": BODY,
    "head_object": OBJECT,
    "delete_object": OBJECT,
    "get_object": OBJECT,
    "list_objects": {"bucket": BUCKET},
    "iter_list_objects": {"bucket": BUCKET},
    "list_object_versions": {"bucket": BUCKET},
    "iter_list_object_versions": {"bucket": BUCKET},
    "delete_objects": {"bucket": BUCKET, "keys": ["k"]},
    "copy_object": {**OBJECT, "source": SOURCE},
    "upload_part_copy": {**UPLOAD, "source": SOURCE, "part_number": 1},
    "copy": {**OBJECT, "source": SOURCE},
    "move": {**OBJECT, "source": SOURCE},
    "head_bucket": {"bucket": BUCKET},
    "put_bucket": {"bucket": BUCKET},
    "delete_bucket": {"bucket": BUCKET},
    "list_buckets": {},
    "iter_list_buckets": {},
    "restore_object": {**OBJECT, "days": 1},
    "get_object_acl": OBJECT,
    "put_object_acl": {**OBJECT, "acl": "private"},
    "get_object_tagging": OBJECT,
    "put_object_tagging": {**OBJECT, "tags": {"a": "b"}},
    "delete_object_tagging": OBJECT,
    "presign_url": OBJECT,
    "multipart_list": {"bucket": BUCKET},
    "multipart_init": OBJECT,
    "multipart_upload": {**UPLOAD, "body": b"x", "part_number": 1},
    "multipart_list_part": UPLOAD,
    "multipart_complete": {**UPLOAD, "parts": [cosxfer.Part(part_number=1, etag='"a"')]},
    "multipart_abort": UPLOAD,
    "iter_multipart_list": {"bucket": BUCKET},
    "iter_multipart_list_part": UPLOAD,
    "upload_file": FILE,
    "submit_upload_file": FILE,
    "slice_upload_file": FILE,
    "submit_slice_upload_file": FILE,
    "download_file": FILE,
    "submit_download_file": FILE,
    "download_files": {"files": []},
    "download_directory": {"bucket": BUCKET, "prefix": "p", "path": str(Path(__file__).parent)},
    "resume": {"token": TOKEN, "path": __file__},
    "submit_resume": {"token": TOKEN, "path": __file__},
    "upload_files": {"files": []},
    "submit_upload_files": {"files": []},
    "submit_download_files": {"files": []},
    "submit_download_directory": {"bucket": BUCKET, "prefix": "p", "path": str(Path(__file__).parent)},
    "upload_directory": {"bucket": BUCKET, "prefix": "p", "path": str(Path(__file__).parent)},
    "iter_upload_directory": {"bucket": BUCKET, "prefix": "p", "path": str(Path(__file__).parent)},
    "sync": {"source": str(Path(__file__).parent), "target": f"cos://{BUCKET}/p", "delete": True},
    "pause_task": {"task_id": "t"},
    "restart_task": {"task_id": "t"},
    "cancel_task": {"task_id": "t"},
    "on": {"event": "list-update", "callback": print},
    "off": {"event": "list-update"},
}
"""Each call with its required arguments."""

SIZE = {"int"}
OPTIONAL_SIZE = {"int", "none"}
CALLBACK = {"none", "type"}
FINE: dict[str, set[str]] = {
    "abort": {"bool"},
    "abort_on_failure": {"bool", "none"},
    "async_limit": OPTIONAL_SIZE,
    "body": {"text", "bytes", "list", "pairs"},
    "bucket": set(),
    **{name: {"bool"} for name in ("checksum", "delete", "dry_run", "no_overwrite", "size_only", "update")},
    "files_from": {"none", "list", "mapping"},
    "filters": {"none"},
    "max_delete": OPTIONAL_SIZE,
    "on_event": CALLBACK,
    "target": set(),
    "byte_range": {"none"},
    "callback": CALLBACK,
    "conditions": {"mapping"},
    "content_length": OPTIONAL_SIZE,
    "content_md5": {"none"},
    "event": set(),
    "exclude": {"none", "list", "mapping"},
    "expect": {"none"},
    "expires_seconds": SIZE,
    "files": set(),
    "forbid_overwrite": {"none", "bool"},
    "headers": {"none", "mapping"},
    "include": {"none", "list", "mapping"},
    "days": SIZE,
    "key": {"text"},
    "keys": {"list", "pairs"},
    "max_keys": OPTIONAL_SIZE,
    "method": set(),
    "metadata_directive": {"none"},
    "params": {"none", "mapping"},
    "source": set(),
    "tags": {"none", "mapping"},
    "tier": {"text"},
    "max_parts": OPTIONAL_SIZE,
    "max_uploads": OPTIONAL_SIZE,
    "metadata": {"none", "mapping"},
    "on_file_finish": CALLBACK,
    "on_hash_progress": CALLBACK,
    "on_progress": CALLBACK,
    "on_task_ready": CALLBACK,
    "output": {"none", "text", "bytes", "surrogate"},
    "part_number": SIZE,
    "part_number_marker": OPTIONAL_SIZE,
    "part_size": {"none"},
    "parts": set(),
    "path": {"text", "bytes", "surrogate"},
    "position": SIZE,
    "prefix": {"text"},
    "preserve_mtime": {"bool"},
    "sparse": {"bool"},
    "slice_size": {*SIZE, "none"},
    "stream": {"list", "pairs"},
    "success_action_status": {"none"},
    "task_id": set(),
    "traffic_limit": {"none"},
    "upload_add_meta_md5": {"bool"},
    "upload_id": {"text"},
}
"""Parameters that accept some of the samples, or are checked elsewhere. All others are optional text."""

OTHERWISE_FINE: dict[tuple[str, str], set[str]] = {
    ("cancel_task", "abort"): set(SAMPLES),  # of an existing task: see below
    ("on", "callback"): {"type"},
    ("multipart_list", "prefix"): {"text", "none"},
    ("list_objects", "prefix"): {"text", "none"},
    ("iter_list_objects", "prefix"): {"text", "none"},
    ("list_object_versions", "prefix"): {"text", "none"},
    ("iter_list_object_versions", "prefix"): {"text", "none"},
    ("list_buckets", "region"): {"text", "none"},
    ("put_object_tagging", "tags"): {"mapping"},
    ("multipart_complete", "forbid_overwrite"): {"bool"},
    ("presign_url", "headers"): {"none"},
    ("copy", "slice_size"): {"none"},
    ("move", "slice_size"): {"none"},
    ("iter_multipart_list", "prefix"): {"text", "none"},
    ("resume", "token"): set(),
    ("submit_resume", "token"): set(),
    ("resume", "path"): {"text", "bytes", "surrogate", "none"},
    ("submit_resume", "path"): {"text", "bytes", "surrogate", "none"},
    ("upload_file", "slice_size"): SIZE,
    ("submit_upload_file", "slice_size"): SIZE,
    ("upload_files", "slice_size"): SIZE,
    ("submit_upload_files", "slice_size"): SIZE,
    ("upload_directory", "slice_size"): SIZE,
    ("iter_upload_directory", "slice_size"): SIZE,
    ("sync", "source"): {"text", "bytes", "surrogate"},
    ("slice_upload_file", "slice_size"): {"none"},
    ("submit_slice_upload_file", "slice_size"): {"none"},
}

TYPED_DICTS: dict[str, Any] = {
    "AclHeaders": AclHeaders,
    "CustomerKey": CustomerKey,
    "GetParameters": GetParameters,
    "HeadParameters": HeadParameters,
    "DownloadOptions": DownloadOptions,
    "DownloadDirectoryOptions": DownloadDirectoryOptions,
    "ObjectHeaders": ObjectHeaders,
    "PartHeaders": PartHeaders,
    **{
        name: getattr(options, name)
        for name in ("FileOptions", "ResumeOptions", "SliceFileOptions", "DirectoryOptions")
    },
}


def parameters(call: str) -> list[str]:
    """The names of a call's parameters, including those in ``**options``."""
    names: list[str] = []
    for parameter in list(inspect.signature(getattr(cosxfer.Client, call)).parameters.values())[1:]:
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            unpacked = str(parameter.annotation).removeprefix("Unpack[").removesuffix("]")
            names += sorted(TYPED_DICTS[unpacked].__annotations__)
        else:
            names.append(parameter.name)
    return names


def refused(request: HttpRequest, body: bytes) -> HttpResponse:
    raise AssertionError("something was sent")


class Clients:
    """A client of each kind for all tests of a module, because they make twenty thousand calls."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self.blocking = FakeCos().blocking_client(transport=MemoryTransport(refused))
        self.asynchronous = FakeCos().client(transport=MemoryTransport(refused))

    def close(self) -> None:
        self.blocking.close()
        self.runner.run(self.asynchronous.aclose())
        self.runner.close()


_clients: list[Clients] = []


@pytest.fixture(scope="module", autouse=True)
def clients() -> Iterator[None]:
    _clients.append(Clients())
    yield
    _clients.pop().close()


def blocking(call: str, arguments: Mapping[str, Any]) -> object:
    made = getattr(_clients[-1].blocking, call)(**arguments)
    return list(made) if isinstance(made, Iterator) else made


def asynchronous(call: str, arguments: Mapping[str, Any]) -> object:
    async def main() -> object:
        made = getattr(_clients[-1].asynchronous, call)(**arguments)
        if isinstance(made, AsyncIterator):
            return [entry async for entry in made]
        return await made if inspect.iscoroutine(made) else made

    return _clients[-1].runner.run(main())


def test_the_table_has_every_call() -> None:
    assert set(CALLS) == {
        name
        for name in dir(cosxfer.Client)
        if not name.startswith("_")
        and name not in ("close", "config", "spec", "from_spec", "get_task_list", "clear_finished_tasks")
    }


@pytest.mark.parametrize("run", [blocking, asynchronous])
@pytest.mark.parametrize(("call", "parameter"), [(call, name) for call in CALLS for name in parameters(call)])
def test_a_value_of_the_wrong_type_is_refused_by_name_before_anything_is_sent(
    run: Callable[[str, Mapping[str, Any]], object], call: str, parameter: str
) -> None:
    fine = OTHERWISE_FINE.get((call, parameter), FINE.get(parameter, {"text", "none"}))
    wrong: dict[str, str] = {}
    for kind in SAMPLES.keys() - fine:
        try:
            run(call, {**CALLS[call], parameter: SAMPLES[kind]})
            wrong[kind] = "accepted"
        except cosxfer.UsageError as error:
            if error.name != parameter:
                wrong[kind] = f"blames {error.name!r}: {error}"
        except Exception as error:
            wrong[kind] = repr(error)
    assert wrong == {}


VAST = 10**5000
"""Python refuses to write it."""


@pytest.mark.parametrize("run", [blocking, asynchronous])
@pytest.mark.parametrize("call", CALLS)
def test_a_number_that_cannot_be_written_is_refused_by_name(
    run: Callable[[str, Mapping[str, Any]], object], call: str
) -> None:
    # A slice_size beyond each file is legal, and a list is a body: its pieces are looked at when they are sent.
    legal = {"slice_size", "stream", "body"}
    wrong: dict[str, str] = {}
    for parameter in set(parameters(call)) - legal:
        for value in (VAST, -VAST, [VAST]):
            try:
                run(call, {**CALLS[call], parameter: value})
                wrong[parameter] = "accepted"
            except cosxfer.UsageError as error:
                if error.name != parameter and parameter != "abort":
                    wrong[parameter] = f"blames {error.name!r}: {error}"
            except Exception as error:
                wrong[parameter] = repr(error)
    assert wrong == {}


SETTINGS: dict[str, set[str]] = {
    "region": {"none", "text"},
    "endpoint": {"none", "text"},
    "anonymous": {"bool"},
    "http_version": set(),
    "verify": {"bool"},
    "concurrency": SIZE,
    "file_parallel_limit": SIZE,
    "part_size": set(),
    "memory_budget_bytes": set(),
    "endpoint_memory": {"bool"},
    "journal": {"none", "text", "path"},
    "find_uploads": {"bool"},
    "max_finished_tasks": SIZE,
    "max_attempts": SIZE,
    "retry_for_seconds": {"int", "float"},
    "connect_timeout_seconds": {"int", "float"},
    "stall_timeout_seconds": {"int", "float"},
    "complete_timeout_seconds": {"int", "float"},
    "switch_host": {"bool"},
    "hedge": {"bool"},
    "max_bytes_per_second": {"none", "int", "float"},
    "trace": {"none", "text", "path"},
    "transport": set(),
}


@pytest.mark.parametrize("kind", [cosxfer.Client, cosxfer.AsyncClient])
@pytest.mark.parametrize("setting", SETTINGS)
def test_a_setting_of_the_wrong_type_is_refused_by_name(kind: type, setting: str) -> None:
    wrong: dict[str, str] = {}
    for sample in SAMPLES.keys() - SETTINGS[setting]:
        given = {"secret_id": "a", "secret_key": "b", setting: SAMPLES[sample]}
        try:
            kind(**given)
            wrong[sample] = "accepted"
        except cosxfer.UsageError as error:
            if error.name != setting:
                wrong[sample] = f"blames {error.name!r}: {error}"
        except Exception as error:
            wrong[sample] = repr(error)
    assert wrong == {}


@pytest.mark.parametrize("kind", [cosxfer.Client, cosxfer.AsyncClient])
@pytest.mark.parametrize("setting", ["credentials", "secret_id", "secret_key", "token"])
def test_credentials_of_the_wrong_type_are_refused(kind: type, setting: str) -> None:
    for sample, value in SAMPLES.items():
        keys = {} if setting == "credentials" else {"secret_id": "a", "secret_key": "b"}
        if sample in ("none", "text") or (setting == "credentials" and sample in ("coroutine function", "type")):
            continue
        with pytest.raises(cosxfer.CredentialsError):
            kind(**{**keys, setting: value})


def test_abort_of_a_cancelled_task_must_be_true_or_false(cos: FakeCos) -> None:
    with cos.blocking_client() as client:
        task = client.submit_put_object(BUCKET, "k", b"x", on_task_ready=lambda task_id: None)
        for kind in SAMPLES.keys() - {"bool"}:
            for cancel in (task.cancel, lambda abort: client.cancel_task(task.task_id, abort=abort)):
                with pytest.raises(cosxfer.UsageError, match=r"abort is .*; it must be True or False"):
                    cancel(abort=SAMPLES[kind])  # type: ignore[arg-type]
        assert task.result().etag


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"metadata": {"K": "1", "k": "2"}},
            "metadata has 'K' and 'k', which are the same header (x-cos-meta-k); give only one",
        ),
        (
            {"metadata": {"k": "1", "x-cos-meta-K": "2"}},
            "metadata has 'k' and 'x-cos-meta-K', which are the same header (x-cos-meta-k); give only one",
        ),
        (
            {"headers": {"X-Cos-Acl": "private", "x-cos-acl": "default"}},
            "headers has 'X-Cos-Acl' and 'x-cos-acl', which are the same header (x-cos-acl); give only one",
        ),
        (
            {"headers": {"X-Cos-Acl": "private"}, "acl": "default"},
            "the header x-cos-acl is set by acl= and by headers=; set it once",
        ),
        (
            {"headers": {"x-cos-meta-k": "1"}, "metadata": {"K": "2"}},
            "the header x-cos-meta-k is set by metadata= and by headers=; set it once",
        ),
        (
            {"headers": {"x-cos-traffic-limit": "819200"}, "traffic_limit": 819_200},
            "the header x-cos-traffic-limit is set by traffic_limit= and by headers=; set it once",
        ),
    ],
)
def test_two_values_for_one_header_are_refused(cos: FakeCos, given: dict[Any, Any], message: str) -> None:
    with cos.blocking_client() as client:
        [refused] = client.upload_files([{"bucket": BUCKET, "key": "k", "path": __file__, **given}])
        with pytest.raises(cosxfer.UsageError) as caught:
            client.put_object(BUCKET, "k", b"x", **given)
    assert str(refused.error) == str(caught.value) == message
    assert not cos.calls


@pytest.mark.parametrize(
    "name",
    [
        *("Authorization", "Content-Length", "Content-MD5", "Host"),
        *("Connection", "Keep-Alive", "Proxy-Connection", "TE", "Trailer", "Transfer-Encoding", "Upgrade"),
    ],
)
def test_headers_of_cosxfer_or_of_the_connection_are_refused(cos: FakeCos, name: str) -> None:
    with cos.blocking_client() as client, pytest.raises(cosxfer.UsageError, match=f"'{name}' .*remove it"):
        client.put_object(BUCKET, "k", b"x", headers={name: "1"})
    assert not cos.calls


@pytest.mark.parametrize("name", ["md5", "MD5", "x-cos-meta-md5"])
def test_the_callers_md5_metadata_conflicts_with_upload_add_meta_md5(cos: FakeCos, name: str) -> None:
    with cos.blocking_client() as client:
        with pytest.raises(cosxfer.UsageError, match="metadata has 'md5', which upload_add_meta_md5 sets"):
            client.upload_file(BUCKET, "k", __file__, metadata={name: "1"}, upload_add_meta_md5=True)
        assert not cos.calls
        assert client.upload_file(BUCKET, "k", __file__, metadata={name: "1"}).verified
    assert cos.objects["k"].headers["x-cos-meta-md5"] == "1"


def test_an_argument_wrong_for_every_file_of_a_directory_is_reported_once(cos: FakeCos, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    with cos.blocking_client() as client:
        for wrong in ({"storage_clas": "ARCHIVE"}, {"on_task_ready": print}, {"part_size": 5}, {"async_limit": 0}):
            with pytest.raises(cosxfer.UsageError) as caught:
                client.upload_directory(BUCKET, "p", tmp_path, **wrong)  # type: ignore[arg-type]
            assert caught.value.name in wrong
    assert not cos.calls


@pytest.mark.parametrize("output", ["", ".", "new/", "{tmp_path}"])
def test_an_object_is_not_downloaded_if_its_output_is_a_directory(cos: FakeCos, tmp_path: Path, output: str) -> None:
    with (
        cos.blocking_client() as client,
        pytest.raises(cosxfer.UsageError, match="is a directory; give the path of a file in it"),
    ):
        client.get_object(BUCKET, "k", output=output.format(tmp_path=tmp_path))
    assert not cos.calls


@pytest.mark.parametrize(("output", "why"), [("no/such/directory/f", "No such file or directory"), ("a\0b", "null")])
def test_an_object_is_not_downloaded_if_its_output_cannot_be_written(cos: FakeCos, output: str, why: str) -> None:
    with cos.blocking_client() as client, pytest.raises(cosxfer.CosxferError, match=f"cannot write .*: .*{why}"):
        client.get_object(BUCKET, "k", output=output)
    assert not cos.calls


def test_a_wrong_argument_is_refused_before_a_body_is_read(cos: FakeCos) -> None:
    def untouched() -> Iterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    with cos.blocking_client() as client:
        for call in (
            lambda: client.append_object(BUCKET, "k", untouched(), position=-1),
            lambda: client.append_object(BUCKET, "k", untouched(), position=0, acl=5),
            lambda: client.append_object("no bucket", "k", untouched(), position=0),
            lambda: client.multipart_upload(BUCKET, "k", untouched(), upload_id="u", part_number=0),
            lambda: client.multipart_upload(BUCKET, "", untouched(), upload_id="u", part_number=1),
            lambda: client.post_object(BUCKET, "k", untouched(), region="?"),
            lambda: client.post_object(BUCKET, "k", untouched(), expires_seconds=0),
            lambda: client.put_object(BUCKET, "k", untouched(), on_progress=5),
        ):
            with pytest.raises(cosxfer.UsageError):
                call()
    assert not cos.calls


@pytest.mark.parametrize("seconds", [0, -1, 3_153_600_001, 10**12, 10**18, 10**400, "1000000000000", True, 1.5])
def test_a_form_that_expires_after_year_9999_is_refused(seconds: object) -> None:
    with FakeCos().blocking_client() as client:
        for call in (client.presign_post, lambda *a, **given: client.post_object(*a, b"x", **given)):
            with pytest.raises(cosxfer.UsageError, match="a whole number of seconds from 1 to 3153600000") as caught:
                call(BUCKET, "k", expires_seconds=seconds)  # type: ignore[operator]
            assert caught.value.name == "expires_seconds"
        assert client.presign_post(BUCKET, "k", expires_seconds=3_153_600_000).expires_at > 3_153_600_000


@pytest.mark.parametrize("value", [0, 7, 10**30])
def test_a_valid_count_is_returned(value: int) -> None:
    assert check_count(value, "n") == value


@pytest.mark.parametrize("value", [True, False, -1, 1.0, "1", None, b"1", float("nan")])
def test_an_invalid_count_is_refused_by_name(value: object) -> None:
    with pytest.raises(UsageError, match=r"^n is .*; it must be a whole number of bytes from 0$") as caught:
        check_count(value, "n", unit="bytes")
    assert caught.value.name == "n"


def test_a_count_has_limits_and_a_huge_one_can_be_shown() -> None:
    assert [check_count(value, "n", minimum=1, maximum=5) for value in (1, 5)] == [1, 5]
    for value, shown in ((0, "0"), (6, "6"), (10**5000, "a number of more than 75 digits")):
        with pytest.raises(UsageError, match=f"^n is {shown}; it must be a whole number from 1 to 5$"):
            check_count(value, "n", minimum=1, maximum=5)
