"""The calls of the parameter table: each operation with every parameter that the page gives it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import md5
from typing import Any

import cosxfer
from cosxfer.limits import MIB
from tests.functional.recorder import Recorded
from tests.functional.table import DESCRIBED, GRANTED, GRANTED_ACP, KEY, OWNED, World

BODY = b"twelve bytes"
SMALL, LARGE = 200_000, 3 * MIB + 5


@dataclass(frozen=True, kw_only=True)
class Call:
    """``prepare`` sets up the call, ``run(world, bucket, **where)`` makes it, and ``is_it`` finds its request."""

    run: Callable[..., Any]
    is_it: Callable[[Recorded], bool]
    prepare: Callable[[World], None] = lambda world: None


def put_object(w: World, bucket: str, **where: Any) -> Any:
    return w.client.put_object(
        bucket,
        KEY,
        BODY,
        content_length=len(BODY),
        expect="100-continue",
        on_task_ready=w.listen("on_task_ready"),
        on_progress=w.listen("on_progress"),
        **DESCRIBED,
        **OWNED,
        **GRANTED,
        **GRANTED_ACP,
        **where,
    )


def prepare_append(w: World) -> None:
    w.client.append_object(w.bucket, KEY, b"first", position=0)


def append_object(w: World, bucket: str, **where: Any) -> Any:
    return w.client.append_object(
        bucket,
        KEY,
        BODY,
        position=5,
        content_length=len(BODY),
        expect="100-continue",
        **DESCRIBED,
        **OWNED,
        **GRANTED,
        **GRANTED_ACP,
        **where,
    )


def prepare_list(w: World) -> None:
    for key in ("a b/x", "a+1", "a+1", "a2", "b"):
        w.client.multipart_init(w.bucket, key, storage_class="STANDARD_IA")


def multipart_list(w: World, bucket: str, **where: Any) -> Any:
    return w.client.multipart_list(
        bucket,
        prefix="a",
        delimiter="/",
        encoding_type="url",
        max_uploads=2,
        key_marker="a",
        upload_id_marker="0",
        **where,
    )


def multipart_init(w: World, bucket: str, **where: Any) -> Any:
    return w.client.multipart_init(bucket, KEY, **DESCRIBED, **OWNED, **GRANTED, **where)


def prepare_upload(w: World) -> None:
    w.extra = w.client.multipart_init(w.bucket, KEY, storage_class="STANDARD_IA").upload_id


def multipart_upload(w: World, bucket: str, **where: Any) -> Any:
    return w.client.multipart_upload(
        bucket,
        KEY,
        BODY,
        upload_id=w.extra,
        part_number=7,
        content_length=len(BODY),
        content_md5=b64encode(md5(BODY).digest()).decode(),
        expect="100-continue",
        **where,
    )


def prepare_parts(w: World) -> None:
    prepare_upload(w)
    for number, size in ((1, MIB), (2, MIB + 1), (3, 5)):
        w.client.multipart_upload(w.bucket, KEY, bytes(size), upload_id=w.extra, part_number=number)


def multipart_list_part(w: World, bucket: str, **where: Any) -> Any:
    return w.client.multipart_list_part(
        bucket, KEY, upload_id=w.extra, encoding_type="url", max_parts=1, part_number_marker=1, **where
    )


def multipart_complete(w: World, bucket: str, **where: Any) -> Any:
    # The client sorts the parts and adds the quotes.
    parts = [
        cosxfer.Part(part_number=number, etag=md5(bytes(size)).hexdigest())
        for number, size in ((3, 5), (1, MIB), (2, MIB + 1))
    ]
    return w.client.multipart_complete(bucket, KEY, upload_id=w.extra, parts=parts, **where)


def multipart_abort(w: World, bucket: str, **where: Any) -> Any:
    return w.client.multipart_abort(bucket, KEY, upload_id=w.extra, **where)


def upload_file(w: World, bucket: str, **where: Any) -> Any:
    small = w.client.upload_file(
        bucket,
        KEY,
        w.file(SMALL),
        slice_size=SMALL,
        upload_add_meta_md5=True,
        content_length=SMALL,
        expect="100-continue",
        storage_class="STANDARD_IA",
        on_task_ready=w.listen("on_task_ready"),
        on_progress=w.listen("on_progress"),
        on_file_finish=w.listen("on_file_finish"),
        **DESCRIBED,
        **where,
    )
    # The same call for a file above the threshold, which is sent in parts, one at a time.
    w.extra = w.client.upload_file(
        bucket, "folder/large", w.file(LARGE), slice_size=SMALL, part_size=MIB, async_limit=1, **where
    )
    return small


def slice_upload_file(w: World, bucket: str, **where: Any) -> Any:
    sliced = w.client.slice_upload_file(
        bucket,
        KEY,
        w.file(LARGE),
        slice_size=MIB,
        content_length=LARGE,
        expect="100-continue",
        storage_class="STANDARD_IA",
        on_task_ready=w.listen("on_task_ready"),
        on_hash_progress=w.listen("on_hash_progress"),
        on_progress=w.listen("on_progress"),
        **DESCRIBED,
        **where,
    )
    w.extra = w.client.slice_upload_file(bucket, "folder/serial", w.file(LARGE), slice_size=MIB, async_limit=1, **where)
    return sliced


def upload_files(w: World, bucket: str, **where: Any) -> Any:
    first: cosxfer.FileUpload = {
        "bucket": bucket,
        "key": KEY,
        "path": w.file(SMALL),
        "content_length": SMALL,
        "expect": "100-continue",
        "on_task_ready": w.listen("on_task_ready"),
        **DESCRIBED,  # type: ignore[typeddict-item] # strings, all of them
        **where,  # type: ignore[typeddict-item]
    }
    second: cosxfer.FileUpload = {"bucket": bucket, "key": "folder/large", "path": w.file(LARGE), "part_size": MIB}
    done = w.client.upload_files(
        [first, second],
        slice_size=SMALL,
        on_progress=w.listen("on_progress"),
        on_file_finish=w.listen("on_file_finish"),
    )
    w.extra = [first, second]
    for outcome in done:
        if outcome.error is not None:
            raise outcome.error
    return done


def a_task(w: World, bucket: str, **where: Any) -> Any:
    """Pause, restart and cancel take the task ID that on_task_ready gets."""
    seen: list[Any] = []
    task = w.client.submit_slice_upload_file(bucket, KEY, w.file(LARGE), slice_size=MIB, on_task_ready=seen.append)
    [task_id] = seen
    paused = w.client.pause_task(task_id)
    state = {info.task_id: info.state for info in w.client.get_task_list()}[task_id]
    restarted = w.client.restart_task(task_id)
    again = w.client.submit_slice_upload_file(bucket, KEY, w.file(LARGE), slice_size=MIB)
    canceled = w.client.cancel_task(again.task_id)
    return {
        "pause": (paused, state),
        "restart": (restarted, task.result().verified),
        "cancel": (canceled, again.state),
    }


def _is_upload_or_put(request: Recorded) -> bool:
    return request.method == "PUT" and request.path.endswith(KEY)


CALLS: dict[str, Call] = {
    "putObject": Call(run=put_object, is_it=lambda r: r.method == "PUT"),
    "appendObject": Call(
        run=append_object, prepare=prepare_append, is_it=lambda r: r.method == "POST" and "append" in r.query
    ),
    "multipartList": Call(
        run=multipart_list, prepare=prepare_list, is_it=lambda r: r.method == "GET" and "uploads" in r.query
    ),
    "multipartInit": Call(run=multipart_init, is_it=lambda r: r.method == "POST" and "uploads" in r.query),
    "multipartUpload": Call(
        run=multipart_upload, prepare=prepare_upload, is_it=lambda r: r.method == "PUT" and "partNumber" in r.query
    ),
    "multipartListPart": Call(
        run=multipart_list_part, prepare=prepare_parts, is_it=lambda r: r.method == "GET" and "uploadId" in r.query
    ),
    "multipartComplete": Call(
        run=multipart_complete, prepare=prepare_parts, is_it=lambda r: r.method == "POST" and "uploadId" in r.query
    ),
    "multipartAbort": Call(run=multipart_abort, prepare=prepare_upload, is_it=lambda r: r.method == "DELETE"),
    "uploadFile": Call(run=upload_file, is_it=_is_upload_or_put),
    "sliceUploadFile": Call(run=slice_upload_file, is_it=lambda r: r.method == "POST" and "uploads" in r.query),
    "uploadFiles": Call(run=upload_files, is_it=_is_upload_or_put),
    "cancelTask": Call(run=a_task, is_it=lambda r: r.method == "POST" and "uploads" in r.query),
    "pauseTask": Call(run=a_task, is_it=lambda r: r.method == "POST" and "uploads" in r.query),
    "restartTask": Call(run=a_task, is_it=lambda r: r.method == "POST" and "uploads" in r.query),
}
