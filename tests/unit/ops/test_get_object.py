"""An object fetched into memory or a file: whole and checked, or not at all."""

from __future__ import annotations

import asyncio
import os
import resource
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import cosxfer
from cosxfer.cos.requests import HttpRequest
from cosxfer.cos.responses import HttpResponse
from tests.unit.deep_tree import deep_folder, write_at
from tests.unit.fake_cos import BUCKET, FakeCos, Stored, change, lose_response, refuse

CONTENT = b"the content of the object"


@pytest.fixture
def cos() -> FakeCos:
    return FakeCos(objects={"k": Stored(CONTENT, {"content-type": "text/plain"}, '"e"')})


def get(cos: FakeCos, **options: object) -> cosxfer.GetObjectResult:
    async def main() -> cosxfer.GetObjectResult:
        async with cos.client() as client:
            return await client.get_object(BUCKET, "k", **options)  # type: ignore[arg-type]

    return asyncio.run(main())


def test_the_type_of_the_result_says_where_the_content_is(cos: FakeCos, tmp_path: Path) -> None:
    in_memory = get(cos)
    assert isinstance(in_memory, cosxfer.GetObjectBytesResult)
    assert in_memory.body == CONTENT
    in_file = get(cos, output=tmp_path / "f")
    assert isinstance(in_file, cosxfer.GetObjectFileResult)
    assert (in_file.body, in_file.path) == (None, str(tmp_path / "f"))
    assert Path(in_file.path).read_bytes() == CONTENT
    assert get(cos, output=os.fsencode(tmp_path / "g")).verified
    assert (tmp_path / "g").read_bytes() == CONTENT


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def damage(request: HttpRequest, proceed: Callable[[], HttpResponse]) -> HttpResponse:
    response = proceed()
    return replace(response, body=bytes(response.body[:-1]) + b"?")


def cut(request: HttpRequest, proceed: Callable[[], HttpResponse]) -> HttpResponse:
    response = proceed()
    return replace(response, body=response.body[:5])


def test_content_in_memory_is_verified(cos: FakeCos) -> None:
    result = get(cos)
    assert result.body == CONTENT
    assert result.verified
    assert (result.size, result.content_type, result.content_range) == (len(CONTENT), "text/plain", None)


def test_an_empty_object_is_an_empty_body(cos: FakeCos) -> None:
    cos.objects["k"] = Stored(b"", {}, '"e"')
    result = get(cos)
    assert result.body == b""
    assert result.verified


def test_without_a_crc64_the_content_is_not_verified(cos: FakeCos) -> None:
    cos.with_crc64 = False
    assert not get(cos).verified


@pytest.mark.parametrize("fault", [damage, cut, refuse(503, "SlowDown"), lose_response])
def test_damaged_content_is_downloaded_again(cos: FakeCos, tmp_path: Path, fault: Callable[..., HttpResponse]) -> None:
    cos.fault("get_object", fault, times=2)
    assert get(cos).body == CONTENT
    assert cos.count("get_object") == 3
    cos.fault("get_object", fault, times=2)
    assert get(cos, output=tmp_path / "f").body is None
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert names(tmp_path) == ["f"]


@pytest.mark.parametrize("fault", [damage, cut])
def test_content_that_stays_damaged_is_an_integrity_error_and_no_file(
    cos: FakeCos, tmp_path: Path, fault: Callable[..., HttpResponse]
) -> None:
    cos.fault("get_object", fault, times=99)
    with pytest.raises(cosxfer.IntegrityError):
        get(cos, output=tmp_path / "f")
    assert not names(tmp_path)


def test_an_existing_file_stays_until_the_new_one_is_complete(cos: FakeCos, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"old")
    cos.fault("get_object", cut, times=99)
    with pytest.raises(cosxfer.IntegrityError):
        get(cos, output=path)
    assert path.read_bytes() == b"old"
    cos.faults.clear()
    get(cos, output=str(path))
    assert path.read_bytes() == CONTENT


def test_the_file_has_the_mode_that_open_gives(cos: FakeCos, tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    get(cos, output=tmp_path / "f")
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == stat.S_IMODE((tmp_path / "usual").stat().st_mode)


@pytest.mark.parametrize("name", ["🚀" * 63, "x" * 255, "汉" * 85])
def test_the_longest_allowed_file_name_works(cos: FakeCos, tmp_path: Path, name: str) -> None:
    get(cos, output=tmp_path / name)
    assert (tmp_path / name).read_bytes() == CONTENT


def test_a_missing_object_leaves_no_file(cos: FakeCos, tmp_path: Path) -> None:
    cos.objects.clear()
    with pytest.raises(cosxfer.NotFoundError):
        get(cos, output=tmp_path / "f")
    assert not names(tmp_path)


def test_a_missing_folder_is_an_error_before_any_request(cos: FakeCos, tmp_path: Path) -> None:
    with pytest.raises(cosxfer.CosxferError, match=r"cannot write .*nowhere.*No such file"):
        get(cos, output=tmp_path / "nowhere" / "f")
    assert not cos.calls


def test_a_folder_created_with_the_name_of_the_output_is_an_error(cos: FakeCos, tmp_path: Path) -> None:
    def response(request: HttpRequest, proceed: Callable[[], HttpResponse]) -> HttpResponse:
        (tmp_path / "f").mkdir()
        return proceed()

    cos.fault("get_object", response)
    with pytest.raises(cosxfer.CosxferError, match="cannot write"):
        get(cos, output=tmp_path / "f")
    assert names(tmp_path) == ["f"]


def test_a_full_disk_is_an_error_and_not_retried(cos: FakeCos, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5, hard))
    try:
        with pytest.raises(cosxfer.CosxferError, match=r"cannot write .*f': File too large"):
            get(cos, output=tmp_path / "f")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert cos.count("get_object") == 1
    assert not names(tmp_path)


def test_only_the_requested_range_is_downloaded(cos: FakeCos) -> None:
    result = get(cos, byte_range=(4, 10))
    assert result.body == CONTENT[4:11]
    assert result.content_range == f"bytes 4-10/{len(CONTENT)}"
    assert not result.verified


def test_the_whole_object_in_response_to_a_range_is_an_error(cos: FakeCos) -> None:
    def whole(request: HttpRequest, proceed: Callable[[], HttpResponse]) -> HttpResponse:
        return HttpResponse(status=200, headers={"content-length": str(len(CONTENT))}, body=CONTENT)

    cos.fault("get_object", whole, times=99)
    with pytest.raises(cosxfer.ProtocolError, match="range"):
        get(cos, byte_range=(4, 10))


@pytest.mark.parametrize("byte_range", [(-1, 3), (5, 4), (0,), 5, (0.5, 2), ("0", "1")])
def test_an_invalid_range_is_refused_before_any_request(cos: FakeCos, byte_range: object) -> None:
    with pytest.raises(cosxfer.UsageError) as caught:
        get(cos, byte_range=byte_range)
    assert caught.value.name == "byte_range"
    assert not cos.calls


def test_a_response_without_a_length_is_an_error(cos: FakeCos) -> None:
    cos.fault("get_object", change(content_length=None), times=99)
    with pytest.raises(cosxfer.ProtocolError, match="Content-Length"):
        get(cos)


def test_a_cancelled_fetch_leaves_no_file(cos: FakeCos, tmp_path: Path) -> None:
    async def main() -> None:
        arrived = asyncio.Event()

        async def hang(request: HttpRequest, proceed: Callable[[], HttpResponse]) -> HttpResponse:
            assert request.on_body is not None
            request.on_body(b"the")
            arrived.set()
            await asyncio.Event().wait()
            raise AssertionError

        cos.fault("get_object", hang)
        async with cos.client() as client:
            task = asyncio.create_task(client.get_object(BUCKET, "k", output=tmp_path / "f"))
            await arrived.wait()
            assert names(tmp_path)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())
    assert not names(tmp_path)


def test_a_version_is_requested_by_its_id(cos: FakeCos) -> None:
    get(cos, version_id="v 1")
    assert cos.calls[0].request.target == "/k?versionId=v%201"


def test_a_file_that_is_replaced_leaves_its_mode_and_a_link_stays_a_link(cos: FakeCos, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"before")
    target.chmod(0o600)
    link = tmp_path / "link"
    link.symlink_to(target)
    get(cos, output=link)
    assert link.is_symlink()
    assert target.read_bytes() == CONTENT
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_a_pipe_or_a_device_is_not_replaced(cos: FakeCos, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(cosxfer.UsageError, match="not a regular file"):
        get(cos, output=pipe)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


DEEP = ["d" * 200] * 25


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="only Linux shows a descriptor as a path")
def test_the_output_may_be_deeper_than_the_longest_path(cos: FakeCos, tmp_path: Path) -> None:
    held = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    with deep_folder(tmp_path / "root", DEEP) as fd:
        output = str(tmp_path.joinpath("root", *DEEP, "file"))
        for content in (CONTENT, b"another"):
            cos.objects["k"] = Stored(content, {}, '"e"')
            assert get(cos, output=output).verified
            file = os.open("file", os.O_RDONLY, dir_fd=fd)
            assert os.read(file, 100) == content
            os.close(file)
            assert os.listdir(fd) == ["file"]  # noqa: PTH208
        cos.fault("get_object", refuse(403, "AccessDenied"))
        with pytest.raises(cosxfer.AccessDeniedError):
            get(cos, output=output)
        assert os.listdir(fd) == ["file"]  # noqa: PTH208
    assert len(os.listdir("/proc/self/fd")) == held  # noqa: PTH208


@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "no folder above"])
def test_an_unwritable_output_is_refused_in_deep_folders_too(cos: FakeCos, tmp_path: Path, kind: str) -> None:
    with deep_folder(tmp_path / "root", DEEP) as fd:
        name = "file"
        write_at(fd, "other", b"old")
        if kind == "link":
            os.symlink("other", "file", dir_fd=fd)
        elif kind == "pipe":
            os.mkfifo("file", dir_fd=fd)
        elif kind == "folder":
            os.mkdir("file", dir_fd=fd)
        else:
            name = "none/file"
        before = sorted(os.listdir(fd))  # noqa: PTH208
        with pytest.raises(cosxfer.CosxferError):
            get(cos, output=str(tmp_path.joinpath("root", *DEEP, name)))
        assert sorted(os.listdir(fd)) == before  # noqa: PTH208
        if kind == "link":
            assert os.readlink("file", dir_fd=fd) == "other"


@pytest.mark.parametrize("end", ["/", "/."])
def test_a_slash_behind_the_output_is_refused(cos: FakeCos, tmp_path: Path, end: str) -> None:
    with pytest.raises(cosxfer.UsageError, match="which is a directory"):
        get(cos, output=f"{tmp_path}/file{end}")
    assert not cos.calls
