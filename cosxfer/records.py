"""`dataclass` that costs a fraction of the time at import: it compiles one function for each class, at its first use.

The package has a hundred records. Each start of the command defines most of them, and makes a few. The result is a
dataclass of the standard library in every other way (`fields`, `replace`, `asdict`, `match`); a type checker sees only
that one.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(cls=None, /, *, frozen=False, eq=True, kw_only=False, slots=False):
        """Make a record of a class; the parameters are those of `dataclasses.dataclass`."""

        def make(cls):
            return _made(cls, frozen=frozen, eq=eq, kw_only=kw_only, slots=slots)

        return make if cls is None else make(cls)


__all__ = ["dataclass", "from_fields"]

T = TypeVar("T")
Field = dataclasses.Field[Any]


def from_fields(cls: type[T], fields: dict[str, Any]) -> T:
    """Make a frozen record without slots from values of all its fields; ``fields`` belongs to the record then.

    It takes a fifth of the time of a call with many keywords, which sets each field by itself.
    """
    made = object.__new__(cls)
    object.__setattr__(made, "__dict__", fields)
    return made


def _made(cls: type[T], *, frozen: bool, eq: bool, kw_only: bool, slots: bool) -> type[T]:
    own = {name for name, value in cls.__dict__.items() if (name, value) != ("__hash__", None)}
    if not cls.__doc__:
        cls.__doc__ = cls.__name__  # else it would be made of the signature, which takes two milliseconds at first
    make = dataclasses.dataclass(init=False, repr=False, eq=False, kw_only=kw_only, slots=slots)
    made: type[T] = make(cls)
    fields = dataclasses.fields(made)  # type: ignore[arg-type] # mypy does not know that it is a dataclass now
    methods: dict[str, Any] = {"__init__": _LazyInit(made, fields, frozen=frozen), "__repr__": _repr(fields)}
    if eq:
        methods.update(_comparing(fields))
    if frozen:
        methods.update(__setattr__=_refuse_to_set, __delattr__=_refuse_to_delete)
        if slots:  # otherwise copy and pickle would set the fields one by one
            methods.update(_states(fields))
    for name, method in methods.items():
        if name not in own:
            setattr(made, name, method)
    if eq and not frozen and "__hash__" not in own:
        made.__hash__ = None  # type: ignore[assignment] # what compares by changeable values has no hash
    return made


class _LazyInit:
    """Stands for ``__init__`` of a class until it is first used. Compiling it takes a quarter of a millisecond."""

    def __init__(self, cls: type, fields: tuple[Field, ...], *, frozen: bool) -> None:
        self._cls = cls
        self._fields = fields
        self._frozen = frozen

    def __get__(self, instance: object | None, owner: type) -> Callable[..., None]:
        init = self._cls.__dict__["__init__"]
        if init is self:  # no other thread was faster
            init = _init(self._cls, self._fields, frozen=self._frozen)
            self._cls.__init__ = init
        bound: Callable[..., None] = init.__get__(instance, owner)
        return bound


def _init(cls: type, fields: tuple[Field, ...], *, frozen: bool) -> Callable[..., None]:
    """Compile ``__init__``. Written out, it is as fast as one by hand."""
    # A field with a slot is not in the dictionary of its instance. Any other is, and storing it there is not refused.
    in_dictionary = frozen and not any("__slots__" in base.__dict__ for base in cls.__mro__[:-1])
    values: dict[str, Any] = {"_set": object.__setattr__, "_missing": dataclasses.MISSING}
    places: list[str] = []
    keywords: list[str] = []
    body: list[str] = []
    for field in fields:
        name, value, parameter = field.name, field.name, field.name
        if field.default_factory is not dataclasses.MISSING:
            values[f"_make_{name}"] = field.default_factory
            parameter = f"{name}=_missing"
            value = f"_make_{name}() if {name} is _missing else {name}" if field.init else f"_make_{name}()"
        elif field.default is not dataclasses.MISSING:
            values[f"_default_{name}"] = field.default
            parameter = f"{name}=_default_{name}"
            value = name if field.init else f"_default_{name}"
        elif not field.init:
            continue
        if field.init:
            (keywords if field.kw_only else places).append(parameter)
        if in_dictionary:
            body.append(f"_own[{name!r}] = {value}")
        else:
            body.append(f"_set(self, {name!r}, {value})" if frozen else f"self.{name} = {value}")
    if in_dictionary and body:
        body.insert(0, "_own = self.__dict__")  # `_set` takes twice as long
    if hasattr(cls, "__post_init__"):
        body.append("self.__post_init__()")
    parameters = ", ".join(["self", *places, *(["*", *keywords] if keywords else [])])
    lines = "\n  ".join(body or ["pass"])
    source = f"def make({', '.join(values)}):\n def __init__({parameters}):\n  {lines}\n return __init__"
    made: dict[str, Any] = {}
    exec(source, sys.modules[cls.__module__].__dict__, made)  # noqa: S102 # as the standard library does
    init: Callable[..., None] = made["make"](**values)
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    init.__annotations__ = {field.name: field.type for field in fields if field.init} | {"return": None}
    return init


def _repr(fields: tuple[Field, ...]) -> Callable[[Any], str]:
    names = [field.name for field in fields if field.repr]

    def __repr__(self: Any) -> str:  # noqa: N807 # it becomes one
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{type(self).__qualname__}({shown})"

    return __repr__


def _comparing(fields: tuple[Field, ...]) -> dict[str, Callable[..., Any]]:
    names = [field.name for field in fields if field.compare]
    values: Callable[[Any], object] = attrgetter(*names) if names else lambda _: ()

    def __eq__(self: Any, other: Any) -> Any:  # noqa: N807
        return values(self) == values(other) if other.__class__ is self.__class__ else NotImplemented

    def __hash__(self: Any) -> int:  # noqa: N807
        return hash(values(self))

    return {"__eq__": __eq__, "__hash__": __hash__}


def _refuse_to_set(self: object, name: str, value: object) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(self: object, name: str) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


def _states(fields: tuple[Field, ...]) -> dict[str, Callable[..., Any]]:
    names = [field.name for field in fields]

    def __getstate__(self: Any) -> list[Any]:  # noqa: N807
        return [getattr(self, name) for name in names]

    def __setstate__(self: Any, state: list[Any]) -> None:  # noqa: N807
        for name, value in zip(names, state, strict=True):
            object.__setattr__(self, name, value)

    return {"__getstate__": __getstate__, "__setstate__": __setstate__}
