"""Heads of many requests that differ in path, Content-MD5, Content-Length and signature alone.

There is no twin in Python: only requests that are sent without an asyncio task need it, and those need native code too.
"""

def use_sha_instructions(wanted: bool = True) -> bool:
    """Use the processor's instructions for SHA-1 if they are ``wanted`` and it has them, as at first; returns whether.

    For tests.
    """

class RequestHeads:
    """Writes the heads of requests of one kind, with the signatures of COS (product page 436/7778).

    A head is ``method``, the escaped path, ``after_path``, the headers ``content-md5`` and ``content-length`` if there
    is a body, ``after_body``, the signature, ``end``. What is signed is ``signed_method``, the path, ``signed_before``,
    the same two headers, ``signed_rest``; its SHA-1 in hex follows ``to_sign``. May be used from any thread.
    """

    def __init__(
        self,
        *,
        method: bytes,
        after_path: bytes,
        after_body: bytes,
        end: bytes,
        sign_key: bytes = b"",
        signed_method: bytes = b"",
        signed_before: bytes = b"",
        signed_rest: bytes = b"",
        to_sign: bytes = b"",
    ) -> None:
        """``sign_key`` is `cosxfer.cos.sign.sign_key` in hex. Without it and ``to_sign`` there is no signature.

        Raises ``ValueError`` for one without the other, and for a key of more than 64 bytes.
        """
    def of(self, path: str, md5: bytes | None = None, length: int = 0) -> bytes:
        """Return the head for ``path``, which is not escaped, and a body of ``length`` bytes; no ``md5``: without one.

        Raises ``ValueError`` for a path that is not UTF-8 or an MD5 that has not 16 bytes, and ``OverflowError`` for a
        length below 0 or above 2^64 - 1.
        """
