"""A digest function for the native threads that first calls Python. It simulates a file system that hangs."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from cosxfer._native import hashing

_FUNCTION = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.c_uint64, ctypes.POINTER(ctypes.c_char * 16), ctypes.POINTER(ctypes.c_uint64)
)
_NAME = b"cosx_digest_function"
_kept: list[object] = []


def digest_that_calls(call: Callable[[], object]) -> object:
    """A capsule for `cosxfer._native.FileService`. It is never freed, because a thread may be using it."""

    def digest(data: int, size: int, md5: ctypes._Pointer, crc64: ctypes._Pointer) -> None:  # type: ignore[type-arg]
        call()
        [found] = hashing.hash_parts([ctypes.string_at(data, size)])
        md5.contents.raw = found.md5
        crc64.contents.value = found.crc64

    function = _FUNCTION(digest)
    _kept.append(function)
    new = ctypes.pythonapi.PyCapsule_New
    new.restype = ctypes.py_object
    new.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    return new(ctypes.cast(function, ctypes.c_void_p), _NAME, None)
