"""The commands of ``cosxfer uploads`` and their options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cosxfer.cli.groups import grouped
from cosxfer.cli.parameters import ACCESS, Access, AsJson, Debug, DryRun, JournalFile
from cosxfer.cli.stdin import is_named
from cosxfer.cli.values import parse_address, parse_duration, parse_journal, parse_path, parse_path_or_stream
from cosxfer.errors import UsageError

if TYPE_CHECKING:
    from cosxfer.cli.connection import Connection
    from cosxfer.cli.uploads import Selection

uploads = typer.Typer(
    help="List, continue and delete what is unfinished: in the journal of this machine, and on the server.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)

Target = Annotated[
    str | None,
    typer.Argument(
        help="cos://BUCKET/PREFIX: ask the server too. Default: the journal alone, all buckets.", show_default=False
    ),
]
OlderThan = Annotated[
    str | None, typer.Option(help="Only those that began before: 12h, 7d.", metavar="TIME", show_default=False)
]
Prefix = Annotated[str, typer.Option(help="Only keys that begin with this.", show_default=False)]


@uploads.command("list")
@grouped
def uploads_list(
    target: Target = None,
    older_than: OlderThan = None,
    prefix: Prefix = "",
    access: Access = ACCESS,
    journal: JournalFile = "auto",
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """List unfinished uploads: age, parts, bytes, key and upload id.

    Without a bucket, no request is made and no keys are needed.
    """
    from cosxfer.cli.failures import reported
    from cosxfer.cli.uploads import list_uploads

    with reported(debug=debug, as_json=as_json):
        connection = access.connection(journal=journal, bucket=_bucket_of(target))
        list_uploads(_selection(target, older_than, prefix, connection), as_json=as_json)


@uploads.command("export")
def uploads_export(
    upload_id: Annotated[
        str | None, typer.Argument(help="Default: the only unfinished upload of the journal.", show_default=False)
    ] = None,
    journal: JournalFile = "auto",
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Print a token with which another host, or another path, goes on with an upload: uploads resume --token.

    The token has no keys and no secrets. It names the object and the file, and has their metadata.
    """
    from cosxfer.cli.connection import Connection
    from cosxfer.cli.failures import reported
    from cosxfer.cli.uploads_token import export_upload

    with reported(debug=debug, as_json=as_json):
        export_upload(upload_id, Connection(journal=parse_journal(journal)), as_json=as_json)


@uploads.command("resume")
@grouped
def uploads_resume(
    target: Target = None,
    older_than: OlderThan = None,
    prefix: Prefix = "",
    access: Access = ACCESS,
    token: Annotated[
        str | None,
        typer.Option(help="A token of `uploads export`: a file, or - for standard input.", metavar="FILE"),
    ] = None,
    path: Annotated[
        str | None, typer.Option(help="With --token: the file, if it has another path here.", metavar="FILE")
    ] = None,
    journal: JournalFile = "auto",
    dry_run: DryRun = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Continue the unfinished uploads of the journal, with the options that they were begun with.

    With --token: the upload of a token, also on another host. What the token lists is compared with the file first.
    """
    from cosxfer.cli.failures import reported
    from cosxfer.cli.uploads import resume_uploads

    with reported(debug=debug, as_json=as_json):
        connection = access.connection(journal=journal, bucket=_bucket_of(target))
        if token is not None:
            from cosxfer.cli.uploads_token import resume_token

            if target is not None or older_than is not None or prefix:
                raise UsageError("--token names one upload; leave out cos://…, --prefix and --older-than")
            if is_named(token) and access.secret_key_file is not None and is_named(access.secret_key_file):
                raise UsageError("--token and --secret-key-file are both standard input", name="--token")
            file = None if path is None else parse_path(path, name="--path")
            token_file = parse_path_or_stream(token, name="--token")
            resume_token(token_file, file, connection, dry_run=dry_run, as_json=as_json)
            return
        if path is not None:
            raise UsageError("--path needs --token", name="--path")
        resume_uploads(_selection(target, older_than, prefix, connection), dry_run=dry_run, as_json=as_json)


@uploads.command("abort")
@grouped
def uploads_abort(
    target: Target = None,
    older_than: OlderThan = None,
    prefix: Prefix = "",
    everything: Annotated[
        bool, typer.Option("--all", help="Without --older-than: all, also those of other machines in the bucket.")
    ] = False,
    access: Access = ACCESS,
    journal: JournalFile = "auto",
    dry_run: DryRun = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Delete the parts of unfinished uploads from the server, where they cost money.

    Uploads that a process of this machine sends now are left alone. With cos://BUCKET, those of other machines are
    deleted too: --older-than spares the ones that run.
    """
    from cosxfer.cli.failures import reported
    from cosxfer.cli.uploads import abort_uploads

    with reported(debug=debug, as_json=as_json):
        if older_than is None and not everything and not dry_run:
            raise UsageError("give --older-than TIME, or --all; --dry-run shows what would be deleted")
        connection = access.connection(journal=journal, bucket=_bucket_of(target))
        abort_uploads(_selection(target, older_than, prefix, connection), dry_run=dry_run, as_json=as_json)


def _bucket_of(target: str | None) -> str:
    return "" if target is None else parse_address(target, form="cos://BUCKET/PREFIX")[0]


def _selection(target: str | None, older_than: str | None, prefix: str, connection: Connection) -> Selection:
    from cosxfer.cli.uploads import Selection

    bucket, begin = ("", "") if target is None else parse_address(target, form="cos://BUCKET/PREFIX")
    return Selection(
        bucket=bucket,
        prefix=begin + prefix,
        older_than_seconds=0 if older_than is None else parse_duration(older_than, name="--older-than"),
        connection=connection,
    )
