"""What `cp` prints about what bounded an upload."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from cosxfer.cli import cp
from cosxfer.cli.connection import Connection
from cosxfer.client import Client
from cosxfer.models import BoundBy, UploadResult, Verdict
from tests.unit.fake_cos import BUCKET, FakeCos
from tests.unit.files import write

LINK = Verdict(bound_by="link", share=0.94, text="The link bounded the transfer.", advice="")


def verdict(bound_by: BoundBy, advice: str = "Do this.") -> Verdict:
    return Verdict(bound_by=bound_by, share=0.5, text="It took 0.20 s, which is too short.", advice=advice)


@pytest.mark.parametrize(
    ("given", "end"),
    [
        (LINK, "; bound by the link (94% of the time); nothing to tune"),
        (verdict("reading"), "; bound by reading (50% of the time); do this"),
        (verdict("too few parts"), "; bound by too few parts (50% of the time); do this"),
        (verdict("throttling"), "; bound by the server's throttling (50% of the time); do this"),
        (verdict("unknown", advice=""), "; it took 0.20 s, which is too short"),
    ],
)
def test_the_line_has_size_time_goodput_and_what_bounded_it(given: Verdict, end: str) -> None:
    result = uploaded(seconds=6.2, size=1024**3)
    assert cp.verdict_line(replace(result, verdict=given)) == f"1.0 GiB in 6.2 s (173.2 MB/s){end}"


def test_a_short_upload_and_one_without_a_verdict_have_no_line() -> None:
    assert cp.verdict_line(replace(uploaded(seconds=0.99), verdict=LINK)) == ""
    assert cp.verdict_line(uploaded(seconds=60.0)) == ""


def uploaded(*, seconds: float, size: int = 5) -> UploadResult:
    return UploadResult(
        bucket=BUCKET,
        key="k",
        etag='"e"',
        location="l",
        version_id=None,
        crc64=1,
        verified=True,
        verified_by="crc64",
        size=size,
        parts=1,
        part_size_bytes=5,
        upload_id="",
        http_version="HTTP/1.1",
        seconds=seconds,
        hash_seconds=0.0,
        send_seconds=0.0,
        retries=0,
    )


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("given", [LINK, None])
def test_people_get_a_line_on_standard_error_and_programs_an_object(
    cos: FakeCos,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    as_json: bool,
    given: Verdict | None,
) -> None:
    monkeypatch.setattr(Connection, "client", lambda connection: cos.blocking_client())
    upload = Client.upload_file
    monkeypatch.setattr(
        Client,
        "upload_file",
        lambda *a, **k: replace(upload(*a, **k), verdict=given, seconds=6.2),  # type: ignore
    )
    cp.run(
        cp.CopyOptions(
            source=write(tmp_path / "f", 5),
            bucket=BUCKET,
            key="k",
            connection=Connection(),
            part_size=None,
            headers={},
            as_json=as_json,
        )
    )
    told = capfd.readouterr()
    line = "cosxfer: 5 B in 6.2 s (0.0 kB/s); bound by the link (94% of the time); nothing to tune\n"
    if as_json:
        assert told.err == ""
        assert json.loads(told.out)["verdict"] == (
            given and {"bound_by": "link", "share": 0.94, "text": "The link bounded the transfer.", "advice": ""}
        )
    else:
        assert told.err == (line if given else "")
        assert "bound by" not in told.out
