"""Helpers for the tests of proxies: clients of the embedded server, and a search for leaked passwords."""

from __future__ import annotations

import random
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import cosxfer
from cosxfer.limits import MIB
from cosxfer.server import RunningServer, running
from cosxfer.transport import choose

BODY = random.Random(17).randbytes(3 * MIB + 5)
PASSWORD = "hush@this/is:it"  # must be quoted in a URL
QUOTED = "hush%40this%2Fis%3Ait"
ENCODED = "bWU6aHVzaEB0aGlzL2lzOml0"  # me:… in base64


@contextmanager
def two_servers() -> Iterator[dict[str, RunningServer]]:
    """A server without TLS and one with it, with two buckets each."""
    buckets = ("first-1250000000", "second-1250000000")
    with running(buckets=buckets) as plain, running(tls=True, buckets=buckets) as tls:
        yield {"http": plain, "https": tls}


def forget_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove this machine's proxies from the environment, and forget which notices were already logged once."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.delenv("REQUEST_METHOD", raising=False)
    choose._say_once.cache_clear()


def variable(server: RunningServer) -> str:
    return f"{server.url.partition('://')[0].upper()}_PROXY"


def client(server: RunningServer, **more: Any) -> cosxfer.Client:
    settings = {
        "endpoint": server.endpoint,
        "credentials": server.credentials,
        "verify": str(server.ca_file) if server.ca_file else True,
        "max_attempts": 1,
        "retry_for_seconds": 0,
        "stall_timeout_seconds": 20.0,
    }
    return cosxfer.Client(**{**settings, **more})


def everything(error: BaseException) -> str:
    """All text of an error: str, repr, attributes, arguments, causes and traceback."""
    shown = []
    seen: BaseException | None = error
    while seen is not None:
        shown += [str(seen), repr(seen), repr(vars(seen)), repr(seen.args)]
        seen = seen.__cause__ or seen.__context__
    return "\n".join([*shown, *traceback.format_exception(error)])


def clean(text: str) -> None:
    for secret in (PASSWORD, QUOTED, ENCODED, "hush"):
        assert secret not in text


def transfers(cos: cosxfer.Client, server: RunningServer, path: Path) -> None:
    """Upload a file in parts, put an object, and read both."""
    path.write_bytes(BODY)
    result = cos.slice_upload_file(server.bucket, "a/../file ü", path, slice_size=MIB)
    assert result.verified
    assert cos.get_object(server.bucket, "a/../file ü").body == BODY
    cos.put_object(server.bucket, "put", BODY[:100_000])
    assert cos.get_object(server.bucket, "put").body == BODY[:100_000]
