"""Turns the TypeError for wrong argument names or counts into a `UsageError` that shows the right call.

For a name of the COS SDKs, the error suggests the name in cosxfer. A correct call costs one comparison of its keywords.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from functools import cached_property, wraps
from typing import Any, TypeVar

from cosxfer.errors import UsageError
from cosxfer.sdk_names import CALLS, plain, refusal_of

Kind = TypeVar("Kind")


def explains_arguments(kind: type[Kind]) -> type[Kind]:
    """Decorate a class: its calls and ``__init__`` raise `UsageError` for arguments that do not fit."""
    for name, call in list(vars(kind).items()):
        if name != "__init__" and name.startswith("_"):
            continue
        shown = kind.__name__ if name == "__init__" else name
        if name == "__init__":
            call = getattr(kind, name)  # a record makes it when it is first asked for
        if inspect.isfunction(call):
            setattr(kind, name, _explained(call, _Form(call, shown)))
        elif isinstance(call, classmethod):
            made = call.__func__
            setattr(kind, name, classmethod(_explained(made, _Form(made, shown))))
    return kind


def _explained(call: Callable[..., Any], form: _Form) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(call):

        @wraps(call)
        async def waiting(*args: Any, **given: Any) -> Any:
            if given and not form.known.issuperset(given):
                raise form.refused(args, given)
            try:
                made = call(*args, **given)
            except TypeError:
                raise form.refused(args, given) from None
            return await made

        return waiting

    @wraps(call)
    def calling(*args: Any, **given: Any) -> Any:
        if given and not form.known.issuperset(given):
            raise form.refused(args, given)
        try:
            return call(*args, **given)
        except TypeError as error:
            # A TypeError that was raised inside the call has a frame of it.
            if error.__traceback__ is None or error.__traceback__.tb_next is not None:
                raise
            raise form.refused(args, given) from None

    return calling


class _Form:
    """The parameters of a call, and errors for arguments that do not fit."""

    def __init__(self, call: Callable[..., Any], name: str) -> None:
        self._call = call
        self._name = name

    @cached_property
    def _parameters(self) -> list[inspect.Parameter]:
        return list(inspect.signature(self._call).parameters.values())[1:]

    @cached_property
    def known(self) -> frozenset[str]:
        """The keywords of the call, including those in ``**options: Unpack[…]``."""
        names = {one.name for one in self._parameters if one.kind is not inspect.Parameter.VAR_KEYWORD}
        for one in self._parameters:
            if one.kind is inspect.Parameter.VAR_KEYWORD:
                unpacked = str(one.annotation).removeprefix("Unpack[").removesuffix("]")
                names |= self._call.__globals__[unpacked].__annotations__.keys()
        return frozenset(names)

    def refused(self, args: tuple[object, ...], given: Mapping[str, object]) -> UsageError:
        """Return the error for arguments that do not fit. It shows none of their values."""
        positional = [one for one in self._parameters if one.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
        taken = {one.name for one in positional[: len(args) - 1]}
        needed = [one.name for one in self._parameters if one.default is one.empty and one.kind in _NAMED]
        missing = [name for name in needed if name not in taken and name not in given]
        unknown = [name for name in given if name not in self.known]
        twice = [name for name in given if name in taken]
        if unknown:
            message, name = refusal_of(unknown, self.known, otherwise=_otherwise(self.known)), unknown[0]
        elif twice:
            message, name = f"{self._name} has {twice[0]} twice", twice[0]
        elif len(args) - 1 > len(positional):
            most = len(positional)
            message, name = f"{self._name} takes {most} positional argument{'s' * (most != 1)}", ""
        else:
            message, name = f"{self._name} needs {', '.join(missing)}", missing[0] if missing else ""
        fits = not missing and not twice and len(args) - 1 <= len(positional)
        end = "" if fits else f"{' ' if message.endswith('?') else '. '}Write {self._written()}"
        return UsageError(message + end, name=name)

    def _written(self) -> str:
        shown = [one.name for one in self._parameters if one.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
        keywords = [one for one in self._parameters if one.kind is inspect.Parameter.KEYWORD_ONLY]
        shown += [f"{one.name}=…" for one in keywords if one.default is one.empty]
        if not shown:
            shown = [f"{one.name}=…" for one in keywords[:1]]
        return f"{self._name}({', '.join([*shown, *(['…'] if len(self.known) > len(shown) else [])])})"


_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def _otherwise(known: Collection[str]) -> str:
    if "part_number" in known:
        return "; parameters of the object belong to multipart_init, other headers in headers={…}"
    return "; pass other headers in headers={…}" if "headers" in known else ""


def no_such_call(kind: type, name: str) -> AttributeError:
    """Return the error for a call that ``kind`` does not have. For a call of the COS SDKs it suggests ours."""
    meant = None
    if not name.startswith("_"):
        own = {plain(one): one for one in dir(kind) if not one.startswith("_")}
        meant = own.get(plain(name)) or CALLS.get(plain(name))
    hint = "" if meant is None else f". Did you mean {meant}?"
    return AttributeError(f"{kind.__name__!r} object has no attribute {name!r}{hint}", name=name)
