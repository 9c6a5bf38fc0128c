"""Runs the command, from its arguments to its exit code."""

from __future__ import annotations

import os
import sys

from cosxfer.cli.interrupts import quiet
from cosxfer.cli.output import expect_object, prepare


def run() -> None:
    """Run the command and exit with its exit code."""
    if "_COSXFER_COMPLETE" in os.environ:
        _complete()
        return
    expect_object("--json" in sys.argv[1:])
    quiet()
    prepare()
    try:
        from cosxfer.cli.app import app_of
        from cosxfer.cli.failures import start
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in ("typer", "rich", "click"):
            raise
        print(
            f"cosxfer: the command line needs the package {error.name}: pip install 'cosxfer[cli,server]'",
            file=sys.stderr,
        )
        raise SystemExit(1) from None
    raise SystemExit(start(app_of(sys.argv[1:]), sys.argv[1:]))


def _complete() -> None:
    """Print the candidates for a shell. A failure prints nothing: the user is typing."""
    try:
        from cosxfer.cli.completion import complete

        complete(sys.argv[1:])
    except Exception:
        raise SystemExit(1) from None
