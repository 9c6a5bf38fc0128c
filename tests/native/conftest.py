"""Every test with ``hashing`` runs once per kernel of this machine, and once on the Python twin."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import pytest

from cosxfer import _native
from cosxfer._native import pure_hashing, pure_slicing


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if _native.COMPILED:
        return
    for item in items:
        if "needs_compiled" in item.fixturenames:  # type: ignore[attr-defined]  # functions have it
            item.add_marker(pytest.mark.skip(reason="the native modules are not built"))


@pytest.fixture
def needs_compiled() -> None:
    """Skips a test without the compiled modules."""


@pytest.fixture(params=_native.KERNELS)
def hashing(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    if request.param == "pure":
        yield pure_hashing
        return
    module = _native.hashing
    before = module.kernel()
    module.use_kernel(request.param)
    yield module
    module.use_kernel(before)


@pytest.fixture(params=["compiled", "pure"] if _native.COMPILED else ["pure"])
def slicing(request: pytest.FixtureRequest) -> ModuleType:
    return pure_slicing if request.param == "pure" else _native.slicing
