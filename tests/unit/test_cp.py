"""``cosxfer cp`` reports an upload that could not be verified."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from cosxfer.cli import cp
from cosxfer.cli.connection import Connection
from tests.unit.fake_cos import BUCKET, FakeCos, change
from tests.unit.files import write


def test_an_unverified_object_is_a_failure_that_names_what_the_server_sent(
    cos: FakeCos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    cos.with_crc64 = False
    cos.fault("put_object", change(etag='"opaque"'))
    monkeypatch.setattr(Connection, "client", lambda connection: cos.blocking_client())
    options = cp.CopyOptions(
        source=write(tmp_path / "f", 5),
        bucket=BUCKET,
        key="k",
        connection=Connection(),
        part_size="auto",
        headers={},
        as_json=False,
    )
    with pytest.raises(typer.Exit) as caught:
        cp.run(options)
    assert caught.value.exit_code == 1
    told = capfd.readouterr()
    assert "NOT verified" in told.out
    assert "the server sent no CRC64, and the ETag is not the file's MD5" in " ".join(told.err.split())
