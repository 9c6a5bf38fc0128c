"""Completion of the command line in bash, zsh and fish.

A shell runs the command with `VARIABLE` set and the words up to the cursor as arguments, and gets a candidate on a
line. No shell evaluates the output. Nothing of this is loaded when the command is run otherwise. A request is made for
an address in COS alone (`cosxfer.cli.completion_keys`).
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from typer.main import get_command

from cosxfer.cli.app import app
from cosxfer.cli.completion_keys import SCHEME, keys, leave, silence
from cosxfer.cli.profile_files import names
from cosxfer.cos.requests import KNOWN_VALUES

VARIABLE = "_COSXFER_COMPLETE"

PLAIN = re.compile(r"[\w./@%+,:=~-]+")
"""Characters that mean nothing to a shell. bash takes the others literally into the line, where they would be run."""

_VALUES: dict[str, Sequence[str]] = {
    "--acl": KNOWN_VALUES["x-cos-acl"],
    "--http-version": ("auto", "1.1", "2"),
    "--method": ("GET", "HEAD", "PUT", "POST", "DELETE"),
    "--sse": ("AES256", "cos/kms"),
    "--storage-class": KNOWN_VALUES["x-cos-storage-class"],
}


def complete(words: Sequence[str]) -> None:
    """Print the candidates for the last of ``words``, each on a line."""
    if _place(words):
        silence()
    found = candidates(get_command(app), words, os.environ)
    sys.stdout.write("".join(f"{candidate}\n" for candidate in found if PLAIN.fullmatch(candidate)))
    if _place(words):
        sys.stdout.flush()
        leave()


def candidates(command: Any, words: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """Return what may stand in the place of the last of ``words``. None: the shell completes names of files."""
    *before, incomplete = words or [""]
    # bash gives --option=value as three words.
    if incomplete == "=":
        incomplete = ""
    elif before[-1:] == ["="]:
        before.pop()
    elif incomplete.startswith("--") and "=" in incomplete:
        option, _, value = incomplete.partition("=")
        command = _chosen(command, before)
        found = _values(command, option, environment) or []
        return [f"{option}={each}" for each in found if each.startswith(value)]
    if place := _place(words):
        cut = len(place) - len(incomplete)  # bash gives cos://b as three words, and replaces the last one
        return sorted(each[cut:] for each in keys(place, before) if each.startswith(place))
    if "--" in before:
        return []
    command = _chosen(command, before)
    values = _values(command, before[-1], environment) if before else None
    if values is not None:
        found = values
    elif incomplete.startswith("-"):
        found = [name for parameter in command.params for name in parameter.opts if name.startswith("--")]
        found.append("--help")
    else:
        found = list(getattr(command, "commands", {}))
    return sorted(each for each in found if each.startswith(incomplete))


def _place(words: Sequence[str]) -> str:
    """Return the ``cos://`` address that the words end with; empty if they end with something else."""
    last = "".join(words[-3:]) if list(words[-3:-1]) == ["cos", ":"] else "".join(words[-1:])
    return last if last.startswith(SCHEME) else ""


def _chosen(command: Any, words: Sequence[str]) -> Any:
    """Return the command that the words name."""
    for word in words:
        command = getattr(command, "commands", {}).get(word, command)
    return command


def _values(command: Any, option: str, environment: Mapping[str, str]) -> list[str] | None:
    """Return the values of an option; empty if they are not known, None if it is none or takes no value."""
    for parameter in command.params:
        if option in parameter.opts and option.startswith("-"):
            if getattr(parameter, "is_flag", False):
                return None
            if "--profile" in parameter.opts:
                return names(environment)
            return next((list(_VALUES[name]) for name in parameter.opts if name in _VALUES), [])
    return None
