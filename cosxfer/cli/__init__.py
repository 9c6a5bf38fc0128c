"""The command line. It needs the extra ``cli``; without it, it says so."""

from __future__ import annotations

import sys

from cosxfer.cli.interrupts import quiet
from cosxfer.cli.output import expect_object, prepare


def main() -> None:
    """Run the command ``cosxfer``; its exit codes stand in the README."""
    expect_object("--json" in sys.argv[1:])
    quiet()
    prepare()
    try:
        from cosxfer.cli.app import app
        from cosxfer.cli.failures import start
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in ("typer", "rich", "click"):
            raise
        print(
            f"cosxfer: the command line needs the package {error.name}: pip install 'cosxfer[cli,server]'",
            file=sys.stderr,
        )
        raise SystemExit(1) from None
    raise SystemExit(start(app, sys.argv[1:]))
