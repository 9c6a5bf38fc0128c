"""Hardening of the built modules, from their ELF files: stack protector, FORTIFY, full RELRO, no executable stack."""

from __future__ import annotations

import importlib.util
import struct
import sys
from pathlib import Path

import pytest

MODULES = ["files", "hashing", "slicing", "wire"]
PT_DYNAMIC, PT_GNU_STACK, PT_GNU_RELRO = 2, 0x6474E551, 0x6474E552
DT_STRTAB, DT_STRSZ, DT_BIND_NOW, DT_FLAGS, DT_FLAGS_1 = 5, 10, 24, 30, 0x6FFFFFFB
EXECUTABLE, BIND_NOW, BIND_NOW_1 = 1, 8, 1

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or struct.calcsize("P") != 8 or sys.byteorder != "little",
    reason="the reader below knows 64-bit little-endian ELF",
)


class Elf:
    """The segments, dynamic entries and symbol names of a shared object."""

    def __init__(self, path: Path) -> None:
        data = path.read_bytes()
        assert data[:6] == b"\x7fELF\x02\x01"
        offset, size, count = struct.unpack_from("<Q", data, 32)[0], *struct.unpack_from("<HH", data, 54)
        self.flags: dict[int, int] = {}
        self.dynamic: dict[int, int] = {}
        loads = []
        for at in range(offset, offset + size * count, size):
            kind, flags, start, address, _, length = struct.unpack_from("<IIQQQQ", data, at)
            self.flags[kind] = flags
            loads.append((kind, address, length, start))
            if kind == PT_DYNAMIC:
                for entry in range(start, start + length, 16):
                    tag, value = struct.unpack_from("<QQ", data, entry)
                    self.dynamic.setdefault(tag, value)
        names = self.dynamic[DT_STRTAB]
        where = next(
            names - address + start
            for kind, address, length, start in loads
            if kind == 1 and address <= names < address + length
        )
        self.names = set(data[where : where + self.dynamic[DT_STRSZ]].split(b"\0"))


def built() -> list[str]:
    return [name for name in MODULES if importlib.util.find_spec(f"cosxfer._native.{name}")]


def elf(name: str) -> Elf:
    spec = importlib.util.find_spec(f"cosxfer._native.{name}")
    assert spec is not None
    assert spec.origin is not None
    if not spec.origin.endswith(".so"):
        pytest.skip("this part is not built")
    return Elf(Path(spec.origin))


@pytest.mark.parametrize("name", built())
def test_a_modules_tables_are_read_only_before_its_code_runs(name: str) -> None:
    module = elf(name)
    assert PT_GNU_RELRO in module.flags
    now = module.dynamic.get(DT_FLAGS, 0) & BIND_NOW or module.dynamic.get(DT_FLAGS_1, 0) & BIND_NOW_1
    assert now or DT_BIND_NOW in module.dynamic


@pytest.mark.parametrize("name", built())
def test_a_modules_stack_is_guarded_and_not_executable(name: str) -> None:
    module = elf(name)
    assert not module.flags[PT_GNU_STACK] & EXECUTABLE
    assert b"__stack_chk_fail" in module.names


@pytest.mark.parametrize(
    "name", [name for name in built() if name != "hashing"]
)  # it calls no function with a checked form
def test_a_module_calls_the_checked_forms_of_the_c_library(name: str) -> None:
    module = elf(name)
    assert [name for name in module.names if name.startswith(b"__") and name.endswith(b"_chk")]
