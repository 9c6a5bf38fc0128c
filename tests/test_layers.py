"""Imports point down: a module may import from its own level or below, never from above."""

from __future__ import annotations

import ast
from collections.abc import Collection
from functools import cache
from pathlib import Path

import pytest

from tests.circles import in_circles

PACKAGE = Path(__file__).parent.parent / "cosxfer"

LEVELS = {
    "cosxfer.address": 0,
    "cosxfer.records": 0,
    "cosxfer.arguments": 0,
    "cosxfer.binding": 0,
    "cosxfer.bucket_models": 0,
    "cosxfer.errors": 0,
    "cosxfer.figures": 0,
    "cosxfer.foreign": 0,
    "cosxfer.limits": 0,
    "cosxfer.loopback": 0,
    "cosxfer.models": 0,
    "cosxfer.config": 0,
    "cosxfer.credentials": 0,
    "cosxfer.events": 0,
    "cosxfer.sdk_names": 0,
    "cosxfer.spec": 0,
    "cosxfer.states": 0,
    "cosxfer.threads": 0,
    "cosxfer._native": 1,
    "cosxfer.cos": 2,
    "cosxfer.observation": 2,
    "cosxfer.patterns": 2,
    "cosxfer.planning": 2,
    "cosxfer.resume_token": 2,
    "cosxfer.retry": 2,
    "cosxfer.tuning": 2,
    "cosxfer.tuning_best": 2,
    "cosxfer.tuning_bounds": 2,
    "cosxfer.tuning_guard": 2,
    "cosxfer.tuning_levels": 2,
    "cosxfer.tuning_pace": 2,
    "cosxfer.tuning_probes": 2,
    "cosxfer.tuning_ramp": 2,
    "cosxfer.tuning_rate": 2,
    "cosxfer.tuning_refusals": 2,
    "cosxfer.tuning_risk": 2,
    "cosxfer.tuning_size": 2,
    "cosxfer.tuning_sounding": 2,
    "cosxfer.tuning_rules": 2,
    "cosxfer.walls": 2,
    "cosxfer.verdict": 2,
    "cosxfer.transport": 3,
    "cosxfer.endpoint_memory": 3,
    "cosxfer.journal": 3,
    "cosxfer.journal_database": 3,
    "cosxfer.journal_downloads": 3,
    "cosxfer.journal_owners": 3,
    "cosxfer.journal_rows": 3,
    "cosxfer.paths": 3,
    "cosxfer.sources": 3,
    "cosxfer.sorted_tree": 3,
    "cosxfer.targets": 3,
    "cosxfer.trace": 3,
    "cosxfer.tree": 3,
    "cosxfer.ops": 4,
    "cosxfer.engine": 5,
    "cosxfer.tasks": 6,
    "cosxfer.aio": 7,
    "cosxfer.benchmark": 7,
    "cosxfer.calls": 7,
    "cosxfer.client": 7,
    "cosxfer.sync": 7,
    "cosxfer.loop_thread": 7,
    "cosxfer": 7,
    "cosxfer.cli": 8,
    "cosxfer.server": 8,
    "cosxfer.__main__": 8,
}

PURE_MODULES = {"socket", "asyncio", "threading", "time", "random", "os", "subprocess", "httpx", "ssl", "select"}
"""Modules that level 2 must not import, because it makes decisions and does no I/O."""


def module_name(path: Path) -> str:
    name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    return name.removesuffix(".__init__")


def level(module: str) -> int:
    """The level of ``module``, or of its folder."""
    known = module
    while known not in LEVELS:
        known = known.rpartition(".")[0]
    assert known != "cosxfer" or module in ("cosxfer", "cosxfer.__version__"), f"give {module} a level in LEVELS"
    return LEVELS[known]


def imported_modules(path: Path, *, annotations: bool = False) -> set[str]:
    """Modules that ``path`` imports, including imports in functions. Imports for annotations count only on request."""
    real, for_annotations = imports(path)
    return real | for_annotations if annotations else real


@cache
def imports(path: Path) -> tuple[set[str], set[str]]:
    """Modules that ``path`` imports, and those that it imports for annotations."""
    real: set[str] = set()
    for_annotations: set[str] = set()
    rest: list[tuple[ast.AST, set[str]]] = [(ast.parse(path.read_text()), real)]
    while rest:
        node, found = rest.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            rest += [(part, for_annotations) for part in node.body]
            rest += [(part, found) for part in node.orelse]
        elif isinstance(node, ast.stmt | ast.Module | ast.ExceptHandler | ast.match_case):
            rest += [(part, found) for part in ast.iter_child_nodes(node)]
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return real, for_annotations


SOURCES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_imports_point_down(path: Path) -> None:
    own = module_name(path)
    for imported in imported_modules(path):
        if imported == "cosxfer" or not imported.startswith("cosxfer."):
            # The package itself has the public names. Only the top layers may use them.
            assert imported != "cosxfer" or level(own) >= 7, f"{own} imports the package's public names"
            continue
        assert level(imported) <= level(own), f"{own} (level {level(own)}) imports {imported} (level {level(imported)})"


FLOORS = [
    "limiter",
    "scheduler",
    "report",
    "shortcut",
    "thread_count",
    "native_service",
    "multipart",
    "copy",
    "download",
    "upload",
]
"""The engine has floors: a lower one imports none above it."""


@pytest.mark.parametrize("path", sorted((PACKAGE / "engine").rglob("*.py")), ids=module_name)
def test_a_floor_of_the_engine_imports_none_above_it(path: Path) -> None:
    own = module_name(path).split(".")
    if len(own) == 2:
        return  # the package itself
    for imported in imported_modules(path):
        parts = imported.split(".")
        if parts[:2] == ["cosxfer", "engine"] and len(parts) > 2:
            assert FLOORS.index(parts[2]) <= FLOORS.index(own[2]), f"{'.'.join(own)} imports {imported}"


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_level_2_does_no_io(path: Path) -> None:
    own = module_name(path)
    if level(own) == 2:
        assert not {name.partition(".")[0] for name in imported_modules(path)} & PURE_MODULES


@pytest.mark.parametrize("path", sorted((PACKAGE / "server").rglob("*.py")), ids=module_name)
def test_the_server_uses_only_levels_0_to_2(path: Path) -> None:
    for imported in imported_modules(path):
        if imported.startswith("cosxfer.") and not imported.startswith("cosxfer.server"):
            assert level(imported) <= 2, f"{module_name(path)} imports {imported}"


def imports_of(path: Path, files: Collection[str]) -> set[str]:
    """The modules of ``files`` that ``path`` imports; ``from package import module`` is the module."""
    found = imported_modules(path, annotations=True).intersection(files)
    return {name for name in found if not any(other.startswith(f"{name}.") for other in found)}


def test_no_module_imports_itself_through_others() -> None:
    """Not even for annotations. Modules that need each other should be one, or share a third one below both."""
    # The package itself imports each module lazily.
    files = {module_name(path): path for path in SOURCES if module_name(path) != "cosxfer"}
    assert not in_circles({name: imports_of(path, files) for name, path in files.items()})


def test_modules_are_not_too_long() -> None:
    too_long = {module_name(path): n for path in SOURCES if (n := len(path.read_text().splitlines())) > 600}
    assert not too_long
