"""A client in a process of its own, for tests that hurt the process. Its only argument is JSON; it prints JSON.

``call`` is "file", "put", "object" (an open file), "append" or "stream". ``limit`` is a resource limit that is set
before the call and lifted for a second one. With RLIMIT_FSIZE no file can grow, as on a full disk.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cosxfer


def main() -> None:
    task = json.loads(sys.argv[1])
    with cosxfer.Client(
        endpoint=task["endpoint"],
        secret_id=task["secret_id"],
        secret_key=task["secret_key"],
        stall_timeout_seconds=task.get("stall_seconds", 20.0),
        max_bytes_per_second=task.get("bytes_per_second"),
        concurrency=2,
        endpoint_memory=False,
        journal=task.get("journal"),
        http_version=task.get("http_version", "1.1"),
    ) as client:
        # Threads, connections and imports exist before a limit is set.
        client.put_object(task["bucket"], "warm", b"x" * 2_000_000)
        client.upload_file(task["bucket"], "warm", Path(task["warm"]), part_size=1 << 20)
        outcomes = [attempt(client, task, limit=True), attempt(client, task, limit=False)]
    print(json.dumps(outcomes))


def attempt(client: cosxfer.Client, task: dict[str, Any], *, limit: bool) -> dict[str, Any]:
    lift: Callable[[], None] = set_limit(task["limit"]) if limit and "limit" in task else lambda: None
    try:
        result = call(client, task)
    except BaseException as error:
        lift()
        kinds = [kind.__name__ for kind in type(error).__mro__]
        return {"kinds": kinds, "message": " ".join([str(error), *getattr(error, "__notes__", [])])}
    lift()
    return {"kinds": [], "verified": result.verified}


def call(client: cosxfer.Client, task: dict[str, Any]) -> Any:
    bucket, key, path = task["bucket"], task["key"], Path(task["path"])
    how = task["call"]
    if how == "file":
        return client.upload_file(bucket, key, path, part_size=1 << 20)
    if how == "put":
        return client.put_object(bucket, key, path)
    if how == "append":
        return client.append_object(bucket, key, path, position=0)
    with path.open("rb") as file:
        if how == "object":
            return client.put_object(bucket, key, file)
        return client.upload_stream(bucket, key, file, part_size=1 << 20)


def set_limit(name: str) -> Callable[[], None]:
    """Leave nearly nothing of a resource; returns what restores it."""
    kind = getattr(resource, name)
    soft, hard = resource.getrlimit(kind)
    if name == "RLIMIT_FSIZE":
        few = 1
    elif name == "RLIMIT_NOFILE":
        few = max(int(fd.name) for fd in Path("/proc/self/fd").iterdir())
    else:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        few = used + (2 << 20)
    resource.setrlimit(kind, (few, hard))
    return lambda: resource.setrlimit(kind, (soft, hard))


if __name__ == "__main__":
    threading.stack_size(512 << 10)  # the limit of the address space should meet buffers, not stacks
    main()
