"""Uploads with a package that was built without libnghttp2 or without a compiler. Run by .ci/deep/without.sh."""

from __future__ import annotations

import logging
import random
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import pytest

import cosxfer
from cosxfer.limits import MIB
from cosxfer.server import running


def main(missing: str) -> None:
    said: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    log = logging.getLogger("cosxfer")
    log.setLevel(logging.INFO)
    log.addHandler(Keep())

    assert "/site/" in cosxfer.__file__, cosxfer.__file__
    assert find_spec("cosxfer._native.wire") is None
    compiled = {name: find_spec(f"cosxfer._native.{name}") is not None for name in ("hashing", "slicing")}
    assert set(compiled.values()) == {missing == "nghttp2"}, compiled
    with pytest.raises(cosxfer.UsageError, match="libnghttp2") as caught:
        cosxfer.Client(endpoint="http://127.0.0.1:1/{bucket}", anonymous=True, transport="native")
    assert caught.value.name == "transport"

    body = random.Random(1).randbytes(3 * MIB + 17)
    with tempfile.TemporaryDirectory() as folder, running(tls=True) as server:
        path = Path(folder, "file")
        path.write_bytes(body)
        for _ in range(2):
            with cosxfer.Client(
                endpoint=server.endpoint, credentials=server.credentials, verify=str(server.ca_file)
            ) as client:
                result = client.slice_upload_file(server.bucket, "file", path, slice_size=MIB)
                assert (result.verified_by, result.http_version) == ("crc64", "HTTP/2"), result
                assert client.get_object(server.bucket, "file").body == body
    assert said.count("using httpx: the native transport is not built") == 1, said
    print(f"ok: uploaded without {missing}")


if __name__ == "__main__":
    main(sys.argv[1])
