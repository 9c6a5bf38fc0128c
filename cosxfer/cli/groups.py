"""Groups of options that several commands share, so that an option has one name and one meaning everywhere."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, get_type_hints

_GROUP = "__options_panel__"

T = TypeVar("T")


def options(panel: str) -> Callable[[type[T]], type[T]]:
    """Mark a record as a group. Each of its fields is an option: ``Annotated[…, typer.Option(…)]`` with a default.

    ``panel`` is the heading of the options in the help.
    """

    def mark(group: type[T]) -> type[T]:
        setattr(group, _GROUP, panel)
        return group

    return mark


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of the groups among its parameters, at their place.

    The command gets each group as one record.
    """
    signature = inspect.signature(command, eval_str=True)
    groups: dict[str, tuple[type, list[str]]] = {}
    parameters: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        if not hasattr(parameter.annotation, _GROUP):
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        fields = _fields(parameter.annotation)
        groups[parameter.name] = (parameter.annotation, [field.name for field in fields])
        parameters += fields

    @functools.wraps(command)
    def run(**values: Any) -> None:
        for name, (group, fields) in groups.items():
            values[name] = group(**{field: values.pop(field) for field in fields})
        command(**values)

    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined] # typer reads it
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters} | {"return": None}
    return run


@functools.cache
def _fields(group: type) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    kind = inspect.Parameter.KEYWORD_ONLY
    parameters = []
    for field in group.__dataclass_fields__.values():  # type: ignore[attr-defined] # it is a record
        hint = hints[field.name]
        hint.__metadata__[0].rich_help_panel = getattr(group, _GROUP)
        parameters.append(inspect.Parameter(field.name, kind, default=field.default, annotation=hint))
    return parameters
