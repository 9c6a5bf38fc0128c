"""Builds the native core where a compiler and Cython are at hand, and a pure-Python package where they are not.

To add an extension, append to ``EXTENSIONS``; one that needs a library names it for pkg-config. With
``COSXFER_BUILD_ALL`` in the environment, code that does not compile is an error.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

# module in cosxfer._native -> (C files in src_ext/, pkg-config library or None)
EXTENSIONS: dict[str, tuple[list[str], str | None]] = {
    "hashing": (
        [
            "md5_scalar",
            "md5_portable",
            "md5_avx2",
            "md5_avx512",
            "md5_neon",
            "crc64_table",
            "crc64_pclmul",
            "crc64_vpclmul",
            "crc64_pmull",
            "dispatch",
            "lanes",
            "threads",
        ],
        None,
    ),
    "slicing": (["guard"], None),
    "wire": (
        [f"wire_{part}" for part in ("engine", "connection", "request", "output", "rate", "tls", "http1", "h1", "h2")],
        "libnghttp2",
    ),
}
# Appended last, so that a sanitized build can replace the optimization.
MORE_CFLAGS = os.environ.get("COSXFER_CFLAGS", "").split()
CFLAGS = ["-O3", "-std=gnu11", "-pthread", "-fvisibility=hidden", "-Wall", "-Wextra", *MORE_CFLAGS]


def missing(what: str) -> None:
    sys.stderr.write(f"cosxfer: {what}: that part is built without native code and will be slower\n")


def pkg_config(library: str) -> dict[str, list[str]] | None:
    """The include directories, library directories and libraries of ``library``; None where it is not installed."""
    if not shutil.which("pkg-config"):
        return None
    command = ["pkg-config", "--cflags", "--libs", library]
    found = subprocess.run(command, capture_output=True, text=True)  # noqa: S603  # fixed words, no shell
    if found.returncode:
        return None
    words = found.stdout.split()
    return {
        key: [word[2:] for word in words if word.startswith(flag)]
        for key, flag in (("include_dirs", "-I"), ("library_dirs", "-L"), ("libraries", "-l"))
    }


def extensions() -> list[Extension]:
    try:
        from Cython.Build import cythonize
    except ImportError:
        missing("Cython is not installed")
        return []
    found = []
    for name, (sources, library) in EXTENSIONS.items():
        pyx = Path("src_ext", f"{name}.pyx")
        if not pyx.exists():
            continue
        options = pkg_config(library) if library else {}
        if options is None:
            missing(f"{library} was not found by pkg-config ({name})")
            continue
        found.append(
            Extension(
                f"cosxfer._native.{name}",
                [str(pyx), *(f"src_ext/{source}.c" for source in sources)],
                # Also what a source distribution must hold: the sources above are replaced by the generated C.
                depends=[str(path) for path in (pyx, *sorted(Path("src_ext").glob("*.h")))],
                include_dirs=["src_ext", *options.get("include_dirs", [])],
                library_dirs=options.get("library_dirs", []),
                libraries=options.get("libraries", []),
                extra_compile_args=CFLAGS,
                extra_link_args=["-pthread"],
            )
        )
    made = cythonize(found, build_dir="build/cython") if found else []
    for extension in made:
        # Only here, as Cython makes new ones and would forget it.
        extension.optional = "COSXFER_BUILD_ALL" not in os.environ
    return made


class BuildExt(build_ext):
    """Says in one line what is missing, where the compiler's own message is long."""

    def build_extension(self, ext: Extension) -> None:
        try:
            super().build_extension(ext)
        except Exception as error:
            missing(f"{ext.name} could not be compiled ({error})")
            # `optional` makes this one a warning, but not the error of a compiler that is not there.
            raise CompileError(str(error)) from error


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildExt})
