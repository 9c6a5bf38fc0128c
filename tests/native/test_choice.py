"""The choice of kernels, the Python twins' interface, and a build without Cython."""

from __future__ import annotations

import ast
import inspect
import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import setuptools
from setuptools.command.build_ext import build_ext

from cosxfer import _native
from cosxfer._native import pure_hashing, pure_slicing

ROOT = Path(__file__).parents[2]
REPORT = "import cosxfer._native as n; print(n.KERNEL, n.COMPILED, n.hashing.md5_many([b'abc'] * 9)[8].hex())"


def python(program: str, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name != "COSXFER_KERNEL"}
    command = [sys.executable, *options, "-c", program]
    return subprocess.run(command, env=kept | environment, cwd=ROOT, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("name", _native.KERNELS)
def test_each_kernel_can_be_forced(name: str) -> None:
    done = python(REPORT, COSXFER_KERNEL=name)
    assert done.stdout.split() == [name, str(name != "pure"), "900150983cd24fb0d6963f7d28e17f72"], done.stderr


def test_the_best_kernel_is_the_default() -> None:
    assert python(REPORT).stdout.split()[0] == _native.KERNELS[0]


def test_a_kernel_that_is_missing_is_an_error_that_names_the_others() -> None:
    done = python(REPORT, COSXFER_KERNEL="altivec")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("cosxfer.errors.UsageError: COSXFER_KERNEL is 'altivec'; of kernels this machine has ")
    assert all(name in last for name in _native.KERNELS)


def test_without_the_compiled_modules_the_twins_are_used() -> None:
    hide = "import sys; sys.modules['cosxfer._native.hashing'] = None; "
    done = python(hide + REPORT)
    assert done.stdout.split()[:2] == ["pure", "False"], done.stderr
    done = python(hide + REPORT, COSXFER_KERNEL="avx2")
    assert "UsageError: COSXFER_KERNEL is 'avx2'; of kernels this machine has pure; " in done.stderr
    assert "not built" in done.stderr


def test_an_unknown_kernel_is_a_value_error_and_changes_nothing(hashing: ModuleType) -> None:
    before = hashing.kernel()
    with pytest.raises(ValueError, match="no kernel 'mmx'"):
        hashing.use_kernel("mmx")
    assert hashing.kernel() == before


def declared(stub: str) -> dict[str, list[str]]:
    """The public names of a stub, with the parameters of each function or method."""
    names: dict[str, list[str]] = {}

    def visit(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.FunctionDef) and (not node.name.startswith("_") or node.name == "__init__"):
                arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                names[prefix + node.name] = [argument.arg for argument in arguments]
            elif isinstance(node, ast.ClassDef):
                names[node.name] = []
                visit(node.body, f"{node.name}.")

    visit(ast.parse((ROOT / "cosxfer" / "_native" / stub).read_text()).body, "")
    return names


@pytest.mark.parametrize(("stub", "twin"), [("hashing.pyi", pure_hashing), ("slicing.pyi", pure_slicing)])
def test_the_twin_matches_the_stub(stub: str, twin: ModuleType) -> None:
    for name, parameters in declared(stub).items():
        owner, _, attribute = name.rpartition(".")
        thing = inspect.getattr_static(getattr(twin, owner) if owner else twin, attribute)
        if inspect.isfunction(thing):
            assert list(inspect.signature(thing).parameters) == parameters, name


@pytest.mark.parametrize("stub", ["hashing.pyi", "slicing.pyi"])
def test_the_compiled_module_matches_the_stub(stub: str, needs_compiled: None) -> None:
    module = getattr(_native, stub.removesuffix(".pyi"))
    for name in declared(stub):
        owner, _, attribute = name.rpartition(".")
        assert hasattr(getattr(module, owner) if owner else module, attribute), name


def test_a_build_without_cython_is_pure_and_says_so(tmp_path: Path) -> None:
    for name in ("setup.py", "pyproject.toml", "LICENSE"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / "README.md").touch()
    (tmp_path / "cosxfer").mkdir()
    program = "import sys; sys.modules['Cython'] = None; sys.modules['Cython.Build'] = None; import runpy; "
    program += "sys.argv = ['setup.py', '-q', 'build_ext', '--inplace']; runpy.run_path('setup.py')"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "Cython is not installed" in done.stderr


def test_extensions_that_are_built_side_by_side_share_no_object_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some have C files in common. If both compile one of them to the same place, one may link the half of a file."""
    monkeypatch.setitem(sys.modules, "Cython", None)
    monkeypatch.setitem(sys.modules, "Cython.Build", None)
    monkeypatch.setattr(setuptools, "setup", lambda **_: None)
    folders: list[str] = []
    monkeypatch.setattr(build_ext, "build_extension", lambda command, extension: folders.append(command.build_temp))
    command = runpy.run_path(str(ROOT / "setup.py"))["BuildExt"](setuptools.Distribution())
    command.build_temp = "objects"
    for name in ("first", "second"):
        command.build_extension(setuptools.Extension(name, []))
    assert folders == [str(Path("objects", "first")), str(Path("objects", "second"))]
