"""Records against dataclasses of the standard library: the same class made by both behaves the same."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import threading
import typing
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from cosxfer import records

MADE: dict[str, type] = {}
"""The classes by their names, so that pickle finds them."""


def __getattr__(name: str) -> type:
    try:
        return MADE[name]
    except KeyError:
        raise AttributeError(name) from None


class Plain:
    a: int
    b: str = "b"
    c: list[int] = dataclasses.field(default_factory=list)
    d: int = dataclasses.field(default=4, repr=False, compare=False)
    e: int = dataclasses.field(default=5, init=False)
    f: list[int] = dataclasses.field(init=False, default_factory=list)

    def double(self) -> int:
        return 2 * self.a


class Checked:
    a: int = 1

    def __post_init__(self) -> None:
        if self.a < 0:
            raise ValueError(self.a)


class Own:
    a: int = 1

    def __eq__(self, other: object) -> bool:
        return True

    def __repr__(self) -> str:
        return "own"


class Empty:
    pass


KINDS = [Plain, Checked, Own, Empty]
WAYS = [
    {"frozen": frozen, "kw_only": kw_only, "slots": slots, "eq": eq}
    for frozen in (False, True)
    for kw_only in (False, True)
    for slots in (False, True)
    for eq in (False, True)
]


def both(kind: type, way: dict[str, bool]) -> tuple[Any, Any]:
    """The class made by the standard library and by us."""
    pair = []
    for make in (dataclasses.dataclass, records.dataclass):
        body = {name: value for name, value in vars(kind).items() if name not in ("__dict__", "__weakref__")}
        made = make(**way)(type(kind.__name__, (), body))  # type: ignore[call-overload]
        made.__qualname__ = f"{make.__module__}_{kind.__name__}".replace(".", "_")
        made.__module__ = __name__
        MADE[made.__qualname__] = made
        pair.append(made)
    return pair[0], pair[1]


def outcome(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except Exception as error:
        return type(error)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: "-".join(name for name, on in way.items() if on) or "none")
@pytest.mark.parametrize("kind", KINDS)
def test_a_record_behaves_as_a_dataclass(kind: type, way: dict[str, bool]) -> None:
    seen = []
    for made in both(kind, way):
        arguments = {"a": 3} if kind is not Empty else {}
        first, same, other = made(**arguments), made(**arguments), made(**({"a": 7} if arguments else {}))
        seen.append(
            [
                repr(first).partition("(")[1:],
                (first == same, first == other, first == 3),
                outcome(lambda made=made: made(3) is None),
                outcome(lambda made=made: made(a=-1) is None),
                outcome(lambda made=made: made(nothing=1)),
                outcome(lambda made=made: made()) in (TypeError,),
                outcome(lambda first=first, same=same: hash(first) == hash(same)),
                kind is Empty or outcome(lambda first=first: setattr(first, "a", 9)),
                kind is Empty or outcome(lambda first=first: delattr(first, "a")),
                [
                    (field.name, field.type, field.default, field.init, field.repr, field.compare, field.kw_only)
                    for field in dataclasses.fields(made)
                ],
                made.__match_args__,
                [(it.name, it.kind, it.annotation) for it in inspect.signature(made).parameters.values()],
                typing.get_type_hints(made.__init__),
                outcome(lambda first=first: [dataclasses.asdict(first), dataclasses.replace(first) == first]),
                outcome(lambda first=first: copy.copy(first) == first),
                outcome(lambda first=first: dataclasses.asdict(pickle.loads(pickle.dumps(first)))),
                [hasattr(first, "__dict__"), hasattr(made, "__slots__")],
            ]
        )
    assert seen[0] == seen[1]


def test_each_record_has_its_own_default_list() -> None:
    _, made = both(Plain, {"frozen": True})
    assert made(1).c is not made(1).c
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field 'a'"):
        made(1).a = 2


def test_a_record_inherits_the_fields_of_another() -> None:
    _, base = both(Checked, {"frozen": True, "kw_only": True})

    class Child(base):  # type: ignore[misc,valid-type]
        b: int

    child = records.dataclass(frozen=True, kw_only=True)(Child)
    assert (child(b=2).a, child(b=2).b) == (1, 2)
    assert child(b=2) != base()
    with pytest.raises(ValueError, match="-1"):
        child(a=-1, b=2)


def test_the_first_use_may_be_in_many_threads_or_by_a_class_that_inherits() -> None:
    for _ in range(50):
        _, made = both(Plain, {"frozen": True})
        ready = threading.Barrier(8)

        def make(made: type = made, ready: threading.Barrier = ready) -> object:
            ready.wait(30)
            return made(1)

        with ThreadPoolExecutor(8) as pool:
            first, *others = [future.result() for future in [pool.submit(make) for _ in range(8)]]
        assert all(other == first for other in others)

    _, base = both(Plain, {})

    class Child(base):  # type: ignore[misc,valid-type]
        def __init__(self, a: int) -> None:
            super().__init__(a, "child")

    class Same(base):  # type: ignore[misc,valid-type]
        pass

    assert (Child(3).a, Child(3).b) == (3, "child")
    assert (Same(4).a, Same(4).b, base(5).a) == (4, "b", 5)
    with pytest.raises(TypeError, match="argument"):
        Same()


def test_a_record_from_its_fields_is_one_like_any_other() -> None:
    @records.dataclass(frozen=True, kw_only=True)
    class Record:
        a: int
        b: str = "b"

    made = records.from_fields(Record, {"a": 1, "b": "c"})
    assert made == Record(a=1, b="c")
    assert (repr(made), hash(made)) == (repr(Record(a=1, b="c")), hash(Record(a=1, b="c")))
    assert dataclasses.replace(made, a=2) == Record(a=2, b="c")
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.a = 3  # type: ignore[misc]
