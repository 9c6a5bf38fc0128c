"""Each call refuses the SDKs' names and misspelt names, suggests the right name, and sends nothing."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import cosxfer
from cosxfer.binding import explains_arguments
from cosxfer.cos.requests import _HEADER_OF as HEADER_OF
from cosxfer.transport.memory import MemoryTransport
from tests.unit.fake_cos import BUCKET, FakeCos
from tests.unit.files import write
from tests.unit.test_arguments import CALLS, asynchronous, blocking, clients, parameters, refused  # noqa: F401 # a fixture

Run = Callable[[str, Mapping[str, Any]], object]


def camel(name: str) -> str:
    """The name in the SDKs' spelling."""
    if name == "acl":
        return "ACL"
    words = "".join(word.capitalize() for word in name.split("_"))
    return f"on{words[2:]}" if name.startswith("on_") else words


def refusal(run: Run, call: str, arguments: Mapping[str, Any]) -> cosxfer.UsageError:
    with pytest.raises(cosxfer.UsageError) as caught:
        run(call, arguments)
    return caught.value


RUNS = pytest.mark.parametrize("run", [blocking, asynchronous])


@RUNS
@pytest.mark.parametrize("call", sorted(CALLS))
def test_every_parameter_in_the_spelling_of_the_sdks_is_refused_by_its_right_name(run: Run, call: str) -> None:
    names = parameters(call)
    wrong = {}
    for name in names:
        for spelt in {camel(name), name.replace("_", "-"), name.upper()} - {name}:
            error = refusal(run, call, {**CALLS[call], spelt: "x"})
            if f"'{spelt}'; did you mean {name}" not in str(error) or error.name != spelt:
                wrong[spelt] = str(error)
    assert wrong == {}


@RUNS
@pytest.mark.parametrize("call", sorted(CALLS))
def test_every_parameter_with_a_missing_letter_is_refused_by_its_right_name(run: Run, call: str) -> None:
    known = parameters(call)
    wrong = {}
    for name in known:
        for spelt in {name[:-1], name[:2] + name[3:]} - set(known):
            if len(name) > 5:
                error = refusal(run, call, {**CALLS[call], spelt: "x"})
                if f"did you mean {name}" not in str(error):
                    wrong[spelt] = str(error)
    assert wrong == {}


@pytest.mark.parametrize("call", [call for call in CALLS if {"acl", "sse_customer_key"} & set(parameters(call))])
def test_every_parameter_by_the_name_of_its_header_is_refused_by_its_right_name(call: str) -> None:
    known = parameters(call)
    for name, header in {**HEADER_OF, "traffic_limit": "x-cos-traffic-limit", "metadata": "x-cos-meta-a"}.items():
        if name in known and header != name:
            assert f"did you mean {name}?" in str(refusal(blocking, call, {**CALLS[call], header: "x"}))


@RUNS
@pytest.mark.parametrize(
    ("call", "name", "ours"),
    [
        ("upload_file", "FilePath", "path"),
        ("upload_file", "LocalFilePath", "path"),
        ("upload_file", "PartSize", "part_size (in bytes)"),
        ("upload_file", "ChunkSize", "part_size (in bytes)"),
        ("upload_file", "MAXThread", "async_limit"),
        ("upload_file", "ChunkParallelLimit", "async_limit"),
        ("upload_file", "progress_callback", "on_progress"),
        ("upload_file", "SliceSize", "slice_size (in bytes)"),
        ("submit_upload_file", "SliceSize", "slice_size (in bytes)"),
        ("slice_upload_file", "PartSize", "slice_size (in bytes)"),
        ("slice_upload_file", "part_size", "slice_size (in bytes)"),
        ("upload_files", "SliceSize", "slice_size (in bytes)"),
        ("upload_directory", "MAXThread", "async_limit"),
        ("put_object", "x-cos-meta-colour", "metadata"),
        ("put_object", "X-Cos-Storage-Class", "storage_class"),
        ("append_object", "Data", "body"),
        ("multipart_complete", "MultipartUpload", "parts"),
        ("multipart_list_part", "max-parts", "max_parts"),
        ("multipart_list", "encodingType", "encoding_type"),
        ("get_object", "Range", "byte_range"),
        ("get_object", "DestFilePath", "output"),
        ("presign_post", "Expired", "expires_seconds"),
    ],
)
def test_a_name_that_differs_in_more_than_its_spelling(run: Run, call: str, name: str, ours: str) -> None:
    error = refusal(run, call, {**CALLS[call], name: "x"})
    assert str(error) == f"there is no parameter {name!r}; did you mean {ours}?"


@RUNS
@pytest.mark.parametrize(
    ("call", "given", "message"),
    [
        ("put_object", ["EnableMD5"], "there is no parameter 'EnableMD5'; leave it out: Content-MD5 is always sent"),
        ("put_object", ["nonsense"], "there is no parameter 'nonsense'; pass other headers in headers={…}"),
        (
            "put_object",
            ["SliceSize"],
            "there is no parameter 'SliceSize'; leave it out: it is slice_size of the calls that upload files",
        ),
        (
            "put_object",
            ["nonsense", "ContentType", "EnableMD5"],
            "there are no parameters 'nonsense', 'ContentType' (did you mean content_type?), 'EnableMD5' (leave it "
            "out: Content-MD5 is always sent); pass other headers in headers={…}",
        ),
        ("head_object", ["nonsense"], "there is no parameter 'nonsense'"),
        (
            "multipart_upload",
            ["content_type"],
            "there is no parameter 'content_type'; parameters of the object belong to multipart_init, other headers "
            "in headers={…}",
        ),
        (
            "upload_file",
            ["FileParallelLimit"],
            "there is no parameter 'FileParallelLimit'; leave it out: it is a setting of the client, "
            "file_parallel_limit",
        ),
    ],
)
def test_a_name_without_a_counterpart_in_the_call(run: Run, call: str, given: list[str], message: str) -> None:
    assert str(refusal(run, call, {**CALLS[call], **dict.fromkeys(given, "x")})) == message


@RUNS
@pytest.mark.parametrize(
    ("call", "given", "message"),
    [
        (
            "put_object",
            {"Bucket": BUCKET, "Key": "k", "Body": b"x"},
            "there are no parameters 'Bucket' (did you mean bucket?), 'Key' (did you mean key?), 'Body' (did you mean "
            "body?). Write put_object(bucket, key, body, …)",
        ),
        (
            "append_object",
            {"bucket": BUCKET, "key": "k", "body": b"x", "Position": 0},
            "there is no parameter 'Position'; did you mean position? Write append_object(bucket, key, body, "
            "position=…, …)",
        ),
        (
            "multipart_abort",
            {},
            "multipart_abort needs bucket, key, upload_id. Write multipart_abort(bucket, key, upload_id=…, …)",
        ),
        ("upload_files", {}, "upload_files needs files. Write upload_files(files, …)"),
        (
            "pause_task",
            {"TaskId": "t"},
            "there is no parameter 'TaskId'; did you mean task_id? Write pause_task(task_id)",
        ),
    ],
)
def test_a_call_without_a_required_argument_shows_the_right_form(run: Run, call: str, given: Any, message: str) -> None:
    assert str(refusal(run, call, given)) == message


@pytest.mark.parametrize("kind", [cosxfer.Client, cosxfer.AsyncClient])
@pytest.mark.parametrize(
    ("args", "given", "message"),
    [
        (
            (BUCKET, "k", b"x", "private"),
            {},
            "put_object takes 3 positional arguments. Write put_object(bucket, key, body, …)",
        ),
        ((BUCKET, "k", b"x"), {"key": "l"}, "put_object has key twice. Write put_object(bucket, key, body, …)"),
        (({"Bucket": BUCKET},), {}, "put_object needs key, body. Write put_object(bucket, key, body, …)"),
    ],
)
def test_positional_arguments_that_do_not_fit(kind: Any, args: Any, given: Any, message: str) -> None:
    async def call(client: Any) -> None:
        made = client.put_object(*args, **given)
        if inspect.iscoroutine(made):
            await made
            await client.aclose()

    client = kind(secret_id="i", secret_key="k", region="ap-guangzhou", transport=MemoryTransport(refused))
    with pytest.raises(cosxfer.UsageError) as caught:
        asyncio.run(call(client))
    assert str(caught.value) == message
    if isinstance(client, cosxfer.Client):
        client.close()


@pytest.mark.parametrize("kind", [cosxfer.Client, cosxfer.AsyncClient])
@pytest.mark.parametrize(
    ("name", "ours"),
    [
        *((camel(name), name) for name in inspect.signature(cosxfer.Client).parameters),
        ("SecurityToken", "token"),
        ("XCosSecurityToken", "token"),
        ("Domain", "endpoint"),
        ("Scheme", "endpoint"),
        ("ChunkParallelLimit", "concurrency"),
        ("ChunkSize", "part_size"),
        ("Timeout", "stall_timeout_seconds"),
        ("getAuthorization", "credentials"),
        ("Retry", "max_attempts"),
        ("concurency", "concurrency"),
    ],
)
def test_a_setting_by_the_name_of_the_sdks_is_refused_by_its_right_name(kind: Any, name: str, ours: str) -> None:
    with pytest.raises(cosxfer.UsageError) as caught:
        kind(**{name: "x"})
    unit = " (in bytes)" if ours == "part_size" else ""
    assert str(caught.value) == f"there is no parameter {name!r}; did you mean {ours}{unit}?"


def test_a_setting_in_a_configuration_is_refused_by_its_right_name() -> None:
    with pytest.raises(cosxfer.UsageError, match=r"'FileParallelLimit'; did you mean file_parallel_limit\?"):
        cosxfer.ClientConfig(FileParallelLimit=3)  # type: ignore[call-arg]


def test_keys_by_the_names_of_the_sdks_are_refused_without_being_shown() -> None:
    with pytest.raises(cosxfer.UsageError) as caught:
        cosxfer.Credentials(SecretId="known-id", SecretKey="hush")  # type: ignore[call-arg]
    assert "did you mean secret_id?" in str(caught.value)
    assert "hush" not in f"{caught.value!r}{vars(caught.value)}"


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("putObject", "put_object"),
        ("sliceUploadFile", "slice_upload_file"),
        ("multipartInit", "multipart_init"),
        ("getTaskList", "get_task_list"),
        ("create_multipart_upload", "multipart_init"),
        ("upload_part", "multipart_upload"),
        ("list_parts", "iter_multipart_list_part"),
    ],
)
def test_a_call_by_an_sdk_name_suggests_our_name(cos: FakeCos, name: str, ours: str) -> None:
    with cos.blocking_client() as client:
        for one in (client, client._client):
            with pytest.raises(AttributeError, match=f"has no attribute '{name}'. Did you mean {ours}\\?$"):
                getattr(one, name)
            assert callable(getattr(one, ours))
        assert not hasattr(client, "nonsense")


def test_a_type_error_inside_a_call_is_raised_unchanged() -> None:
    @explains_arguments
    class Calls:
        def at_once(self, value: object) -> None:
            len(value)  # type: ignore[arg-type]

        async def later(self, value: object) -> None:
            len(value)  # type: ignore[arg-type]

    with pytest.raises(TypeError, match="has no len"):
        Calls().at_once(5)
    with pytest.raises(TypeError, match="has no len"):
        asyncio.run(Calls().later(5))
    with pytest.raises(cosxfer.UsageError, match=r"there is no parameter 'Value'; did you mean value\? Write"):
        Calls().at_once(Value=5)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ("result", r"there is no parameter 'Timeout'; did you mean timeout\?"),
        ("pause", "there is no parameter 'Timeout'"),
        ("restart", "there is no parameter 'Timeout'"),
        ("cancel", r"there is no parameter 'Timeout'"),
    ],
)
def test_the_error_of_a_task_suggests_names_of_the_task(cos: FakeCos, tmp_path: Path, call: str, told: str) -> None:
    path = write(tmp_path / "f", 1)
    files = [{"bucket": BUCKET, "key": "k", "path": path}]

    async def main() -> None:
        async with cos.client() as client:
            for handle in (client.submit_upload_file(BUCKET, "k", path), client.submit_upload_files(files)):
                await handle.result()
                if hasattr(handle, call):
                    with pytest.raises(cosxfer.UsageError, match=told):
                        await getattr(handle, call)(Timeout=1)

    asyncio.run(main())
    with cos.blocking_client() as client:
        for handle in (client.submit_upload_file(BUCKET, "k", path), client.submit_upload_files(files)):
            handle.result()
            with pytest.raises(cosxfer.UsageError, match=r"Write result\(timeout\)"):
                handle.result(1, 2)  # type: ignore[call-arg]
            if hasattr(handle, call):
                with pytest.raises(cosxfer.UsageError, match=told):
                    getattr(handle, call)(Timeout=1)


def test_a_call_without_parameters_and_a_class_method_say_so_too(cos: FakeCos) -> None:
    with cos.blocking_client() as client:
        for call in (client.get_task_list, client.clear_finished_tasks, client.close):
            with pytest.raises(cosxfer.UsageError, match=r"^there is no parameter 'TaskId'$"):
                call(TaskId="x")  # type: ignore[call-arg]
            with pytest.raises(cosxfer.UsageError, match="takes 0 positional arguments"):
                call("x")  # type: ignore[call-arg]
    for kind in (cosxfer.Client, cosxfer.AsyncClient):
        with pytest.raises(cosxfer.UsageError, match=r"did you mean spec\? Write from_spec\(spec\)"):
            kind.from_spec(Spec=1)  # type: ignore[call-arg]


def test_parts_in_the_form_of_cos_python_sdk_v5_get_a_hint_to_the_list(cos: FakeCos) -> None:
    parts: Any = {"Part": [{"PartNumber": 1, "ETag": '"e"'}]}
    with (
        cos.blocking_client() as client,
        pytest.raises(cosxfer.UsageError, match=r"pass the list in it: parts\['Part'\]") as caught,
    ):
        client.multipart_complete(BUCKET, "k", upload_id="u", parts=parts)
    assert caught.value.name == "parts"
    assert not cos.calls


GOOD = {"bucket": BUCKET, "key": "a", "path": __file__}


def all_ways(files: list[Any]) -> list[tuple[cosxfer.UsageError, int]]:
    """The error of each call that takes many files, and the number of tasks that it created."""
    told = []

    async def waited(call: str) -> None:
        async with FakeCos().client(transport=MemoryTransport(refused)) as client:
            with pytest.raises(cosxfer.UsageError) as caught:
                await getattr(client, call)(files)
            told.append((caught.value, len(client.get_task_list())))

    for call in ("upload_files", "submit_upload_files"):
        with FakeCos().blocking_client(transport=MemoryTransport(refused)) as client:
            with pytest.raises(cosxfer.UsageError) as caught:
                getattr(client, call)(files)
            told.append((caught.value, len(client.get_task_list())))
        asyncio.run(waited(call))
    return told


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"Bucket": BUCKET, "key": "b", "path": __file__},
            "file 1: there is no parameter 'Bucket'; did you mean bucket?",
        ),
        ({**GOOD, "FilePath": "f"}, "file 1: there is no parameter 'FilePath'; did you mean path?"),
        (
            {**GOOD, "StorageClass": "ARCHIVE"},
            "file 1: there is no parameter 'StorageClass'; did you mean storage_class?",
        ),
        (
            {**GOOD, "storage_clas": "ARCHIVE"},
            "file 1: there is no parameter 'storage_clas'; did you mean storage_class?",
        ),
        (
            {**GOOD, "SliceSize": 5},
            "file 1: there is no parameter 'SliceSize'; did you mean slice_size (in bytes)?",
        ),
        ({**GOOD, 5: 5}, "file 1: there is no parameter '5'; pass other headers in headers={…}"),
        ({"bucket": BUCKET, "key": "b"}, "file 1 has no 'path'; it needs bucket, key and path"),
        ({"bucket": BUCKET, "path": "b"}, "file 1 has no 'key'; it needs bucket, key and path"),
        (5, "file 1 is 5; it must be a mapping with bucket, key and path"),
        ((BUCKET, "b", "c"), f"file 1 is ('{BUCKET}', 'b', 'c'); it must be a mapping with bucket, key and path"),
        ({**GOOD, "bucket": None}, "file 1: bucket is None; it must be a string"),
        ({**GOOD, "key": b"k"}, "file 1: key is bytes; it must be a string"),
        ({**GOOD, "path": 5}, "file 1: path is int; it must be a string, or bytes, or a path"),
        ({**GOOD, "region": 5}, "file 1: region is int; it must be a string, or None"),
        ({**GOOD, "part_size": True}, "file 1: part_size is bool; it must be a whole number, or a string, or None"),
        ({**GOOD, "async_limit": 1.5}, "file 1: async_limit is float; it must be a whole number, or a string, or None"),
        ({**GOOD, "abort_on_failure": 1}, "file 1: abort_on_failure is int; it must be True or False, or None"),
        ({**GOOD, "on_task_ready": 5}, "file 1: on_task_ready is int; it must be a function, or None"),
        (
            {**GOOD, "metadata": [("k", "v")]},
            "file 1: metadata is list; it must be a mapping from names to strings or whole numbers, or None",
        ),
        (
            {**GOOD, "headers": {"a": 1.5}},
            "file 1: headers is dict; it must be a mapping from names to strings or whole numbers, or None",
        ),
    ],
)
def test_a_wrong_entry_is_refused_before_any_file_is_sent(wrong: Any, message: str) -> None:
    for error, tasks in all_ways([GOOD, wrong, GOOD]):
        assert str(error) == message
        assert tasks == 0


def test_an_error_of_one_file_ends_only_that_file(cos: FakeCos) -> None:
    files: Any = [
        GOOD,
        {**GOOD, "key": "k" * 2000},
        {**GOOD, "path": "not there"},
        {**GOOD, "part_size": 5},
        {**GOOD, "content_length": "5"},
    ]
    with cos.blocking_client() as client:
        kinds = [type(result.error).__name__ for result in client.upload_files(files)]
    assert kinds == ["NoneType", "UsageError", "SourceError", "UsageError", "UsageError"]
