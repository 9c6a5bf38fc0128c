"""Builds the native core where a compiler and Cython are at hand, and a pure-Python package where they are not.

To add an extension, append to ``EXTENSIONS``; one that needs a library names it for pkg-config. With
``COSXFER_BUILD_ALL`` in the environment, code that does not compile is an error.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError, LinkError

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
            "crc64_vpclmul256",
            "crc64_pmull",
            "dispatch",
            "lanes",
            "threads",
        ],
        None,
    ),
    "slicing": (["guard", "small_file", "new_file"], None),
    "files": (["small_file", "new_file", "file_service"], None),
    "heads": (["sha1", "request_heads"], None),
    "wire": (
        [
            "gcm_vaes",
            "wire_tls_seal",
            "wire_tls",
            "wire_parser",
            "wire_rate",
            "wire_mailbox",
            "wire_pages",
            "wire_schedule",
            "crc64_table",
            "wire_sink",
            "wire_request",
            "wire_output",
            "wire_close",
            "wire_h1",
            "wire_h2",
            "wire_connection",
            "wire_io_thread",
        ],
        "libnghttp2",
    ),
}
# Appended last, so that a sanitized build can replace the optimization.
MORE_CFLAGS = os.environ.get("COSXFER_CFLAGS", "").split()
CFLAGS = ["-O3", "-std=gnu11", "-pthread", "-fvisibility=hidden", "-Wall", "-Wextra"]
# Hardening, of which each compiler and system takes what it knows. A call into the parser that writes past its buffer
# ends the process in place of whatever an attacker wanted.
HARDENING_CFLAGS = ["-fstack-protector-strong", "-fstack-clash-protection", "-fcf-protection"]
HARDENING_LDFLAGS = ["-Wl,-z,relro", "-Wl,-z,now", "-Wl,-z,noexecstack"]


LINK_TIME_FLAGS = ["-flto=auto"]


def chosen_flags() -> str:
    """The compiler flags that the caller chose."""
    return " ".join([*MORE_CFLAGS, os.environ.get("CFLAGS", ""), os.environ.get("CPPFLAGS", "")])


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
    """Hardens what it builds, and says in one line what is missing, where the compiler's own message is long."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()  # extensions that are built at a time

    def build_extensions(self) -> None:
        compile_flags = [flag for flag in HARDENING_CFLAGS if self._takes([flag])]
        link_flags = [flag for flag in HARDENING_LDFLAGS if self._takes([], [flag])]
        compile_flags += self._fortify()
        if not self._is_sanitized() and self._takes(LINK_TIME_FLAGS, [*LINK_TIME_FLAGS, "-O3"]):
            # The wire's C files call each other for each frame; only the linker sees them all.
            compile_flags += LINK_TIME_FLAGS
            link_flags += [*LINK_TIME_FLAGS, "-O3"]
        for extension in self.extensions:
            extension.extra_compile_args = [*extension.extra_compile_args, *compile_flags, *MORE_CFLAGS]
            extension.extra_link_args = [*extension.extra_link_args, *link_flags]
        super().build_extensions()

    def _fortify(self) -> list[str]:
        """The checked forms of the C library's functions, unless the caller or the compiler has chosen already.

        A sanitized build goes without: its own checks are hidden by them.
        """
        if self._is_sanitized() or any(word in chosen_flags() for word in ("_FORTIFY_SOURCE", "-O0")):
            return []
        for level in (3, 2):
            # Undefined first, as distributions define it in the compiler or in Python's own flags.
            flags = ["-U_FORTIFY_SOURCE", f"-D_FORTIFY_SOURCE={level}"]
            if self._takes(["-O2", "-Werror", *flags]):
                return flags
        return []

    @staticmethod
    def _is_sanitized() -> bool:
        return "-fsanitize" in chosen_flags()

    def _takes(self, compile_flags: list[str], link_flags: list[str] | None = None) -> bool:
        """Whether the compiler, and the linker if ``link_flags`` are given, takes these flags for a small program."""
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "probe.c")
            source.write_text('#include <string.h>\nint probe(char *to) { strcpy(to, "probe"); return 0; }\n')
            with self._quiet():
                try:
                    objects = self.compiler.compile(
                        [str(source)], output_dir=folder, extra_postargs=["-Werror", *compile_flags]
                    )
                    if link_flags is not None:
                        self.compiler.link_shared_object(
                            objects, str(Path(folder, "probe.so")), extra_postargs=link_flags
                        )
                except (CompileError, LinkError):
                    return False
        return True

    @staticmethod
    @contextmanager
    def _quiet() -> Iterator[None]:
        """What the compiler says of a flag that it does not know is of no interest."""
        sys.stderr.flush()
        kept = os.dup(2)
        try:
            with Path(os.devnull).open("w") as nowhere:
                os.dup2(nowhere.fileno(), 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)

    def build_extension(self, ext: Extension) -> None:
        # Some extensions have C files in common, and they are built side by side: each has a folder for its objects.
        own = copy(self)
        own.build_temp = str(Path(self.build_temp, ext.name))
        try:
            build_ext.build_extension(own, ext)
        except Exception as error:
            missing(f"{ext.name} could not be compiled ({error})")
            # `optional` makes this one a warning, but not the error of a compiler that is not there.
            raise CompileError(str(error)) from error


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildExt})
