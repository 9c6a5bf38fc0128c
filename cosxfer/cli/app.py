"""The commands and their options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cosxfer import __version__
from cosxfer.cli.objects_app import COMMANDS as OBJECT_COMMANDS
from cosxfer.cli.output import say
from cosxfer.cli.parameters import Anonymous, CaFile, Debug, Endpoint, Region, SecretKeyFile, connection_of
from cosxfer.cli.stdin import is_named
from cosxfer.cli.sync_app import OrderedRules, sync
from cosxfer.cli.uploads_app import uploads
from cosxfer.cli.values import (
    is_address,
    parse_address,
    parse_count,
    parse_count_or_auto,
    parse_destination,
    parse_journal,
    parse_metadata,
    parse_object,
    parse_output,
    parse_path,
    parse_seconds,
    parse_size,
    parse_size_or_auto,
    parse_source,
    parse_trace,
)
from cosxfer.config import HttpVersion
from cosxfer.errors import UsageError

app = typer.Typer(
    name="cosxfer",
    help="Moves data into and out of Tencent Cloud Object Storage (COS): fast, verified, with little CPU.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(uploads, name="uploads")
app.command(cls=OrderedRules)(sync)


def _version(wanted: bool) -> None:
    if wanted:
        say(f"cosxfer {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = (
        False
    ),
) -> None:
    """Moves data into and out of Tencent Cloud Object Storage (COS): fast, verified, with little CPU."""


@app.command()
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
    include: Annotated[
        list[str] | None,
        typer.Option(help="With -r: copy only matching files. May be repeated.", metavar="PATTERN", show_default=False),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            help="With -r: skip matching files and folders. May be repeated.", metavar="PATTERN", show_default=False
        ),
    ] = None,
    endpoint: Endpoint = None,
    region: Region = None,
    part_size: Annotated[
        str, typer.Option(help="Size of a part, such as 16MiB. auto: fit for file and link.", metavar="SIZE")
    ] = "auto",
    concurrency: Annotated[
        str, typer.Option(help="Parts of each file in flight, 1 to 256. auto: as many as the link needs.", metavar="N")
    ] = "auto",
    files: Annotated[
        str,
        typer.Option(help="With -r: the most files at a time, 1 to 256. auto: as many as the link needs.", metavar="N"),
    ] = "auto",
    storage_class: Annotated[
        str | None, typer.Option(help="STANDARD, STANDARD_IA, ARCHIVE, …", show_default=False)
    ] = None,
    meta: Annotated[
        list[str] | None,
        typer.Option(
            help="Set the metadata x-cos-meta-K to V. It cannot set headers such as Content-Type. May be repeated.",
            metavar="K=V",
            show_default=False,
        ),
    ] = None,
    timeout: Annotated[
        str,
        typer.Option(help="Seconds without progress after which an attempt fails.", metavar="S"),
    ] = "60",
    connect_timeout: Annotated[str, typer.Option(help="Seconds to wait for a connection.", metavar="S")] = "10",
    max_attempts: Annotated[str, typer.Option(help="Number of attempts for each request.", metavar="N")] = "5",
    retry_for: Annotated[
        str,
        typer.Option(
            help="Seconds without any success that an upload outlasts once it has begun; 0: --max-attempts alone "
            "counts.",
            metavar="SECONDS",
        ),
    ] = "120",
    http_version: Annotated[
        str, typer.Option(help="auto, 1.1 or 2. With plain http, 2 means prior knowledge.", metavar="VERSION")
    ] = "auto",
    ca_file: CaFile = None,
    secret_key_file: SecretKeyFile = None,
    anonymous: Anonymous = False,
    journal: Annotated[
        str,
        typer.Option(
            help="Where unfinished uploads are remembered: a file, auto (your state directory), or none.",
            metavar="FILE",
        ),
    ] = "auto",
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
    from cosxfer.cli import cp as copy
    from cosxfer.cli import tree
    from cosxfer.cli.connection import Connection
    from cosxfer.cli.failures import reported

    with reported(debug=debug, as_json=as_json):
        if not recursive and (include or exclude):
            raise UsageError("--include and --exclude need -r, which copies a directory")
        connection = Connection(
            endpoint=endpoint,
            region=region,
            http_version=_http_version(http_version),
            ca_file=None if ca_file is None else parse_path(ca_file, name="--ca-file"),
            secret_key_file=secret_key_file,
            anonymous=anonymous,
            concurrency=parse_count_or_auto(concurrency, name="--concurrency"),
            files=parse_count_or_auto(files, name="--files"),
            timeout=parse_seconds(timeout, name="--timeout"),
            connect_timeout=parse_seconds(connect_timeout, name="--connect-timeout"),
            max_attempts=parse_count(max_attempts, name="--max-attempts"),
            retry_for=parse_seconds(retry_for, name="--retry-for"),
            trace=None if trace is None else parse_trace(trace, None if is_address(source) else Path(source)),
            journal=parse_journal(journal),
        )
        size = parse_size_or_auto(part_size, name="--part-size")
        if is_address(source):
            from cosxfer.cli import fetch

            for name, given in {"--meta": meta, "--abort-on-interrupt": abort_on_interrupt}.items():
                if given:
                    raise UsageError(f"{name} is of uploads; leave it out", name=name)
            bucket, key = parse_address(source, name="source") if recursive else parse_object(source, name="source")
            fetched = fetch.FetchOptions(
                bucket=bucket,
                key=key,
                target=destination,
                connection=connection,
                part_size=size,
                storage_class=storage_class,
                as_json=as_json,
            )
            if recursive:
                fetch.run_tree(fetched, include=include or None, exclude=exclude or None)
            else:
                fetch.run(fetched)
            return
        path = parse_source(source)
        if secret_key_file is not None and is_named(source) and is_named(secret_key_file):
            raise UsageError(
                "the source and --secret-key-file are both standard input; use a file for one of them",
                name="--secret-key-file",
            )
        bucket, key = parse_address(destination) if recursive else parse_destination(destination, path)
        options = copy.CopyOptions(
            source=path,
            bucket=bucket,
            key=key,
            connection=connection,
            part_size=size,
            storage_class=storage_class,
            metadata=parse_metadata(meta or []),
            abort_on_interrupt=abort_on_interrupt,
            as_json=as_json,
        )
        if recursive:
            tree.run(options, include=include or None, exclude=exclude or None)
        else:
            copy.run(options)


for command in OBJECT_COMMANDS:
    app.command()(command)


@app.command()
def abort(
    address: Annotated[str, typer.Argument(help="cos://BUCKET/KEY of the upload.", show_default=False)],
    upload_id: Annotated[str, typer.Argument(help="The upload id that cp printed.", show_default=False)],
    endpoint: Endpoint = None,
    region: Region = None,
    ca_file: CaFile = None,
    secret_key_file: SecretKeyFile = None,
    anonymous: Anonymous = False,
    debug: Debug = False,
) -> None:
    """Delete the parts of an unfinished upload from the server, where they cost money."""
    from cosxfer.cli.abort import run
    from cosxfer.cli.failures import reported

    with reported(debug=debug):
        bucket, key = parse_address(address)
        run(
            bucket=bucket,
            key=key,
            upload_id=upload_id,
            connection=connection_of(endpoint, region, ca_file, secret_key_file, anonymous),
        )


@app.command()
def serve(
    context: typer.Context,
    root: Annotated[
        str | None,
        typer.Option(help="Data directory. Default: a temporary directory, removed at the end.", metavar="DIR"),
    ] = None,
    bucket: Annotated[
        list[str] | None,
        typer.Option(help="A bucket to serve; may be repeated. Default: examplebucket-1250000000.", metavar="NAME"),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        str, typer.Option(help="Port to listen on, 0 to 65535; 0 chooses a free port.", metavar="N")
    ] = "9000",
    secret_id: Annotated[
        str | None, typer.Option(help="Key that clients sign with.", envvar="COS_SECRET_ID", show_default=False)
    ] = None,
    secret_key: Annotated[
        str | None,
        typer.Option(
            help="Its secret. Other users see this option in the list of processes (ps); prefer COS_SECRET_KEY or "
            "--secret-key-file.",
            envvar="COS_SECRET_KEY",
            show_default=False,
        ),
    ] = None,
    secret_key_file: SecretKeyFile = None,
    tls: Annotated[bool, typer.Option("--tls", help="Serve https with a generated certificate.")] = False,
    discard: Annotated[
        bool, typer.Option("--discard", help="Store nothing and check nothing: a sink for benchmarks.")
    ] = False,
    checksum: Annotated[
        bool, typer.Option("--checksum", help="With --discard: return the CRC64 of what is discarded.")
    ] = False,
    fault_script: Annotated[
        str | None,
        typer.Option(help="JSON file of faults to inject (docs/server.md).", metavar="FILE", show_default=False),
    ] = None,
    debug: Debug = False,
) -> None:
    """Run a COS server on this machine, for demos, tests and benchmarks."""
    from cosxfer.cli.failures import reported
    from cosxfer.cli.keys import read_secret_key
    from cosxfer.cli.serve import run

    with reported(debug=debug):
        if secret_key_file is not None:
            origin = context.get_parameter_source("secret_key")
            if origin is not None and origin.name == "COMMANDLINE":
                raise UsageError("give --secret-key or --secret-key-file, not both", name="--secret-key-file")
            secret_key = read_secret_key(secret_key_file)
        run(
            root=None if root is None else parse_path(root, name="--root"),
            buckets=bucket or [],
            host=host,
            port=parse_count(port, name="--port"),
            secret_id=secret_id,
            secret_key=secret_key,
            tls=tls,
            discard=discard,
            checksum=checksum,
            fault_script=None if fault_script is None else parse_path(fault_script, name="--fault-script"),
        )


@app.command()
def form(
    target: Annotated[
        str, typer.Argument(help="cos://BUCKET/PREFIX; the file's name is added to the prefix.", show_default=False)
    ],
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            help="The page to write; - is standard output (use ./- for a file of that name).",
            metavar="FILE",
        ),
    ] = "upload.html",
    expires: Annotated[str, typer.Option(help="How long the form is valid: 15m, 1h, 7d.", metavar="TIME")] = "1h",
    max_size: Annotated[str, typer.Option(help="Largest file, such as 100MiB.", metavar="SIZE")] = "5GiB",
    title: Annotated[str | None, typer.Option(help="The page's heading.", show_default=False)] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace an existing file.")] = False,
    endpoint: Endpoint = None,
    region: Region = None,
    secret_key_file: SecretKeyFile = None,
    debug: Debug = False,
) -> None:
    """Write an HTML page that uploads files from a browser into a bucket, without keys (POST Object).

    The page contains a signature. Until it expires, anyone who has the page can upload under the prefix. The bucket
    needs a CORS rule that allows POST from the page's origin (the embedded server has one).
    """
    from cosxfer.cli.failures import reported
    from cosxfer.cli.form import FormOptions, run

    with reported(debug=debug):
        run(
            FormOptions(
                target=target,
                output=parse_output(output),
                expires=expires,
                max_bytes=parse_size(max_size, name="--max-size"),
                title=title,
                force=force,
                endpoint=endpoint,
                region=region,
                secret_key_file=secret_key_file,
            )
        )


@app.command()
def plot(
    trace: Annotated[str, typer.Argument(help="The file that cp --trace wrote.", show_default=False, metavar="FILE")],
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            help="The picture: its name ends with .png or .svg. Default: FILE with the suffix .png.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace an existing file.")] = False,
    debug: Debug = False,
) -> None:
    """Draw a trace: goodput, requests in flight, refusals and retries, and events over time."""
    from cosxfer.cli.failures import reported
    from cosxfer.cli.plot import run

    with reported(debug=debug):
        run(
            parse_path(trace, name="FILE"),
            None if output is None else parse_path(output, name="--output"),
            force=force,
        )


@app.command()
def demo(
    size: Annotated[str, typer.Option(help="Size of the file.", metavar="SIZE")] = "1GiB",
    debug: Debug = False,
) -> None:
    """Show the main job: upload a file of random bytes to an embedded server over HTTP/2, read it back, compare."""
    from cosxfer.cli.demo import run
    from cosxfer.cli.failures import reported

    with reported(debug=debug):
        run(size=parse_size(size, name="--size"))


def _http_version(value: str) -> HttpVersion:
    # The client checks the value. A cast would hide a wrong one from the type checker only.
    return value  # type: ignore[return-value]
