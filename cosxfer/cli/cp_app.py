"""The command ``cosxfer cp`` and its options."""

from __future__ import annotations

from typing import Annotated

import typer

from cosxfer.cli.groups import grouped
from cosxfer.cli.object_options import OBJECT_OPTIONS, ObjectOptions
from cosxfer.cli.parameters import ACCESS, TRANSFERS, Access, Debug, SourceRegion, Transfers

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
    sparse: Annotated[
        bool, typer.Option("--sparse", help="From COS: leave blocks of zeros as holes of the file.")
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
            abort_on_interrupt=abort_on_interrupt,
            sparse=sparse,
            trace=trace,
            as_json=as_json,
        )
