"""The command line. It needs the extra ``cli``; without it, it says so."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command ``cosxfer``. Exit codes: 0 done and verified, 1 failed, 2 wrong usage, 130 interrupted."""
    try:
        from cosxfer.cli.app import app
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in ("typer", "rich", "click"):
            raise
        print(
            f"cosxfer: the command line needs the package {error.name}: pip install 'cosxfer[cli,server]'",
            file=sys.stderr,
        )
        raise SystemExit(1) from None
    app()
