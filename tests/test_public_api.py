"""Promises of the package: its names, two clients with the same calls, types, and a fast import."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import cosxfer

CALLS = {
    "put_object",
    "upload_stream",
    "append_object",
    "presign_post",
    "post_object",
    "head_object",
    "delete_object",
    "get_object",
    "list_objects",
    "list_object_versions",
    "delete_objects",
    "copy_object",
    "upload_part_copy",
    "copy",
    "move",
    "head_bucket",
    "put_bucket",
    "delete_bucket",
    "list_buckets",
    "restore_object",
    "get_object_acl",
    "put_object_acl",
    "get_object_tagging",
    "put_object_tagging",
    "delete_object_tagging",
    "presign_url",
    "multipart_list",
    "multipart_init",
    "multipart_upload",
    "multipart_list_part",
    "multipart_complete",
    "multipart_abort",
    "upload_file",
    "slice_upload_file",
    "resume",
    "upload_files",
    "upload_directory",
    "download_file",
    "download_files",
    "download_directory",
    "sync",
    "pause_task",
    "restart_task",
    "cancel_task",
}

REBUILDING = {"spec", "from_spec"}
"""A client as a value for another process."""

AT_ONCE = {"config", "get_task_list", "clear_finished_tasks", "on", "off"}
"""Calls that never wait, so they are the same on both clients."""

SUBMITTING = {
    "submit_upload_file",
    "submit_slice_upload_file",
    "submit_resume",
    "submit_put_object",
    "submit_upload_files",
    "submit_upload_stream",
    "submit_download_file",
    "submit_download_files",
    "submit_download_directory",
}
"""Calls that return a handle at once. Each client has its own kind of handle."""

LISTING_FIRST = {"submit_download_directory"}
"""Of these, the calls that list before they return. On the asynchronous client they are awaited."""

ITERATORS = {
    "iter_multipart_list",
    "iter_multipart_list_part",
    "iter_list_objects",
    "iter_list_object_versions",
    "iter_list_buckets",
    "iter_upload_directory",
}


def public(owner: type) -> set[str]:
    return {name for name in dir(owner) if not name.startswith("_")}


def test_every_exported_name_exists() -> None:
    assert cosxfer.__all__ == sorted(cosxfer.__all__, key=lambda name: (name.startswith("_"), name))
    for name in cosxfer.__all__:
        assert getattr(cosxfer, name) is not None
        assert name in dir(cosxfer)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        cosxfer.nonsense  # noqa: B018


def test_both_clients_have_the_same_calls() -> None:
    assert public(cosxfer.Client) - {"close"} == public(cosxfer.AsyncClient) - {"aclose"}
    assert public(cosxfer.Client) - {"close"} == CALLS | AT_ONCE | SUBMITTING | ITERATORS | REBUILDING


@pytest.mark.parametrize("name", sorted({*CALLS, *AT_ONCE, *REBUILDING, "__init__"} - {"config"}))
def test_both_clients_have_the_same_signatures(name: str) -> None:
    blocking = inspect.signature(getattr(cosxfer.Client, name))
    asynchronous = inspect.signature(getattr(cosxfer.AsyncClient, name))
    assert blocking == asynchronous


@pytest.mark.parametrize("name", sorted(SUBMITTING))
def test_a_submit_call_has_the_parameters_of_its_call_and_returns_a_handle(name: str) -> None:
    call = inspect.signature(getattr(cosxfer.Client, name.removeprefix("submit_")))
    blocking = inspect.signature(getattr(cosxfer.Client, name))
    asynchronous = inspect.signature(getattr(cosxfer.AsyncClient, name))
    assert call.parameters == blocking.parameters == asynchronous.parameters
    handle = str(asynchronous.return_annotation).removeprefix("cosxfer.")
    assert handle.startswith("Async")
    assert handle.removeprefix("Async") == str(blocking.return_annotation).removeprefix("cosxfer.")


@pytest.mark.parametrize(
    ("blocking", "asynchronous"),
    [(cosxfer.UploadTask, cosxfer.AsyncUploadTask), (cosxfer.UploadBatch, cosxfer.AsyncUploadBatch)],
)
def test_handles_differ_only_in_being_asynchronous(blocking: type, asynchronous: type) -> None:
    assert public(blocking) == public(asynchronous)
    for name in public(blocking):
        if callable(getattr(blocking, name)):
            assert inspect.signature(getattr(blocking, name)) == inspect.signature(getattr(asynchronous, name))
            assert inspect.iscoroutinefunction(getattr(asynchronous, name))


@pytest.mark.parametrize("name", sorted({*SUBMITTING, *AT_ONCE}))
def test_calls_that_return_at_once_are_documented_and_no_coroutines(name: str) -> None:
    assert (getattr(cosxfer.AsyncClient, name).__doc__ or "").strip()
    assert getattr(cosxfer.Client, name).__doc__ == getattr(cosxfer.AsyncClient, name).__doc__
    assert inspect.iscoroutinefunction(getattr(cosxfer.AsyncClient, name)) == (name in LISTING_FIRST)


@pytest.mark.parametrize("name", sorted({*CALLS, *SUBMITTING}))
def test_calls_have_at_most_three_positional_parameters(name: str) -> None:
    parameters = list(inspect.signature(getattr(cosxfer.Client, name)).parameters.values())[1:]
    positional = [p for p in parameters if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    assert len(positional) <= 3


def test_every_exported_class_has_a_docstring() -> None:
    kinds = [kind for name in cosxfer.__all__ if isinstance(kind := getattr(cosxfer, name), type)]
    # Python sets the signature as the docstring of a dataclass without one.
    assert [kind for kind in kinds if not kind.__doc__ or kind.__doc__.startswith(f"{kind.__name__}(")] == []


@pytest.mark.parametrize("name", sorted(ITERATORS))
def test_iterators_differ_only_in_being_asynchronous(name: str) -> None:
    blocking = inspect.signature(getattr(cosxfer.Client, name))
    asynchronous = inspect.signature(getattr(cosxfer.AsyncClient, name))
    assert blocking.parameters == asynchronous.parameters
    one = str(blocking.return_annotation)
    both = (
        one.replace("Iterator", "AsyncIterator")
        .replace("Generator", "AsyncGenerator")
        .replace(", None, None]", ", None]")
    )
    assert str(asynchronous.return_annotation) == both
    assert getattr(cosxfer.Client, name).__doc__ == getattr(cosxfer.AsyncClient, name).__doc__


@pytest.mark.parametrize("name", sorted(CALLS))
def test_calls_are_documented_and_asynchronous_only_in_the_async_client(name: str) -> None:
    assert (getattr(cosxfer.AsyncClient, name).__doc__ or "").strip()
    assert getattr(cosxfer.Client, name).__doc__ == getattr(cosxfer.AsyncClient, name).__doc__
    assert inspect.iscoroutinefunction(getattr(cosxfer.AsyncClient, name))
    assert not inspect.iscoroutinefunction(getattr(cosxfer.Client, name))


def test_the_package_is_marked_as_typed() -> None:
    assert (Path(cosxfer.__file__).parent / "py.typed").exists()


def output_of(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_importing_the_package_imports_none_of_its_modules() -> None:
    assert output_of("import cosxfer, sys; print(*(name for name in sys.modules if name.startswith('cosxfer.')))") == ""


def test_creating_a_client_imports_no_unneeded_library() -> None:
    libraries = {"httpx", "numpy", "granian", "rich", "typer"}
    # Each start pays for the modules that it imports, and again when the interpreter ends.
    libraries |= {"xml.etree.ElementTree", "tempfile", "decimal", "email.utils", "pickle", "cosxfer.bucket_models"}
    libraries |= {"cosxfer.sync.run", "cosxfer.tasks.downloads", "cosxfer.engine.copy.copy", "cosxfer.ops.presign_url"}
    keys = "secret_id='id', secret_key='key', region='ap-guangzhou', transport='native'"
    code = f"import cosxfer, sys; cosxfer.Client({keys}).close(); print(*{libraries} & set(sys.modules))"
    assert output_of(code) == ""


@pytest.mark.parametrize("module", ["errors", "models", "config", "credentials", "client", "aio"])
def test_a_module_with_exported_names_needs_no_import(module: str) -> None:
    assert output_of(f"import cosxfer; print(cosxfer.{module}.__name__)") == f"cosxfer.{module}"
