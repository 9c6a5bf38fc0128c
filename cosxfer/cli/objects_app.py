"""The commands that look at objects and delete them, and their options."""

from __future__ import annotations

from typing import Annotated

import typer

from cosxfer.cli.groups import grouped
from cosxfer.cli.parameters import ACCESS, Access, AsJson, Debug, DryRun
from cosxfer.cli.values import parse_address, parse_object
from cosxfer.errors import UsageError

JsonLines = Annotated[bool, typer.Option("--json", help="Print one JSON object for each entry, each on its own line.")]
VersionId = Annotated[str | None, typer.Option(help="This version of the object.", metavar="ID", show_default=False)]


@grouped
def ls(
    target: Annotated[
        str | None,
        typer.Argument(help="cos://BUCKET or cos://BUCKET/FOLDER. Default: list the buckets.", show_default=False),
    ] = None,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="List all keys below the folder.")] = False,
    long: Annotated[bool, typer.Option("--long", "-l", help="Show size, time (UTC) and storage class.")] = False,
    versions: Annotated[bool, typer.Option("--versions", help="List all versions and delete markers.")] = False,
    access: Access = ACCESS,
    as_json: JsonLines = False,
    debug: Debug = False,
) -> None:
    """List buckets, or the keys of a bucket or a folder, in the order of their bytes.

    `cos://b/photos` names the object `photos` and the folder `photos/`, but not `photos2`. Folders end with `/`.
    """
    from cosxfer.cli.failures import reported
    from cosxfer.cli.listing import list_buckets, list_entries

    with reported(debug=debug, as_json=as_json, pipes=True):
        if target is None:
            connection = access.connection()
            if recursive or versions:
                raise UsageError("-r and --versions need an address: cosxfer ls cos://BUCKET", name="target")
            list_buckets(connection, long=long, as_json=as_json)
        else:
            bucket, key = parse_address(target, form="cos://BUCKET/FOLDER", name="address")
            connection = access.connection(bucket=bucket)
            list_entries(bucket, key, connection, recursive=recursive, long=long, versions=versions, as_json=as_json)


@grouped
def du(
    target: Annotated[str, typer.Argument(help="cos://BUCKET or cos://BUCKET/FOLDER.", show_default=False)],
    versions: Annotated[bool, typer.Option("--versions", help="Count all versions.")] = False,
    access: Access = ACCESS,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Count the objects of a bucket or a folder, and their bytes. The parts of unfinished uploads are not counted."""
    from cosxfer.cli.failures import reported
    from cosxfer.cli.listing import disk_usage

    with reported(debug=debug, as_json=as_json, pipes=True):
        bucket, key = parse_address(target, form="cos://BUCKET/FOLDER", name="address")
        connection = access.connection(bucket=bucket)
        disk_usage(bucket, key, connection, versions=versions, as_json=as_json)


@grouped
def stat(
    target: Annotated[str, typer.Argument(help="cos://BUCKET/KEY, or cos://BUCKET.", show_default=False)],
    version_id: VersionId = None,
    access: Access = ACCESS,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Show the properties of an object or a bucket."""
    from cosxfer.cli.failures import reported
    from cosxfer.cli.stat import run

    with reported(debug=debug, as_json=as_json):
        bucket, key = parse_address(target, name="address")
        if version_id is not None and not key:
            raise UsageError("--version-id needs the key of an object", name="--version-id")
        connection = access.connection(bucket=bucket)
        run(bucket, key, connection, version_id=version_id, as_json=as_json)


@grouped
def cat(
    targets: Annotated[list[str], typer.Argument(help="cos://BUCKET/KEY. May be repeated.", show_default=False)],
    byte_range: Annotated[
        str | None,
        typer.Option(
            "--range", help="Bytes FIRST-LAST (both included), FIRST- or -COUNT.", metavar="RANGE", show_default=False
        ),
    ] = None,
    version_id: VersionId = None,
    access: Access = ACCESS,
    debug: Debug = False,
) -> None:
    """Write the bytes of objects to standard output and compare their CRC64 with the server's.

    If it differs, or the object is replaced meanwhile, the exit code is 1. A range is not verified.
    """
    from cosxfer.cli.cat import run
    from cosxfer.cli.failures import reported
    from cosxfer.cli.receive import parse_range

    with reported(debug=debug, pipes=True):
        objects = [parse_object(target) for target in targets]
        if version_id is not None and len(objects) > 1:
            raise UsageError("--version-id is of one object; name one", name="--version-id")
        run(
            objects,
            access.connection(bucket=objects[0][0]),
            version_id=version_id,
            wanted=None if byte_range is None else parse_range(byte_range),
        )


@grouped
def rm(
    target: Annotated[
        str, typer.Argument(help="cos://BUCKET/KEY. With -r: cos://BUCKET/FOLDER, or cos://BUCKET.", show_default=False)
    ],
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Delete all keys that begin with FOLDER/.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Do not ask, and accept that there is nothing to delete.")
    ] = False,
    dry_run: DryRun = False,
    versions: Annotated[
        bool, typer.Option("--versions", help="With -r: delete all versions and delete markers.")
    ] = False,
    version_id: VersionId = None,
    access: Access = ACCESS,
    as_json: JsonLines = False,
    debug: Debug = False,
) -> None:
    """Delete an object, or all keys of a folder, 1,000 with each request.

    `rm -r cos://b/photos` deletes the keys that begin with `photos/`. It deletes neither `photos` nor `photos2`.

    The command asks on a terminal. Without one it needs --force or --dry-run. A key that cannot be deleted is printed
    with its error, and the exit code is 1.
    """
    from cosxfer.cli.failures import reported
    from cosxfer.cli.rm import Removal, run

    with reported(debug=debug, as_json=as_json):
        bucket, key = parse_address(target, name="address") if recursive else parse_object(target)
        if versions and not recursive:
            raise UsageError("--versions needs -r; --version-id deletes one version", name="--versions")
        if version_id is not None and recursive:
            raise UsageError("--version-id deletes one version; leave out -r", name="--version-id")
        if not recursive and key.endswith("/") and not force:
            raise UsageError(
                f"{target} ends with /; use -r to delete a folder, or --force for the object of that name",
                name="target",
            )
        run(
            Removal(
                bucket=bucket,
                key=key,
                connection=access.connection(bucket=bucket),
                recursive=recursive,
                versions=versions,
                version_id=version_id,
                force=force,
                dry_run=dry_run,
                as_json=as_json,
            )
        )


COMMANDS = (ls, stat, du, cat, rm)
"""In the order of the help."""
