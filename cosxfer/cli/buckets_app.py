"""The commands for buckets and pre-signed URLs, and their options."""

from __future__ import annotations

from typing import Annotated

import typer

from cosxfer.cli.groups import grouped
from cosxfer.cli.parameters import ACCESS, Access, AsJson, Debug
from cosxfer.cli.values import parse_address, parse_object
from cosxfer.errors import UsageError

Bucket = Annotated[str, typer.Argument(help="cos://BUCKET, with the APPID.", show_default=False)]


@grouped
def mb(
    target: Bucket,
    acl: Annotated[
        str | None,
        typer.Option(
            help="Rights: private (the default), public-read, public-read-write or authenticated-read.",
            metavar="ACL",
            show_default=False,
        ),
    ] = None,
    access: Access = ACCESS,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Create a bucket in the region of --region or COS_REGION."""
    from cosxfer.cli.buckets import make
    from cosxfer.cli.failures import reported

    with reported(debug=debug, as_json=as_json):
        bucket = _bucket_of(target)
        make(bucket, access.connection(bucket=bucket), acl=acl, as_json=as_json)


@grouped
def rb(
    target: Bucket,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Do not ask, and accept that there is no such bucket.")
    ] = False,
    access: Access = ACCESS,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Delete an empty bucket: one without objects, versions, delete markers and unfinished uploads.

    The command asks on a terminal. Without one it needs --force.
    """
    from cosxfer.cli.buckets import remove
    from cosxfer.cli.failures import reported

    with reported(debug=debug, as_json=as_json):
        bucket = _bucket_of(target)
        remove(bucket, access.connection(bucket=bucket), force=force, as_json=as_json)


@grouped
def presign(
    target: Annotated[str, typer.Argument(help="cos://BUCKET/KEY.", show_default=False)],
    method: Annotated[
        str, typer.Option("--method", "-X", help="GET, HEAD, PUT, POST or DELETE.", metavar="METHOD")
    ] = "GET",
    expires: Annotated[str, typer.Option(help="How long the URL is valid: 15m, 1h, 7d.", metavar="TIME")] = "1h",
    header: Annotated[
        list[str] | None,
        typer.Option(
            "--header",
            "-H",
            help="A header that the request must have, with this value. May be repeated.",
            metavar="NAME: VALUE",
            show_default=False,
        ),
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(
            help="A parameter of the URL, such as versionId or response-content-type. May be repeated.",
            metavar="NAME=VALUE",
            show_default=False,
        ),
    ] = None,
    access: Access = ACCESS,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Print a URL for one request to an object, which anybody may send without keys until it expires.

    No request is made. Host, headers and parameters are part of the signature, so they cannot be changed.
    """
    from cosxfer.cli.failures import reported
    from cosxfer.cli.presign import run

    with reported(debug=debug, as_json=as_json):
        bucket, key = parse_object(target)
        run(
            bucket,
            key,
            access.connection(bucket=bucket),
            method=method,
            expires=expires,
            headers=header or [],
            params=param or [],
            as_json=as_json,
        )


def _bucket_of(text: str) -> str:
    bucket, key = parse_address(text, form="cos://BUCKET", name="address")
    if key:
        raise UsageError(f"the address {text} has a key; write cos://BUCKET", name="address", value=text)
    return bucket


COMMANDS = (mb, rb, presign)
"""In the order of the help."""
