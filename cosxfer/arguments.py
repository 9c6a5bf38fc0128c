"""Checks of a caller's arguments. Each raises `UsageError` with the name of the argument, before anything is sent."""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any, Final, Literal, TypeAlias, TypeGuard, cast, overload

from cosxfer.errors import UsageError
from cosxfer.foreign import shorten
from cosxfer.sdk_names import meant_by, refusal_of

logger = logging.getLogger("cosxfer")

AUTO: Final = "auto"

NumberOrAuto: TypeAlias = int | Literal["auto"]
"""A number, or ``"auto"``: the client chooses the number and adapts it to the link."""

LONGEST_NUMBER = 20
"""Digits of the largest number that 64 bits hold."""

LONGEST_SECONDS = 1e9
"""Longer timeouts are cut to this, because some wait functions overflow."""


def wrong_type(name: str, value: object, wanted: str, *, where: str = "") -> UsageError:
    """Return the error for an argument that is not ``wanted``. It does not show the value, which may be a secret."""
    kind = type(value).__name__
    return UsageError(
        f"{where}{name} is {'None' if value is None else kind}; it must be {wanted}", name=name, value=kind
    )


def check_callback(value: object, name: str) -> None:
    """Refuse a value that is neither None nor a plain function."""
    if value is None:
        return
    if not callable(value):
        raise wrong_type(name, value, "a function, or None")
    if inspect.iscoroutinefunction(value):
        raise UsageError(
            f"{name} is a coroutine function, which is never awaited; it must be a plain function",
            name=name,
            value="coroutine function",
        )


def is_text(value: object) -> bool:
    """Whether ``value`` is text that can be a path or a name. For what a journal or a token contains.

    Low surrogates stand for bytes that are not UTF-8, and high ones for nothing.
    """
    if not isinstance(value, str):
        return False
    try:
        value.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def check_text(value: object, name: str, *, optional: bool = True) -> None:
    """Refuse a value that is not text encodable as UTF-8. None is allowed if ``optional``."""
    if value is None and optional:
        return
    if not isinstance(value, str):
        raise wrong_type(name, value, "a string, or None" if optional else "a string")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"{name} cannot be encoded as UTF-8: {error.reason}", name=name, value=value) from error


def is_count(value: object) -> TypeGuard[int]:
    """Whether it is a whole number from 0; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def shown(value: object) -> str:
    """Return ``value`` for a message, in at most 100 characters."""
    # Python refuses to write a number of more than 4300 digits.
    vast = isinstance(value, int) and value.bit_length() > 256
    return "a number of more than 75 digits" if vast else shorten(value, 100)


def is_auto(value: object) -> TypeGuard[Literal["auto"]]:
    """Whether the client is to choose the number."""
    return isinstance(value, str) and value == AUTO


def check_count(
    value: object,
    name: str,
    *,
    minimum: int = 0,
    maximum: int | None = None,
    unit: str = "",
    otherwise: str = "",
) -> int:
    """Return ``value`` if it is a whole number from ``minimum`` to ``maximum``.

    ``unit`` and ``otherwise``, another legal value, are for the message.
    """
    if not is_count(value) or value < minimum or (maximum is not None and value > maximum):
        limits = f"from {minimum}" if maximum is None else f"from {minimum} to {maximum}"
        what = f"a whole number of {unit}" if unit else "a whole number"
        end = f", or {otherwise}" if otherwise else ""
        raise UsageError(f"{name} is {shown(value)}; it must be {what} {limits}{end}", name=name, value=value)
    return value


def check_count_or_auto(value: object, name: str, *, minimum: int, maximum: int) -> NumberOrAuto:
    """Return ``value`` if it is ``"auto"`` or a whole number from ``minimum`` to ``maximum``."""
    if is_auto(value):
        return AUTO
    return check_count(value, name, minimum=minimum, maximum=maximum, otherwise='"auto"')


def check_positive(value: object, name: str, *, optional: bool = False) -> None:
    """Refuse what is no finite number above 0; None unless it is ``optional``."""
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= sys.float_info.max:
        raise UsageError(
            f"{name} is {shown(value)}; it must be a number above 0{', or None' * optional}", name=name, value=value
        )


def check_seconds(value: object, name: str) -> None:
    """Refuse what is no number of seconds from 0 on, or more than `LONGEST_SECONDS`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LONGEST_SECONDS:
        raise UsageError(
            f"{name} is {shown(value)}; it must be a number of seconds from 0 to {LONGEST_SECONDS:.0f}",
            name=name,
            value=value,
        )


def check_flag(value: object, name: str) -> None:
    """Refuse a value that is neither True nor False."""
    if not isinstance(value, bool):
        raise wrong_type(name, value, "True or False")


def check_timeout(value: object, name: str = "timeout") -> float | None:
    """Return the seconds to wait. None means for ever."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:  # not NaN
        raise wrong_type(name, value, "a number of seconds, or None")
    return min(value, LONGEST_SECONDS)


def check_mapping(value: object, name: str, *, example: str) -> None:
    """Refuse a value that is neither None nor a mapping."""
    if value is not None and not isinstance(value, Mapping):
        raise wrong_type(name, value, f"a mapping such as {example}")


def check_names(given: Mapping[Any, object], known: Collection[str], *, hint: str = "", where: str = "") -> None:
    """Refuse a keyword that is not ``known`` and suggest the right one. ``where`` is a prefix of the message."""
    unknown = [str(name) for name in given if name not in known]
    if unknown:
        raise UsageError(where + refusal_of(unknown, known, otherwise=hint), name=unknown[0])


@overload
def as_number(value: int | str) -> int: ...
@overload
def as_number(value: int | str | None) -> int | None: ...
@overload
def as_number(value: object) -> object: ...
def as_number(value: object) -> object:
    """Convert a string of decimal digits to an int. Return any other value unchanged, for the check of the number."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= LONGEST_NUMBER:
        return int(value)
    return value


def as_number_or_auto(value: int | str | None) -> NumberOrAuto | None:
    """Do what `as_number` does, for a number that may be ``"auto"``."""
    return cast("NumberOrAuto | None", as_number(value))


@lru_cache(maxsize=256)
def warn_unknown_value(name: str, value: str, known: tuple[str, ...]) -> None:
    """Warn once about a value that is not ``known``. It is sent anyway, because COS may have new values."""
    meant = meant_by(value, known)
    hint = f"did you mean {meant}?" if meant is not None else f"it knows {', '.join(known)}."
    logger.warning("%s is %.80r, which cosxfer does not know; %s It is sent unchanged", name, value, hint)
