"""The native core, or its twin in Python: the one place that chooses.

``hashing`` and ``slicing`` are the compiled modules where they were built, else ``pure_hashing`` and ``pure_slicing``
with the same names. ``KERNEL`` is the kernel in use, ``KERNELS`` those that this machine can run (best first,
``"pure"`` last), ``COMPILED`` whether the native modules are in use. ``FileService`` and ``RequestHeads`` are None if
they are not built (the former needs Linux) or native code is off.

The environment variable ``COSXFER_KERNEL`` forces one of ``avx512``, ``avx2-vpclmul``, ``avx2``, ``portable`` (vector
code for any CPU), ``neon``, ``scalar``, ``pure``; a name that the machine lacks is a `cosxfer.errors.UsageError`.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from cosxfer.errors import UsageError

__all__ = ["COMPILED", "KERNEL", "KERNELS", "FileService", "RequestHeads", "hashing", "slicing"]

_forced = os.environ.get("COSXFER_KERNEL", "")
_why = ""

try:
    from cosxfer._native import hashing, slicing
except ImportError as error:
    _why = str(error)
    COMPILED = False
else:
    COMPILED = True

KERNELS: tuple[str, ...] = (*hashing.kernels(), "pure") if COMPILED else ("pure",)

if _forced and _forced not in KERNELS:
    _reason = f"; the native modules are not built ({_why})" if _why else ""
    raise UsageError(
        f"COSXFER_KERNEL is {_forced!r}; of kernels this machine has {', '.join(KERNELS)}{_reason}",
        name="COSXFER_KERNEL",
        value=_forced,
    )

if _forced == "pure" or not COMPILED:
    from cosxfer._native import pure_hashing, pure_slicing

    # Type checkers see the compiled modules' stubs; a test holds the twins to the same names.
    if not TYPE_CHECKING:
        hashing, slicing = pure_hashing, pure_slicing
    COMPILED = False
    KERNEL = "pure"
else:
    if _forced:
        hashing.use_kernel(_forced)
    KERNEL = hashing.kernel()

if TYPE_CHECKING:
    from cosxfer._native.files import FileService
    from cosxfer._native.heads import RequestHeads
else:
    FileService = RequestHeads = None
    if COMPILED:
        with suppress(ImportError):
            from cosxfer._native.files import FileService
        with suppress(ImportError):
            from cosxfer._native.heads import RequestHeads
