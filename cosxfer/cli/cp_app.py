"""The command ``cosxfer cp`` and its options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cosxfer.cli.groups import grouped
from cosxfer.cli.object_options import OBJECT_OPTIONS, Direction, ObjectOptions
from cosxfer.cli.parameters import ACCESS, TRANSFERS, Access, Debug, SourceRegion, Transfers
from cosxfer.cli.stdin import is_named
from cosxfer.cli.values import (
    STREAM,
    is_address,
    parse_address,
    parse_destination,
    parse_object,
    parse_size_or_auto,
    parse_source,
    parse_trace,
    place_of,
)
from cosxfer.errors import UsageError

Include = Annotated[
    list[str] | None,
    typer.Option(help="With -r: take only matching files. May be repeated.", metavar="PATTERN", show_default=False),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        help="With -r: skip matching files and folders. May be repeated.", metavar="PATTERN", show_default=False
    ),
]


@grouped
def cp(
    source: Annotated[
        str,
        typer.Argument(
            help="The file to upload; - is standard input (use ./- for a file of that name). With -r: a directory. Or "
            "cos://BUCKET/KEY, to download or copy.",
            show_default=False,
        ),
    ],
    destination: Annotated[
        str,
        typer.Argument(
            help="cos://BUCKET/KEY; if KEY ends with /, the file's name is added. With -r: cos://BUCKET/PREFIX. To "
            "download: a file, a directory, or - for standard output.",
            show_default=False,
        ),
    ],
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Copy all files of a directory tree, or all objects of a folder.")
    ] = False,
    include: Include = None,
    exclude: Exclude = None,
    new: ObjectOptions = OBJECT_OPTIONS,
    access: Access = ACCESS,
    source_region: SourceRegion = None,
    transfers: Transfers = TRANSFERS,
    abort_on_interrupt: Annotated[
        bool,
        typer.Option(
            "--abort-on-interrupt",
            help="Delete the parts of an upload that is interrupted or fails. Default: keep them; the same command "
            "goes on.",
        ),
    ] = False,
    trace: Annotated[
        str | None,
        typer.Option(
            help="Write what the scheduler sees and decides to FILE; cosxfer plot draws it.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on standard output, also after a failure.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Copy a file to COS, an object to a file, or an object to another, and verify it.

    Patterns work as in a .gitignore:

    - without a `/`: a name at any depth: `*.tmp`
    - with a `/` at the front or in the middle: a path from DIR: `/build`, `photos/*.jpg`
    - with a `/` at the end: folders only: `cache/`
    - `*` and `?` do not match `/`; `**/x` is x at any depth, `a/**` everything in a, `a/**/b` any folders between
    - a folder that matches includes everything in it

    `--exclude` overrides `--include`. The command reports a pattern that matches nothing and fails if no file matches
    `--include`. It reports unreadable files and folders and fails, unless `--exclude` matches them.

    An upload that was interrupted in any way goes on if the same command is run again: what arrived is not sent again.
    With -r, files that arrived and have not changed are skipped. `cosxfer uploads` shows what is unfinished.

    Keys come from COS_SECRET_ID, COS_SECRET_KEY (or --secret-key-file) and COS_TOKEN. Exit codes: 0 done and verified,
    1 failed, 2 wrong usage or missing keys, 3 done and verified but standard output could not be written, 130
    interrupted.
    """
    from cosxfer.cli.failures import reported

    with reported(debug=debug, as_json=as_json):
        transfer(
            source,
            destination,
            recursive=recursive,
            include=include,
            exclude=exclude,
            new=new,
            access=access,
            source_region=source_region,
            transfers=transfers,
            abort_on_interrupt=abort_on_interrupt,
            trace=trace,
            as_json=as_json,
        )


def transfer(
    source: str,
    destination: str,
    *,
    recursive: bool,
    include: list[str] | None,
    exclude: list[str] | None,
    new: ObjectOptions,
    access: Access,
    source_region: str | None,
    transfers: Transfers,
    abort_on_interrupt: bool = False,
    trace: str | None = None,
    as_json: bool,
    move: bool = False,
) -> None:
    """Upload, download or copy, as the arguments say. ``move`` deletes each source when its destination is proven."""
    if not recursive and (include or exclude):
        raise UsageError("--include and --exclude need -r, which copies a directory")
    if move and (is_named(source) or destination == STREAM):
        raise UsageError(
            "- is a standard stream, which mv cannot move; use cp, or ./- for a file of that name", name="source"
        )
    path = None if trace is None else parse_trace(trace, None if is_address(source) else Path(source))
    connection = transfers.connection(access, trace=path, bucket=place_of(source, destination))
    size = parse_size_or_auto(transfers.part_size, name="--part-size")
    if source_region is not None and not (is_address(source) and is_address(destination)):
        raise UsageError("--source-region is of copies within COS; give --region", name="--source-region")
    if is_address(source):
        from cosxfer.cli import copying, fetch

        if abort_on_interrupt:
            raise UsageError("--abort-on-interrupt is of uploads; leave it out", name="--abort-on-interrupt")
        bucket, key = parse_address(source, name="source") if recursive else parse_object(source, name="source")
        direction: Direction = "copy" if is_address(destination) else "download"
        fetched = fetch.FetchOptions(
            bucket=bucket,
            key=key,
            target=destination,
            connection=connection,
            part_size=size,
            headers=new.headers(direction),
            metadata_directive=new.directive,
            source_region=source_region or connection.source_region(source if direction == "copy" else ""),
            as_json=as_json,
            move=move,
        )
        where = copying if direction == "copy" else fetch
        if recursive:
            where.run_tree(fetched, include=include or None, exclude=exclude or None)
        else:
            where.run(fetched)
        return
    from cosxfer.cli import cp as copy
    from cosxfer.cli import tree

    file = parse_source(source)
    if access.secret_key_file is not None and is_named(source) and is_named(access.secret_key_file):
        raise UsageError(
            "the source and --secret-key-file are both standard input; use a file for one of them",
            name="--secret-key-file",
        )
    bucket, key = parse_address(destination) if recursive else parse_destination(destination, file)
    options = copy.CopyOptions(
        source=file,
        bucket=bucket,
        key=key,
        connection=connection,
        part_size=size,
        headers=new.headers("upload"),
        abort_on_interrupt=abort_on_interrupt,
        as_json=as_json,
        move=move,
    )
    if recursive and move:
        from cosxfer.cli import move_tree

        move_tree.run(options, include=include or None, exclude=exclude or None)
    elif recursive:
        tree.run(options, include=include or None, exclude=exclude or None)
    else:
        copy.run(options)
