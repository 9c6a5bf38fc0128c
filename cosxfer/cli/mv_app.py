"""The command ``cosxfer mv`` and its options."""

from __future__ import annotations

from typing import Annotated

import typer

from cosxfer.cli.cp_app import Exclude, Include
from cosxfer.cli.groups import grouped
from cosxfer.cli.object_options import OBJECT_OPTIONS, ObjectOptions
from cosxfer.cli.parameters import ACCESS, TRANSFERS, Access, AsJson, Debug, SourceRegion, Transfers


@grouped
def mv(
    source: Annotated[
        str,
        typer.Argument(
            help="A file, or cos://BUCKET/KEY. With -r: a directory, or cos://BUCKET/FOLDER.", show_default=False
        ),
    ],
    destination: Annotated[
        str,
        typer.Argument(
            help="cos://BUCKET/KEY; if KEY ends with /, the name of the source is added. Or a file or directory, to "
            "download.",
            show_default=False,
        ),
    ],
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Move all files of a directory tree, or all objects of a folder.")
    ] = False,
    include: Include = None,
    exclude: Exclude = None,
    new: ObjectOptions = OBJECT_OPTIONS,
    access: Access = ACCESS,
    source_region: SourceRegion = None,
    transfers: Transfers = TRANSFERS,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Move a file to COS, an object to a file, or an object to another place in COS.

    The source is deleted when the destination is complete and its checksum is that of the source, and only if the
    source has not changed meanwhile. What fails or changes stays where it is, and the exit code is 1. Links are not
    moved. With -r, folders that become empty are removed, but not the directory that is named.

    In a bucket with versioning, the deletion of an object adds a delete marker.

    Patterns and exit codes are those of `cosxfer cp`.
    """
    from cosxfer.cli.failures import reported
    from cosxfer.cli.transfer import transfer

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
            as_json=as_json,
            move=True,
        )
