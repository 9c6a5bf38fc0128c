"""The command ``cosxfer bench`` and its options."""

from __future__ import annotations

from typing import Annotated

import typer

from cosxfer.cli.groups import grouped
from cosxfer.cli.parameters import ACCESS, Access, AsJson, Debug, TransferSettings
from cosxfer.cli.values import parse_address, parse_count, parse_path, parse_size, parse_size_or_auto

SETTINGS = TransferSettings()


@grouped
def bench(
    place: Annotated[
        str,
        typer.Argument(
            help="cos://BUCKET/PREFIX; all objects are below a new folder in it.", metavar="ADDRESS", show_default=False
        ),
    ],
    size: Annotated[
        list[str] | None,
        typer.Option(
            help="Size of an object, such as 64MiB. May be repeated: each is a case. Default: 16KiB, 8MiB and 256MiB.",
            metavar="SIZE",
            show_default=False,
        ),
    ] = None,
    count: Annotated[
        list[str] | None,
        typer.Option(
            help="Number of objects, 1 to 100000; once for all sizes, or once for each. Default: 256 MiB in all, but "
            "1 to 1000 objects.",
            metavar="N",
            show_default=False,
        ),
    ] = None,
    direction: Annotated[
        str, typer.Option(help="upload, download or both. A download needs objects, so they are uploaded first.")
    ] = "both",
    keep: Annotated[bool, typer.Option("--keep", help="Keep the objects. Default: delete all that was made.")] = False,
    folder: Annotated[
        str | None,
        typer.Option(
            help="Where the files are made. Default: the system's temporary folder.", metavar="DIR", show_default=False
        ),
    ] = None,
    access: Access = ACCESS,
    settings: TransferSettings = SETTINGS,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Measure uploads to your endpoint and downloads from it, with files of random bytes.

    For each case and direction it prints the rate, CPU seconds of this process for 10⁹ bytes, the peak of its memory,
    what was sent again, what was verified, and what bounded the transfer. Requests and traffic may cost money.

    All objects are below a new folder with a random name. No object is replaced, and only those that were made are
    deleted, also after an error or Ctrl-C. What cannot be deleted is reported.

    Exit codes: 0 all arrived, verified and deleted, 1 something failed, 2 wrong usage or missing keys, 130 interrupted.
    """
    from cosxfer.cli.bench import BenchOptions, cases_of, directions_of, run
    from cosxfer.cli.failures import reported

    with reported(debug=debug, as_json=as_json):
        bucket, prefix = parse_address(place, form="cos://BUCKET/PREFIX", name="address")
        run(
            BenchOptions(
                bucket=bucket,
                prefix=prefix,
                cases=cases_of(
                    [parse_size(text, name="--size") for text in size or []],
                    [parse_count(text, name="--count") for text in count or []],
                ),
                directions=directions_of(direction),
                keep=keep,
                folder=None if folder is None else parse_path(folder, name="--folder"),
                connection=settings.connection(access, bucket=bucket),
                part_size=parse_size_or_auto(settings.part_size, name="--part-size"),
                as_json=as_json,
            )
        )
