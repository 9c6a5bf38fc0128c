"""Options that several commands share, and the connection that they make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cosxfer.cli.values import parse_journal, parse_path

if TYPE_CHECKING:
    from cosxfer.cli.connection import Connection

Endpoint = Annotated[
    str | None,
    typer.Option(
        help="Address, with {bucket} and {region} as placeholders.", envvar="COS_ENDPOINT", show_default=False
    ),
]
Region = Annotated[str | None, typer.Option(help="For example ap-guangzhou.", envvar="COS_REGION", show_default=False)]
CaFile = Annotated[
    str | None,
    typer.Option(help="PEM file of certificate authorities to trust.", metavar="FILE", show_default=False),
]
SecretKeyFile = Annotated[
    str | None,
    typer.Option(
        help="File that contains only the secret key, instead of COS_SECRET_KEY; - is standard input. Protect it "
        "(chmod 600).",
        metavar="FILE",
        show_default=False,
    ),
]
Anonymous = Annotated[bool, typer.Option("--anonymous", help="Send unsigned requests.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks; log each request and decision.")]
JournalFile = Annotated[str, typer.Option(help="The journal: a file, auto or none.", metavar="FILE")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]


def connection_of(
    endpoint: str | None,
    region: str | None,
    ca_file: str | None,
    secret_key_file: str | None,
    anonymous: bool,
    journal: str = "auto",
) -> Connection:
    """Return the connection of a command with these options."""
    from cosxfer.cli.connection import Connection

    return Connection(
        endpoint=endpoint,
        region=region,
        ca_file=None if ca_file is None else parse_path(ca_file, name="--ca-file"),
        secret_key_file=secret_key_file,
        anonymous=anonymous,
        journal=parse_journal(journal),
    )
