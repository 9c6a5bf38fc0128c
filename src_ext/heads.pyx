# cython: language_level=3
"""Heads of many requests that differ little. ``heads.pyi`` documents the API."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memset

cdef extern from "request_heads.h" nogil:
    ctypedef struct cosx_piece:
        const char *data
        size_t length
    ctypedef struct cosx_request_heads:
        cosx_piece method, after_path, after_body, end
        cosx_piece signed_method, signed_before, signed_rest
        cosx_piece to_sign
    void cosx_request_heads_key(cosx_request_heads *, const uint8_t *, size_t)
    size_t cosx_request_heads_room(const cosx_request_heads *, size_t)
    size_t cosx_request_heads_write(const cosx_request_heads *, const char *, size_t, const uint8_t *, uint64_t, char *)

cdef extern from "sha1.h" nogil:
    int cosx_sha1_use_instructions(int)

cdef enum:
    KEY_BYTES = 64
    MD5_BYTES = 16
    ON_STACK_BYTES = 2048


def use_sha_instructions(bint wanted=True) -> bool:
    return bool(cosx_sha1_use_instructions(wanted))


use_sha_instructions()


cdef class RequestHeads:
    cdef cosx_request_heads _heads
    cdef tuple _kept  # what the pieces point to

    def __cinit__(
        self, *, bytes method, bytes after_path, bytes after_body, bytes end, bytes sign_key=b"",
        bytes signed_method=b"", bytes signed_before=b"", bytes signed_rest=b"", bytes to_sign=b"",
    ):
        if len(sign_key) > KEY_BYTES:
            raise ValueError("the key is longer than a block")
        if bool(sign_key) != bool(to_sign):
            raise ValueError("there is a key without a text to sign, or the other way round")
        memset(&self._heads, 0, sizeof(self._heads))
        self._kept = (method, after_path, after_body, end, signed_method, signed_before, signed_rest, to_sign)
        self._heads.method = _piece(method)
        self._heads.after_path = _piece(after_path)
        self._heads.after_body = _piece(after_body)
        self._heads.end = _piece(end)
        self._heads.signed_method = _piece(signed_method)
        self._heads.signed_before = _piece(signed_before)
        self._heads.signed_rest = _piece(signed_rest)
        self._heads.to_sign = _piece(to_sign)
        cosx_request_heads_key(&self._heads, <const uint8_t *>PyBytes_AS_STRING(sign_key), len(sign_key))

    def of(self, str path, bytes md5=None, uint64_t length=0) -> bytes:
        cdef bytes name = path.encode()
        cdef size_t room = cosx_request_heads_room(&self._heads, len(name)), written
        cdef char on_stack[ON_STACK_BYTES]
        cdef bytes large
        cdef char *out = on_stack
        cdef const uint8_t *digest = NULL
        if md5 is not None:
            if len(md5) != MD5_BYTES:
                raise ValueError("an MD5 has 16 bytes")
            digest = <const uint8_t *>PyBytes_AS_STRING(md5)
        if room > ON_STACK_BYTES:
            large = PyBytes_FromStringAndSize(NULL, room)
            out = PyBytes_AS_STRING(large)
        written = cosx_request_heads_write(
            &self._heads, PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name), digest, length, out
        )
        return PyBytes_FromStringAndSize(out, written)


cdef cosx_piece _piece(bytes text):
    cdef cosx_piece piece
    piece.data, piece.length = PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text)
    return piece
