"""The app of the command line: a start makes only the command that is asked for, and it is the same as among all."""

from __future__ import annotations

from typing import Any

import pytest
from typer.main import get_command

from cosxfer.cli.app import app, app_of

WHOLE: Any = get_command(app)


def described(command: Any) -> object:
    """All that a command says of itself, without the functions that it calls."""
    told = {name: value for name, value in vars(command).items() if isinstance(value, str | bool | dict | None)}
    told.pop("commands", None)
    parts = getattr(command, "commands", {})
    return (
        type(command),
        told,
        [
            (type(each), each.opts, each.secondary_opts, each.type.name, str(vars(each).get("help")))
            for each in command.params
        ],
        {name: described(part) for name, part in parts.items()},
    )


@pytest.mark.parametrize("name", sorted(WHOLE.commands))
def test_a_command_alone_is_as_it_is_among_all(name: str) -> None:
    alone: Any = get_command(app_of([name, "--help"]))
    assert list(alone.commands) == [name]
    assert described(alone.commands[name]) == described(WHOLE.commands[name])
    assert described(alone) != described(WHOLE)
    assert [each.opts for each in alone.params] == [each.opts for each in WHOLE.params]


@pytest.mark.parametrize("arguments", [[], [""], ["--version"], ["--help", "cp"], ["copy"], ["CP"]])
def test_without_a_command_all_are_there(arguments: list[str]) -> None:
    assert app_of(arguments) is app
