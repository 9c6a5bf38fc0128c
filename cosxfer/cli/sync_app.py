"""The command ``cosxfer sync`` and its options."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from cosxfer.cli.parameters import (
    Anonymous,
    CaFile,
    Debug,
    DryRun,
    Endpoint,
    JournalFile,
    Region,
    SecretKeyFile,
    connection_of,
)
from cosxfer.cli.values import parse_count, parse_metadata
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
            help="With --delete: keep what is deleted below this prefix of the bucket, or in this folder.",
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
    storage_class: Annotated[str | None, typer.Option(help="Class of new objects.", show_default=False)] = None,
    acl: Annotated[str | None, typer.Option(help="Access rights of new objects.", show_default=False)] = None,
    content_type: Annotated[str | None, typer.Option(help="Content-Type of new objects.", show_default=False)] = None,
    cache_control: Annotated[str | None, typer.Option(help="Cache-Control of new objects.", show_default=False)] = None,
    sse: Annotated[
        str | None, typer.Option(help="Encryption of new objects: AES256 or cos/kms.", show_default=False)
    ] = None,
    traffic_limit: Annotated[
        str | None, typer.Option(help="Bit/s of each request that uploads.", metavar="N", show_default=False)
    ] = None,
    meta: Annotated[
        list[str] | None,
        typer.Option(
            help="Set the metadata x-cos-meta-K of new objects to V. May be repeated.",
            metavar="K=V",
            show_default=False,
        ),
    ] = None,
    endpoint: Endpoint = None,
    region: Region = None,
    source_region: Annotated[
        str | None, typer.Option(help="Region of the source bucket, if it differs.", show_default=False)
    ] = None,
    ca_file: CaFile = None,
    secret_key_file: SecretKeyFile = None,
    anonymous: Anonymous = False,
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
        headers: dict[str, Any] = {
            "storage_class": storage_class,
            "acl": acl,
            "content_type": content_type,
            "cache_control": cache_control,
            "server_side_encryption": sse,
            "traffic_limit": None if traffic_limit is None else parse_count(traffic_limit, name="--traffic-limit"),
            "metadata": parse_metadata(meta) if meta else None,
        }
        command.run(
            connection_of(endpoint, region, ca_file, secret_key_file, anonymous, journal),
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
                "source_region": source_region,
                **{name: value for name, value in headers.items() if value is not None},
            },
        )
