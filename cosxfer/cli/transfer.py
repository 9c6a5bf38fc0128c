"""What ``cp`` and ``mv`` do with their arguments. Import it before signals raise: importing takes a moment."""

from __future__ import annotations

from pathlib import Path

from cosxfer.cli import cp as copy
from cosxfer.cli import tree
from cosxfer.cli.object_options import Direction, ObjectOptions
from cosxfer.cli.parameters import Access, Transfers
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
    sparse: bool = False,
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
    connection = transfers.connection(
        access, journal=transfers.journal, trace=path, bucket=place_of(source, destination)
    )
    size = parse_size_or_auto(transfers.part_size, name="--part-size")
    if source_region is not None and not (is_address(source) and is_address(destination)):
        raise UsageError("--source-region is of copies within COS; give --region", name="--source-region")
    if is_address(source):
        from cosxfer.cli import copying, fetch

        if abort_on_interrupt:
            raise UsageError("--abort-on-interrupt is of uploads; leave it out", name="--abort-on-interrupt")
        bucket, key = parse_address(source, name="source") if recursive else parse_object(source, name="source")
        direction: Direction = "copy" if is_address(destination) else "download"
        if sparse and direction == "copy":
            raise UsageError("--sparse is of downloads into files; leave it out", name="--sparse")
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
            sparse=sparse,
            move=move,
        )
        where = copying if direction == "copy" else fetch
        if recursive:
            where.run_tree(fetched, include=include or None, exclude=exclude or None)
        else:
            where.run(fetched)
        return
    if sparse:
        raise UsageError("--sparse is of downloads; leave it out", name="--sparse")
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
