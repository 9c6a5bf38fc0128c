"""``cosxfer form``: a page with which a browser uploads into a bucket, without keys and without a server in between."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

import typer

from cosxfer.cli.form_page import render
from cosxfer.client import Client
from cosxfer.cos.names import shorten
from cosxfer.cos.policy import FILENAME
from cosxfer.errors import CosxferError, UsageError
from cosxfer.limits import MAX_PUT_BYTES

_DURATION = re.compile(r"(\d{1,9})([smhd]?)", re.ASCII)
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, kw_only=True)
class FormOptions:
    """What was asked for."""

    target: str
    output: Path
    expires: str
    max_bytes: int
    title: str | None
    endpoint: str | None
    region: str | None


def run(options: FormOptions) -> None:
    """Sign a form and write its page."""
    bucket, prefix = parse_target(options.target)
    if not 1 <= options.max_bytes <= MAX_PUT_BYTES:
        raise UsageError(f"--max-size is {options.max_bytes} bytes; a form carries 1 byte to 5 GiB", name="--max-size")
    with Client(endpoint=options.endpoint, region=options.region) as client:
        form = client.presign_post(
            bucket,
            f"{prefix}{FILENAME}",
            conditions=[
                ["content-length-range", 0, options.max_bytes],
                # The page says of each file what the browser takes it for.
                ["starts-with", "$Content-Type", ""],
            ],
            content_type="application/octet-stream",
            expires_seconds=parse_duration(options.expires),
            success_action_status=201,
        )
    page = render(
        url=form.url,
        fields=form.fields,
        title=options.title or f"Upload to {bucket}",
        expires_at=form.expires_at,
        max_bytes=options.max_bytes,
    )
    if str(options.output) == "-":
        sys.stdout.write(page)
        return
    try:
        options.output.write_text(page, encoding="utf-8")
    except OSError as error:
        raise CosxferError(f"cannot write {str(options.output)!r}: {error.strerror}") from error
    typer.echo(f"{options.output}: uploads to cos://{bucket}/{prefix} for {options.expires}, without keys")


def parse_target(text: str) -> tuple[str, str]:
    """Read ``cos://bucket/prefix``; the prefix may be empty, and is put before the file's name as it is."""
    scheme, separator, rest = text.partition("://")
    bucket, _, prefix = rest.partition("/")
    if scheme.lower() != "cos" or not separator or not bucket:
        raise UsageError(f"{shorten(text)} is not of the form cos://BUCKET/PREFIX", name="target", value=text)
    return bucket, prefix


def parse_duration(text: str) -> int:
    """Read seconds such as ``90``, ``90s``, ``15m``, ``1h`` or ``7d``."""
    match = _DURATION.fullmatch(text.strip())
    seconds = 0 if match is None else int(match.group(1)) * _SECONDS[match.group(2)]
    if not seconds:
        raise UsageError(f"--expires is {shorten(text)}; write a time such as 15m, 1h or 7d", name="--expires")
    return seconds
