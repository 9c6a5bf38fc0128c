"""The command ``cosxfer sync`` and its options."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from cosxfer.cli.groups import grouped
from cosxfer.cli.object_options import OBJECT_OPTIONS, Direction, ObjectOptions
from cosxfer.cli.parameters import ACCESS, Access, Debug, DryRun, JournalFile, SourceRegion
from cosxfer.cli.values import is_address, parse_count, parse_metadata, place_of
from cosxfer.errors import UsageError

RULE_OPTIONS = ("--include", "--exclude", "--filter-from")
_RULES = "cosxfer.rules"


class OrderedRules(TyperCommand):
    """Remembers the order of the rules on the command line, which the parser gives away."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        rules: list[tuple[str, str]] = []
        words = iter(args)
        for word in words:
            if word == "--":
                break
            name, equals, value = word.partition("=")
            if name in RULE_OPTIONS:
                rules.append((name, value if equals else next(words, "")))
        ctx.meta[_RULES] = rules
        return super().parse_args(ctx, args)


Place = Annotated[str, typer.Argument(help="A folder, or cos://BUCKET/PREFIX.", show_default=False)]


@grouped
def sync(
    context: typer.Context,
    source: Place,
    target: Place,
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete what the source does not have. Nothing is deleted after an error.")
    ] = False,
    max_delete: Annotated[
        str | None,
        typer.Option(help="With --delete: delete nothing if there is more than this.", metavar="N", show_default=False),
    ] = None,
    backup_prefix: Annotated[
        str | None,
        typer.Option(
            help="Keep what is replaced or deleted below this prefix of the bucket, or in this folder.",
            metavar="PREFIX",
            show_default=False,
        ),
    ] = None,
    size_only: Annotated[bool, typer.Option("--size-only", help="Compare sizes, not times.")] = False,
    checksum: Annotated[
        bool, typer.Option("--checksum", help="Compare the CRC64 of files of equal size, not times.")
    ] = False,
    update: Annotated[bool, typer.Option("--update", "-u", help="Keep a target that is newer.")] = False,
    no_overwrite: Annotated[bool, typer.Option("--no-overwrite", help="Keep each target that exists.")] = False,
    preserve: Annotated[
        bool, typer.Option("--preserve", help="Keep the times of files, in the metadata mtime of their objects.")
    ] = False,
    include: Annotated[
        list[str] | None,
        typer.Option(help="Include matching files. The order of rules counts.", metavar="PATTERN", show_default=False),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            help="Neither transfer nor delete matching files and folders.", metavar="PATTERN", show_default=False
        ),
    ] = None,
    filter_from: Annotated[
        list[str] | None,
        typer.Option(
            help="Read rules from FILE: lines '+ PATTERN' and '- PATTERN'.", metavar="FILE", show_default=False
        ),
    ] = None,
    files_from: Annotated[
        str | None,
        typer.Option(
            help="Look only at the files that FILE names, one a line. A missing one is an error.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    dry_run: DryRun = False,
    report: Annotated[
        str | None,
        typer.Option(
            help="Write one JSON object for each key that is not unchanged, and the summary, to FILE.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    new: ObjectOptions = OBJECT_OPTIONS,
    access: Access = ACCESS,
    source_region: SourceRegion = None,
    journal: JournalFile = "auto",
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print one JSON object a line: each key that is not unchanged, then the summary."),
    ] = False,
    debug: Debug = False,
) -> None:
    """Make TARGET equal to SOURCE: upload, download, or copy between buckets.

    A file is transferred if its size differs, or if it is newer than its counterpart. Rules are applied in their order
    on the command line, and the first that matches decides. A path that no rule matches is treated as the opposite of
    the last rule: after `--exclude` it is included. Patterns are those of `cosxfer cp`.

    If a folder or a listing cannot be read, its keys are unknown: they are neither transferred nor deleted, and the
    command fails. `docs/sync.md` has all rules.

    Exit codes: 0 all is equal, 1 something failed, 2 wrong usage or missing keys, 130 interrupted.
    """
    from cosxfer.cli import sync as command
    from cosxfer.cli.cp import warn_of_headers
    from cosxfer.cli.failures import reported

    with reported(debug=debug, as_json=as_json):
        rules: list[tuple[str, str]] = context.meta[_RULES]
        given = {name: [value for option, value in rules if option == name] for name in RULE_OPTIONS}
        if given != dict(zip(RULE_OPTIONS, (include or [], exclude or [], filter_from or []), strict=True)):
            raise UsageError(
                "the order of the rules is not clear; write them as --include=PATTERN and --exclude=PATTERN"
            )
        if size_only and checksum:
            raise UsageError("--size-only and --checksum exclude each other", name="--checksum")
        direction = _direction(source, target)
        if source_region is not None and direction != "copy":
            raise UsageError("--source-region is of copies within COS; give --region", name="--source-region")
        if direction == "upload":
            warn_of_headers(parse_metadata(new.meta or []))
        connection = access.connection(journal=journal, bucket=place_of(source, target))
        command.run(
            connection,
            source,
            target,
            rules=rules,
            files_from=files_from,
            report=report,
            as_json=as_json,
            arguments={
                "delete": delete,
                "max_delete": None if max_delete is None else parse_count(max_delete, name="--max-delete"),
                "backup_prefix": backup_prefix,
                "size_only": size_only,
                "checksum": checksum,
                "update": update,
                "no_overwrite": no_overwrite,
                "preserve_mtime": preserve,
                "dry_run": dry_run,
                "source_region": source_region or connection.source_region(source if direction == "copy" else ""),
                "metadata_directive": new.directive,
                **new.headers(direction),
            },
        )


def _direction(source: str, target: str) -> Direction:
    if is_address(source):
        return "copy" if is_address(target) else "download"
    return "upload"  # also if both are local, which the library refuses
