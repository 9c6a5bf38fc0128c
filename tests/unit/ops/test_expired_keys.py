"""Temporary keys that the server calls expired in the middle of a transfer: each request goes on with new ones."""

from __future__ import annotations

import asyncio
import os
import types
from collections.abc import Callable
from pathlib import Path

import pytest

import cosxfer
from cosxfer.cos.requests import HttpRequest
from cosxfer.cos.responses import HttpResponse
from cosxfer.limits import MIB
from tests.unit.fake_cos import BUCKET, Do, FakeCos, error, lose_response, refuse
from tests.unit.ops.test_learning import provider
from tests.unit.ops.test_session import clock, cos

__all__ = ["clock", "cos"]

PARTS = 8


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(PARTS * MIB))
    os.utime(path, (1e9, 1e9))
    return path


def expire(cos: FakeCos) -> Do:
    """All keys expire when a request arrives. The response to HEAD has no body."""

    async def do(request: HttpRequest, proceed: Callable[[], HttpResponse]) -> HttpResponse:
        cos.tokens.clear()
        response = proceed()
        await asyncio.sleep(0.01)  # all requests in flight are refused before the first one is signed again
        bare = request.method == "HEAD"
        return HttpResponse(status=response.status, headers=response.headers, body=b"" if bare else response.body)

    return do


def upload(cos: FakeCos, path: Path, give: Callable[[], cosxfer.Credentials], **settings: object) -> object:
    async def main() -> object:
        given: dict[str, object] = {"part_size": MIB, "concurrency": PARTS, "journal": None, **settings}
        async with cos.client(credentials=give, **given) as client:
            try:
                return await client.upload_file(BUCKET, "k", path)
            except cosxfer.CosxferError as failed:
                return failed

    return asyncio.run(main())


@pytest.mark.parametrize("operation", ["multipart_init", "multipart_upload", "multipart_complete"])
def test_an_upload_goes_on_with_new_keys(
    cos: FakeCos, clock: types.SimpleNamespace, path: Path, waits: list[float], operation: str
) -> None:
    give, asked = provider(cos)
    cos.fault(operation, expire(cos))
    result = upload(cos, path, give)
    assert isinstance(result, cosxfer.UploadResult), result
    assert cos.objects["k"].content == path.read_bytes()
    assert len(asked) == 2
    assert not waits
    assert result.retries <= (PARTS if operation == "multipart_upload" else 1)


def test_a_lost_complete_is_resolved_with_new_keys(cos: FakeCos, clock: types.SimpleNamespace, path: Path) -> None:
    give, asked = provider(cos)
    cos.fault("multipart_complete", lose_response)
    cos.fault("head_object", expire(cos))
    result = upload(cos, path, give)
    assert isinstance(result, cosxfer.UploadResult), result
    assert cos.count("head_object") == 2
    assert len(asked) == 2


def test_a_conflict_of_a_part_is_resolved_with_new_keys(cos: FakeCos, clock: types.SimpleNamespace, path: Path) -> None:
    give, asked = provider(cos)

    def conflict(request: HttpRequest, proceed: Callable[[], HttpResponse]) -> HttpResponse:
        proceed()
        return error(409, "UploadConflict")

    cos.fault("multipart_upload", conflict, part=3)
    cos.fault("multipart_list_part", expire(cos))
    result = upload(cos, path, give)
    assert isinstance(result, cosxfer.UploadResult), result
    assert cos.count("multipart_upload", 3) <= 2
    assert cos.count("multipart_list_part") == 2
    assert len(asked) == 2


def test_the_parts_of_a_failed_upload_are_deleted_with_new_keys(
    cos: FakeCos, clock: types.SimpleNamespace, path: Path
) -> None:
    give, asked = provider(cos)
    cos.fault("multipart_upload", refuse(400, "InvalidArgument"), part=3)
    cos.fault("multipart_abort", expire(cos))
    failed = upload(cos, path, give, max_finished_tasks=0)
    assert isinstance(failed, cosxfer.UploadError)
    assert failed.aborted
    assert not cos.uploads
    assert len(asked) == 2


def test_a_restarted_upload_lists_its_parts_with_new_keys(
    cos: FakeCos, clock: types.SimpleNamespace, path: Path
) -> None:
    give, asked = provider(cos)
    cos.fault("multipart_upload", refuse(400, "InvalidArgument"), part=PARTS)

    async def main() -> cosxfer.UploadResult:
        async with cos.client(credentials=give, part_size=MIB, concurrency=1, journal=None) as client:
            task = client.submit_upload_file(BUCKET, "k", path)
            with pytest.raises(cosxfer.UploadError):
                await task.result()
            cos.fault("multipart_list_part", expire(cos))
            assert await client.restart_task(task.task_id)
            return await task.result()

    assert asyncio.run(main()).resumed_bytes == (PARTS - 1) * MIB
    assert cos.count("multipart_list_part") == 2
    assert len(asked) == 2


def test_a_provider_that_returns_old_keys_at_first_does_not_end_an_upload_that_has_begun(
    cos: FakeCos, clock: types.SimpleNamespace, path: Path
) -> None:
    """Its cache may be behind the server."""
    give, asked = provider(cos)
    old: list[cosxfer.Credentials] = []

    def cached() -> cosxfer.Credentials:
        if len(asked) == 1 and len(old) < 4:
            old.append(first[0])
            return first[0]
        keys = give()
        first.append(keys)
        return keys

    first: list[cosxfer.Credentials] = []
    cos.fault("multipart_complete", expire(cos))
    result = upload(cos, path, cached, retry_for_seconds=60)
    assert isinstance(result, cosxfer.UploadResult), result
    assert len(old) == 4


def test_a_key_that_the_server_does_not_know_stays_final_in_an_upload_that_has_begun(
    cos: FakeCos, clock: types.SimpleNamespace, path: Path
) -> None:
    give, _ = provider(cos)

    def unknown(request: HttpRequest, proceed: Callable[[], HttpResponse]) -> HttpResponse:
        cos.secrets.clear()
        return error(403, "InvalidAccessKeyId")

    cos.fault("multipart_complete", unknown, times=99)
    failed = upload(cos, path, give, retry_for_seconds=60)
    assert isinstance(failed, cosxfer.AccessDeniedError)
    assert cos.count("multipart_complete") == 2
