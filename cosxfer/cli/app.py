"""The commands and their options."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Annotated

import typer

from cosxfer import __version__
from cosxfer.cli.bench_app import bench
from cosxfer.cli.buckets_app import COMMANDS as BUCKET_COMMANDS
from cosxfer.cli.cp_app import cp
from cosxfer.cli.groups import grouped
from cosxfer.cli.mv_app import mv
from cosxfer.cli.objects_app import COMMANDS as OBJECT_COMMANDS
from cosxfer.cli.output import say
from cosxfer.cli.parameters import ACCESS, Access, Debug, SecretKeyFile
from cosxfer.cli.sync_app import OrderedRules, sync
from cosxfer.cli.uploads_app import uploads
from cosxfer.cli.values import parse_address, parse_count, parse_output, parse_path, parse_size
from cosxfer.errors import UsageError
from cosxfer.foreign import shorten

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


for command in (cp, mv, *OBJECT_COMMANDS, *BUCKET_COMMANDS, bench):
    app.command()(command)


@app.command()
@grouped
def abort(
    address: Annotated[str, typer.Argument(help="cos://BUCKET/KEY of the upload.", show_default=False)],
    upload_id: Annotated[str, typer.Argument(help="The upload id that cp printed.", show_default=False)],
    access: Access = ACCESS,
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
            connection=access.connection(bucket=bucket),
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
    from cosxfer.cli.secret_files import read_secret_key
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
@grouped
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
    access: Access = ACCESS,
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
                access=access,
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
def completion(
    shell: Annotated[str, typer.Argument(help="bash, zsh or fish.", show_default=False)],
) -> None:
    """Print a script that completes commands, options and names of profiles in a shell.

    - bash: `source <(cosxfer completion bash)` in `~/.bashrc`
    - zsh: `source <(cosxfer completion zsh)` in `~/.zshrc`, after `compinit`
    - fish: `cosxfer completion fish > ~/.config/fish/completions/cosxfer.fish`
    """
    from cosxfer.cli.completion_scripts import SCRIPTS
    from cosxfer.cli.failures import reported

    with reported(debug=False):
        if shell not in SCRIPTS:
            raise UsageError(f"the shell is {shorten(shell)}; it can be {', '.join(SCRIPTS)}", name="shell")
        say(SCRIPTS[shell].rstrip("\n"))


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


def app_of(arguments: Sequence[str]) -> typer.Typer:
    """Return the app with only the command that the first argument names, or with all if it names none.

    Typer reads the options of every command of an app when it starts, which takes a fifth of the time of a start.
    """
    wanted = arguments[0] if arguments else ""
    commands = [
        info for info in app.registered_commands if info.callback is not None and info.callback.__name__ == wanted
    ]
    groups = [info for info in app.registered_groups if info.name == wanted]
    if not (commands or groups):
        return app
    some = copy.copy(app)
    some.registered_commands, some.registered_groups = commands, groups
    return some
