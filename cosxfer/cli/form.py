"""``cosxfer form``: writes a page that uploads from a browser into a bucket, without keys."""

from __future__ import annotations

from pathlib import Path

from cosxfer.cli.form_page import render
from cosxfer.cli.output import printable, say
from cosxfer.cli.output_file import check_free, write_whole
from cosxfer.cli.parameters import Access
from cosxfer.cli.values import is_directory, parse_duration
from cosxfer.cos.policy import FILENAME
from cosxfer.errors import UsageError
from cosxfer.foreign import shorten
from cosxfer.limits import MAX_PUT_BYTES
from cosxfer.records import dataclass


@dataclass(frozen=True, kw_only=True)
class FormOptions:
    """The arguments of ``form``."""

    target: str
    output: Path | None
    """None is standard output."""
    expires: str
    max_bytes: int
    title: str | None
    force: bool
    access: Access


def run(options: FormOptions) -> None:
    """Sign a form and write its page."""
    if options.output is not None and is_directory(options.output):
        raise UsageError(f"--output is {str(options.output)!r}, a directory; name a file in it", name="--output")
    if options.output is not None and not options.force:
        check_free(options.output)
    bucket, prefix = parse_target(options.target)
    if not 1 <= options.max_bytes <= MAX_PUT_BYTES:
        raise UsageError(f"--max-size is {options.max_bytes} bytes; a form allows 1 byte to 5 GiB", name="--max-size")
    with options.access.connection(bucket=bucket).client() as client:
        form = client.presign_post(
            bucket,
            f"{prefix}{FILENAME}",
            conditions=[
                ["content-length-range", 0, options.max_bytes],
                # The page sends the content type that the browser detects for each file.
                ["starts-with", "$Content-Type", ""],
            ],
            content_type="application/octet-stream",
            expires_seconds=parse_duration(options.expires, name="--expires"),
            success_action_status=201,
        )
    page = render(
        url=form.url,
        fields=form.fields,
        title=options.title or f"Upload to {bucket}",
        expires_at=form.expires_at,
        max_bytes=options.max_bytes,
    )
    if options.output is None:
        say(page.removesuffix("\n"))
        return
    write_whole(options.output, page.encode(), replace=options.force)
    say(printable(f"{options.output}: uploads to cos://{bucket}/{prefix} for {options.expires}, without keys"))


def parse_target(text: str) -> tuple[str, str]:
    """Parse ``cos://bucket/prefix``. The prefix may be empty; it precedes the file's name unchanged."""
    scheme, separator, rest = text.partition("://")
    bucket, _, prefix = rest.partition("/")
    if scheme.lower() != "cos" or not separator or not bucket:
        raise UsageError(f"{shorten(text)} is not of the form cos://BUCKET/PREFIX", name="target", value=text)
    return bucket, prefix
