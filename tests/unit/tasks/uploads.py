"""Helpers for the tests of tasks against an in-memory COS."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import cosxfer
from cosxfer.limits import MIB
from tests.unit.fake_cos import BUCKET, FakeCos
from tests.unit.files import rewrite

SIZE = 5 * MIB + 7
PARTS = 6


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, 60))


def submit(
    client: cosxfer.AsyncClient, path: Path, key: str = "k", **options: Any
) -> cosxfer.AsyncUploadTask[cosxfer.UploadResult]:
    return client.submit_upload_file(BUCKET, key, path, part_size=MIB, async_limit=2, **options)


def sent(cos: FakeCos) -> list[int]:
    return sorted(call.part for call in cos.calls if call.operation == "multipart_upload" and call.part is not None)


def alter(path: Path, content: bytes, *, replace: bool) -> None:
    if replace:
        other = path.with_name("other")
        other.write_bytes(content)
        other.replace(path)
    else:
        rewrite(path, content)
