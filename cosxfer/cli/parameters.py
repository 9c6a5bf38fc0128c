"""Options that several commands share, and the connection that they make."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from cosxfer.cli.groups import options
from cosxfer.cli.values import parse_count, parse_count_or_auto, parse_journal, parse_path, parse_seconds
from cosxfer.records import dataclass

if TYPE_CHECKING:
    from pathlib import Path

    from cosxfer.cli.connection import Connection
    from cosxfer.cli.profiles import Profile

Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks; log each request and decision.")]
JournalFile = Annotated[str, typer.Option(help="The journal: a file, auto or none.", metavar="FILE")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
Endpoint = Annotated[
    str | None,
    typer.Option(
        help="Address, with {bucket} and {region} as placeholders. Default: COS_ENDPOINT.", show_default=False
    ),
]
Region = Annotated[str | None, typer.Option(help="For example ap-guangzhou. Default: COS_REGION.", show_default=False)]
ProfileName = Annotated[
    str | None,
    typer.Option(
        help="Keys, region and address of this profile of ~/.config/cosxfer/config.toml; coscli and coscmd are the "
        "files of these tools. Default: COSXFER_PROFILE.",
        metavar="NAME",
        show_default=False,
    ),
]
SourceRegion = Annotated[
    str | None,
    typer.Option(help="Of copies within COS: the region of the source bucket, if it differs.", show_default=False),
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


@options("Connection")
@dataclass(frozen=True, kw_only=True)
class Access:
    """Where the server is, and the keys."""

    endpoint: Endpoint = None
    region: Region = None
    profile: ProfileName = None
    ca_file: Annotated[
        str | None,
        typer.Option(help="PEM file of certificate authorities to trust.", metavar="FILE", show_default=False),
    ] = None
    secret_key_file: SecretKeyFile = None
    anonymous: Annotated[bool, typer.Option("--anonymous", help="Send unsigned requests.")] = False

    def connection(self, *, journal: str = "auto", bucket: str = "") -> Connection:
        """Return the connection with these options. ``journal`` is the value of that option.

        An option is above a profile that is named by an option, that above the environment, and that above any other
        profile. A profile may know the region of ``bucket``.
        """
        from cosxfer.cli.connection import Connection
        from cosxfer.cli.profile_files import load

        profile = load(self.profile, os.environ)
        named = self.profile is not None

        def chosen(option: str | None, variable: str, of_profile: str | None) -> str | None:
            from_environment = os.environ.get(variable)
            return option or (of_profile if named else None) or from_environment or of_profile

        ca_file = self.ca_file if self.ca_file is not None or profile is None else profile.ca_file
        return Connection(
            endpoint=chosen(self.endpoint, "COS_ENDPOINT", None if profile is None else profile.endpoint),
            region=chosen(self.region, "COS_REGION", None if profile is None else profile.region_of(bucket)),
            ca_file=None if ca_file is None else parse_path(ca_file, name="--ca-file").expanduser(),
            secret_key_file=self.secret_key_file,
            anonymous=self.anonymous or _is_anonymous(profile, named=named),
            journal=parse_journal(journal),
            profile=profile,
            profile_named=named,
        )


def _is_anonymous(profile: Profile | None, *, named: bool) -> bool:
    if profile is None or not profile.anonymous:
        return False
    return named or not (os.environ.get("COS_SECRET_ID") or os.environ.get("COS_SECRET_KEY"))


@options("Transfer")
@dataclass(frozen=True, kw_only=True)
class TransferSettings:
    """How objects are transferred."""

    part_size: Annotated[
        str, typer.Option(help="Size of a part, such as 16MiB. auto: fit for file and link.", metavar="SIZE")
    ] = "auto"
    concurrency: Annotated[
        str, typer.Option(help="Parts of each file in flight, 1 to 256. auto: as many as the link needs.", metavar="N")
    ] = "auto"
    files: Annotated[
        str,
        typer.Option(help="With -r: the most files at a time, 1 to 256. auto: as many as the link needs.", metavar="N"),
    ] = "auto"
    timeout: Annotated[
        str,
        typer.Option(help="Seconds without progress after which an attempt fails.", metavar="S"),
    ] = "60"
    connect_timeout: Annotated[str, typer.Option(help="Seconds to wait for a connection.", metavar="S")] = "10"
    max_attempts: Annotated[str, typer.Option(help="Number of attempts for each request.", metavar="N")] = "5"
    retry_for: Annotated[
        str,
        typer.Option(
            help="Seconds without any success that an upload outlasts once it has begun; 0: --max-attempts alone "
            "counts.",
            metavar="SECONDS",
        ),
    ] = "120"
    http_version: Annotated[
        str, typer.Option(help="auto, 1.1 or 2. With plain http, 2 means prior knowledge.", metavar="VERSION")
    ] = "auto"

    def connection(
        self, access: Access, *, journal: str = "auto", trace: Path | None = None, bucket: str = ""
    ) -> Connection:
        """Return the connection with these options. ``journal`` is as in `Access.connection`."""
        from dataclasses import replace

        return replace(
            access.connection(journal=journal, bucket=bucket),
            # The client checks the value.
            http_version=self.http_version,  # type: ignore[arg-type]
            concurrency=parse_count_or_auto(self.concurrency, name="--concurrency"),
            files=parse_count_or_auto(self.files, name="--files"),
            timeout=parse_seconds(self.timeout, name="--timeout"),
            connect_timeout=parse_seconds(self.connect_timeout, name="--connect-timeout"),
            max_attempts=parse_count(self.max_attempts, name="--max-attempts"),
            retry_for=parse_seconds(self.retry_for, name="--retry-for"),
            trace=trace,
        )


@options("Transfer")
@dataclass(frozen=True, kw_only=True)
class Transfers(TransferSettings):
    """How objects are transferred, and where it is remembered."""

    journal: Annotated[
        str,
        typer.Option(
            help="Where unfinished uploads are remembered: a file, auto (your state directory), or none.",
            metavar="FILE",
        ),
    ] = "auto"


ACCESS, TRANSFERS = Access(), Transfers()
"""The defaults."""
