"""What a caller's arguments may be: each check refuses a wrong one by its name, before anything is sent."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from cosxfer.errors import UsageError

LONGEST_SECONDS = 1e9
"""More is not waited for: some of what waits cannot count so far."""


def wrong_type(name: str, value: object, wanted: str) -> UsageError:
    """The error for an argument of another type than ``wanted``; it does not show the value, which may be a secret."""
    kind = type(value).__name__
    return UsageError(f"{name} is {'None' if value is None else kind}; it must be {wanted}", name=name, value=kind)


def check_callback(value: object, name: str) -> None:
    """Refuse what is neither None nor a function that can be called from a thread."""
    if value is None:
        return
    if not callable(value):
        raise wrong_type(name, value, "a function, or None")
    if inspect.iscoroutinefunction(value):
        raise UsageError(
            f"{name} is a coroutine function, which nobody would await; it must be a plain function",
            name=name,
            value="coroutine function",
        )


def check_text(value: object, name: str, *, optional: bool = True) -> None:
    """Refuse what is no text that UTF-8 can carry; None where it is not ``optional``."""
    if value is None and optional:
        return
    if not isinstance(value, str):
        raise wrong_type(name, value, "a string, or None" if optional else "a string")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"{name} cannot be encoded as UTF-8: {error.reason}", name=name, value=value) from error


def check_flag(value: object, name: str) -> None:
    """Refuse what is neither True nor False."""
    if not isinstance(value, bool):
        raise wrong_type(name, value, "True or False")


def check_timeout(value: object, name: str = "timeout") -> float | None:
    """The seconds to wait; None where that is for ever."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:  # not NaN
        raise wrong_type(name, value, "a number of seconds, or None")
    return min(value, LONGEST_SECONDS)


def check_mapping(value: object, name: str, *, example: str) -> None:
    """Refuse what is neither None nor a mapping."""
    if value is not None and not isinstance(value, Mapping):
        raise wrong_type(name, value, f"a mapping such as {example}")


def check_names(given: Mapping[Any, object], known: Iterable[str], *, hint: str = "") -> None:
    """Refuse a keyword that is not ``known``."""
    for name in sorted(given.keys() - frozenset(known), key=str):
        raise UsageError(f"there is no parameter {name!r}{hint}", name=str(name))
